//! Quadrille: an event bus for choreographed sagas, services that react to each other's events with
//! no conductor. This crate is its library; today the bus lives in the process that uses it, in
//! memory or in a directory.
//!
//! ```
//! use quadrille::{Bus, Event};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bus = Bus::memory().await?; // or Bus::open("./data"), or Bus::at("file:./data")
//! bus.create_topic("orders").await?;
//! bus.create_topic("stock").await?;
//! let mut orders = bus.group("inventory").topics(["orders"]).subscribe().await?;
//!
//! let event = Event::new("order.created").saga("order-17").json(&["tea", "cups"])?;
//! let receipt = bus.topic("orders").publish(event).await?; // on disk, when there is one
//! assert_eq!(receipt.offset(), Some(0));
//!
//! let delivery = orders.next().await.ok_or("the subscription has ended")?;
//! let items: Vec<String> = delivery.json()?;
//! let reserved = Event::new("inventory.reserved").json(&items)?;
//! // Settles the order and publishes what follows from it: both, or neither.
//! delivery.step().publish("stock", reserved).commit().await?;
//! # Ok(()) }
//! ```
//!
//! # What is safe when
//! | what | has happened for everybody | survives a crash of the process | survives a power loss |
//! |---|---|---|---|
//! | publish to a `Synced` topic, step, retry, dead letter, administration | when its future is ready, and no consumer sees it before | then | then |
//! | publish to a `Written` topic | when its future is ready | then | at most 1 s or 16 MiB later, or after [`Bus::flush`] |
//! | ack, release | when called; handed over within 1 ms | 1 ms later | at most 100 ms later, or after [`Bus::flush`] |
//! | [`Delivery::extend`] | at the next renewal | never | never |
//!
//! A crash in between repeats events, in order. Effects outside the bus are *at least once*: make
//! them repeatable, by the event's source and id. A bus in memory ends with its process.
//!
//! # What happens when a future is dropped
//! | await point | dropped before it is ready |
//! |---|---|
//! | [`Publish`] or [`Publish::send`], not polled yet | nothing is published |
//! | the same, waiting for room in the bus's queue | nothing is published |
//! | [`Publishing`], [`Pending`], waiting for the receipt | it is published |
//! | [`Subscription::next`], and the stream | no event is lost: it comes next time |
//! | [`Settling`] | the settle is recorded |
//! | [`Committing`] | the step is recorded |
//! | [`Subscription::for_each_concurrent`] | running handlers are dropped, which counts as an attempt; what was buffered goes back as it came |
//! | [`Subscription::run`], [`Group::run`] | likewise, for closures |
//! | [`Delivery::lease_lost`] | nothing changes |
//! | [`Group::subscribe`] | the group may have been created; no member stays |
//! | administration: [`Bus::create_topic`], [`Group::pause`], [`Resolve::retry`] and the like | it happens, if it was polled once |
//! | [`Read::next`], and the stream | no event is skipped |
//! | [`Bus::timeline`], [`Bus::why`], [`Bus::sagas`], [`Bus::dead_letters_of_all`] | nothing changes |
//! | [`Bus::close`] | it goes on |
//!
//! Dropping a [`Delivery`] without a settle counts as an attempt. Dropping a [`Subscription`] leaves
//! the group.
//!
//! # Errors
//! One enum per operation, each with a stable `code()`, a `kind()` and an `outcome()`. A settle or
//! step that is refused gives the delivery back, in [`Unsettled`].
//!
//! # Features
//! `embedded` (default): the engine in this process. `json` (default): [`Event::json`] and
//! [`Delivery::json`]; with `embedded`, typed events and participants. `derive` (default): their
//! macros. Without `embedded` there is no bus, only events and their encoding.
//!
//! Everything asynchronous needs a tokio runtime.

