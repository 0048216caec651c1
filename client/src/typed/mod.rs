//! Typed events: a type of the program for a type of event. What it is called, where it lives and
//! how its fields route is said once, at the type; the data is its JSON.

mod subscribe;

use quadrille_proto::{Event, event::JsonError};
use serde::Serialize;

pub(crate) use self::subscribe::unreadable;
pub use self::subscribe::{Subscribe, TypedSubscription};
use crate::{Bus, Publish, Receipt};

/// A type of event as a program sees it; derive it with [`derive(Event)`](derive@crate::Event).
///
/// A service declares the fields that *it* reads, and derives `Deserialize`, or that it writes, and
/// derives `Serialize`. Services share names, not types.
///
/// ```
/// use quadrille::{Bus, Event};
/// use serde::Serialize;
///
/// #[derive(Event, Serialize)]
/// #[event(type = "order.created", topic = "orders")]
/// struct OrderCreated {
///     #[event(saga)]
///     order: String,
///     cents: u64,
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = Bus::memory().await?;
/// bus.publish(&OrderCreated { order: "order-17".into(), cents: 4999 }).await?;
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "not an event",
    note = "give it #[derive(quadrille::Event)] and #[event(type = \"..\", topic = \"..\")]"
)]
pub trait TypedEvent: Sized + Send + Sync + 'static {
    /// Its type, such as `order.created`.
    const TYPE: &'static str;
    /// The topic that it is published to.
    const TOPIC: &'static str;
    /// The version of the type, from 1.
    const SCHEMA: u32 = 1;
    /// Types of events whose effects it undoes.
    const UNDOES: &'static [&'static str] = &[];

    /// What it is about, for groups that keep order by key; empty if it has none.
    fn key(&self) -> String {
        String::new()
    }

    /// The saga that it belongs to; empty if it starts one, or inherits it in a step.
    fn saga(&self) -> String {
        String::new()
    }

    /// The event, to set what a type does not say (id, source, headers) before it is published to
    /// a [`Topic`](crate::Topic).
    ///
    /// # Errors
    /// A value that has no JSON form, such as a map whose keys are not text.
    fn event(&self) -> Result<Event, JsonError>
    where
        Self: Serialize,
    {
        let event = Event::new(Self::TYPE).schema(Self::SCHEMA).key(self.key()).saga(self.saga());
        event.json(self)
    }
}

impl Bus {
    /// Publishes an event to the topic of its type, which is created if it is not there.
    ///
    /// Resolves when the event is safe, see [`Durability`](crate::Durability); as of any publish,
    /// it may be delayed by [`Publish::after`] and pipelined by [`Publish::send`].
    pub fn publish<E: TypedEvent + Serialize>(&self, event: &E) -> Publish<Receipt> {
        self.topic(E::TOPIC).publish_typed(event.event())
    }

    /// Events of one type for a group, with the right to settle each.
    ///
    /// Await it to join. An event that cannot be read as `E` becomes a dead letter with its reason,
    /// and is not an item of the stream.
    pub fn subscribe<E: TypedEvent>(&self, group: &str) -> Subscribe<E> {
        Subscribe::new(self.clone(), group)
    }
}
