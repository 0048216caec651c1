//! What settles, what time brings and when, where the end is: to the millisecond.

use std::sync::Arc;
use std::time::Duration;

use quadrille::{
    Bus, Ctx, Failure, OrFail, Participant, Receipt, RetryPolicy, StartAt, State, TestBus,
};
use tokio::time::{sleep, timeout};

use super::*;

const MS: Duration = Duration::from_millis(1);

struct Slow {
    effects: Effects,
    begun: tokio::time::Instant,
}

fn slow() -> Slow {
    Slow { effects: Effects::default(), begun: tokio::time::Instant::now() }
}

/// Takes as many milliseconds as the order's name says.
async fn slowly(event: OrderCreated, State(slow): State<Slow>) -> Result<Reserved, Failure> {
    sleep(MS * event.order.parse::<u32>().or_park("no number")?).await;
    slow.effects.note(&event.order, slow.begun);
    Ok(Reserved::of(&event.order))
}

#[tokio::test]
async fn settling_does_all_that_needs_no_time() {
    let t = TestBus::new().await;
    shop(&t);
    let begun = tokio::time::Instant::now();
    t.publish(&OrderCreated::of("order-17")).await;
    let settled = t.settle().await;
    assert!(settled.working.is_empty(), "{settled}");
    assert_eq!(t.published::<Completed>(), [Completed::of("order-17")]);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn settling_says_who_waits_for_time() {
    let t = TestBus::new().await;
    t.run(Participant::new("inventory", slow()).on(slowly));
    t.publish(&OrderCreated::of("100")).await;
    t.publish(&OrderCreated::of("100")).await;
    t.advance(MS * 30).await;
    let settled = t.settle().await;
    assert_eq!(
        settled.to_string(),
        "inventory has been working on order.created (#6 of 100) for 30ms; 1 event waits behind it"
    );
    t.run_to_end().await;
    assert!(t.settle().await.working.is_empty());
}

/// On a clock that the test itself has stopped, and on one that the bus stops.
async fn a_millisecond_counts() {
    let t = TestBus::new().await;
    t.run(Participant::new("inventory", slow()).on(slowly));
    for round in 1..=3 {
        t.publish(&OrderCreated::of("100")).await;
        t.advance(MS * 99).await;
        assert_eq!(t.published::<Reserved>().len(), round - 1);
        t.advance(MS).await;
        assert_eq!(t.published::<Reserved>().len(), round);
    }
}

#[tokio::test]
async fn a_handler_is_done_in_its_millisecond_and_not_before() {
    a_millisecond_counts().await;
}

#[tokio::test(start_paused = true)]
async fn likewise_on_a_clock_that_stands_still_already() {
    a_millisecond_counts().await;
}

#[tokio::test]
async fn a_timer_fires_in_its_millisecond_and_not_before() {
    let t = TestBus::new().await;
    let receipt = t.bus().publish(&Reminded::of("a")).after(MS * 5_000).await.unwrap();
    assert!(matches!(receipt, Receipt::Scheduled { .. }), "{receipt:?}");
    t.advance(MS * 4_999).await;
    assert_eq!(t.published::<Reminded>(), []);
    t.advance(MS).await;
    assert_eq!(t.published::<Reminded>(), [Reminded::of("a")]);
}

#[tokio::test]
async fn everything_happens_at_its_time() {
    let t = TestBus::new().await;
    let state = Arc::new(slow());
    let slow = Arc::clone(&state);
    t.run(Participant::new("inventory", slow).on(slowly_shared));
    for order in ["30", "10", "20"] {
        t.publish(&OrderCreated::of(order)).await;
    }
    t.bus().publish(&OrderCreated::of("7")).after(MS * 25).await.unwrap();
    t.advance(MS * 500).await;
    let at = |order: &str, ms| (order.to_owned(), MS * ms);
    assert_eq!(state.effects.all(), [at("10", 10), at("20", 20), at("30", 30), at("7", 32)]);
    assert_eq!(state.begun.elapsed(), MS * 500);
}

async fn slowly_shared(event: OrderCreated, state: State<Arc<Slow>>) -> Result<Reserved, Failure> {
    slowly(event, State(Arc::clone(&state.0))).await
}

async fn fails_twice(event: OrderCreated, ctx: Ctx) -> Result<Reserved, Failure> {
    match ctx.attempt() {
        1 | 2 => Err(Failure::retry("no stock")),
        _ => Ok(Reserved::of(&event.order)),
    }
}

async fn remind(event: Reserved) -> Result<quadrille::Step, Failure> {
    use quadrille::Outputs;
    Ok(().into_step().after(MS * 60_000, &Reminded::of(&event.order)))
}

#[tokio::test]
async fn the_end_is_when_nothing_is_armed_held_or_worked_on() {
    let t = TestBus::new().await;
    t.run((
        Participant::new("inventory", ()).on(fails_twice),
        Participant::new("reminder", ()).on(remind),
    ));
    t.publish(&OrderCreated::of("a")).await;
    t.settle().await;
    assert_eq!(t.published::<Reserved>(), [], "it is held");
    let begun = tokio::time::Instant::now();
    t.run_to_end().await;
    assert_eq!(t.published::<Reminded>().len(), 1);
    // Two holds of at most 100 and 200 ms, and the timer.
    let took = begun.elapsed();
    assert!(took > MS * 60_000 && took <= MS * 60_300, "{took:?}");
    t.run_to_end().await;
    assert_eq!(begun.elapsed(), took, "housekeeping is not waited for");
}

#[tokio::test]
async fn a_long_time_is_short() {
    let t = TestBus::new().await;
    shop(&t);
    t.bus().publish(&OrderCreated::of("a")).after(MS * 86_400_000 * 300).await.unwrap();
    t.run_to_end().await;
    assert_eq!(t.published::<Completed>().len(), 1);
}

#[tokio::test]
async fn a_test_that_waits_by_itself_is_served() {
    let t = TestBus::new().await;
    t.run(Participant::new("inventory", slow()).on(slowly));
    t.bus().create_topic("inventory").await.unwrap();
    let mut seen = t.bus().group("test").topics(["inventory"]).subscribe().await.unwrap();
    t.publish(&OrderCreated::of("700")).await;
    let begun = tokio::time::Instant::now();
    let delivery = seen.next().await.unwrap();
    assert_eq!((delivery.ty(), begun.elapsed()), ("inventory.reserved", MS * 700));
    delivery.ack().await.unwrap();
}

/// Ten times as long as nothing, and says each time that it goes on.
async fn works_on(event: OrderCreated, ctx: Ctx) -> Result<Reserved, Failure> {
    for _ in 0..10 {
        sleep(MS * 10_000).await;
        ctx.extend();
    }
    Ok(Reserved::of(&event.order))
}

#[tokio::test]
async fn who_asks_for_more_time_does_not_hang() {
    let t = TestBus::new().await;
    t.run(Participant::new("inventory", ()).timeout(MS * 60_000).on(works_on));
    t.publish(&OrderCreated::of("a")).await;
    let begun = tokio::time::Instant::now();
    t.run_to_end().await;
    assert_eq!((t.published::<Reserved>().len(), begun.elapsed()), (1, MS * 100_000));
}

/// Too slow until this attempt.
async fn is_slow_until(
    event: OrderCreated,
    ctx: Ctx,
    State(it): State<(u32, Arc<Mutex<Vec<u32>>>)>,
) -> Result<Reserved, Failure> {
    let (attempt, calls) = &*it;
    calls.lock().unwrap().push(ctx.attempt());
    if ctx.attempt() < *attempt {
        sleep(MS * 600_000).await;
    }
    Ok(Reserved::of(&event.order))
}

#[tokio::test]
async fn who_is_too_slow_at_first_is_cut_off_and_comes_again() {
    let t = TestBus::new().await;
    let calls = Arc::<Mutex<Vec<u32>>>::default();
    let inventory = Participant::new("inventory", (2, Arc::clone(&calls)));
    t.run(inventory.timeout(MS * 60_000).on(is_slow_until));
    t.publish(&OrderCreated::of("a")).await;
    t.run_to_end().await;
    assert_eq!((t.published::<Reserved>().len(), &*calls.lock().unwrap()), (1, &vec![1, 2]));
}

#[tokio::test]
async fn who_is_too_slow_again_and_again_is_parked_as_ever_and_named_if_nothing_parks_it() {
    for attempts in [3, u32::MAX] {
        let t = TestBus::new().await;
        let inventory = Participant::new("inventory", (u32::MAX, Arc::default()));
        let policy = RetryPolicy { max_attempts: attempts, ..RetryPolicy::default() };
        t.run(inventory.timeout(MS * 60_000).retry(policy).on(is_slow_until));
        t.publish(&OrderCreated::of("a")).await;
        if attempts == 3 {
            t.run_to_end().await;
            let dead = t.bus().dead_letters("inventory").await.unwrap();
            assert_eq!(dead[0].attempts, 3);
            t.allow_parked();
        } else {
            let said = panic_of(t.run_to_end()).await;
            assert!(said.ends_with("and its time was up 100 times: it hangs"), "{said}");
        }
    }
}

/// Passes on what it reads, as a loop of its own.
async fn pass_on(bus: Bus) {
    for topic in ["orders", "inventory"] {
        bus.create_topic(topic).await.unwrap();
    }
    let group = bus.group("loop").topics(["orders"]).start(StartAt::Beginning);
    let mut orders = group.subscribe().await.unwrap();
    while let Some(delivery) = orders.next().await {
        let order: OrderCreated = delivery.json().unwrap();
        let reserved = Reserved::of(&order.order).event().unwrap();
        delivery.step().publish("inventory", reserved).commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_loop_and_a_task_of_the_tests_own_are_run_too() {
    let t = TestBus::new().await;
    t.spawn("loop", pass_on);
    let bus = t.bus().clone();
    let task = tokio::spawn(async move {
        for n in 0..3 {
            tokio::task::yield_now().await;
            bus.publish(&OrderCreated::of(&format!("order-{n}"))).await.unwrap();
        }
    });
    t.settle().await;
    task.await.unwrap();
    assert_eq!(t.published::<Reserved>().len(), 3);
}

#[tokio::test]
async fn a_thousand_runs_and_no_timeout_fires() {
    for _ in 0..1_000 {
        let t = TestBus::new().await;
        shop(&t);
        let scenario = async {
            t.publish(&OrderCreated::of("order-17")).await;
            t.settle().await;
            let mut seen = t.bus().group("test").topics(["orders"]);
            seen = seen.start(StartAt::Beginning);
            let mut seen = seen.subscribe().await.unwrap();
            seen.next().await.unwrap().ack().await.unwrap();
            t.bus().flush().await.unwrap();
            t.bus().read("orders").all().await.unwrap().len()
        };
        assert_eq!(timeout(MS * 1_000, scenario).await, Ok(2));
    }
}

#[tokio::test]
async fn a_player_that_yields_reads_the_bus_and_drains_a_long_channel_is_done_when_all_is_settled()
{
    let t = TestBus::new().await;
    t.publish(&OrderCreated::of("a")).await;
    let done = Arc::<Mutex<Vec<usize>>>::default();
    let told = Arc::clone(&done);
    t.spawn("busy", move |bus| {
        let told = Arc::clone(&told);
        async move {
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
            (0..1_000).for_each(|n| sender.send(n).unwrap());
            drop(sender);
            let mut drained = 0;
            while receiver.recv().await.is_some() {
                drained += 1;
            }
            let read = bus.read("orders").all().await.unwrap().len();
            told.lock().unwrap().extend([drained, read]);
        }
    });
    t.settle().await;
    assert_eq!(*done.lock().unwrap(), [1_000, 1]);
}
