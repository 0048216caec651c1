//! Two buses do not meet, and two runs are the same.

use std::time::Duration;

use quadrille::{Event, Failure, Participant, TestBus};

use super::*;

#[tokio::test]
async fn two_buses_of_one_test_do_not_meet() {
    let (one, other) = (TestBus::new().await, TestBus::new().await);
    shop(&one);
    shop(&other);
    one.publish(&OrderCreated::of("a")).await;
    one.settle().await;
    other.settle().await;
    assert_eq!(one.published::<Completed>().len(), 1);
    assert_eq!(other.events(), []);
    one.crash_and_restart().await;
    other.publish(&OrderCreated::of("b")).await;
    other.run_to_end().await;
    assert_eq!(other.published::<Completed>(), [Completed::of("b")]);
    assert_eq!(one.published::<Completed>(), [Completed::of("a")]);
}

async fn fails_at_first(event: Reserved, ctx: quadrille::Ctx) -> Result<Paid, Failure> {
    match ctx.attempt() {
        1 => Err(Failure::retry("busy")),
        _ => Ok(Paid::of(&event.order)),
    }
}

/// Events with fresh ids, a retry with jitter, a timer, a crash.
async fn run(seed: u64) -> (Vec<u8>, Vec<String>) {
    let t = TestBus::seeded(seed).await;
    t.run((
        Participant::new("inventory", ()).on(reserve),
        Participant::new("payment", ()).on(fails_at_first),
    ));
    for order in ["a", "b", "c"] {
        t.publish(&OrderCreated::of(order)).await;
    }
    let batch = ["d", "e"].map(|it| OrderCreated::of(it).event().unwrap());
    t.bus().topic("orders").publish_all(batch).await.unwrap();
    t.bus().publish(&OrderCreated::of("f")).after(Duration::from_secs(3)).await.unwrap();
    t.advance(Duration::from_millis(20)).await;
    t.crash_and_restart().await;
    t.run_to_end().await;
    assert_eq!(t.published::<Paid>().len(), 6);
    (t.trace(), t.events().iter().map(|it| it.event().id.to_owned()).collect())
}

#[tokio::test]
async fn the_same_seed_gives_the_same_trace_byte_for_byte() {
    let (trace, ids) = run(7).await;
    assert!(trace.len() > 1_000);
    for _ in 0..10 {
        assert_eq!(run(7).await, (trace.clone(), ids.clone()));
    }
    let (other, other_ids) = run(8).await;
    assert_ne!(other, trace);
    assert_ne!(other_ids[0], ids[0]);
}

#[tokio::test]
async fn the_timeline_of_a_saga_is_the_same_text_in_every_run() {
    let mut texts = Vec::new();
    for _ in 0..2 {
        let t = TestBus::new().await;
        shop(&t);
        t.publish(&OrderCreated::of("order-17")).await;
        t.run_to_end().await;
        texts.push(t.saga("order-17").timeline().to_string());
    }
    assert_eq!(texts[0], texts[1]);
    for ty in ["order.created", "inventory.reserved", "payment.processed", "order.completed"] {
        assert!(texts[0].contains(ty), "{}", texts[0]);
    }
}

#[tokio::test]
async fn events_come_in_the_order_of_the_log_and_without_the_buss_own() {
    let t = TestBus::new().await;
    shop(&t);
    t.bus().create_topic("orders").await.unwrap();
    t.bus().topic("orders").publish(Event::new("odd")).await.unwrap();
    t.publish(&OrderCreated::of("a")).await;
    t.settle().await;
    let types: Vec<_> = t.events().iter().map(|it| it.event().ty.to_owned()).collect();
    assert_eq!(
        types,
        [
            "odd",
            "order.created",
            "inventory.reserved",
            "payment.processed",
            "shipping.shipped",
            "order.completed"
        ]
    );
}
