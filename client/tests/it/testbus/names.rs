//! What is in the way has a name.

use std::time::Duration;

use quadrille::{Bus, Ctx, Failure, Outputs as _, Participant, State, Step, TestBus};

use super::*;

async fn waits_for_ever(_: OrderCreated) -> Result<Reserved, Failure> {
    std::future::pending().await
}

#[tokio::test]
async fn a_handler_that_nothing_wakes_is_named_when_its_time_is_up() {
    let t = TestBus::new().await;
    let minute = Duration::from_secs(60);
    t.run(Participant::new("inventory", ()).timeout(minute).on(waits_for_ever));
    t.publish(&OrderCreated::of("order-17")).await;
    let said = panic_of(t.run_to_end()).await;
    assert_eq!(
        said,
        "inventory has been working on order.created (#6 of order-17) for 60s, and nothing has \
         woken it in all that time: it hangs"
    );
    assert_eq!(t.bus().dead_letters("inventory").await.unwrap(), []);
}

async fn again(event: Reminded) -> Result<Step, Failure> {
    Ok(().into_step().after(Duration::from_secs(1), &Reminded::of(&event.order)))
}

#[tokio::test]
async fn what_arms_itself_again_and_again_is_named() {
    let t = TestBus::new().await;
    t.run(Participant::new("reminder", ()).on(again));
    t.publish(&Reminded::of("order-17")).await;
    let said = panic_of(t.run_to_end()).await;
    assert!(said.starts_with("there is no end: 20000 holds and timers have gone off"), "{said}");
    assert!(said.contains("× order.reminded"), "{said}");
}

async fn is_down(_: Reminded) -> Result<(), Failure> {
    Err(Failure::unavailable("payments-api"))
}

#[tokio::test]
async fn what_is_held_again_and_again_is_named() {
    let t = TestBus::new().await;
    t.run(Participant::new("payment", ()).on(is_down));
    t.publish(&Reminded::of("order-17")).await;
    let said = panic_of(t.run_to_end()).await;
    assert!(said.contains("payment holds order.reminded (#5), 0 attempts: payments-api"), "{said}");
}

#[tokio::test]
async fn who_never_comes_to_rest_is_named() {
    let t = TestBus::new().await;
    t.spawn("spinner", |_| async {
        loop {
            tokio::task::yield_now().await;
        }
    });
    let said = panic_of(t.settle()).await;
    assert!(said.starts_with("spinner never comes to rest"), "{said}");
}

/// Publishes what its own group is to handle, and waits for what comes of it.
async fn asks_itself(event: OrderCreated, ctx: Ctx, State(bus): State<Bus>) -> Result<(), Failure> {
    if ctx.saga() == "order-17" && !ctx.cause().is_empty() {
        return Ok(());
    }
    let again = event.event()?.cause("order-17").saga("order-17");
    bus.topic("orders").publish(again).await?;
    std::future::pending().await
}

#[tokio::test]
async fn a_handler_that_waits_for_its_own_lane_is_named() {
    let t = TestBus::new().await;
    t.run(Participant::new("order", t.bus().clone()).on(asks_itself));
    t.publish(&OrderCreated::of("order-17")).await;
    let said = panic_of(t.settle()).await;
    assert!(
        said.starts_with(
            "order has been working on order.created (#5 of order-17) for 0ns; 1 event waits \
             behind it, its own.\nIt waits for its own lane: 1 event of its own saga that it has published \
             itself waits behind the one in its hands"
        ),
        "{said}"
    );
    assert_eq!(panic_of(t.run_to_end()).await, said);
}

/// Publishes what its own group is to handle, and goes on a little later, or never.
async fn publishes_and_waits(
    event: OrderCreated,
    ctx: Ctx,
    State(it): State<(Bus, Option<Duration>)>,
) -> Result<(), Failure> {
    if !ctx.cause().is_empty() {
        return Ok(());
    }
    let (bus, wait) = &*it;
    let again = event.event()?.cause("order-17").saga("order-17");
    bus.topic("orders").publish(again).await?;
    match wait {
        Some(wait) => tokio::time::sleep(*wait).await,
        None => tokio::sync::Notify::new().notified().await,
    }
    Ok(())
}

