//! The timeline of a saga: its events, what caused what, and where each of them is for each group,
//! now. Plain data; as text it is in `text`, as a diagram in `mermaid`, one event in `why`, and how
//! it comes from what the link speaks in `convert`.

mod convert;
mod list;
mod mermaid;
mod text;
mod tree;
mod why;

use std::time::Duration;

pub(crate) use self::list::Walk;
pub use self::list::{SagaList, SagaQuery, SagaRow};
pub use self::why::{EventAt, Why};
use crate::Position;

/// A saga as it stands. `Display` is a tree, the same text for the same state:
///
/// ```text
/// order-2077  needs attention  3m12s   waiting at payment
/// └─ order.created              order       #3301
///    └─ inventory.reserved      inventory   #3310   done at attempt 2
///       └─ payment              parked after 5 attempts: unexpected currency "XTS"     behind it: 0
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeline {
    /// The saga's id.
    pub saga: String,
    /// How it stands.
    pub status: SagaStatus,
    /// Its events in the order of the log; without the bus's own accounts of dead letters.
    pub events: Vec<TimelineEvent>,
    /// There are more events than a timeline takes; the newest are left out.
    pub more: bool,
    /// The bus's wall clock when it was looked at, milliseconds since 1970. Durations are as of then.
    pub now: u64,
    /// Everything up to this place in the log is in it.
    pub exact_to: Position,
    commands: Option<String>,
}

/// How a saga stands, as far as its events tell. Timers that are armed for it are not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SagaStatus {
    /// The log has no event of it.
    Unknown,
    /// Some group has something of it to do.
    Running,
    /// Likewise, and it has turned back.
    Compensating,
    /// Somebody must say what becomes of a dead letter.
    NeedsAttention,
    /// Every group has settled all of it.
    AtRest {
        /// It had turned back before.
        turned_back: bool,
    },
}

/// An event of a saga.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimelineEvent {
    /// What happened.
    pub ty: String,
    /// Its id.
    pub id: String,
    /// Who says so.
    pub source: String,
    /// Its topic.
    pub topic: String,
    /// Its offset there.
    pub offset: u64,
    /// Its place in the log.
    pub position: Position,
    /// When the bus took it, milliseconds since 1970.
    pub time: u64,
    /// How often the saga had turned back.
    pub turn: u32,
    /// The event of the saga that led to it.
    pub cause: Option<Position>,
    /// The group whose step emitted it.
    pub emitted_by: Option<String>,
    /// At which attempt that group was done; `None` if that is not known.
    pub attempt: Option<u32>,
    /// Where it is for every group that it is for.
    pub groups: Vec<GroupState>,
}

/// Where an event is for a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupState {
    /// The group.
    pub group: String,
    /// Where it is.
    pub state: EventState,
}

/// Where an event is for a group. `Display` is a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventState {
    /// The group does not read its topic, or passes over its type.
    NotForIt,
    /// It is settled, or lies before the group's beginning.
    Settled {
        /// At which attempt; `None` if that is not known.
        attempt: Option<u32>,
    },
    /// It was settled because its saga had turned back before it came.
    Late,
    /// It was parked, and somebody has decided to go on without it.
    Skipped {
        /// Who.
        by: String,
        /// Why.
        comment: String,
    },
    /// It waits for its turn.
    Waiting {
        /// What is first in its lane.
        behind: Option<Box<Blocker>>,
        /// How many events of its lane come before it.
        ahead: Count,
        /// Whether the group has come to it yet.
        seen: bool,
        /// Attempts used.
        attempts: u32,
        /// If nothing is before it: what it waits for.
        waits_for: WaitsFor,
    },
    /// A member has it.
    Out {
        /// The member's name.
        member: String,
        /// Since how long.
        since: Duration,
        /// Whether user code has seen it, as far as the bus knows.
        started: bool,
        /// Which attempt this is.
        attempt: u32,
    },
    /// Its lane waits for a time.
    Held {
        /// Until when, milliseconds since 1970.
        until: u64,
        /// How long from now on.
        left: Duration,
        /// Why.
        cause: HoldCause,
        /// What the consumer said.
        reason: String,
        /// Attempts used.
        attempts: u32,
        /// Times in a row that a dependency was unavailable.
        unavailable: u32,
    },
    /// Somebody must say what becomes of it; see [`Bus::resolve`](crate::Bus::resolve).
    Parked {
        /// Why.
        cause: ParkCause,
        /// What the consumer said.
        reason: String,
        /// Attempts used.
        attempts: u32,
        /// Since when, milliseconds since 1970.
        since: u64,
        /// How many events wait behind it; `None` if its lane has gone on.
        behind: Option<Count>,
    },
    /// A compensation has overtaken it.
    Superseded {
        /// The compensation.
        by: Position,
        /// Attempts that were used.
        attempts: u32,
        /// Why it was held or parked; empty if it only waited.
        reason: String,
        /// Since when, milliseconds since 1970.
        since: u64,
    },
}

