//! The half of core that starts empty: who is here, what is in whose hands, what waits in memory.
//!
//! ```text
//!  tail / window ──scan──▶ lane.waiting ──hand out──▶ run ──settle──▶ gone
//!                             ▲    │ blocked (held, parked)   │ retry, lease end
//!                             │    └── overtaken by a compensation
//!                             └──────────────────────────────┘ returned in order
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use quadrille_proto::Hasher128;
use quadrille_proto::record::{GroupConfig, OrderBy};

#[cfg(test)]
mod check;
mod hand_out;
mod members;
mod overtake;
mod run;
mod scan;

pub(super) use run::{Grip, How, LiveRun, RunSlot, bits, forward_ranges};
pub(super) use scan::Scan;

use super::durable::{Group, Status};
use super::output::LaneQuery;
use super::types::{EventRef, Head, LaneId, MemberId, Position, RunId, TopicId};
use crate::time::Now;

/// The live half of one group.
#[derive(Debug)]
pub(crate) struct LiveGroup {
    pub(super) order: OrderBy,
    pub(super) filter: Filter,
    /// One per topic.
    pub(super) scans: Vec<Scan>,
    /// Lanes with anything waiting, out or blocked.
    pub(super) lanes: HashMap<LaneId, LiveLane>,
    /// Lanes with something to hand out, first come first served.
    pub(super) ready: VecDeque<LaneId>,
    /// When held lanes are due, mono.
    pub(super) due: BTreeSet<(u64, LaneId)>,
    /// Lanes that wait until the entry that changed them is durable.
    pub(super) unrevealed: BTreeSet<(u64, LaneId)>,
    pub(super) members: BTreeMap<MemberId, LiveMember>,
    /// The member that was served last.
    pub(super) served: MemberId,
    pub(super) runs: BTreeMap<RunId, LiveRun>,
    /// When leases end, in lease time.
    pub(super) leases: BTreeSet<(u64, RunId)>,
    /// Runs whose last event was settled lately, for repeated settles.
    pub(super) finished: VecDeque<LiveRun>,
    /// There were more of them.
    pub(super) forgot_runs: bool,
    /// Lanes whose waiting events are being read one by one, and which.
    pub(super) reading: HashMap<LaneId, Vec<EventRef>>,
    /// Events in members' hands, and how many there may be.
    pub(super) out: u32,
    pub(super) max_in_flight: u32,
    /// Offsets that the filter passed over and no record covers yet.
    pub(super) passed: Vec<(TopicId, u64, u64)>,
    /// Events below this entry may have been in somebody's hands when the process died.
    pub(super) careful: Option<Careful>,
    pub(super) said_saturated: bool,
    /// Bytes of waiting events that are kept at hand.
    pub(super) cached: usize,
}

/// The caution after an unclean stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Careful {
    /// The recovered end.
    pub(super) below: u64,
    /// How many events must be settled before it ends.
    pub(super) left: u32,
}

/// The types of a group, hashed.
#[derive(Debug, Default)]
pub(super) struct Filter {
    types: Option<HashSet<u64>>,
    superseding: HashSet<u64>,
    late: HashSet<u64>,
}

impl Filter {
    /// Whether an event overtakes what is held or parked of its saga.
    pub(super) fn supersedes(&self, head: &Head) -> bool {
        self.superseding.contains(&head.ty)
    }
}

/// One lane with something unsettled in it.
#[derive(Debug)]
pub(crate) struct LiveLane {
    pub(super) state: LaneState,
    /// Its head is held or parked: only a compensation gets past.
    pub(super) block: Option<Block>,
    /// Its next events, in order; behind a block the blocked one is the first.
    pub(super) waiting: VecDeque<Slot>,
    /// There are more than `waiting` holds.
    pub(super) gap: Option<Gap>,
    /// The newest sync-class entry that changed it.
    pub(super) stamp: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneState {
    /// Nothing to do until something happens.
    Idle,
    /// In the ready queue.
    Ready,
    /// Waits for its stamp to be durable.
    Unrevealed,
    /// Its next events are being read from the log.
    Fetching,
    /// In a member's hands, as this run.
    Out(RunId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Until then, mono.
    Held(u64),
    Parked,
}

/// The part of a lane that only the log holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    /// Look from here.
    pub(super) from: Position,
    /// An event of it was scanned since the last look.
    pub(super) grew: bool,
    /// A superseding event may be in it.
    pub(super) superseding: bool,
}

/// A waiting event.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) event: EventRef,
    pub(super) saga: LaneId,
    pub(super) time: u64,
    pub(super) turn: u32,
    pub(super) superseding: bool,
    pub(super) late_ok: bool,
    /// Its bytes, if they are at hand.
    pub(super) bytes: Option<Bytes>,
}

