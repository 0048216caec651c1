//! Handing out: while a member has credit, the next ready lane, or the next fresh events, become a
//! run in its hands.

use std::sync::Arc;

use quadrille_proto::record::{self, Kind, SettleKind};

use super::super::durable::lane_record;
use super::super::output::Output;
use super::super::plan::Plan;
use super::super::types::{
    Delivered, EventRef, GroupId, LaneId, MemberId, Position, RUN_MAX, Run, Token,
};
use super::super::{Core, Sequencer};
use super::{LaneState, LiveGroup, LiveRun, RunSlot, Slot};
use crate::time::Now;

/// How many events are scanned at a time, so that a hot lane's events come in one run.
const SCAN_BATCH: usize = 256;

/// How many events one look for a lane asks for.
pub(super) const LANE_READ: usize = 256;

impl Core {
    /// Hands out what became possible since the last call.
    pub fn dispatch(&mut self, now: Now, seq: &mut dyn Sequencer) {
        while let Some(group) = self.dirty.pop_first() {
            self.dispatch_group(now, group, seq);
        }
    }

    fn dispatch_group(&mut self, now: Now, id: GroupId, seq: &mut dyn Sequencer) {
        if self.shutting_down || self.group(id).is_ok_and(|group| group.paused.is_some()) {
            return;
        }
        let mut fresh = Vec::new();
        loop {
            let Some(live) = self.live.get_mut(&id) else { return };
            let Some((member, credit)) = live.next_member() else { break };
            if let Some(lane) = live.ready.pop_front() {
                self.hand_out_lane(now, id, lane, member, credit, seq);
                continue;
            }
            let want = if live.ordered() { SCAN_BATCH } else { credit.min(RUN_MAX) };
            let stopped = self.scan(id, want, &mut fresh);
            if !fresh.is_empty() {
                self.hand_out_fresh(now, id, &mut fresh, member);
            } else if stopped && self.live.get(&id).is_none_or(|live| live.ready.is_empty()) {
                break;
            }
        }
        self.note_saturation(id);
        self.record_passed(now, id, false, seq);
    }

    /// Unordered events that nobody has had yet.
    fn hand_out_fresh(&mut self, now: Now, id: GroupId, fresh: &mut Vec<Slot>, member: MemberId) {
        let slots = std::mem::take(fresh);
        self.start_run(now, id, None, member, slots);
    }

