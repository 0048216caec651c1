//! What core wants done. The driver drains these after every call and does them; core never waits
//! for one: what comes back comes back as a fact (`on_*`).

use super::types::{EventRef, GroupId, LaneId, MemberId, Position, Run, RunId, TimerId, TopicId};

/// One thing to do.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "fields are named for what they are; the variant says the rest")]
pub enum Output {
    /// Hand this run to this member.
    Deliver { member: MemberId, run: Run },
    /// These deliveries of a run are no longer the member's: cancel what works on them.
    LeaseLost { member: MemberId, run: RunId, indexes: Vec<u32> },
    /// This member is out, and why.
    MemberClosed { member: MemberId, why: Closed },
    /// Read events of a topic from `from` on for a group that is behind;
    /// answer with [`Core::on_window`](super::Core::on_window).
    ReadTopic { group: GroupId, topic: TopicId, from: u64, max: usize },
    /// Find events of a lane with positions in `from..to`, in order, at most `max`;
    /// answer with [`Core::on_lane`](super::Core::on_lane).
    FindLane {
        group: GroupId,
        lane: LaneId,
        query: LaneQuery,
        from: Position,
        to: Position,
        max: usize,
    },
    /// Read these events one by one (a waiting head that memory no longer holds);
    /// answer with [`Core::on_lane`](super::Core::on_lane) too.
    ReadEvents { group: GroupId, lane: LaneId, events: Vec<EventRef> },
    /// These timers are due: read their bytes and say [`Command::Fire`](super::command::Command::Fire).
    TimersDue { timers: Vec<(TimerId, Position)> },
    /// Worth a line in the log file.
    Notice(Notice),
}

/// How to recognise the events of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneQuery {
    /// Events whose saga hash is the lane.
    Saga,
    /// Events whose key hash is the lane.
    Key,
    /// Every event of the group's topics.
    Everything,
}

/// Why a member is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It asked.
    Left,
    /// Its group was deleted.
    GroupDeleted,
    /// The engine is shutting down in order.
    ShuttingDown,
    /// The engine is fenced; `reopen()` or a restart brings it back.
    Fenced,
}

/// Something an operator wants to read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are named for what they are; the variant says the rest")]
pub enum Notice {
    /// An event is parked or dead-lettered.
    Parked { group: String, event: EventRef, attempts: u32, reason: String, blocking: bool },
    /// A group has too many unfinished lanes and opens no new ones (or does so again).
    Saturated { group: String, lanes: usize, yes: bool },
    /// The wall clock has jumped.
    ClockJumped { by_ms: i64 },
}