#[cfg(feature = "embedded")]
mod admin;
#[cfg(feature = "embedded")]
mod bus;
#[cfg(all(feature = "embedded", feature = "json"))]
#[doc(hidden)]
pub mod check;
#[cfg(feature = "embedded")]
mod dead_letters;
#[cfg(feature = "embedded")]
mod delivery;
#[cfg(feature = "embedded")]
mod error;
#[cfg(feature = "embedded")]
mod group;
#[cfg(feature = "embedded")]
mod handlers;
#[cfg(feature = "embedded")]
mod hands;
#[cfg(feature = "embedded")]
mod info;
#[cfg(feature = "embedded")]
mod link;
#[cfg(all(feature = "derive", feature = "embedded", feature = "json"))]
mod macros;
#[cfg(all(feature = "embedded", feature = "json"))]
mod participant;
#[cfg(feature = "embedded")]
mod publish;
#[cfg(feature = "embedded")]
mod read;
#[cfg(feature = "embedded")]
mod settle;
#[cfg(feature = "embedded")]
mod step;
#[cfg(feature = "embedded")]
mod subscription;
#[cfg(feature = "test")]
mod testing;
#[cfg(feature = "embedded")]
mod timeline;
#[cfg(all(feature = "embedded", feature = "json"))]
mod typed;
#[cfg(feature = "embedded")]
mod words;

#[cfg(feature = "embedded")]
mod api {
    pub use crate::admin::{DeadLetter, GroupInfo, HeldEvent, MemberInfo, Resolve};
    pub use crate::bus::{Bus, OpenError, OpenOptions};
    pub use crate::dead_letters::{DeadLetterList, DeadLetterQuery, DeadLetterRow, Resolved};
    pub use crate::delivery::Delivery;
    pub use crate::error::{
        AdminError, ErrorKind, Outcome, PublishError, ReadError, Refused, SettleError, StepError,
        SubscribeError, Unsettled,
    };
    pub use crate::group::Group;
    pub use crate::info::{Blocked, BusInfo, DroppedTail, Gap, Gauge, IndexInfo, Loss, Lost, Pin};
    #[cfg(feature = "json")]
    pub use crate::participant::{
        Begun, Contract, Ctx, Emits, Emitter, Envelope, Extract, Failure, Handler, Handling,
        Headers, Inbox, InboxKey, OrFail, Outputs, Part, Participant, Participants, RunError,
        Running, State, Step, Tx, TxType, run,
    };
    pub use crate::publish::{Pending, Publish, Publishing, Sending, Topic};
    pub use crate::read::{Read, StoredEvent};
    pub use crate::settle::Settling;
    pub use crate::step::{Committing, StepBuilder};
    pub use crate::subscription::Subscription;
    #[cfg(feature = "test")]
    pub use crate::testing::{Faults, SagaLog, Settled, TestBus, Working, every_fault};
    pub use crate::timeline::{
        Blocker, Count, Edge, EventAt, EventState, GroupState, HoldCause, ParkCause, SagaList,
        SagaQuery, SagaRow, SagaStatus, Timeline, TimelineEvent, WaitsFor, Why,
    };
    #[cfg(feature = "json")]
    pub use crate::typed::{Subscribe, TypedEvent, TypedSubscription};
    pub use crate::words::{
        Closed, Durability, NotAPosition, OnExhausted, OrderBy, Position, Receipt, Receipts,
        Retention, RetryPolicy, StartAt, SupersededEvent, TimerId, TopicOptions,
    };
}

#[cfg(all(feature = "derive", feature = "embedded", feature = "json"))]
pub use crate::macros::{Event, Outputs, handler};
#[cfg(feature = "embedded")]
pub use api::*;
#[cfg(feature = "json")]
pub use quadrille_proto::event::JsonError;
pub use quadrille_proto::{Event, EventError, EventView};

/// The guide's examples, compiled and run with the others.
#[cfg(all(doctest, feature = "test", feature = "derive"))]
#[doc = include_str!("../../docs/GUIDE.md")]
struct Guide;
