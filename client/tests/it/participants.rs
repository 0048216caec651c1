//! Participants as their users see them, on a bus in memory with its threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use quadrille::{
    Begun, Bus, Closed, Ctx, Envelope, Event, Failure, Headers, Inbox, InboxKey, OrFail, Outputs,
    Participant, RetryPolicy, RunError, State, StoredEvent, TestBus, Tx,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify, Semaphore, oneshot};

#[derive(Event, Serialize, Deserialize)]
#[event(type = "order.created", topic = "orders")]
struct OrderCreated {
    #[event(saga)]
    order: String,
    cents: u64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "payment.processed", topic = "payments", schema = 2)]
struct PaymentProcessed {
    #[event(key)]
    order: String,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "order.cancelled", topic = "orders", undoes = "payment.processed")]
struct OrderCancelled {
    #[event(saga)]
    order: String,
}

#[derive(Outputs)]
enum Paid {
    Yes(PaymentProcessed),
    No(OrderCancelled),
    Later,
}

fn order(id: &str, cents: u64) -> OrderCreated {
    OrderCreated { order: id.to_owned(), cents }
}

/// A participant that runs until its test is over.
struct Stage {
    bus: Bus,
    stop: oneshot::Sender<()>,
    running: tokio::task::JoinHandle<Result<Closed, RunError>>,
}

impl Stage {
    async fn run<S: Send + Sync + 'static>(bus: &Bus, participant: Participant<S>) -> Self {
        let group = bus.group(participant.name());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = participant.run(bus).with_graceful_shutdown(stopped);
        let running = tokio::spawn(running);
        until(async || group.info().await.ok().filter(|it| !it.members.is_empty())).await;
        Self { bus: bus.clone(), stop, running }
    }

    async fn stop(self) -> Closed {
        drop(self.stop);
        self.running.await.unwrap().unwrap()
    }

    /// What is in a topic, as soon as it holds so many events.
    async fn events(&self, topic: &str, count: usize) -> Vec<StoredEvent> {
        until(async || {
            let events = self.bus.read(topic).all().await.unwrap_or_default();
            (events.len() >= count).then_some(events)
        })
        .await
    }

    async fn parked(&self, group: &str) -> Vec<quadrille::DeadLetter> {
        until(async || {
            let dead = self.bus.dead_letters(group).await.ok()?;
            (!dead.is_empty()).then_some(dead)
        })
        .await
    }
}

/// Looks again until there is something.
async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn quick() -> RetryPolicy {
    let (first, cap) = (Duration::from_millis(1), Duration::from_millis(1));
    RetryPolicy { max_attempts: 3, first, cap, ..RetryPolicy::default() }
}

#[tokio::test]
async fn what_a_handler_returns_is_one_step_that_inherits_from_its_event() {
    async fn charge(order: OrderCreated, ctx: Ctx) -> Result<Paid, Failure> {
        assert_eq!((ctx.saga(), ctx.attempt(), ctx.turn()), (order.order.as_str(), 1, 0));
        Ok(match order.cents {
            0 => Paid::Later,
            13 => Paid::No(OrderCancelled { order: order.order }),
            _ => Paid::Yes(PaymentProcessed { order: order.order }),
        })
    }
    let bus = Bus::memory().await.unwrap();
    let stage = Stage::run(&bus, Participant::new("payment", ()).on(charge)).await;
    for (id, cents) in [("order-0", 0), ("order-1", 13), ("order-2", 5)] {
        bus.publish(&order(id, cents)).await.unwrap();
    }
    let paid = stage.events("payments", 1).await;
    let orders = stage.events("orders", 4).await;
    let event = paid[0].event();
    assert_eq!((event.ty, event.schema, event.key), ("payment.processed", 2, "order-2"));
    assert_eq!((event.source, event.saga), ("payment", "order-2"));
    let caused = orders.iter().find(|it| it.event().id == event.cause).unwrap();
    assert_eq!(caused.event().saga, "order-2");
    // A UUIDv8: derived from the input.
    assert_eq!(&event.id[14..15], "8");
    let cancelled = orders[3].event();
    assert_eq!((cancelled.ty, cancelled.saga), ("order.cancelled", "order-1"));
    assert_eq!(stage.stop().await, Closed::Left);
    assert_eq!(bus.group("payment").info().await.unwrap().unsettled, 0);
}