    fn hand_out_lane(
        &mut self,
        now: Now,
        id: GroupId,
        lane_id: LaneId,
        member: MemberId,
        credit: usize,
        seq: &mut dyn Sequencer,
    ) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let Some(lane) = live.lanes.get_mut(&lane_id) else { return };
        if lane.state != LaneState::Ready {
            return;
        }
        lane.state = LaneState::Idle;
        if lane.stamp > self.revealed.durable {
            return self.make_ready(id, lane_id);
        }
        if lane.block.is_some() {
            return self.overtake(now, id, lane_id, seq);
        }
        self.settle_late(now, id, lane_id, seq);
        let Some(live) = self.live.get_mut(&id) else { return };
        let Some(lane) = live.lanes.get(&lane_id) else { return };
        if lane.waiting.is_empty() {
            return self.refill(now, id, lane_id, seq);
        }
        match self.take_run(id, lane_id, credit.min(RUN_MAX)) {
            Ok(slots) => self.start_run(now, id, Some(lane_id), member, slots),
            Err(missing) => self.read_events(id, lane_id, missing),
        }
    }

    /// The next events of a lane with their bytes, up to and including a superseding one: what
    /// follows that one may be late once it is settled. Or else the places of those whose bytes
    /// must be read first.
    fn take_run(
        &mut self,
        id: GroupId,
        lane_id: LaneId,
        max: usize,
    ) -> Result<Vec<Slot>, Vec<EventRef>> {
        let taken = self.durable.groups.get(&id).map_or(0, |group| group.turn(lane_id));
        let Some(live) = self.live.get_mut(&id) else { return Ok(Vec::new()) };
        let Some(lane) = live.lanes.get_mut(&lane_id) else { return Ok(Vec::new()) };
        let mut slots = Vec::with_capacity(max.min(lane.waiting.len()));
        while slots.len() < max
            && let Some(slot) = lane.waiting.front_mut()
            && (slots.is_empty() || !slot.is_late(taken))
        {
            if slot.bytes.is_none() {
                let event = self.tail.get(slot.event.topic, slot.event.offset);
                let Some(event) = event.filter(|event| event.head.event.at == slot.event.at) else {
                    break;
                };
                let known = live.filter.superseding.contains(&event.head.ty);
                slot.saga = event.head.saga;
                (slot.time, slot.turn) = (event.head.time, event.head.turn);
                slot.superseding = known;
                slot.bytes = Some(event.bytes.clone());
            } else {
                live.cached -= slot.at_hand();
            }
            let last = slot.superseding;
            slots.extend(lane.waiting.pop_front());
            if last {
                break;
            }
        }
        match slots.is_empty() {
            true => Err(lane.waiting.iter().take(max).map(|slot| slot.event).collect()),
            false => Ok(slots),
        }
    }

    fn start_run(
        &mut self,
        now: Now,
        id: GroupId,
        lane: Option<LaneId>,
        member: MemberId,
        slots: Vec<Slot>,
    ) {
        let run = self.next_run;
        self.next_run += 1;
        let deadline = self.lease_time(now).saturating_add(self.lease_ms(id));
        let events = slots.iter().zip(0u32..);
        let events = events.map(|(slot, index)| self.delivered(id, run, index, lane, slot));
        let events: Vec<Delivered> = events.collect();
        let Some(live) = self.live.get_mut(&id) else { return };
        let careful = live
            .careful
            .is_some_and(|careful| slots.iter().any(|slot| slot.event.at.entry < careful.below));
        let count = u32::try_from(slots.len()).unwrap_or(0);
        live.out += count;
        live.served = member;
        if let Some(member) = live.members.get_mut(&member) {
            member.out += count;
        }
        if let Some(lane) = lane.and_then(|lane| live.lanes.get_mut(&lane)) {
            lane.state = LaneState::Out(run);
        }
        live.leases.insert((deadline, run));
        live.runs.insert(
            run,
            LiveRun {
                id: run,
                member,
                lane,
                slots: slots.iter().map(RunSlot::of).collect(),
                settled: 0,
                started: 0,
                deadline,
                since: now.mono,
                careful,
            },
        );
        // An unordered event with a history is a run of one, like a lane's.
        let ordered = lane.is_some();
        let run = Run { id: run, ordered, careful, events };
        self.outputs.push_back(Output::Deliver { member, run });
    }

    fn delivered(
        &self,
        group: GroupId,
        run: u64,
        index: u32,
        lane: Option<LaneId>,
        slot: &Slot,
    ) -> Delivered {
        let lane_id = lane.unwrap_or_else(|| super::place_lane(slot.event));
        let durable = self.durable.groups.get(&group);
        let head = durable.and_then(|it| it.head(lane_id, slot.event));
        let taken = durable.map_or(0, |it| it.turn(slot.saga));
        let replacement = head.and_then(|head| head.replacement.clone());
        Delivered {
            token: Token { group, epoch: self.epoch, run, index, event: slot.event, lane: lane_id },
            replaced: replacement.is_some(),
            bytes: replacement.or_else(|| slot.bytes.clone()).unwrap_or_default(),
            time: slot.time,
            attempt: head.map_or(0, |head| head.attempts) + 1,
            turn: slot.turn,
            late: slot.turn < taken && !slot.superseding,
            superseded: head.and_then(|head| head.superseded.as_ref().map(Arc::clone)),
        }
    }

    /// Forward events whose turn has passed are settled as late, unless the group asked for them.
    fn settle_late(&mut self, now: Now, id: GroupId, lane_id: LaneId, seq: &mut dyn Sequencer) {
        let Some(group) = self.durable.groups.get(&id) else { return };
        let Some(live) = self.live.get_mut(&id) else { return };
        if !live.supersedes() {
            return;
        }
        let taken = group.turn(lane_id);
        let Some(lane) = live.lanes.get_mut(&lane_id) else { return };
        let mut ranges = Vec::new();
        while let Some(slot) = lane.waiting.front()
            && slot.is_late(taken)
        {
            let EventRef { topic, offset, .. } = slot.event;
            ranges.push(record::OffsetRange { topic, from: offset, to: offset + 1 });
            live.cached -= slot.at_hand();
            lane.waiting.pop_front();
        }
        if ranges.is_empty() {
            return;
        }
        let lanes = self.lane_moved(id, lane_id);
        let (kind, turns) = (SettleKind::Late.into(), Vec::new());
        let record = record::Settled { group: id, kind, ranges, lanes, turns };
        self.commit(now, seq, Plan::lazy(vec![Kind::Settled(record)]));
    }

    /// Where a listed lane's first unsettled event is now, as its settles record it.
    pub(in super::super) fn lane_moved(
        &self,
        id: GroupId,
        lane_id: LaneId,
    ) -> Vec<record::LaneMoved> {
        let listed = self.durable.groups.get(&id).is_some_and(|group| group.is_listed(lane_id));
        if !listed {
            return Vec::new();
        }
        let lane = self.live.get(&id).and_then(|live| live.lanes.get(&lane_id));
        let first = lane.and_then(super::LiveLane::first).map(Into::into);
        vec![record::LaneMoved { lane: Some(lane_record(lane_id)), first }]
    }

    /// The lane has nothing at hand: look for more of it in the log, or be done with it.
    pub(super) fn refill(
        &mut self,
        now: Now,
        id: GroupId,
        lane_id: LaneId,
        seq: &mut dyn Sequencer,
    ) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let query = live.query(lane_id);
        let Some(lane) = live.lanes.get_mut(&lane_id) else { return };
        let (Some(gap), Some(query)) = (&mut lane.gap, query) else {
            self.close_if_finished(now, id, lane_id, seq);
            return self.make_ready(id, lane_id);
        };
        gap.grew = false;
        lane.state = LaneState::Fetching;
        let from = lane.waiting.back().map_or(gap.from, |slot| slot.event.at.next());
        self.outputs.push_back(Output::FindLane {
            group: id,
            lane: lane_id,
            query,
            from: from.max(gap.from),
            to: Position { entry: u64::MAX, index: 0 },
            max: LANE_READ,
        });
    }

    fn read_events(&mut self, id: GroupId, lane_id: LaneId, events: Vec<EventRef>) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let Some(lane) = live.lanes.get_mut(&lane_id) else { return };
        lane.state = LaneState::Fetching;
        live.reading.insert(lane_id, events.clone());
        self.outputs.push_back(Output::ReadEvents { group: id, lane: lane_id, events });
    }

    /// The lane can go on; if an entry that changed it is not durable yet, once it is.
    pub(in super::super) fn make_ready(&mut self, id: GroupId, lane_id: LaneId) {
        let durable = self.revealed.durable;
        let Some(live) = self.live.get_mut(&id) else { return };
        let Some(lane) = live.lanes.get_mut(&lane_id) else { return };
        match lane.state {
            LaneState::Idle => {}
            LaneState::Ready | LaneState::Unrevealed | LaneState::Fetching | LaneState::Out(_) => {
                return;
            }
        }
        if lane.is_finished() {
            live.lanes.remove(&lane_id);
        } else if lane.stamp > durable {
            lane.state = LaneState::Unrevealed;
            live.unrevealed.insert((lane.stamp, lane_id));
            self.waiting.insert(id);
        } else if lane.block.is_none() || lane.may_be_overtaken() {
            lane.state = LaneState::Ready;
            live.ready.push_back(lane_id);
        }
        self.dirty.insert(id);
    }

    /// Lanes whose changes are durable now.
    pub(in super::super) fn reveal_lanes(&mut self, id: GroupId) {
        let durable = self.revealed.durable;
        while let Some(live) = self.live.get_mut(&id)
            && let Some((stamp, lane_id)) = live.unrevealed.first().copied()
            && stamp <= durable
        {
            live.unrevealed.pop_first();
            if let Some(lane) = live.lanes.get_mut(&lane_id)
                && lane.state == LaneState::Unrevealed
            {
                lane.state = LaneState::Idle;
                self.make_ready(id, lane_id);
            }
        }
    }

    /// Records the offsets that the filter passed over, if there are many or `all` shall be.
    pub(in super::super) fn record_passed(
        &mut self,
        now: Now,
        id: GroupId,
        all: bool,
        seq: &mut dyn Sequencer,
    ) {
        let Some(live) = self.live.get_mut(&id) else { return };
        if live.passed.is_empty() || !(all || live.passed_too_much()) {
            return;
        }
        let kind = SettleKind::Filtered.into();
        let ranges = live.passed_ranges();
        let (lanes, turns) = (Vec::new(), Vec::new());
        let record = record::Settled { group: id, kind, ranges, lanes, turns };
        self.commit(now, seq, Plan::lazy(vec![Kind::Settled(record)]));
    }
}

impl LiveGroup {
    /// The next member with credit, round robin, and how much it has.
    fn next_member(&self) -> Option<(MemberId, usize)> {
        let after = self.members.range(self.served + 1..);
        let before = self.members.range(..=self.served);
        let room = self.max_in_flight.saturating_sub(self.out);
        let free = |(id, it): (&MemberId, &super::LiveMember)| {
            let left = it.credit.saturating_sub(it.out).min(room) as usize;
            (left > 0 && !it.draining).then_some((*id, left))
        };
        after.chain(before).find_map(free)
    }

    pub(in super::super) fn passed_ranges(&mut self) -> Vec<record::OffsetRange> {
        let range = |(topic, from, to)| record::OffsetRange { topic, from, to };
        self.passed.drain(..).map(range).collect()
    }
}
