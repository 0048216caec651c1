//! The test kit, tested: a shop of five services on it, and how to see a panic.

mod alone;
mod crashes;
mod exact;
mod faults;
mod names;

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;

use quadrille::{Failure, Participant, State, TestBus, TypedEvent};
use serde::{Deserialize, Serialize};

macro_rules! events {
    ($($name:ident is $ty:literal in $topic:literal;)+) => {
        $(#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub(crate) struct $name {
            order: String,
        }

        impl $name {
            pub(crate) fn of(order: &str) -> Self {
                Self { order: order.to_owned() }
            }
        }

        impl TypedEvent for $name {
            const TYPE: &'static str = $ty;
            const TOPIC: &'static str = $topic;

            fn saga(&self) -> String {
                self.order.clone()
            }
        })+
    };
}

events! {
    OrderCreated is "order.created" in "orders";
    Reserved is "inventory.reserved" in "inventory";
    Paid is "payment.processed" in "payments";
    Shipped is "shipping.shipped" in "shipping";
    Completed is "order.completed" in "orders";
    Reminded is "order.reminded" in "reminders";
}

/// What happened outside of the bus, and when.
#[derive(Debug, Default)]
pub(crate) struct Effects(Mutex<Vec<(String, Duration)>>);

impl Effects {
    fn note(&self, what: impl Into<String>, since: tokio::time::Instant) {
        self.0.lock().unwrap().push((what.into(), since.elapsed()));
    }

    fn all(&self) -> Vec<(String, Duration)> {
        self.0.lock().unwrap().clone()
    }
}

async fn reserve(event: OrderCreated) -> Result<Reserved, Failure> {
    Ok(Reserved::of(&event.order))
}

async fn charge(event: Reserved) -> Result<Paid, Failure> {
    Ok(Paid::of(&event.order))
}

async fn ship(event: Paid) -> Result<Shipped, Failure> {
    Ok(Shipped::of(&event.order))
}

async fn complete(event: Shipped) -> Result<Completed, Failure> {
    Ok(Completed::of(&event.order))
}

async fn notify(event: Completed, State(sent): State<Mutex<Vec<String>>>) -> Result<(), Failure> {
    sent.lock().unwrap().push(event.order);
    Ok(())
}

/// The five services.
fn shop(t: &TestBus) {
    t.run((
        Participant::new("inventory", ()).on(reserve),
        Participant::new("payment", ()).on(charge),
        Participant::new("shipping", ()).on(ship),
        Participant::new("order", ()).on(complete),
        Participant::new("notification", Mutex::<Vec<String>>::default()).on(notify),
    ));
}

/// What it panics with.
async fn panic_of(work: impl Future) -> String {
    let mut work = pin!(work);
    let panic = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(_)) => Poll::Ready(None),
        Err(panic) => Poll::Ready(Some(panic)),
    });
    let panic = panic.await.expect("it does not panic");
    let text = panic.downcast_ref::<&str>().map(|it| (*it).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap()
}

/// What its end panics with.
async fn complaint_of(t: TestBus) -> String {
    panic_of(async { drop(t) }).await
}