/// The first event of a lane, and where that is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Blocker {
    /// The event's place.
    pub position: Position,
    /// Where it is for the same group.
    pub state: EventState,
}

/// One type of events has led to another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Edge {
    /// The type of the cause.
    pub from: String,
    /// The type of the effect.
    pub to: String,
    /// How often. Effects that came very long after their cause are not counted.
    pub count: u64,
}

/// How many. Prints as `3`, or `3+`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// So many are known.
    pub known: usize,
    /// There may be more.
    pub more: bool,
}

/// What an event waits for that is the first of its lane.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitsFor {
    /// Nothing: it comes next.
    Nothing,
    /// The group to be resumed; it was paused for this reason.
    Resume(String),
    /// A member.
    Member,
    /// A member that has room.
    Room,
    /// Lanes that get finished: too many are not.
    Lanes,
}

/// Why an event is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HoldCause {
    /// The consumer failed and wants it again.
    Retry,
    /// Something the consumer needs was not available.
    Unavailable,
    /// The consumer wants it later.
    Defer,
    /// Its lease ran out.
    LeaseExpired,
    /// The consumer dropped it.
    Dropped,
    /// The member went away with it.
    MemberLost,
}

/// Why an event is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParkCause {
    /// All attempts are used up.
    Exhausted,
    /// The consumer said so.
    Rejected,
    /// It ends the process that works on it.
    CrashesConsumer,
}

impl Timeline {
    /// How the command finds this bus, such as `--data demo-data`: printed trees then hold the
    /// commands that resolve what is parked.
    #[must_use]
    pub fn with_commands(mut self, place: impl Into<String>) -> Self {
        self.commands = Some(place.into());
        self
    }

    /// A flowchart for Mermaid.
    #[must_use]
    pub fn mermaid(&self) -> String {
        mermaid::draw(self)
    }
}

impl EventState {
    /// Whether the group has nothing to do with the event any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(
            self,
            Self::NotForIt
                | Self::Settled { .. }
                | Self::Late
                | Self::Skipped { .. }
                | Self::Superseded { .. }
        )
    }

    /// Whether it is to be seen in a tree: it is not over, or not as usual.
    pub(crate) fn is_told(&self) -> bool {
        !matches!(self, Self::NotForIt | Self::Settled { .. })
    }
}

impl SagaStatus {
    /// What a saga's events come to.
    pub(crate) fn of(events: &[TimelineEvent]) -> Self {
        let states = || events.iter().flat_map(|it| &it.groups).map(|it| &it.state);
        let turned_back = events.iter().any(|it| it.turn > 0);
        match () {
            () if events.is_empty() => Self::Unknown,
            () if states().any(|it| matches!(it, EventState::Parked { .. })) => {
                Self::NeedsAttention
            }
            () if states().all(EventState::is_over) => Self::AtRest { turned_back },
            () if turned_back => Self::Compensating,
            () => Self::Running,
        }
    }
}
