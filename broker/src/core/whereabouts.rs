//! Where an event is for a group, now: looked up on demand, by whoever asks. Nothing is kept for it.

use quadrille_proto::record::{HoldClass, ParkClass};

use super::Core;
use super::durable::{Dead, Group, Status};
use super::live::{Block, LaneState, LiveGroup, LiveLane, LiveRun, bits, place_lane};
use super::types::{EventRef, GroupId, Head, LaneId};
use crate::time::Now;

/// Where an event is for a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// The group does not read it: not its topic, not its types.
    NotForIt,
    /// It is settled, or lies before the group's beginning.
    Settled,
    /// It waits for its turn.
    Waiting(Wait),
    /// A member has it.
    Out(Out),
    /// Its lane waits for a time.
    Held {
        /// Until when, wall ms since 1970.
        until: u64,
        /// For how long from now on, ms.
        left_ms: u64,
        /// Why.
        class: HoldClass,
        /// In the consumer's words.
        reason: String,
        /// Attempts used.
        attempts: u32,
        /// Times in a row that a dependency was unavailable.
        unavailable: u32,
    },
    /// Somebody must say what becomes of it.
    Parked {
        /// Why.
        class: ParkClass,
        /// In the consumer's words.
        reason: String,
        /// Attempts used.
        attempts: u32,
        /// Since when, broker ms since 1970.
        since: u64,
        /// How many events wait behind it, as far as they were looked at; `None` if its lane has
        /// gone on.
        behind: Option<Behind>,
    },
    /// A compensation has overtaken it.
    Superseded {
        /// The compensation.
        by: EventRef,
        /// Attempts that were used.
        attempts: u32,
        /// Why it was held or parked; empty if it only waited.
        reason: String,
        /// Since when, broker ms since 1970.
        since: u64,
    },
}

/// An event that waits for its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The first of its lane, and where that is.
    pub behind: Option<(EventRef, Box<Whereabouts>)>,
    /// How many of its lane come before it.
    pub ahead: Behind,
    /// Whether the group has looked at it yet.
    pub seen: bool,
    /// Attempts used.
    pub attempts: u32,
    /// Why the group does not hand it out, if nothing is before it.
    pub why: Idle,
}

/// An event in a member's hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Out {
    /// The member's name.
    pub member: String,
    /// For how long, ms.
    pub since_ms: u64,
    /// Whether user code has seen it, as far as the member has told.
    pub started: bool,
    /// Attempts counted so far, plus one.
    pub attempt: u32,
}

/// A number of events of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// So many.
    pub count: usize,
    /// There may be more: only the log knows.
    pub more: bool,
}

/// Why a group does not hand out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Idle {
    /// It does; the event comes next.
    Next,
    /// It is paused, and why.
    Paused(String),
    /// Nobody is here.
    NoMember,
    /// All members have as much as they may hold.
    Busy,
    /// Too many lanes are unfinished.
    Saturated,
}

impl Core {
    /// Where an event is for a group; `None` if there is no such group.
    pub fn whereabouts(&self, now: Now, id: GroupId, head: &Head) -> Option<Whereabouts> {
        let group = self.durable.groups.get(&id)?;
        let live = self.live.get(&id)?;
        let (view, event) = (View { core: self, now, group, live }, head.event);
        let Some(settled) = group.topics.get(&event.topic) else {
            return Some(Whereabouts::NotForIt);
        };
        if let Some(dead) = group.dead_at(event.at) {
            return Some(view.dead_letter(dead));
        }
        if !live.wants(head) {
            return Some(Whereabouts::NotForIt);
        }
        let (own, single) = (live.lane_of(head), place_lane(event));
        let listed = |lane: LaneId| group.shard(lane).lanes.get(&lane);
        let apart = own != single && listed(single).is_some();
        // Below the floor an event is settled unless its lane is listed and has not come past it.
        let below = event.offset < settled.floor();
        let open = !settled.contains(event.offset)
            || below && listed(own).is_some_and(|lane| lane.first <= event.at);
        if !apart && !open {
            return Some(Whereabouts::Settled);
        }
        Some(view.unsettled(if apart { single } else { own }, event))
    }
}

/// One group, looked at.
struct View<'a> {
    core: &'a Core,
    now: Now,
    group: &'a Group,
    live: &'a LiveGroup,
}

