//! What must hold of a group between two commands. Tests only.

use std::collections::BTreeSet;

use super::{Block, LaneState, LiveGroup, Slot, bits};

impl LiveGroup {
    /// Panics unless the bookkeeping agrees with itself.
    pub(in super::super) fn check(&self) {
        let open: u32 = self.runs.values().map(|run| run.open().count_ones()).sum();
        assert_eq!(self.out, open, "what is out is in runs");
        assert!(self.out <= self.max_in_flight, "in flight");
        for (id, member) in &self.members {
            let runs = self.runs.values().filter(|run| run.member == *id);
            let open: u32 = runs.map(|run| run.open().count_ones()).sum();
            assert_eq!(member.out, open, "of a member");
            assert!(open <= member.credit, "credit");
        }
        let leases: BTreeSet<_> = self.runs.values().map(|run| (run.deadline, run.id)).collect();
        assert_eq!(self.leases, leases, "every run has a lease");
        for run in self.runs.values().chain(&self.finished) {
            assert!(bits(run.settled).all(|index| (index as usize) < run.slots.len()));
        }
        for run in self.runs.values() {
            assert!(!run.is_finished());
            if let Some(lane) = run.lane {
                assert_eq!(self.lanes[&lane].state, LaneState::Out(run.id), "its lane is out");
            }
        }
        let (mut due, mut unrevealed, mut ready) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        // order: every lane is checked by itself, into sets.
        for (id, lane) in &self.lanes {
            if let Some(Block::Held(at)) = lane.block {
                due.insert((at, *id));
            }
            match lane.state {
                LaneState::Unrevealed => drop(unrevealed.insert(*id)),
                LaneState::Ready => drop(ready.insert(*id)),
                LaneState::Out(run) => assert!(self.runs[&run].lane == Some(*id)),
                LaneState::Idle | LaneState::Fetching => {}
            }
            let waiting: Vec<_> = lane.waiting.iter().map(|slot| slot.event).collect();
            assert!(waiting.is_sorted_by(|a, b| a < b), "in order, once: {waiting:?}");
            if let Some(gap) = lane.gap {
                assert!(waiting.last().is_none_or(|last| last.at < gap.from), "the gap is behind");
            }
        }
        assert_eq!(self.due, due, "what is held is due");
        // order: compared as sets.
        let waits: Vec<_> = self.unrevealed.iter().map(|(_, id)| *id).collect();
        assert_eq!(waits.len(), unrevealed.len(), "what is not revealed waits, once");
        assert_eq!(BTreeSet::from_iter(waits), unrevealed, "what is not revealed waits");
        let queued: Vec<_> = self.ready.iter().copied().filter(|id| ready.contains(id)).collect();
        assert_eq!(queued.len(), ready.len(), "what is ready is queued once");
        // order: a sum.
        let cached = self.lanes.values().flat_map(|lane| &lane.waiting).map(Slot::at_hand);
        assert_eq!(self.cached, cached.sum::<usize>(), "bytes at hand");
        assert!(self.reading.keys().all(|id| self.lanes[id].state == LaneState::Fetching));
    }

    /// Panics if a lane sleeps that has something to hand out, while nothing is under way.
    pub(in super::super) fn check_awake(&self) {
        // order: every lane is checked by itself.
        for (id, lane) in &self.lanes {
            let asleep = lane.state == LaneState::Idle && lane.block.is_none();
            assert!(!asleep, "lane {id:x} sleeps: {lane:?}");
            assert!(lane.state != LaneState::Fetching, "every read is answered");
            assert!(
                lane.state != LaneState::Idle || !lane.may_be_overtaken(),
                "a compensation waits behind {lane:?}"
            );
        }
    }
}
