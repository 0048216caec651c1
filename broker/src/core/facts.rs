//! What publishing needs to know of an event: checked and hashed once, from the bytes, the limits
//! and the log's hash alone. So it can be done before core's turn comes, by as many threads as
//! publish.

use quadrille_proto::{EventView, Hasher128};

use super::command::NewEvent;
use super::refusal::Refusal;
use super::types::{Head, Stamp, TopicId};
use crate::limits::Limits;

/// What is known of an event that may be published.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// How to route it; its place, time and turn are not known yet.
    pub(super) head: Head,
    /// The turn that its producer carries along.
    pub(super) turn: u32,
    /// The hash of its id in its topic.
    pub(super) id: u128,
    /// The digest of its type and data.
    pub(super) digest: u64,
}

impl Facts {
    /// Checks events of one command.
    ///
    /// # Errors
    /// The first that is too large or not an event.
    pub fn of(
        events: &[NewEvent],
        hasher: &Hasher128,
        limits: &Limits,
    ) -> Result<Vec<Self>, Refusal> {
        let mut all = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            let view = view(index, &event.bytes, limits)?;
            all.push(Self::of_view(&view, event.topic, hasher));
        }
        Ok(all)
    }

    pub(super) fn of_view(view: &EventView<'_>, topic: TopicId, hasher: &Hasher128) -> Self {
        Self {
            head: Head::of(view, hasher, Stamp::default()),
            turn: view.turn,
            id: hasher.id(view.source, view.id, topic),
            digest: hasher.digest(view.ty, view.data),
        }
    }
}

/// An event that may be published.
pub(super) fn view<'a>(
    index: usize,
    bytes: &'a [u8],
    limits: &Limits,
) -> Result<EventView<'a>, Refusal> {
    let max = limits.event_bytes;
    if bytes.len() > max {
        return Err(Refusal::EventTooLarge { index, bytes: bytes.len(), max });
    }
    let parsed = EventView::parse(bytes).and_then(|view| view.check().map(|()| view));
    parsed.map_err(|error| Refusal::BadEvent { index, code: error.code(), why: error.to_string() })
}
