//! Where events are: by offset, by time, by saga and by key, and under which ids; derived from the
//! log, and rebuilt from it whenever it is missing or wrong. Nothing here decides anything, and
//! nothing here is needed to recover.
//!
//! [`Active`] is the index of the segment that is being written, in memory. When the segment ends,
//! it is encoded (`encode`) as one immutable file, a *sidecar* (`file`; bytes in FORMAT.md). [`Index`] is
//! both, over the whole log.

mod active;
mod codec;
mod encode;
mod ended;
mod file;
mod header;
mod index;
mod rebuild;
mod store;
#[cfg(test)]
mod tests;

pub use active::Active;
pub use index::{Error, Index, Options, SegmentStats};

use crate::core::output::LaneQuery;
use crate::core::types::{LaneId, Position, TopicId};

/// What a segment holds of one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicStats {
    /// The topic.
    pub topic: TopicId,
    /// Offset of its first event in the segment.
    pub first: u64,
    /// Offset behind its last event in the segment.
    pub next: u64,
    /// How many events there are; fewer than `next - first` if some are lost.
    pub count: u64,
    /// The encoded events, in bytes.
    pub bytes: u64,
    /// Broker time of the first event, ms since 1970.
    pub first_time: u64,
    /// Broker time of the last event, ms since 1970.
    pub last_time: u64,
}

/// The identity of one event, for the dedup window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdEntry {
    /// Its topic.
    pub topic: TopicId,
    /// Its offset.
    pub offset: u64,
    /// Hash of (source, id).
    pub id_hash: u128,
    /// Digest of type and data.
    pub digest: u64,
}

/// Which events a lookup is after: those of a lane in these topics with positions in `from..to`.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// How the lane's events are recognised.
    pub query: LaneQuery,
    /// The lane; of no matter with [`LaneQuery::Everything`].
    pub lane: LaneId,
    /// The topics.
    pub topics: &'a [TopicId],
    /// The first possible position.
    pub from: Position,
    /// The position behind the last possible one.
    pub to: Position,
    /// How many at most.
    pub max: usize,
}

/// What is kept of a saga's or key's hash: 64 of its bits. Among 10 M events, an event of another
/// lane is found with a probability below 10^-12; who must know compares the event's own hash.
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
const fn half(hash: u128) -> u64 {
    hash as u64
}
