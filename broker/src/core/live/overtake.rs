//! A compensation overtakes: what is held or parked of its saga, and whatever else comes before it,
//! is settled as superseded, and the compensation becomes the lane's head.
//!
//! Rules (DESIGN §7): it waits for what is out (a lane with a run out is not blocked); it passes
//! nothing if nothing is held or parked; it never passes another superseding event.

use quadrille_proto::EventView;
use quadrille_proto::record::{self, Kind, SettleKind};

use super::super::durable::{Status, lane_record};
use super::super::plan::Plan;
use super::super::types::{EventRef, GroupId, LaneId, TailEvent};
use super::super::{Core, Sequencer};
use super::hand_out::LANE_READ;
use super::{Block, Gap, LaneState, LiveGroup, Slot};
use crate::time::Now;

impl Core {
    /// Supersedes what blocks the lane, if the first superseding event is at hand; else looks for
    /// it.
    pub(super) fn overtake(
        &mut self,
        now: Now,
        id: GroupId,
        lane_id: LaneId,
        seq: &mut dyn Sequencer,
    ) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let Some(lane) = live.lanes.get_mut(&lane_id) else { return };
        if !lane.may_be_overtaken() {
            return;
        }
        let Some(index) = lane.waiting.iter().position(|slot| slot.superseding) else {
            return self.refill(now, id, lane_id, seq);
        };
        let passed: Vec<Slot> = lane.waiting.drain(..index).collect();
        live.cached -= passed.iter().map(Slot::at_hand).sum::<usize>();
        let by = lane.waiting.front().map(|slot| slot.event).unwrap_or_default();
        if let Some(Block::Held(due)) = lane.block.take() {
            live.due.remove(&(due, lane_id));
        }
        let events = passed.iter().map(|slot| self.superseded_event(id, lane_id, slot)).collect();
        let record = Kind::Superseded(record::Superseded {
            group: id,
            lane: Some(lane_record(lane_id)),
            by: Some(by.into()),
            events,
        });
        let entry = self.commit(now, seq, Plan::sync(vec![record]));
        self.changed(id, lane_id, entry);
        self.make_ready(id, lane_id);
    }

    fn superseded_event(
        &self,
        id: GroupId,
        lane_id: LaneId,
        slot: &Slot,
    ) -> record::SupersededEvent {
        let group = self.durable.groups.get(&id);
        let head = group.and_then(|group| group.head(lane_id, slot.event));
        let dead = group.and_then(|group| group.dead_at(slot.event.at));
        let reason = match (dead, head.map(|head| &head.status)) {
            (Some(dead), _) => dead.parked.reason.clone(),
            (None, Some(Status::Held { reason, .. })) => reason.clone(),
            (None, _) => String::new(),
        };
        let known = || {
            let event = self.tail.get(slot.event.topic, slot.event.offset);
            let view = event.and_then(|event| EventView::parse(&event.bytes).ok());
            view.map(|view| view.ty.to_owned()).unwrap_or_default()
        };
        record::SupersededEvent {
            event: Some(slot.event.into()),
            attempts: head.map_or(0, |head| head.attempts),
            reason,
            event_type: dead.map_or_else(known, |dead| dead.parked.event_type.clone()),
        }
    }

    /// Events of a lane, read back: the answer to `FindLane` and `ReadEvents`.
    pub fn on_lane(
        &mut self,
        now: Now,
        id: GroupId,
        lane_id: LaneId,
        found: Vec<TailEvent>,
        seq: &mut dyn Sequencer,
    ) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let Some(lane) = live.lanes.get_mut(&lane_id) else { return };
        if lane.state != LaneState::Fetching {
            return;
        }
        lane.state = LaneState::Idle;
        let more = match live.reading.remove(&lane_id) {
            Some(asked) => {
                let lost = live.fill(lane_id, &asked, &found);
                self.discard_lost(now, id, lane_id, lost, seq);
                false
            }
            None => self.extend_lane(id, lane_id, found),
        };
        if !more {
            self.close_if_finished(now, id, lane_id, seq);
        }
        self.make_ready(id, lane_id);
        self.dispatch(now, seq);
    }

    /// Adds what was found to the lane, up to where scanning is: it comes to the rest by itself.
    /// Answers whether there is a rest.
    fn extend_lane(&mut self, id: GroupId, lane_id: LaneId, found: Vec<TailEvent>) -> bool {
        let blocked_max = self.limits.lane_cached_blocked;
        let Some(live) = self.live.get_mut(&id) else { return false };
        let Some(group) = self.durable.groups.get(&id) else { return false };
        let Some(gap) = live.lanes.get(&lane_id).and_then(|lane| lane.gap) else { return false };
        let complete = found.len() < LANE_READ;
        let (mut from, mut unscanned) = (gap.from, false);
        let mut slots = Vec::with_capacity(found.len());
        for event in found {
            let place @ EventRef { at, topic, offset } = event.head.event;
            let settled = group
                .topics
                .get(&topic)
                .is_none_or(|settled| offset >= settled.floor() && settled.contains(offset));
            if at >= gap.from && !settled && live.wants(&event.head) {
                if !live.has_scanned(place) {
                    unscanned = true;
                    break;
                }
                slots.push(live.slot(&event.head, Some(event.bytes)));
            }
            from = from.max(at.next());
        }
        let Some(lane) = live.lanes.get_mut(&lane_id) else { return false };
        if lane.block.is_some() {
            slots.iter_mut().for_each(|slot| slot.bytes = None);
        }
        live.cached += slots.iter().map(Slot::at_hand).sum::<usize>();
        lane.waiting.extend(slots);
        let done = unscanned || complete && !gap.grew;
        lane.gap = (!done).then_some(Gap { from, ..gap });
        // What may yet be superseded stays until it is known what supersedes it.
        if done && lane.block.is_some() && !lane.waiting.iter().any(|slot| slot.superseding) {
            live.forget_beyond(lane_id, blocked_max);
        }
        unscanned
    }

    /// What the log no longer has cannot be handed out; it is given up, visibly.
    fn discard_lost(
        &mut self,
        now: Now,
        id: GroupId,
        lane_id: LaneId,
        lost: Vec<EventRef>,
        seq: &mut dyn Sequencer,
    ) {
        if lost.is_empty() {
            return;
        }
        let range = |event: &EventRef| record::OffsetRange {
            topic: event.topic,
            from: event.offset,
            to: event.offset + 1,
        };
        let ranges: Vec<_> = lost.iter().map(range).collect();
        let count = lost.len() as u64;
        let truncated = record::Truncated { group: id, ranges: ranges.clone(), count };
        let (kind, turns) = (SettleKind::Discarded.into(), Vec::new());
        let lanes = self.lane_moved(id, lane_id);
        let settled = record::Settled { group: id, kind, ranges, lanes, turns };
        let records = vec![Kind::Truncated(truncated), Kind::Settled(settled)];
        self.commit(now, seq, Plan::lazy(records));
    }

    /// A listed lane that turned out to hold nothing more is taken off the list.
    pub(in super::super) fn close_if_finished(
        &mut self,
        now: Now,
        id: GroupId,
        lane_id: LaneId,
        seq: &mut dyn Sequencer,
    ) {
        let lane = self.live.get(&id).and_then(|live| live.lanes.get(&lane_id));
        if lane.is_some_and(|lane| lane.is_finished() && lane.state == LaneState::Idle) {
            let lanes = self.lane_moved(id, lane_id);
            if !lanes.is_empty() {
                let record = record::Settled { group: id, lanes, ..Default::default() };
                self.commit(now, seq, Plan::lazy(vec![Kind::Settled(record)]));
            }
        }
    }

    /// This entry changed the lane: what follows from it waits until it is durable.
    pub(in super::super) fn changed(&mut self, id: GroupId, lane_id: LaneId, entry: u64) {
        if let Some(lane) = self.live.get_mut(&id).and_then(|live| live.lanes.get_mut(&lane_id)) {
            lane.stamp = entry;
        }
    }
}