#[tokio::test]
async fn each_class_of_failure_does_what_it_says() {
    async fn charge(order: OrderCreated, State(calls): State<AtomicU32>) -> Result<(), Failure> {
        match order.cents {
            0 => {
                calls.fetch_add(1, SeqCst);
                Err::<(), _>("no number".parse::<u32>().unwrap_err())?;
            }
            1 => None::<()>.or_park("the currency is XTS")?,
            2 if calls.fetch_add(100, SeqCst) < 800 => {
                Err::<(), _>("refused").or_unavailable("payments-api")?;
            }
            3 => panic!("the third kind"),
            _ => {}
        }
        Ok(())
    }
    let cases = [
        (0, 3, "invalid digit found in string"),
        (1, 0, "the currency is XTS"),
        (3, 3, "panicked: the third kind"),
        (2, 0, ""),
    ];
    for (cents, attempts, reason) in cases {
        let bus = Bus::memory().await.unwrap();
        let payment = Participant::new("payment", AtomicU32::new(0)).on(charge).retry(quick());
        let stage = Stage::run(&bus, payment).await;
        bus.publish(&order("order-1", cents)).await.unwrap();
        bus.publish(&order("order-2", 9)).await.unwrap();
        if !reason.is_empty() {
            let parked = stage.parked("payment").await;
            assert_eq!((parked[0].attempts, parked[0].reason.as_str()), (attempts, reason));
        }
        // The other saga was not held up, and what was only unavailable has ended well.
        let left = u64::from(!reason.is_empty());
        let group = bus.group("payment");
        until(async || (group.info().await.ok()?.unsettled == left).then_some(())).await;
        stage.stop().await;
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_a_dead_letter_that_says_why() {
    async fn charge(_: OrderCreated) -> Result<(), Failure> {
        Ok(())
    }
    let bus = Bus::memory().await.unwrap();
    let stage = Stage::run(&bus, Participant::new("payment", ()).on(charge)).await;
    bus.publish(&order("order-1", 1)).await.unwrap();
    let event = Event::new("order.created").saga("order-2").data(r#"{"order":"order-2"}"#);
    bus.topic("orders").publish(event).await.unwrap();
    let parked = stage.parked("payment").await;
    let said = "cannot be read as order.created (schema 1): ";
    assert!(parked[0].reason.starts_with(said), "{}", parked[0].reason);
    assert!(parked[0].reason.contains("missing field `cents`"), "{}", parked[0].reason);
    assert_eq!((parked[0].attempts, parked[0].saga.as_str()), (0, "order-2"));
    stage.stop().await;
}

#[tokio::test]
async fn a_typed_subscription_yields_only_what_can_be_read() {
    let bus = Bus::memory().await.unwrap();
    let mut orders = bus.subscribe::<OrderCreated>("report").await.unwrap();
    let broken = Event::new("order.created").id("broken").key("a").data("{}");
    bus.topic("orders").publish(broken).await.unwrap();
    bus.publish(&OrderCancelled { order: "order-0".into() }).await.unwrap();
    bus.publish(&order("order-1", 7)).await.unwrap();
    let (event, delivery) = orders.next().await.unwrap();
    assert_eq!((event.cents, delivery.saga()), (7, "order-1"));
    delivery.ack().await.unwrap();
    let dead = bus.dead_letters("report").await.unwrap();
    assert_eq!((dead.len(), dead[0].id.as_str()), (1, "broken"));
}

#[tokio::test]
async fn publishing_a_type_creates_its_topic_and_says_what_has_no_json() {
    #[derive(Event, Serialize)]
    #[event(type = "odd", topic = "odd")]
    struct Odd {
        pairs: std::collections::HashMap<(u8, u8), u8>,
    }
    let bus = Bus::memory().await.unwrap();
    let receipt = bus.publish(&order("order-1", 1)).await.unwrap();
    assert_eq!(receipt.offset(), Some(0));
    let later = bus.publish(&order("order-1", 2)).after(Duration::from_secs(3600)).await.unwrap();
    assert!(matches!(later, quadrille::Receipt::Scheduled { .. }));
    let odd = Odd { pairs: [((1, 2), 3)].into() };
    let refused = bus.publish(&odd).await.unwrap_err();
    assert_eq!((refused.code(), refused.outcome()), ("event_json", quadrille::Outcome::NotApplied));
    assert!(bus.topic("odd").publish(Event::new("odd")).await.is_err(), "nothing was created");
}

#[tokio::test]
async fn what_cannot_run_is_a_typed_error_that_names_it() {
    async fn one(_: OrderCreated) -> Result<(), Failure> {
        Ok(())
    }
    async fn two(_: OrderCreated, tx: Tx<String>) -> Result<(), Failure> {
        drop(tx);
        Ok(())
    }
    struct NoRows;
    impl Inbox for NoRows {
        type Tx = u32;
        type Error = String;

        async fn begin(&self, _: &InboxKey) -> Result<Begun<u32>, String> {
            Ok(Begun::New(0))
        }

        async fn commit(&self, _: u32, _: &InboxKey, _: Bytes) -> Result<(), String> {
            Ok(())
        }
    }
    let bus = Bus::memory().await.unwrap();
    let new = || Participant::new("payment", ());
    let cases = [
        (new(), "no_handlers", "say .on(..)"),
        (new().on(one).compensate(one), "two_handlers", "two handlers for order.created"),
        (new().on(two), "handler_argument", "has no inbox"),
        (new().on(two).inbox(NoRows), "handler_argument", "the inbox has transactions u32"),
    ];
    for (participant, code, says) in cases {
        let error = participant.run(&bus).await.unwrap_err();
        assert_eq!(error.code(), code);
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.to_string().contains("\"payment\""), "{error}");
    }
}

#[tokio::test]
async fn one_that_cannot_run_keeps_all_from_running_and_states_may_differ() {
    async fn one(_: OrderCreated) -> Result<(), Failure> {
        Ok(())
    }
    let bus = Bus::memory().await.unwrap();
    let (good, bad) = (Participant::new("a", 1).on(one), Participant::new("b", "other state"));
    let error = quadrille::run(&bus, (good, bad)).await.unwrap_err();
    assert_eq!(error.code(), "no_handlers");
    let both = [Participant::new("a", ()).on(one), Participant::new("c", ()).on(one)];
    let ended = quadrille::run(&bus, both).with_graceful_shutdown(async {}).await;
    assert_eq!(ended, Ok(Closed::Left));
}

#[tokio::test]
async fn a_compensation_reads_what_it_overtook() {
    async fn charge(_: OrderCreated) -> Result<(), Failure> {
        Err(Failure::park("no such card"))
    }
    async fn refund(
        cancelled: OrderCancelled,
        ctx: Ctx,
        envelope: Envelope,
        headers: Headers,
    ) -> Result<PaymentProcessed, Failure> {
        assert_eq!(headers.get("who"), Some(b"tester".as_slice()));
        assert_eq!((envelope.source(), envelope.topic()), ("shop", "orders"));
        assert_eq!(ctx.superseded().len(), 1);
        assert_eq!(ctx.superseded()[0].reason, "no such card");
        Ok(PaymentProcessed { order: cancelled.order })
    }
    let bus = Bus::memory().await.unwrap();
    let payment = Participant::new("payment", ()).on(charge).compensate(refund);
    let stage = Stage::run(&bus, payment).await;
    bus.publish(&order("order-1", 1)).await.unwrap();
    stage.parked("payment").await;
    let cancelled = OrderCancelled { order: "order-1".into() };
    let cancelled = quadrille::TypedEvent::event(&cancelled).unwrap();
    let cancelled = cancelled.source("shop").header("who", "tester");
    bus.topic("orders").publish(cancelled).await.unwrap();
    assert_eq!(stage.events("payments", 1).await[0].turn, 1);
    stage.stop().await;
}

#[tokio::test]
async fn graceful_shutdown_finishes_what_runs_and_gives_back_the_rest() {
    struct Door {
        begun: AtomicUsize,
        ended: AtomicUsize,
        came: Notify,
        open: Semaphore,
    }
    async fn charge(
        order: OrderCreated,
        State(door): State<Door>,
    ) -> Result<impl Outputs, Failure> {
        door.begun.fetch_add(1, SeqCst);
        door.came.notify_one();
        door.open.acquire().await?.forget();
        door.ended.fetch_add(1, SeqCst);
        Ok(PaymentProcessed { order: order.order })
    }
    let [begun, ended] = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let door = Door { begun, ended, came: Notify::new(), open: Semaphore::new(0) };
    let payment = Participant::new("payment", door).on(charge).concurrency(2);
    let bus = Bus::memory().await.unwrap();
    for i in 0..20 {
        bus.publish(&order(&format!("order-{i}"), 1)).await.unwrap();
    }
    let payment = payment.start(quadrille::StartAt::Beginning);
    let State(door) = payment.state();
    let stage = Stage::run(&bus, payment).await;
    while door.begun.load(SeqCst) < 2 {
        door.came.notified().await;
    }
    let stopping = tokio::spawn(stage.stop());
    // Whatever it does first: it does not begin another one.
    tokio::task::yield_now().await;
    door.open.add_permits(20);
    assert_eq!(stopping.await.unwrap(), Closed::Left);
    let (begun, ended) = (door.begun.load(SeqCst), door.ended.load(SeqCst));
    assert!(begun == ended && begun < 20, "{begun} begun, {ended} ended");
    let paid = bus.read("payments").all().await.unwrap();
    assert_eq!(paid.len(), ended);
    let info = bus.group("payment").info().await.unwrap();
    assert_eq!((info.unsettled, info.out), (20 - ended as u64, 0));
}

/// A database in memory; counts what it commits.
#[derive(Clone, Default)]
struct Rows(Arc<Mutex<Vec<(String, Bytes)>>>);

#[derive(Default)]
struct Work {
    effects: Vec<String>,
}

impl Inbox for Rows {
    type Tx = Work;
    type Error = String;

    async fn begin(&self, key: &InboxKey) -> Result<Begun<Work>, String> {
        let rows = self.0.lock().await;
        let known = rows.iter().find(|(it, _)| *it == key.to_string());
        Ok(known.map_or_else(|| Begun::New(Work::default()), |it| Begun::Known(it.1.clone())))
    }

    async fn commit(&self, tx: Work, key: &InboxKey, outputs: Bytes) -> Result<(), String> {
        let mut rows = self.0.lock().await;
        if rows.iter().any(|(it, _)| *it == key.to_string()) {
            return Err("the key is there".into());
        }
        rows.push((key.to_string(), outputs));
        rows.extend(tx.effects.into_iter().map(|it| (it, Bytes::new())));
        // The first time the answer of the commit is lost.
        if rows.len() == 2 { Err("the connection broke".into()) } else { Ok(()) }
    }
}

#[tokio::test]
async fn an_event_that_the_inbox_knows_is_not_handled_again_and_its_outputs_go_out() {
    async fn charge(order: OrderCreated, mut tx: Tx<Work>) -> Result<impl Outputs, Failure> {
        tx.effects.push(format!("charged {}", order.order));
        if order.cents == 0 {
            return Err(Failure::park("nothing to charge"));
        }
        let later = OrderCancelled { order: order.order.clone() };
        let paid = PaymentProcessed { order: order.order };
        Ok((paid, ()).into_step().after(Duration::from_millis(1), &later))
    }
    let rows = Rows::default();
    let bus = Bus::memory().await.unwrap();
    let retry = quick();
    let payment = Participant::new("payment", ()).on(charge).inbox(rows.clone()).retry(retry);
    let stage = Stage::run(&bus, payment).await;
    bus.publish(&order("order-0", 0)).await.unwrap();
    stage.parked("payment").await;
    assert!(rows.0.lock().await.is_empty(), "a transaction of a failure is dropped");
    bus.publish(&order("order-1", 5)).await.unwrap();
    let paid = stage.events("payments", 1).await;
    let orders = stage.events("orders", 3).await;
    assert_eq!((paid[0].event().key, orders[2].event().ty), ("order-1", "order.cancelled"));
    let rows = rows.0.lock().await;
    let effects: Vec<_> = rows.iter().filter(|it| it.1.is_empty()).map(|it| &it.0).collect();
    assert_eq!(effects, ["charged order-1"]);
    stage.stop().await;
}

#[tokio::test]
async fn a_timer_that_has_a_name_is_cancelled_by_a_later_step_of_its_saga() {
    const LIMIT: Duration = Duration::from_secs(60);
    async fn begin(order: OrderCreated) -> Result<impl Outputs, Failure> {
        let (order, late) = (order.order.clone(), OrderCancelled { order: order.order });
        let paid = (order != "order-2").then_some(PaymentProcessed { order });
        Ok(paid.into_step().after_named("limit", LIMIT, &late))
    }
    async fn end(_: PaymentProcessed) -> Result<impl Outputs, Failure> {
        Ok(().into_step().cancel_named::<OrderCancelled>("limit"))
    }
    let t = TestBus::new().await;
    t.run(Participant::new("order", ()).on(begin).on(end));
    for id in ["order-1", "order-2"] {
        t.publish(&order(id, 1)).await;
    }
    t.run_to_end().await;
    let cancelled = t.published::<OrderCancelled>();
    assert_eq!(cancelled.iter().map(|it| &*it.order).collect::<Vec<_>>(), ["order-2"]);
}

#[tokio::test]
async fn what_the_bus_would_refuse_is_not_committed_by_the_inbox_and_parks_at_once() {
    async fn charge(order: OrderCreated, tx: Tx<Work>) -> Result<impl Outputs, Failure> {
        drop(tx);
        let one = |order: &str| PaymentProcessed { order: order.to_owned() };
        let many = if order.cents == 0 { 1 } else { 257 };
        let long = "x".repeat(if order.cents == 0 { 256 } else { 1 });
        Ok((0..many).map(|_| one(&long)).collect::<Vec<_>>())
    }
    for (cents, with_inbox, says) in [
        (0, true, "payment.processed cannot be published: the event's field `key`"),
        (1, true, "too much for one step: 257 events"),
        (0, false, "refused"),
    ] {
        let (rows, bus) = (Rows::default(), Bus::memory().await.unwrap());
        let payment = Participant::new("payment", ()).retry(quick());
        let stage = match with_inbox {
            true => Stage::run(&bus, payment.on(charge).inbox(rows.clone())).await,
            false => {
                Stage::run(
                    &bus,
                    payment.on(async |order: OrderCreated| {
                        Ok::<_, Failure>(PaymentProcessed { order: order.order.repeat(99) })
                    }),
                )
                .await
            }
        };
        bus.publish(&order("order-1", cents)).await.unwrap();
        let parked = stage.parked("payment").await;
        assert!(parked[0].reason.contains(says), "{}", parked[0].reason);
        assert_eq!(parked[0].attempts, 0, "it would be the same again");
        assert!(rows.0.lock().await.is_empty());
        stage.stop().await;
    }
}

#[tokio::test]
async fn a_deleted_group_is_an_error_and_a_bus_that_closes_is_none() {
    async fn charge(_: OrderCreated) -> Result<(), Failure> {
        Ok(())
    }
    let bus = Bus::memory().await.unwrap();
    let stage = Stage::run(&bus, Participant::new("payment", ()).on(charge)).await;
    bus.group("payment").delete(true).await.unwrap();
    let error = stage.running.await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.kind()), ("participant_ended", quadrille::ErrorKind::NotFound));
    let stage = Stage::run(&bus, Participant::new("payment", ()).on(charge)).await;
    bus.close(Duration::from_secs(5)).await.unwrap();
    assert_eq!(stage.running.await.unwrap(), Ok(Closed::ShuttingDown));
}