impl View<'_> {
    fn dead_letter(&self, dead: &Dead) -> Whereabouts {
        let parked = &dead.parked;
        if let Some(by) = dead.superseded_by {
            let (attempts, reason, since) = (parked.attempts, parked.reason.clone(), dead.time);
            return Whereabouts::Superseded { by, attempts, reason, since };
        }
        let lane = self.live.lanes.get(&super::durable::lane_id(parked.lane.as_ref()));
        let more = lane.is_some_and(|lane| lane.gap.is_some()) || !self.has_scanned_all();
        let count = lane.map_or(0, |lane| lane.waiting.len().saturating_sub(1));
        Whereabouts::Parked {
            class: parked.class(),
            reason: parked.reason.clone(),
            attempts: parked.attempts,
            since: dead.time,
            behind: parked.blocking.then_some(Behind { count, more }),
        }
    }

    fn has_scanned_all(&self) -> bool {
        let next = |topic| self.core.durable.topics.get(topic).map_or(0, |it| it.next);
        self.live.scans.iter().all(|scan| scan.next >= next(scan.topic))
    }

    /// Of an event that the group has to settle yet.
    fn unsettled(&self, lane_id: LaneId, event: EventRef) -> Whereabouts {
        let lane = self.live.lanes.get(&lane_id);
        let run = match lane.map(|lane| lane.state) {
            Some(LaneState::Out(run)) => self.live.runs.get(&run),
            Some(_) => None,
            None => self.in_an_unordered_run(event),
        };
        let first = match run {
            Some(run) if run.lane.is_none() => Some(event),
            Some(run) => first_of(run).map(|(event, _)| event),
            None => lane.and_then(|lane| self.first(lane_id, lane)),
        };
        match first {
            Some(first) if first == event => self.of_first(lane_id, lane, run, event),
            Some(first) if first < event => {
                let what = self.of_first(lane_id, lane, run, first);
                let ahead = ahead(lane, run, event);
                self.waits(lane_id, event, ahead, Some((first, Box::new(what))))
            }
            _ => self.waits(lane_id, event, Behind::default(), None),
        }
    }

    /// The first event of a lane that nobody has.
    fn first(&self, id: LaneId, lane: &LiveLane) -> Option<EventRef> {
        let waiting = lane.waiting.front().map(|slot| slot.event);
        waiting.or_else(|| self.group.lane_head(id).map(|head| head.event))
    }

    /// Of the first event of a lane.
    fn of_first(
        &self,
        id: LaneId,
        lane: Option<&LiveLane>,
        run: Option<&LiveRun>,
        event: EventRef,
    ) -> Whereabouts {
        if let Some(run) = run {
            return Whereabouts::Out(self.out(id, run, event));
        }
        let head = self.group.head(id, event);
        match (lane.and_then(|lane| lane.block), head.map(|head| (head, &head.status))) {
            (Some(Block::Held(due)), Some((head, Status::Held { class, reason, .. }))) => {
                let left_ms = due.saturating_sub(self.now.mono);
                Whereabouts::Held {
                    until: self.now.wall.saturating_add(left_ms),
                    left_ms,
                    class: *class,
                    reason: reason.clone(),
                    attempts: head.attempts,
                    unavailable: head.unavailable,
                }
            }
            (Some(Block::Parked), _) => match self.group.dead_at(event.at) {
                Some(dead) => self.dead_letter(dead),
                None => self.waits(id, event, Behind::default(), None),
            },
            _ => self.waits(id, event, Behind::default(), None),
        }
    }

    fn out(&self, id: LaneId, run: &LiveRun, event: EventRef) -> Out {
        let index = run.slots.iter().position(|slot| slot.event == event).unwrap_or(0);
        let member = self.live.members.get(&run.member).map(|it| it.name.clone());
        Out {
            member: member.unwrap_or_default(),
            since_ms: self.now.mono.saturating_sub(run.since),
            started: run.started & 1 << index != 0,
            attempt: self.group.head(id, event).map_or(0, |head| head.attempts) + 1,
        }
    }

    fn waits(
        &self,
        id: LaneId,
        event: EventRef,
        ahead: Behind,
        behind: Option<(EventRef, Box<Whereabouts>)>,
    ) -> Whereabouts {
        let attempts = self.group.head(id, event).map_or(0, |head| head.attempts);
        let seen = self.live.has_scanned(event);
        Whereabouts::Waiting(Wait { behind, ahead, seen, attempts, why: self.idle(id) })
    }

    fn idle(&self, lane: LaneId) -> Idle {
        let live = self.live;
        let free = |it: &super::live::LiveMember| !it.draining && it.out < it.credit;
        let full = live.lanes.len() >= self.core.limits.lanes_unfinished;
        match () {
            () if self.group.paused.is_some() => {
                Idle::Paused(self.group.paused.clone().unwrap_or_default())
            }
            () if live.members.is_empty() => Idle::NoMember,
            () if full && !live.lanes.contains_key(&lane) => Idle::Saturated,
            () if live.out >= live.max_in_flight || !live.members.values().any(free) => Idle::Busy,
            () => Idle::Next,
        }
    }

    fn in_an_unordered_run(&self, event: EventRef) -> Option<&LiveRun> {
        let has = |run: &&LiveRun| {
            let mut open = bits(run.open()).filter_map(|index| run.slots.get(index as usize));
            run.lane.is_none() && open.any(|slot| slot.event == event)
        };
        self.live.runs.values().find(has)
    }
}

/// The event of a lane's run that is with user code, or next.
fn first_of(run: &LiveRun) -> Option<(EventRef, u32)> {
    let index = bits(run.open()).next()?;
    run.slots.get(index as usize).map(|slot| (slot.event, index))
}

/// How many events of its lane come before one that is not the first.
fn ahead(lane: Option<&LiveLane>, run: Option<&LiveRun>, event: EventRef) -> Behind {
    let out = run.into_iter().flat_map(|run| {
        bits(run.open()).filter_map(|index| run.slots.get(index as usize)).map(|slot| slot.event)
    });
    let waiting = lane.into_iter().flat_map(|lane| lane.waiting.iter().map(|slot| slot.event));
    let count = out.chain(waiting).filter(|it| *it < event).count();
    let beyond = |lane: &LiveLane| lane.gap.is_some_and(|gap| gap.from < event.at);
    Behind { count, more: lane.is_some_and(beyond) }
}
