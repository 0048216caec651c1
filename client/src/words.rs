//! The words of the API: places, receipts, choices. Plain data, and its conversions from what the
//! link speaks.

use std::fmt;
use std::time::Duration;

use quadrille_proto::record;

use crate::delivery::millis;
use crate::link;

/// A place in the log: entry number (dense from 1) and index of the record in the entry. Prints as
/// `#3310`, or `#3310.2`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Entry number.
    pub entry: u64,
    /// Index of the record in its entry.
    pub index: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        link::Position::from(*self).fmt(f)
    }
}

/// Not a place in the log, which is written `3310`, `#3310` or `#3310.2`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a place in the log, such as 3310 or 3310.2")]
pub struct NotAPosition(String);

impl std::str::FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let numbers = text.strip_prefix('#').unwrap_or(text);
        let (entry, index) = numbers.split_once('.').unwrap_or((numbers, "0"));
        match (entry.parse(), index.parse()) {
            (Ok(entry), Ok(index)) => Ok(Self { entry, index }),
            _ => Err(NotAPosition(text.to_owned())),
        }
    }
}

impl From<link::Position> for Position {
    fn from(it: link::Position) -> Self {
        Self { entry: it.entry, index: it.index }
    }
}

impl From<Position> for link::Position {
    fn from(it: Position) -> Self {
        Self { entry: it.entry, index: it.index }
    }
}

/// An armed timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(pub u64);

/// What became of a published event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Receipt {
    /// It is in its topic.
    Appended {
        /// Its offset there.
        offset: u64,
        /// Its place in the log.
        position: Position,
        /// Whether a power loss cannot take it back; otherwise it is in the operating system's
        /// hands and is synced within a second.
        synced: bool,
    },
    /// It was there before: the same source, id and data.
    Duplicate {
        /// Where the first one is.
        offset: u64,
    },
    /// It will be appended when it is due, and gets its offset then.
    Scheduled {
        /// For [`Bus::cancel_timer`](crate::Bus::cancel_timer).
        timer: TimerId,
        /// Milliseconds since 1970.
        due: u64,
    },
}

impl Receipt {
    /// Its offset in the topic, unless it is only scheduled.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        match self {
            Self::Appended { offset, .. } | Self::Duplicate { offset } => Some(*offset),
            Self::Scheduled { .. } => None,
        }
    }
}

/// What became of several events, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipts(link::Receipts);

impl Default for Receipts {
    fn default() -> Self {
        Self(link::Receipts::Each(Vec::new()))
    }
}

impl Receipts {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            link::Receipts::Block { count, .. } => *count as usize,
            link::Receipts::Each(each) => each.len(),
        }
    }

    /// Whether there are none: a step that published nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The receipt of event `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Receipt> {
        match &self.0 {
            link::Receipts::Block { first, count, at, synced, .. } => {
                let index = u32::try_from(index).ok().filter(|index| index < count)?;
                let position = Position { entry: at.entry, index: at.index + index };
                let offset = first + u64::from(index);
                Some(Receipt::Appended { offset, position, synced: *synced })
            }
            link::Receipts::Each(each) => each.get(index).copied().map(Receipt::from),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Receipt> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl From<link::Receipts> for Receipts {
    fn from(it: link::Receipts) -> Self {
        Self(it)
    }
}

impl From<link::Receipt> for Receipt {
    fn from(it: link::Receipt) -> Self {
        match it {
            link::Receipt::Appended { event, synced } => {
                Self::Appended { offset: event.offset, position: event.at.into(), synced }
            }
            link::Receipt::Duplicate { offset, .. } => Self::Duplicate { offset },
            link::Receipt::Scheduled { timer, due } => {
                Self::Scheduled { timer: TimerId(timer), due }
            }
        }
    }
}

/// An event that a compensation has overtaken; see [`Delivery::superseded`](crate::Delivery::superseded).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SupersededEvent {
    /// Its place in the log.
    pub position: Position,
    /// Attempts it had used.
    pub attempts: u32,
    /// Why it was held or parked; empty if it only waited.
    pub reason: String,
}

/// Why a subscription has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// The member has left.
    Left,
    /// The group was deleted.
    GroupDeleted,
    /// The bus is closing.
    ShuttingDown,
    /// The bus's log failed; `Bus::reopen` or a restart brings it back.
    Fenced,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "the member has left the group",
            Self::GroupDeleted => "the group was deleted",
            Self::ShuttingDown => "the bus is closing",
            Self::Fenced => "the bus's log has failed; reopen the bus or restart",
        })
    }
}

/// When a publish to a topic is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// After the disk has it: nothing takes it back.
    #[default]
    Synced,
    /// When the operating system has it; synced within 1 s or 16 MiB. A crash of the process takes
    /// nothing back, a power loss may.
    Written,
}

