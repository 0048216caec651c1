//! What can be asked of core, and what it answers. One enum each, so that a model, a driver and a
//! server speak of the same things.

use bytes::Bytes;
use quadrille_proto::record::{GroupConfig, Resolution, TopicConfig};

use super::refusal::Refusal;
use super::types::{EventRef, GroupId, MemberId, Position, RunId, TimerId, Token, TopicId};

/// A command: decided, recorded and applied in one go.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "fields are named for what they are; the variant says the rest")]
pub enum Command {
    /// Append events, all or none (repeats are answered one by one).
    Publish(Publish),
    /// Settle tokens and publish, one entry.
    Step(Step),
    /// Acknowledge deliveries; answers [`Answer::Done`] after it is applied.
    Ack(Vec<Token>),
    /// Settle one delivery in any other way.
    Settle(Token, Settle),
    /// User code is about to see this delivery.
    Start(Token),
    /// A member's library says what it has started, what it still works on, and what ran out of its
    /// handler timeout; leases of the named runs start again.
    Renew { member: MemberId, runs: Vec<Renewal> },
    /// Create a topic.
    CreateTopic { name: String, config: TopicConfig },
    /// Change a topic's configuration.
    AlterTopic { topic: TopicId, config: TopicConfig },
    /// Delete a topic; `discard` if groups still need events of it.
    DeleteTopic { topic: TopicId, discard: bool },
    /// Create a group. It starts at the beginning of empty topics; else `start` must say.
    CreateGroup { name: String, config: GroupConfig, start: Option<StartAt> },
    /// Change a group's configuration (`order_by` and topics excepted).
    AlterGroup { group: GroupId, config: GroupConfig },
    /// Delete a group; `discard` if it has unsettled events or dead letters.
    DeleteGroup { group: GroupId, discard: bool },
    /// Stop handing out.
    Pause { group: GroupId, reason: String },
    /// Hand out again.
    Resume { group: GroupId },
    /// A member joins a group.
    Join { group: GroupId, name: String, credit: u32 },
    /// A member goes: what it had `started` counts, what it had buffered does not.
    Leave { member: MemberId, started: Vec<Token> },
    /// A member gives back what it has not started, without prejudice (orderly shutdown).
    Drain { member: MemberId },
    /// Resolve a dead letter.
    Resolve(Resolve),
    /// Disarm a timer.
    CancelTimer { timer: TimerId },
    /// Bytes of due timers, read back by the caller.
    Fire(Vec<(TimerId, Bytes)>),
    /// A session has seen its receipts up to here and will not ask again.
    EndSession { session: u128 },
}

/// What a member says of one of its runs. Bit i is the event at index i.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The run.
    pub run: RunId,
    /// What user code has seen.
    pub started: u64,
    /// What user code has held for longer than the group's `handler_timeout`.
    pub expired: u64,
}

/// An event to append.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Where to.
    pub topic: TopicId,
    /// The encoded event.
    pub bytes: Bytes,
    /// Not before this wall time (ms since 1970): a timer.
    pub due: Option<u64>,
}

/// A publish.
#[derive(Clone, Debug, Default)]
pub struct Publish {
    /// For remote sessions: a resend gets the first receipts.
    pub session: Option<SessionRef>,
    /// What to append.
    pub events: Vec<NewEvent>,
}

/// A step: settle + publish + timers, atomically.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// For remote sessions.
    pub session: Option<SessionRef>,
    /// Deliveries of one group that this settles.
    pub settles: Vec<Token>,
    /// What it publishes or arms.
    pub events: Vec<NewEvent>,
    /// Timers it disarms; unknown or fired ones are skipped and said so.
    pub cancel: Vec<TimerId>,
}

/// A place in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRef {
    /// The session.
    pub id: u128,
    /// Its command's number, from 1.
    pub sequence: u64,
    /// It has seen all receipts up to here.
    pub confirmed: u64,
}

/// The settles other than ack and step.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named for what they are; the variant says the rest")]
pub enum Settle {
    /// This event failed: counts, and comes back by the policy (or after `after_ms`).
    Retry { reason: String, after_ms: Option<u64> },
    /// Not now, and not a failure: comes back after this time. Does not count.
    Defer { after_ms: u64 },
    /// A dependency is down: the lane holds by the policy. Does not count.
    Unavailable { reason: String },
    /// Never again without a human.
    DeadLetter { reason: String },
    /// Given back untouched. Does not count.
    Release,
    /// Dropped without a settle after user code had it (a panic): counts.
    Dropped { reason: String },
}

/// Where a new group starts on a topic that already holds events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// With the oldest event that is still there.
    Beginning,
    /// With the next event that is published.
    End,
}

/// The resolution of a dead letter.
#[derive(Clone, Debug)]
pub struct Resolve {
    /// Whose dead letter.
    pub group: GroupId,
    /// The event, by its place in the log.
    pub at: Position,
    /// Retry, skip, replace.
    pub how: Resolution,
    /// The bytes that replace the event for this group.
    pub replacement: Option<Bytes>,
    /// Also one that was superseded (its effects may already be undone).
    pub override_superseded: bool,
    /// Who says so.
    pub by: String,
    /// Why.
    pub comment: String,
}

/// The good answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named for what they are; the variant says the rest")]
pub enum Answer {
    /// It is done.
    Done,
    /// Receipts, in the order of the events.
    Published(Receipts),
    /// The topic's number; `created` is false if it was there with this configuration.
    Topic { topic: TopicId, created: bool },
    /// The group's number, likewise.
    Group { group: GroupId, created: bool },
    /// The member's number.
    Joined { member: MemberId },
    /// Deliveries that were out (their members have been told).
    Resolved(EventRef),
    /// Which of the acknowledged deliveries were no longer the member's, by index.
    Acked { refused: Vec<(usize, Refusal)> },
    /// Runs given back.
    Drained(Vec<RunId>),
}

/// Receipts of one publish or step.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named for what they are; the variant says the rest")]
pub enum Receipts {
    /// All appended to one topic, one after the other.
    Block { topic: TopicId, first: u64, count: u32, at: Position, synced: bool },
    /// One by one.
    Each(Vec<Receipt>),
}

impl Receipts {
    /// The short form, if these are one block of one topic.
    #[must_use]
    pub fn of(receipts: Vec<Receipt>) -> Self {
        let Some(Receipt::Appended { event: first, synced }) = receipts.first().copied() else {
            return Self::Each(receipts);
        };
        // A step's first record settles, so that its events do not begin with index 0.
        let dense = (first.offset..).zip(first.at.index..).zip(&receipts).all(|(place, it)| {
            matches!(it, Receipt::Appended { event, .. }
                if event.topic == first.topic
                    && (event.offset, event.at.index) == place
                    && event.at.entry == first.at.entry)
        });
        match dense {
            true => Self::Block {
                topic: first.topic,
                first: first.offset,
                count: u32::try_from(receipts.len()).unwrap_or(u32::MAX),
                at: first.at,
                synced,
            },
            false => Self::Each(receipts),
        }
    }
}

/// What became of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named for what they are; the variant says the rest")]
pub enum Receipt {
    /// It is in the topic.
    Appended { event: EventRef, synced: bool },
    /// It was there before; this is where.
    Duplicate { topic: TopicId, offset: u64 },
    /// It is armed, and will be appended when due.
    Scheduled { timer: TimerId, due: u64 },
}
