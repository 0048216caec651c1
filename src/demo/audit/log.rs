//! Reading the log for the audit, without a group, so that nothing is settled by it. What an event
//! says is taken as text: nothing here believes that only the services have written to the log.

use quadrille::{Bus, StoredEvent};

use crate::cli::Failure;
use crate::demo::events::Payload;

/// One event of the log.
#[derive(Clone, Debug)]
pub(crate) struct LogEvent {
    /// Entry number and index in the entry: the order of everything.
    pub(crate) at: (u64, u32),
    /// The broker's time, in milliseconds since 1970.
    pub(crate) time_ms: u64,
    pub(crate) topic: String,
    pub(crate) source: String,
    pub(crate) id: String,
    pub(crate) ty: String,
    pub(crate) order_id: String,
    /// The id of the event that caused it; empty if none did.
    pub(crate) cause: String,
    /// What it carries, if that can be read.
    pub(crate) payload: Option<Payload>,
}

impl LogEvent {
    fn of(stored: &StoredEvent) -> Self {
        let event = stored.event();
        Self {
            at: (stored.position.entry, stored.position.index),
            time_ms: stored.time,
            topic: stored.topic.to_string(),
            source: event.source.to_owned(),
            id: event.id.to_owned(),
            ty: event.ty.to_owned(),
            order_id: event.saga_or_id().to_owned(),
            cause: event.cause.to_owned(),
            payload: event.json().ok(),
        }
    }
}

/// Hands every event of a topic to `take`.
pub(crate) async fn topic(
    bus: &Bus,
    name: &str,
    mut take: impl FnMut(LogEvent),
) -> Result<(), Failure> {
    let mut events = bus.read(name);
    while let Some(event) = events.next().await {
        take(LogEvent::of(&event.map_err(Failure::run)?));
    }
    Ok(())
}

/// Every event of one order, in the order of the log.
pub(crate) async fn order(bus: &Bus, order_id: &str) -> Result<Vec<LogEvent>, Failure> {
    let events = bus.saga(order_id).all().await.map_err(Failure::run)?;
    let mut events: Vec<LogEvent> = events.iter().map(LogEvent::of).collect();
    events.sort_by_key(|event| event.at);
    Ok(events)
}
