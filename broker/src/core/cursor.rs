//! What settles come to: their record, lanes that go on, and cursors that stay compact.

use std::collections::BTreeMap;

use quadrille_proto::record::{self, Kind, SettleKind};

use super::durable::lane_record;
use super::live::{LaneState, bits, forward_ranges};
use super::plan::Plan;
use super::types::{GroupId, LaneId, Position};
use super::{Core, Sequencer};
use crate::time::Now;

/// More islands than this, and the cursor is moved: what is unsettled below it is listed by lane.
const ISLANDS: usize = 1024;

/// What a batch of settles comes to.
#[derive(Debug, Default)]
pub(super) struct Settles {
    pub(super) offsets: Vec<(u32, u64)>,
    pub(super) lanes: Vec<LaneId>,
    pub(super) turns: Vec<(LaneId, u32)>,
    pub(super) careful: u32,
}

impl Settles {
    pub(super) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }
}

impl Core {
    pub(super) fn is_listed(&self, id: GroupId, lane: LaneId) -> bool {
        self.durable.groups.get(&id).is_some_and(|group| group.is_listed(lane))
    }

    /// The record of these settles.
    pub(super) fn settle_record(
        &mut self,
        id: GroupId,
        kind: SettleKind,
        settles: &mut Settles,
    ) -> Kind {
        settles.lanes.sort_unstable();
        settles.lanes.dedup();
        let lanes = settles.lanes.iter().flat_map(|lane| self.moved(id, *lane)).collect();
        let mut ranges = forward_ranges(&mut settles.offsets);
        if let Some(live) = self.live.get_mut(&id) {
            ranges.extend(live.passed_ranges());
        }
        let turns = settles
            .turns
            .iter()
            .map(|(saga, turn)| record::TurnTaken { saga: Some(lane_record(*saga)), turn: *turn });
        let (kind, turns) = (kind.into(), turns.collect());
        Kind::Settled(record::Settled { group: id, kind, ranges, lanes, turns })
    }

    /// Where a listed lane's first unsettled event is, what is still out included.
    fn moved(&self, id: GroupId, lane_id: LaneId) -> Vec<record::LaneMoved> {
        let mut moved = self.lane_moved(id, lane_id);
        if let Some(it) = moved.first_mut()
            && let Some(first) = self.first_out(id, lane_id)
        {
            it.first = Some(first.into());
        }
        moved
    }

    /// The first event of a lane that is in somebody's hands.
    pub(super) fn first_out(&self, id: GroupId, lane_id: LaneId) -> Option<Position> {
        let live = self.live.get(&id)?;
        let lane = live.lanes.get(&lane_id)?;
        let LaneState::Out(run) = lane.state else { return None };
        let run = live.runs.get(&run)?;
        let index = bits(run.open()).next()?;
        run.slots.get(index as usize).map(|slot| slot.event.at)
    }

    /// What follows from settles that are recorded now: lanes go on.
    pub(super) fn after_settles(
        &mut self,
        now: Now,
        id: GroupId,
        stamp: u64,
        settles: &mut Settles,
        seq: &mut dyn Sequencer,
    ) {
        if let Some(live) = self.live.get_mut(&id)
            && let Some(careful) = &mut live.careful
        {
            careful.left = careful.left.saturating_sub(settles.careful);
            if careful.left == 0 {
                live.careful = None;
            }
        }
        for lane in settles.lanes.drain(..) {
            if stamp > 0 {
                self.changed(id, lane, stamp);
            }
            self.make_ready(id, lane);
        }
        settles.offsets.clear();
        settles.turns.clear();
        settles.careful = 0;
        self.dirty.insert(id);
        self.move_cursors(now, id, seq);
    }

    /// Keeps what a group has settled compact: everything scanned is settled, passed over, or in a
    /// lane that is listed.
    fn move_cursors(&mut self, now: Now, id: GroupId, seq: &mut dyn Sequencer) {
        let Some(group) = self.durable.groups.get(&id) else { return };
        if group.topics.values().all(|settled| settled.islands() <= ISLANDS) {
            return;
        }
        self.record_passed(now, id, true, seq);
        let Some(group) = self.durable.groups.get(&id) else { return };
        let Some(live) = self.live.get(&id) else { return };
        let mut firsts = BTreeMap::new();
        for run in live.runs.values() {
            for index in bits(run.open()) {
                let Some(slot) = run.slots.get(index as usize) else { continue };
                let first = firsts.entry(run.lane_at(index as usize)).or_insert(slot.event.at);
                *first = slot.event.at.min(*first);
            }
        }
        let mut waiting: Vec<_> = live.lanes.iter().collect();
        waiting.sort_unstable_by_key(|(lane, _)| **lane);
        for (lane_id, lane) in waiting {
            if let Some(at) = lane.first() {
                let first = firsts.entry(*lane_id).or_insert(at);
                *first = at.min(*first);
            }
        }
        firsts.retain(|lane, _| !group.is_listed(*lane));
        let mut lanes: Vec<_> = firsts
            .into_iter()
            .map(|(lane, at)| record::LaneMoved {
                lane: Some(lane_record(lane)),
                first: Some(at.into()),
            })
            .collect();
        let moved = live.scans.iter().map(|scan| {
            let (topic, to) = (scan.topic, scan.next);
            let lanes = std::mem::take(&mut lanes);
            Kind::CursorMoved(record::CursorMoved { group: id, topic, to, lanes })
        });
        let records = moved.collect();
        self.commit(now, seq, Plan::lazy(records));
    }
}
