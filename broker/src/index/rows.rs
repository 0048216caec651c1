//! What a row says, and what becomes of it when something newer is said of the same. Bytes are
//! protobuf, so that a later release may add to a row.

use prost::Message;

use super::table::Row;
use crate::core::types::{GroupId, Position, TopicId};

/// A saga: what its events come to. Rows of one saga add up.
#[derive(Clone, Copy, PartialEq, Message)]
#[expect(missing_docs, reason = "fields are named for what they are")]
pub struct SagaRow {
    #[prost(uint64, tag = "1")]
    pub first_entry: u64,
    #[prost(uint32, tag = "2")]
    pub first_index: u32,
    #[prost(uint64, tag = "3")]
    pub last_entry: u64,
    #[prost(uint32, tag = "4")]
    pub last_index: u32,
    /// Broker time, ms since 1970.
    #[prost(uint64, tag = "5")]
    pub first_time: u64,
    #[prost(uint64, tag = "6")]
    pub last_time: u64,
    /// How many events.
    #[prost(uint64, tag = "7")]
    pub count: u64,
    /// The highest turn.
    #[prost(uint32, tag = "8")]
    pub turn: u32,
    /// Bit n: an event came from the n-th source that the index has met; bit 63: from a later one.
    #[prost(uint64, tag = "9")]
    pub services: u64,
}

impl SagaRow {
    /// The place of its first event.
    pub fn first(&self) -> Position {
        Position { entry: self.first_entry, index: self.first_index }
    }

    /// The place of its last event.
    pub fn last(&self) -> Position {
        Position { entry: self.last_entry, index: self.last_index }
    }
}

impl Row for SagaRow {
    fn take_in(&mut self, newer: Self) {
        self.last_entry = newer.last_entry;
        self.last_index = newer.last_index;
        self.last_time = newer.last_time;
        self.count += newer.count;
        self.turn = self.turn.max(newer.turn);
        self.services |= newer.services;
    }

    fn newest(&self) -> u64 {
        self.last_entry
    }
}

/// A dead letter, resolved or not.
#[derive(Clone, PartialEq, Message)]
#[expect(missing_docs, reason = "fields are named for what they are")]
pub struct DeadRow {
    #[prost(uint32, tag = "1")]
    pub group: GroupId,
    /// The group's name when it was parked.
    #[prost(string, tag = "2")]
    pub group_name: String,
    #[prost(uint32, tag = "3")]
    pub topic: TopicId,
    #[prost(string, tag = "4")]
    pub topic_name: String,
    #[prost(uint64, tag = "5")]
    pub offset: u64,
    #[prost(uint64, tag = "6")]
    pub entry: u64,
    #[prost(uint32, tag = "7")]
    pub index: u32,
    #[prost(string, tag = "8")]
    pub event_type: String,
    #[prost(string, tag = "9")]
    pub event_id: String,
    #[prost(string, tag = "10")]
    pub saga: String,
    #[prost(string, tag = "11")]
    pub reason: String,
    #[prost(string, tag = "12")]
    pub member: String,
    #[prost(uint32, tag = "13")]
    pub attempts: u32,
    /// Whether its lane waits for it.
    #[prost(bool, tag = "14")]
    pub blocking: bool,
    /// When it was parked last, broker ms since 1970.
    #[prost(uint64, tag = "15")]
    pub time: u64,
    /// How often it was parked.
    #[prost(uint32, tag = "16")]
    pub times: u32,
    /// How it was resolved; `None`: it was not.
    #[prost(message, optional, tag = "17")]
    pub resolved: Option<Resolved>,
    /// The compensation that has overtaken it; 0 if none.
    #[prost(uint64, tag = "18")]
    pub superseded_by: u64,
    /// The newest entry that speaks of it.
    #[prost(uint64, tag = "19")]
    pub newest: u64,
}

/// A resolution.
#[derive(Clone, PartialEq, Message)]
#[expect(missing_docs, reason = "fields are named for what they are")]
pub struct Resolved {
    /// As [`Resolution`](quadrille_proto::record::Resolution).
    #[prost(int32, tag = "1")]
    pub how: i32,
    #[prost(string, tag = "2")]
    pub by: String,
    #[prost(string, tag = "3")]
    pub comment: String,
    /// When, broker ms since 1970.
    #[prost(uint64, tag = "4")]
    pub time: u64,
}

impl Row for DeadRow {
    fn take_in(&mut self, newer: Self) {
        *self = newer;
    }

    fn newest(&self) -> u64 {
        self.newest
    }
}

/// How a group has dealt with an event, if not as usual.
#[derive(Clone, Copy, PartialEq, Message)]
#[expect(missing_docs, reason = "fields are named for what they are")]
pub struct OddRow {
    /// It is not settled, and has used so many attempts.
    #[prost(uint32, tag = "1")]
    pub pending: u32,
    /// It was settled at this attempt; 0 if that is not what happened.
    #[prost(uint32, tag = "2")]
    pub done_at: u32,
    #[prost(bool, tag = "3")]
    pub late: bool,
    #[prost(bool, tag = "4")]
    pub skipped: bool,
    #[prost(uint64, tag = "5")]
    pub newest: u64,
}

impl Row for OddRow {
    fn take_in(&mut self, newer: Self) {
        *self = newer;
    }

    fn newest(&self) -> u64 {
        self.newest
    }
}

/// By the event's place, then by group.
pub(super) fn dead_key(group: GroupId, at: Position) -> u128 {
    u128::from(at.entry) << 64 | u128::from(at.index) << 32 | u128::from(group)
}

/// By group, topic and offset.
pub(super) fn odd_key(group: GroupId, topic: TopicId, offset: u64) -> u128 {
    u128::from(group) << 96 | u128::from(topic) << 64 | u128::from(offset)
}

/// What [`odd_key`] was made of.
#[expect(clippy::cast_possible_truncation, reason = "the parts of a key")]
pub(super) fn odd_parts(key: u128) -> (GroupId, TopicId, u64) {
    ((key >> 96) as GroupId, (key >> 64) as TopicId, key as u64)
}