#[derive(Debug)]
pub(crate) struct LiveMember {
    pub(crate) name: String,
    pub(crate) credit: u32,
    pub(crate) out: u32,
    pub(crate) draining: bool,
    /// Since when it is here, mono.
    pub(crate) since: u64,
}

/// The single lane of a group ordered by everything.
const EVERYTHING: LaneId = 1;

impl LiveGroup {
    /// The live half of a group as the log left it.
    pub(super) fn new(now: Now, group: &Group, hasher: &Hasher128, careful: Option<u64>) -> Self {
        let mut it = Self {
            order: group.config.order_by(),
            filter: Filter::default(),
            scans: group.topics.iter().map(|(id, set)| Scan::new(*id, set.floor())).collect(),
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            due: BTreeSet::new(),
            unrevealed: BTreeSet::new(),
            members: BTreeMap::new(),
            served: 0,
            runs: BTreeMap::new(),
            leases: BTreeSet::new(),
            finished: VecDeque::new(),
            forgot_runs: false,
            reading: HashMap::new(),
            out: 0,
            max_in_flight: 0,
            passed: Vec::new(),
            careful: careful.map(|below| Careful { below, left: group.config.max_in_flight }),
            said_saturated: false,
            cached: 0,
        };
        it.configure(&group.config, hasher);
        for shard in &group.shards {
            // order: the shard's, by lane.
            for (lane, durable) in &shard.lanes {
                it.revive_lane(now, group, *lane, durable);
            }
        }
        it
    }

    pub(super) fn configure(&mut self, config: &GroupConfig, hasher: &Hasher128) {
        let hashed = |types: &[String]| types.iter().map(|ty| hasher.ty(ty)).collect();
        self.max_in_flight = config.max_in_flight;
        self.filter = Filter {
            types: (!config.types.is_empty()).then(|| hashed(&config.types)),
            superseding: hashed(&config.superseding),
            late: hashed(&config.late),
        };
    }

    /// Whether events have lanes in common.
    pub(super) fn ordered(&self) -> bool {
        self.order != OrderBy::Nothing
    }

    /// The lane of an event.
    pub(super) fn lane_of(&self, head: &Head) -> LaneId {
        match self.order {
            OrderBy::Saga => head.saga,
            OrderBy::Key => head.key,
            OrderBy::Everything => EVERYTHING,
            OrderBy::Nothing => place_lane(head.event),
        }
    }

    /// How to find more of a lane; `None` if it is a single event.
    pub(super) fn query(&self, lane: LaneId) -> Option<LaneQuery> {
        match self.order {
            _ if is_place(lane) => None,
            OrderBy::Saga => Some(LaneQuery::Saga),
            OrderBy::Key => Some(LaneQuery::Key),
            OrderBy::Everything => Some(LaneQuery::Everything),
            OrderBy::Nothing => None,
        }
    }

    pub(super) fn slot(&self, head: &Head, bytes: Option<Bytes>) -> Slot {
        Slot {
            event: head.event,
            saga: head.saga,
            time: head.time,
            turn: head.turn,
            superseding: self.filter.supersedes(head),
            late_ok: self.filter.late.contains(&head.ty),
            bytes,
        }
    }

    pub(super) fn wants(&self, head: &Head) -> bool {
        self.filter.types.as_ref().is_none_or(|types| types.contains(&head.ty))
    }

    pub(super) fn supersedes(&self) -> bool {
        !self.filter.superseding.is_empty()
    }

    /// Whether scanning has come past this event.
    pub(super) fn has_scanned(&self, event: EventRef) -> bool {
        self.scans.iter().any(|scan| scan.topic == event.topic && event.offset < scan.next)
    }

    /// Whether this event has, or may have, been handed out in this epoch.
    pub(super) fn handed_out(&self, event: EventRef) -> bool {
        let mut runs = self.finished.iter().chain(self.runs.values());
        runs.any(|run| run.slots.iter().any(|slot| slot.event == event))
            || self.forgot_runs && self.has_scanned(event)
    }

    /// Forgets the events of a deleted topic. Lanes whose head was among them (it has no history
    /// any more) are no longer blocked. Answers the lanes that were touched, in order.
    pub(super) fn forget_topic(
        &mut self,
        topic: TopicId,
        has_head: impl Fn(LaneId) -> bool,
    ) -> Vec<LaneId> {
        self.scans.retain(|scan| scan.topic != topic);
        self.passed.retain(|(of, ..)| *of != topic);
        // order: each lane is changed by itself.
        for (id, lane) in &mut self.lanes {
            self.cached -= lane.take(|slot| slot.event.topic == topic);
            if !has_head(*id)
                && let Some(Block::Held(due)) = lane.block.take()
            {
                self.due.remove(&(due, *id));
            }
        }
        // order: sorted.
        let mut lanes: Vec<_> = self.lanes.keys().copied().collect();
        lanes.sort_unstable();
        lanes
    }

