//! Reading the log for the audit, without a group, so that nothing is settled by it. What an event
//! says is taken as text: nothing here believes that only the services have written to the log.

use quadrille::{Bus, ReadError, StoredEvent};
use serde_json::Value;

/// One event of the log.
#[derive(Clone, Debug)]
pub(crate) struct LogEvent {
    /// Entry number and index in the entry: the order of everything.
    pub(crate) at: (u64, u32),
    pub(crate) topic: String,
    pub(crate) source: String,
    pub(crate) id: String,
    /// Its type; of a notification, with its kind.
    pub(crate) says: String,
    pub(crate) order: String,
    /// The id of the event that caused it; empty if none did.
    pub(crate) cause: String,
    /// Whether what it carries can be read.
    pub(crate) readable: bool,
}

impl LogEvent {
    fn of(stored: &StoredEvent) -> Self {
        let event = stored.event();
        let data = event.json::<Value>().ok();
        let kind = data.as_ref().and_then(|it| it.get("kind")).and_then(Value::as_str);
        Self {
            at: (stored.position.entry, stored.position.index),
            topic: stored.topic.clone(),
            source: event.source.to_owned(),
            id: event.id.to_owned(),
            says: kind.map_or_else(|| event.ty.to_owned(), |kind| format!("{} {kind}", event.ty)),
            order: event.saga_or_id().to_owned(),
            cause: event.cause.to_owned(),
            readable: data.is_some_and(|it| it.is_object()),
        }
    }
}

/// Hands every event of a topic to `take`.
///
/// # Errors
/// The log cannot be read.
pub(crate) async fn topic(
    bus: &Bus,
    name: &str,
    mut take: impl FnMut(LogEvent),
) -> Result<(), ReadError> {
    let mut events = bus.read(name);
    while let Some(event) = events.next().await {
        take(LogEvent::of(&event?));
    }
    Ok(())
}
