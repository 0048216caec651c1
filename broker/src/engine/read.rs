//! Reading without a group: a range of a topic, one key, one saga; in pages, and only what is
//! revealed. Pages read files: never on a thread that must not wait.

use std::sync::Arc;

use bytes::Bytes;

use super::fetch::{EventReader, FetchError};
use super::shared::Shared;
use crate::core::output::LaneQuery;
use crate::core::types::{EventRef, LaneId, Position, TailEvent, TopicId};
use crate::sidecar::Wanted;

/// What to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Range {
    /// Events of a topic with offsets from `from` on, up to and without `to`.
    Topic {
        /// The topic.
        topic: TopicId,
        /// The first offset.
        from: u64,
        /// The offset behind the last one.
        to: u64,
    },
    /// Events of a topic with this key (or, without one, with this subject).
    Key {
        /// The topic.
        topic: TopicId,
        /// The key.
        key: String,
    },
    /// Events of a saga, in all topics.
    Saga {
        /// Its id.
        saga: String,
    },
}

/// An event as it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Where it is.
    pub event: EventRef,
    /// Broker time, ms since 1970.
    pub time: u64,
    /// Its saga's turn.
    pub turn: u32,
    /// The bytes as published.
    pub bytes: Bytes,
}

impl From<TailEvent> for StoredEvent {
    fn from(it: TailEvent) -> Self {
        Self { event: it.head.event, time: it.head.time, turn: it.head.turn, bytes: it.bytes }
    }
}

/// Events per page.
const PAGE: usize = 256;

/// Reads a [`Range`] page by page.
pub struct Reader {
    shared: Arc<Shared>,
    range: Range,
    lane: (LaneQuery, LaneId),
    at: Position,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("range", &self.range).finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, range: Range) -> Self {
        let place = shared.place();
        let lane = match &range {
            Range::Topic { .. } => (LaneQuery::Everything, 0),
            Range::Key { key, .. } => (LaneQuery::Key, place.hasher.key(key)),
            Range::Saga { saga } => (LaneQuery::Saga, place.hasher.saga(saga)),
        };
        Self { shared, range, lane, at: Position::default() }
    }

    /// The next events, at most 256; empty if there are no more now (there may be later). Reads
    /// files.
    ///
    /// # Errors
    /// The log or its index could not be read; the same page can be asked for again.
    pub fn next_page(&mut self) -> Result<Vec<StoredEvent>, FetchError> {
        let (query, lane) = self.lane;
        loop {
            let reader = EventReader::new(&self.shared);
            let refs = self.places()?;
            let (mut found, passed) = reader.events(&refs)?;
            let last = passed.checked_sub(1).and_then(|last| refs.get(last));
            self.pass(last);
            found.retain(|it| it.is_of(query, lane));
            // Places whose events are all lost say nothing about what comes behind them.
            if !found.is_empty() || last.is_none() {
                return Ok(found.into_iter().map(StoredEvent::from).collect());
            }
        }
    }

    fn places(&self) -> Result<Vec<EventRef>, FetchError> {
        let index = self.shared.place().index;
        let find = |topics: &[TopicId]| {
            let ((query, lane), from) = (self.lane, self.at);
            let to = Position { entry: u64::MAX, index: 0 };
            index.find(&Wanted { query, lane, topics, from, to, max: PAGE })
        };
        Ok(match &self.range {
            Range::Topic { topic, from, to } => {
                let mut refs = index.range(*topic, *from, PAGE)?;
                refs.retain(|it| it.offset < *to);
                refs
            }
            Range::Key { topic, .. } => find(&[*topic])?,
            Range::Saga { .. } => find(&self.shared.look(|state| state.core.topic_ids()))?,
        })
    }

    fn pass(&mut self, last: Option<&EventRef>) {
        let Some(last) = last else { return };
        self.at = last.at.next();
        if let Range::Topic { from, .. } = &mut self.range {
            *from = last.offset + 1;
        }
    }
}