/// What a group keeps in order: events of one lane are worked on one at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OrderBy {
    /// A lane per saga.
    Saga,
    /// A lane per key (an event without key and subject has a lane of its own).
    #[default]
    Key,
    /// One lane.
    Everything,
    /// No order.
    Nothing,
}

/// What becomes of a lane whose event is out of attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExhausted {
    /// It waits until somebody resolves the event.
    Park,
    /// The event becomes a dead letter, and the lane goes on.
    DeadLetter,
    /// Park when ordered, otherwise dead letter.
    #[default]
    ByOrder,
}

/// Where a new group starts on a topic that already holds events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// With the oldest event that is still there.
    Beginning,
    /// With the next event that is published.
    End,
}

/// When a failed event comes back: after `first`, then longer each time, up to `cap`, each
/// shortened at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// So many attempts at most; then it is parked.
    pub max_attempts: u32,
    /// The longest first pause.
    pub first: Duration,
    /// How pauses grow: 200 doubles, 100 does not.
    pub factor_percent: u32,
    /// The longest pause.
    pub cap: Duration,
}

impl Default for RetryPolicy {
    /// 5 attempts; 100 ms, doubling up to 60 s.
    fn default() -> Self {
        let (first, cap) = (Duration::from_millis(100), Duration::from_secs(60));
        Self { max_attempts: 5, first, factor_percent: 200, cap }
    }
}

/// How a topic is created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicOptions {
    /// When a publish is acknowledged.
    pub durability: Durability,
    /// What may be retired.
    pub retention: Retention,
}

/// When events of a topic *may* be retired: as soon as one of these says so. An event that a group
/// has not settled, or that is an unresolved dead letter, stays all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Events older than this.
    pub age: Option<Duration>,
    /// The oldest, beyond so many bytes.
    pub bytes: Option<u64>,
    /// The oldest, beyond so many.
    pub count: Option<u64>,
    /// Events that every group has settled, and that are older than this.
    pub settled: Option<Duration>,
    /// Even unsettled events, if older than this: the groups are told what they lost.
    pub unsettled_at_most: Option<Duration>,
}

impl Default for Retention {
    /// Settled by every group, and older than 7 days.
    fn default() -> Self {
        let settled = Some(Duration::from_secs(7 * 24 * 3600));
        Self { age: None, bytes: None, count: None, settled, unsettled_at_most: None }
    }
}

impl From<&link::SupersededEvent> for SupersededEvent {
    fn from(it: &link::SupersededEvent) -> Self {
        Self { position: it.event.at.into(), attempts: it.attempts, reason: it.reason.clone() }
    }
}

impl From<link::MemberClosed> for Closed {
    fn from(it: link::MemberClosed) -> Self {
        match it {
            link::MemberClosed::Left => Self::Left,
            link::MemberClosed::GroupDeleted => Self::GroupDeleted,
            link::MemberClosed::ShuttingDown => Self::ShuttingDown,
            link::MemberClosed::Fenced => Self::Fenced,
        }
    }
}

impl From<StartAt> for link::StartAt {
    fn from(it: StartAt) -> Self {
        match it {
            StartAt::Beginning => Self::Beginning,
            StartAt::End => Self::End,
        }
    }
}

impl From<OrderBy> for record::OrderBy {
    fn from(it: OrderBy) -> Self {
        match it {
            OrderBy::Saga => Self::Saga,
            OrderBy::Key => Self::Key,
            OrderBy::Everything => Self::Everything,
            OrderBy::Nothing => Self::Nothing,
        }
    }
}

impl From<RetryPolicy> for record::RetryPolicy {
    fn from(it: RetryPolicy) -> Self {
        Self {
            max_attempts: it.max_attempts,
            first_ms: millis(it.first),
            factor_percent: it.factor_percent,
            cap_ms: millis(it.cap),
        }
    }
}

impl From<TopicOptions> for record::TopicConfig {
    fn from(it: TopicOptions) -> Self {
        let durability = match it.durability {
            Durability::Synced => record::Durability::Synced,
            Durability::Written => record::Durability::Written,
        };
        let limit = |duration: Option<Duration>| duration.map_or(0, millis);
        let retention = record::Retention {
            age_ms: limit(it.retention.age),
            bytes: it.retention.bytes.unwrap_or(0),
            count: it.retention.count.unwrap_or(0),
            // Zero is an age as well; "never" is the longest.
            settled_min_age_ms: it.retention.settled.map_or(u64::MAX, millis),
            unsettled_at_most_ms: limit(it.retention.unsettled_at_most),
        };
        Self { durability: durability.into(), retention: Some(retention), ..Self::default() }
    }
}