impl LiveGroup {
    /// Gives waiting events the bytes that were read; answers those that the log no longer has.
    fn fill(&mut self, lane_id: LaneId, asked: &[EventRef], found: &[TailEvent]) -> Vec<EventRef> {
        let slots: Vec<Slot> =
            found.iter().map(|it| self.slot(&it.head, Some(it.bytes.clone()))).collect();
        let Some(lane) = self.lanes.get_mut(&lane_id) else { return Vec::new() };
        let mut lost = Vec::new();
        lane.waiting.retain_mut(|slot| {
            if slot.bytes.is_some() || !asked.contains(&slot.event) {
                return true;
            }
            let Some(it) = slots.iter().find(|it| it.event == slot.event) else {
                lost.push(slot.event);
                return false;
            };
            self.cached += it.at_hand();
            *slot = Slot { late_ok: slot.late_ok, ..it.clone() };
            true
        });
        lost
    }

    /// Keeps only the first `max` events of a blocked lane; the log has the rest.
    pub(in super::super) fn forget_beyond(&mut self, lane_id: LaneId, max: usize) {
        let Some(lane) = self.lanes.get_mut(&lane_id) else { return };
        if lane.waiting.len() > max {
            let dropped: Vec<Slot> = lane.waiting.drain(max..).collect();
            let from = dropped.first().map(|slot| slot.event.at).unwrap_or_default();
            let superseding = dropped.iter().any(|slot| slot.superseding)
                || lane.gap.is_some_and(|gap| gap.superseding);
            self.cached -= dropped.iter().map(Slot::at_hand).sum::<usize>();
            lane.gap = Some(Gap { from, grew: true, superseding });
        }
    }
}
