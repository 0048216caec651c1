//! The words that core and its callers share: numbers, places, tokens, events in memory.
//! Plain data, no behaviour beyond conversions.

use std::sync::Arc;

use bytes::Bytes;
use quadrille_proto::{EventError, EventView, Hasher128, record};

/// The number of a topic; never reused.
pub type TopicId = u32;
/// The number of a group; never reused.
pub type GroupId = u32;
/// The number of a member, unique within one opening of the engine.
pub type MemberId = u64;
/// The number of a timer; never reused.
pub type TimerId = u64;
/// The number of a run, unique within an epoch.
pub type RunId = u64;
/// The keyed 128-bit hash of a saga id or a key; of an unordered event, its place.
pub type LaneId = u128;

/// A place in the log: entry number (dense from 1) and index of the record in the entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Entry number; 0 is before everything.
    pub entry: u64,
    /// Index of the record in its entry.
    pub index: u32,
}

impl Position {
    /// The next possible place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { entry: self.entry, index: self.index + 1 }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.index {
            0 => write!(f, "#{}", self.entry),
            i => write!(f, "#{}.{i}", self.entry),
        }
    }
}

impl From<Position> for record::Position {
    fn from(it: Position) -> Self {
        Self { entry: it.entry, index: it.index }
    }
}

impl From<record::Position> for Position {
    fn from(it: record::Position) -> Self {
        Self { entry: it.entry, index: it.index }
    }
}

/// Where an event is: its place in its topic and in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventRef {
    /// Place in the log; first, so that refs order by it.
    pub at: Position,
    /// Its topic.
    pub topic: TopicId,
    /// Its offset in the topic.
    pub offset: u64,
}

impl From<EventRef> for record::EventRef {
    fn from(it: EventRef) -> Self {
        Self { topic: it.topic, offset: it.offset, at: Some(it.at.into()) }
    }
}

impl From<&record::EventRef> for EventRef {
    fn from(it: &record::EventRef) -> Self {
        Self {
            at: it.at.map(Position::from).unwrap_or_default(),
            topic: it.topic,
            offset: it.offset,
        }
    }
}

/// What routing needs to know of an event; parsed once, when it is applied or read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Where it is.
    pub event: EventRef,
    /// Hash of its saga id (of its own id, if it starts a saga).
    pub saga: LaneId,
    /// Hash of its key (subject; its own id if it has neither).
    pub key: LaneId,
    /// Hash of its type.
    pub ty: u64,
    /// Its saga's turn, as stamped.
    pub turn: u32,
    /// Broker time in ms since 1970.
    pub time: u64,
    /// Whether its entry is answered only once durable.
    pub sync: bool,
}

impl Head {
    /// Reads the routing fields of an event once.
    pub fn of(view: &EventView<'_>, hasher: &Hasher128, stamp: Stamp) -> Self {
        let key = match view.key_or_subject() {
            "" => view.id,
            key => key,
        };
        Self {
            event: stamp.event,
            saga: hasher.saga(view.saga_or_id()),
            key: hasher.key(key),
            ty: hasher.ty(view.ty),
            turn: stamp.turn,
            time: stamp.time,
            sync: stamp.sync,
        }
    }

    /// Parses `bytes` and reads the routing fields.
    ///
    /// # Errors
    /// The bytes are not an event.
    pub fn parse(bytes: &[u8], hasher: &Hasher128, stamp: Stamp) -> Result<Self, EventError> {
        Ok(Self::of(&EventView::parse(bytes)?, hasher, stamp))
    }
}

/// What the broker says of an event beside its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stamp {
    /// Where it is.
    pub event: EventRef,
    /// Its saga's turn.
    pub turn: u32,
    /// Broker time of its entry, ms since 1970.
    pub time: u64,
    /// Whether its entry is sync-class.
    pub sync: bool,
}

/// An event in memory: how to route it, and its bytes as the producer encoded them.
#[derive(Clone, Debug)]
pub struct TailEvent {
    /// How to route it.
    pub head: Head,
    /// Its bytes.
    pub bytes: Bytes,
}

/// The right to settle one delivery, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// The group that was handed the event.
    pub group: GroupId,
    /// The epoch of the log in which it was handed out.
    pub epoch: u32,
    /// The run it came in.
    pub run: RunId,
    /// Its place in the run.
    pub index: u32,
    /// The event.
    pub event: EventRef,
    /// The lane it was handed out for.
    pub lane: LaneId,
}

/// An event in a member's hands.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// Settles it.
    pub token: Token,
    /// The event as published (or as replaced for this group).
    pub bytes: Bytes,
    /// Broker time, ms since 1970.
    pub time: u64,
    /// Attempts counted so far, plus one.
    pub attempt: u32,
    /// Its saga's turn, to be carried by what is published because of it outside a step.
    pub turn: u32,
    /// Its turn has passed, and the group asked for such events.
    pub late: bool,
    /// The bytes are not the published ones: an operator replaced them for this group.
    pub replaced: bool,
    /// What this event superseded when it was handed out.
    pub superseded: Option<Arc<[SupersededEvent]>>,
}

/// One event that a compensation has overtaken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupersededEvent {
    /// The event.
    pub event: EventRef,
    /// Attempts it had used.
    pub attempts: u32,
    /// Why it was held or parked; empty if it only waited.
    pub reason: String,
}

/// Up to 64 next events handed to one member.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its number.
    pub id: RunId,
    /// One at a time (a lane), or up to all at once (unordered).
    pub ordered: bool,
    /// The member must ask [`Command::Start`](super::command::Command::Start) and wait for the
    /// answer before user code sees an event: the last opening ended without a shutdown.
    pub careful: bool,
    /// The events, in order.
    pub events: Vec<Delivered>,
}

/// The longest run.
pub const RUN_MAX: usize = 64;