#[tokio::test]
async fn a_context_that_is_kept_does_not_keep_the_member() {
    async fn charge(
        _: OrderCreated,
        ctx: Ctx,
        kept: State<Mutex<Vec<Ctx>>>,
    ) -> Result<(), Failure> {
        kept.lock().await.push(ctx);
        Ok(())
    }
    let bus = Bus::memory().await.unwrap();
    let payment = Participant::new("payment", Mutex::default()).on(charge);
    let kept = payment.state();
    let stage = Stage::run(&bus, payment).await;
    bus.publish(&order("order-1", 1)).await.unwrap();
    until(async || (!kept.lock().await.is_empty()).then_some(())).await;
    assert_eq!(stage.stop().await, Closed::Left);
    assert!(bus.group("payment").info().await.unwrap().members.is_empty());
    let ctx = kept.lock().await.pop().unwrap();
    ctx.extend();
    assert_eq!((ctx.saga(), Envelope::of(&ctx).topic()), ("order-1", "orders"));
}

#[test]
fn handlers_are_plain_functions_and_keys_hold_over_attempts() {
    let event = Event::new("order.created").id("e-1").source("shop").saga("order-1");
    let ctx = Ctx::test_of(event.clone());
    assert_eq!((ctx.saga(), ctx.attempt(), ctx.participant()), ("order-1", 1, "test"));
    assert_eq!(ctx.idempotency_key(), Ctx::test_of(event.clone().turn(3)).idempotency_key());
    assert_ne!(ctx.idempotency_key(), Ctx::test_of(event.source("other")).idempotency_key());
    assert_eq!(ctx.idempotency_key().len(), 32);
    let ctx = ctx.with_attempt(3).with_late().with_superseded(2, "no such card");
    assert_eq!((ctx.attempt(), ctx.late(), ctx.superseded()[0].attempts), (3, true, 2));
    let boxed: Box<dyn std::error::Error + Send + Sync> = "a box".into();
    for failure in [Failure::from(boxed), "a text".into(), String::from("a text").into()] {
        assert!(failure.to_string().starts_with("failed: a "), "{failure}");
    }
}