    fn revive_lane(&mut self, now: Now, group: &Group, id: LaneId, durable: &super::durable::Lane) {
        let mut lane = LiveLane::new();
        let head = durable.head.as_ref();
        let single = self.query(id).is_none();
        match head.map(|head| &head.status) {
            Some(Status::Held { due, .. }) => {
                let left = due.saturating_sub(now.wall).min(longest_hold(&group.config));
                lane.block = Some(Block::Held(now.mono + left));
                self.due.insert((now.mono + left, id));
            }
            Some(Status::Parked) => lane.block = Some(Block::Parked),
            Some(Status::Open) | None => {}
        }
        if single {
            let event = head.map_or_else(|| place_of(id, durable.first), |head| head.event);
            lane.waiting.push_back(Slot::unread(event));
        } else {
            let superseding = self.supersedes();
            lane.gap = Some(Gap { from: durable.first, grew: true, superseding });
        }
        if lane.block.is_none() || (self.supersedes() && !single) {
            lane.state = LaneState::Ready;
            self.ready.push_back(id);
        }
        self.lanes.insert(id, lane);
    }
}

impl LiveLane {
    pub(super) fn new() -> Self {
        Self { state: LaneState::Idle, block: None, waiting: VecDeque::new(), gap: None, stamp: 0 }
    }

    /// Takes events out of it; answers how many bytes of them were at hand.
    pub(super) fn take(&mut self, of: impl Fn(&Slot) -> bool) -> usize {
        let mut bytes = 0;
        self.waiting.retain(|slot| {
            let gone = of(slot);
            bytes += if gone { slot.at_hand() } else { 0 };
            !gone
        });
        bytes
    }

    /// Whether nothing of it is left.
    pub(super) fn is_finished(&self) -> bool {
        self.waiting.is_empty() && self.gap.is_none() && self.block.is_none()
    }

    /// Whether a compensation may be waiting behind the block.
    pub(super) fn may_be_overtaken(&self) -> bool {
        self.block.is_some()
            && self.waiting.front().is_none_or(|head| !head.superseding)
            && (self.waiting.iter().any(|slot| slot.superseding)
                || self.gap.is_some_and(|gap| gap.superseding))
    }

    /// The place of its first unsettled event, as far as it is known.
    pub(super) fn first(&self) -> Option<Position> {
        self.waiting.front().map(|slot| slot.event.at).or_else(|| Some(self.gap?.from))
    }
}

impl Slot {
    /// Whether it is settled as late once this turn of its saga is taken.
    pub(super) fn is_late(&self, taken: u32) -> bool {
        self.turn < taken && !self.superseding && !self.late_ok
    }

    /// How many bytes of it are at hand.
    pub(super) fn at_hand(&self) -> usize {
        self.bytes.as_ref().map_or(0, Bytes::len)
    }

    /// A slot of which only the place is known.
    pub(super) fn unread(event: EventRef) -> Self {
        Self { event, saga: 0, time: 0, turn: 0, superseding: false, late_ok: true, bytes: None }
    }
}

/// A held lane waits at most this long after a restart, whatever the wall clock says.
fn longest_hold(config: &GroupConfig) -> u64 {
    let caps = [&config.forward, &config.compensating];
    caps.iter().filter_map(|policy| policy.as_ref()).map(|policy| policy.cap_ms).max().unwrap_or(0)
}

/// A lane of its own for one event: its place, marked, spread over the shards.
///
/// ```text
///  4 bits spread │ 52 bits mark │ 24 bits topic │ 48 bits offset
/// ```
pub(super) fn place_lane(event: EventRef) -> LaneId {
    let spread = u128::from(event.offset & 0xf) << 124;
    let offset = u128::from(event.offset) & ((1 << 48) - 1);
    spread | PLACE << 72 | u128::from(event.topic) << 48 | offset
}

/// A keyed hash looks like this once in 2^52.
const PLACE: u128 = 0xe_b1ac_e0f1_ace5;

pub(super) fn is_place(lane: LaneId) -> bool {
    lane >> 72 & ((1 << 52) - 1) == PLACE
}

#[expect(clippy::cast_possible_truncation, reason = "the parts of a place lane")]
fn place_of(lane: LaneId, at: Position) -> EventRef {
    let offset = lane & ((1 << 48) - 1);
    EventRef { at, topic: (lane >> 48) as u32 & 0xff_ffff, offset: offset as u64 }
}