#[tokio::test]
async fn a_handler_that_waits_for_time_with_an_event_of_its_own_behind_it_is_not_in_the_way() {
    let t = TestBus::new().await;
    let wait = Some(Duration::from_millis(100));
    t.run(Participant::new("order", (t.bus().clone(), wait)).on(publishes_and_waits));
    t.publish(&OrderCreated::of("order-17")).await;
    t.publish(&OrderCreated::of("order-17")).await;
    let settled = t.settle().await;
    assert_eq!(
        settled.to_string(),
        "order has been working on order.created (#5 of order-17) for 0ns; 2 events wait behind \
         it, 1 of them its own"
    );
    t.run_to_end().await;
    assert!(t.settle().await.working.is_empty());
}

#[tokio::test]
async fn a_handler_that_something_might_wake_is_named_with_its_lane_when_its_time_is_up() {
    let t = TestBus::new().await;
    let order = Participant::new("order", (t.bus().clone(), None));
    t.run(order.timeout(Duration::from_secs(60)).on(publishes_and_waits));
    t.publish(&OrderCreated::of("order-17")).await;
    assert_eq!(t.settle().await.working[0].own, 1);
    let said = panic_of(t.run_to_end()).await;
    assert!(said.contains("for 60s; 1 event waits behind it, its own.\nIt waits for"), "{said}");
}

#[tokio::test]
async fn a_handler_with_later_events_behind_it_is_not_taken_for_one_that_waits_for_them() {
    let t = TestBus::new().await;
    t.run(Participant::new("inventory", ()).on(waits_for_ever));
    t.publish(&OrderCreated::of("order-17")).await;
    t.settle().await;
    t.publish(&OrderCreated::of("order-17")).await;
    let settled = t.settle().await;
    assert_eq!((settled.working[0].behind, settled.working[0].own), (1, 0));
}

#[tokio::test]
async fn a_participant_that_cannot_run_is_named() {
    let t = TestBus::new().await;
    t.run(Participant::new("idle", ()));
    let said = panic_of(t.settle()).await;
    assert!(said.contains("\"idle\" has no handler"), "{said}");
}

async fn refuses(_: OrderCreated) -> Result<Reserved, Failure> {
    Err(Failure::park("unexpected currency"))
}

async fn with_a_parked_event() -> TestBus {
    let t = TestBus::new().await;
    t.run(Participant::new("inventory", ()).on(refuses));
    t.publish(&OrderCreated::of("order-17")).await;
    t.settle().await;
    t
}

#[tokio::test]
async fn a_parked_event_fails_the_test() {
    let said = complaint_of(with_a_parked_event().await).await;
    assert!(
        said.contains("inventory: order.created (#6 of order-17) after 0 attempts: unexpected"),
        "{said}"
    );
    assert!(said.contains("order-17  needs attention"), "{said}");
}

#[tokio::test]
async fn a_parked_event_that_is_allowed_or_resolved_does_not() {
    with_a_parked_event().await.allow_parked();
    with_a_parked_event().await.allow_parked_in("inventory");
    let t = with_a_parked_event().await;
    let dead = t.bus().dead_letters("inventory").await.unwrap();
    t.bus().resolve("inventory", dead[0].position).skip().await.unwrap();
    t.finish();
    let other = with_a_parked_event().await;
    other.allow_parked_in("payment");
    complaint_of(other).await;
}

#[tokio::test]
async fn an_event_of_another_shape_is_named() {
    let t = TestBus::new().await;
    t.bus().create_topic("orders").await.unwrap();
    let odd = quadrille::Event::new("order.created").data("[]");
    t.bus().topic("orders").publish(odd).await.unwrap();
    let said = panic_of(async { t.published::<OrderCreated>() }).await;
    assert!(said.starts_with("order.created at #") && said.ends_with("its data: []"), "{said}");
}

#[test]
fn a_runtime_of_several_threads_is_refused_with_what_to_write() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let said = runtime.block_on(panic_of(TestBus::new()));
    assert!(said.contains("#[tokio::test]"), "{said}");
}
