//! The process dies and comes back; every event comes twice.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quadrille::{Begun, Closed, Ctx, Failure, Inbox, InboxKey, Participant, State, TestBus, Tx};
use tokio::time::sleep;

use super::*;

struct Store {
    effects: Effects,
    begun: tokio::time::Instant,
}

fn store() -> Arc<Store> {
    Arc::new(Store { effects: Effects::default(), begun: tokio::time::Instant::now() })
}

impl Store {
    fn names(&self) -> Vec<String> {
        self.effects.all().into_iter().map(|(name, _)| name).collect()
    }
}

async fn works(event: OrderCreated, State(it): State<Arc<Store>>) -> Result<Reserved, Failure> {
    it.effects.note(format!("{} begun", event.order), it.begun);
    sleep(Duration::from_millis(100)).await;
    it.effects.note(format!("{} done", event.order), it.begun);
    Ok(Reserved::of(&event.order))
}

#[tokio::test]
async fn a_crash_takes_what_is_in_the_making_and_nothing_else() {
    let t = TestBus::new().await;
    let store = store();
    t.run(Participant::new("inventory", Arc::clone(&store)).on(works));
    t.publish(&OrderCreated::of("a")).await;
    t.bus().publish(&Reminded::of("a")).after(Duration::from_secs(60)).await.unwrap();
    t.advance(Duration::from_millis(50)).await;
    t.crash_and_restart().await;
    assert_eq!(t.published::<Reserved>(), []);
    t.run_to_end().await;
    assert_eq!(store.names(), ["a begun", "a begun", "a done"]);
    assert_eq!(t.published::<Reserved>(), [Reserved::of("a")]);
    assert_eq!(t.published::<Reminded>(), [Reminded::of("a")]);
    t.publish(&OrderCreated::of("b")).await;
    t.run_to_end().await;
    assert_eq!(t.published::<Reserved>().len(), 2, "the same bus goes on");
}

async fn acks(event: OrderCreated, State(it): State<Arc<Store>>) -> Result<(), Failure> {
    it.effects.note(event.order, it.begun);
    Ok(())
}

#[tokio::test]
async fn a_crash_forgets_the_acks_of_the_last_millisecond() {
    let t = TestBus::new().await;
    let store = store();
    t.run(Participant::new("notification", Arc::clone(&store)).on(acks));
    t.publish(&OrderCreated::of("a")).await;
    t.advance(Duration::from_millis(1)).await;
    t.publish(&OrderCreated::of("b")).await;
    t.settle().await;
    assert_eq!(t.bus().group("notification").info().await.unwrap().unsettled, 0);
    t.crash_and_restart().await;
    t.settle().await;
    assert_eq!(store.names(), ["a", "b", "b"]);
}

#[tokio::test]
async fn a_subscription_of_the_tests_own_ends_with_a_crash() {
    let t = TestBus::new().await;
    t.bus().create_topic("orders").await.unwrap();
    let mut seen = t.bus().group("test").topics(["orders"]).subscribe().await.unwrap();
    t.crash_and_restart().await;
    assert!(seen.next().await.is_none());
    assert_eq!(seen.closed(), Some(Closed::Fenced));
}

/// Its attempt does not count: the handler did not fail.
async fn charges(event: OrderCreated, ctx: Ctx, it: State<Arc<Store>>) -> Result<Paid, Failure> {
    it.effects.note(format!("{} {}", ctx.attempt(), ctx.idempotency_key().len()), it.begun);
    Ok(Paid::of(&event.order))
}

#[tokio::test]
async fn whoever_is_delivered_twice_acts_twice_and_emits_once() {
    let t = TestBus::new().await;
    t.deliver_twice();
    let store = store();
    t.run(Participant::new("payment", Arc::clone(&store)).on(charges));
    t.publish(&OrderCreated::of("a")).await;
    t.settle().await;
    assert_eq!(store.names(), ["1 32", "1 32"]);
    assert_eq!(t.published::<Paid>().len(), 1);
}

/// Rows of a database: a transaction is what was added in it.
#[derive(Clone, Default)]
pub(super) struct Rows(pub(super) Arc<Mutex<std::collections::BTreeMap<String, Bytes>>>);

impl Inbox for Rows {
    type Tx = Vec<String>;
    type Error = std::convert::Infallible;

    async fn begin(&self, key: &InboxKey) -> Result<Begun<Vec<String>>, Self::Error> {
        let known = self.0.lock().unwrap().get(&key.to_string()).cloned();
        Ok(known.map_or_else(|| Begun::New(Vec::new()), Begun::Known))
    }

    async fn commit(
        &self,
        tx: Vec<String>,
        key: &InboxKey,
        outputs: Bytes,
    ) -> Result<(), Self::Error> {
        let mut rows = self.0.lock().unwrap();
        rows.extend(tx.into_iter().map(|row| (row, Bytes::new())));
        rows.insert(key.to_string(), outputs);
        Ok(())
    }
}

async fn books(
    event: OrderCreated,
    mut tx: Tx<Vec<String>>,
    it: State<Arc<Store>>,
) -> Result<Paid, Failure> {
    it.effects.note("called", it.begun);
    tx.push(format!("charge {}", event.order));
    Ok(Paid::of(&event.order))
}

#[tokio::test]
async fn with_an_inbox_the_second_delivery_does_not_call_the_handler() {
    let t = TestBus::new().await;
    t.deliver_twice();
    let (store, rows) = (store(), Rows::default());
    t.run(Participant::new("payment", Arc::clone(&store)).inbox(rows.clone()).on(books));
    t.publish(&OrderCreated::of("a")).await;
    t.settle().await;
    assert_eq!(store.names(), ["called"]);
    assert_eq!(rows.0.lock().unwrap().len(), 2, "the charge and the key");
    assert_eq!(t.published::<Paid>().len(), 1);
}

#[tokio::test]
async fn whoever_waits_for_something_else_than_the_bus_begins_again_too() {
    let t = TestBus::new().await;
    let begun = Arc::<Mutex<u32>>::default();
    let counter = Arc::clone(&begun);
    t.spawn("clock", move |_| {
        *counter.lock().unwrap() += 1;
        async { std::future::pending().await }
    });
    let store = store();
    let polled = Arc::clone(&store);
    t.spawn("sleeper", move |_| {
        let store = Arc::clone(&polled);
        async move {
            sleep(Duration::from_secs(1)).await;
            store.effects.note("awake", store.begun);
        }
    });
    t.advance(Duration::from_millis(900)).await;
    t.crash_and_restart().await;
    assert_eq!(*begun.lock().unwrap(), 2);
    t.advance(Duration::from_millis(1_000)).await;
    assert_eq!(store.effects.all(), [("awake".to_owned(), Duration::from_millis(1_900))]);
}
