//! Settling: ack and the other settles of a delivery, and how events leave a run. What a failure
//! comes to is `fail.rs`, what is recorded of settles is `cursor.rs`.

use bytes::Bytes;
use quadrille_proto::record::{self, HoldClass, Kind, ParkClass, SettleKind};

use super::admin::DiskUse;
use super::command::{Answer, Settle};
use super::cursor::Settles;
use super::durable::lane_record;
use super::fail::{Failure, policy};
use super::grip::Held;
use super::live::{Block, How, LaneState, LiveLane, bits};
use super::plan::Plan;
use super::refusal::Refusal;
use super::types::{EventRef, GroupId, RunId, Token};
use super::{Core, Sequencer};
use crate::time::Now;

/// How many finished runs of a group are remembered for repeated settles.
const FINISHED: usize = 256;

impl Core {
    /// Acknowledges deliveries; stale ones are answered one by one and harm nobody.
    pub(super) fn ack(
        &mut self,
        now: Now,
        tokens: &[Token],
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        let mut refused = Vec::new();
        let mut settles = Settles::default();
        for (index, token) in tokens.iter().enumerate() {
            match self.grip(token, How::Acked) {
                Ok(Some(grip)) => self.release_grip(grip, token, How::Acked, &mut settles),
                Ok(None) => {}
                Err(refusal) => refused.push((index, refusal)),
            }
            let other = tokens.get(index + 1).is_none_or(|next| next.group != token.group);
            if other && !settles.is_empty() {
                let record = self.settle_record(token.group, SettleKind::Ack, &mut settles);
                self.commit(now, seq, Plan::lazy(vec![record]));
                self.after_settles(now, token.group, 0, &mut settles, seq);
            }
        }
        Ok(Answer::Acked { refused })
    }

    pub(super) fn settle(
        &mut self,
        now: Now,
        token: &Token,
        settle: Settle,
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        let how = how(&settle);
        let Some(grip) = self.grip(token, how)? else { return Ok(Answer::Done) };
        let failure = match settle {
            Settle::Release => {
                self.mark(token, how);
                return self.release(now, token, grip, seq);
            }
            Settle::Retry { reason, after_ms } => {
                let after_ms = after_ms.map(|ms| self.check_delay(ms)).transpose()?;
                Failure::counted(HoldClass::Retry, &reason).after(after_ms)
            }
            Settle::Defer { after_ms } => {
                let after_ms = Some(self.check_delay(after_ms)?);
                Failure::counted(HoldClass::Defer, "").after(after_ms)
            }
            Settle::Unavailable { reason } => Failure::counted(HoldClass::Unavailable, &reason),
            Settle::DeadLetter { reason } => Failure::parked(ParkClass::Rejected, &reason),
            Settle::Dropped { reason } => Failure::counted(HoldClass::Dropped, &reason),
        };
        if !failure.parks() {
            self.check_disk(DiskUse::Other)?;
        }
        match grip {
            Held::Run => {
                self.check_turn(token)?;
                self.mark(token, how);
                self.fail(now, token.group, token.run, token.index, failure, seq);
            }
            Held::Earlier => self.fail_earlier(now, token, failure, seq)?,
        }
        Ok(Answer::Done)
    }

    /// User code is about to see an event of a careful run: recorded first, so that one that kills
    /// its process is parked in the end.
    pub(super) fn start_delivery(
        &mut self,
        now: Now,
        token: &Token,
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        let Some(Held::Run) = self.grip(token, How::Lost)? else {
            return Err(Refusal::lost(token.event));
        };
        self.check_turn(token)?;
        let lost = || Refusal::lost(token.event);
        let group = self.durable.groups.get(&token.group).ok_or_else(lost)?;
        let live = self.live.get_mut(&token.group);
        let run = live.and_then(|live| live.runs.get_mut(&token.run)).ok_or_else(lost)?;
        let bit = 1 << token.index;
        if !run.careful || run.started & bit != 0 {
            run.started |= bit;
            return Ok(Answer::Done);
        }
        let superseding = run.slots.get(token.index as usize).is_some_and(|slot| slot.superseding);
        let used = group.head(token.lane, token.event).map_or(0, |head| head.unaccounted);
        if used >= policy(group, superseding).max_attempts {
            let failure = Failure::parked(ParkClass::CrashesConsumer, "crashes its consumer");
            self.fail(now, token.group, token.run, token.index, failure, seq);
            return Err(Refusal::lost(token.event));
        }
        run.started |= bit;
        let record = record::HandedOut {
            group: token.group,
            event: Some(token.event.into()),
            lane: Some(lane_record(token.lane)),
        };
        self.commit(now, seq, Plan::lazy(vec![Kind::HandedOut(record)]));
        Ok(Answer::Done)
    }

    fn check_delay(&self, delay_ms: u64) -> Result<u64, Refusal> {
        let max_ms = self.limits.timer_delay_ms;
        match delay_ms > max_ms {
            true => Err(Refusal::DelayTooLong { delay_ms, max_ms }),
            false => Ok(delay_ms),
        }
    }

    fn release(
        &mut self,
        now: Now,
        token: &Token,
        grip: Held,
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        let group = self.group(token.group)?;
        let counted = group.head(token.lane, token.event).is_some_and(|head| head.unaccounted > 0);
        if counted {
            let record = record::Released {
                group: token.group,
                event: Some(token.event.into()),
                lane: Some(lane_record(token.lane)),
            };
            self.commit(now, seq, Plan::lazy(vec![Kind::Released(record)]));
        }
        if grip == Held::Run {
            let run = self.live.get(&token.group).and_then(|live| live.runs.get(&token.run));
            let back = run.map_or(0, |run| run.from(token.index));
            self.give_back(token.group, token.run, back);
        }
        Ok(Answer::Done)
    }

    /// Notes how the member itself settles, for when it says so again.
    fn mark(&mut self, token: &Token, how: How) {
        if token.epoch != self.epoch {
            return;
        }
        let live = self.live.get_mut(&token.group);
        let run = live.and_then(|live| live.runs.get_mut(&token.run));
        if let Some(slot) = run.and_then(|run| run.slots.get_mut(token.index as usize)) {
            slot.how = how;
        }
    }

    /// Events leave a run unsettled, as they were: back to the front of their lanes. Those of a
    /// deleted topic are gone.
    pub(super) fn give_back(&mut self, id: GroupId, run_id: RunId, back: u64) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let Some(run) = live.runs.get_mut(&run_id) else { return };
        let back = back & run.open();
        run.settled |= back;
        let member = run.member;
        let mut touched = Vec::new();
        for index in bits(back.reverse_bits()).map(|index| 63 - index) {
            let lane_id = run.lane_at(index as usize);
            let Some(slot) = run.slots.get_mut(index as usize) else { continue };
            slot.bytes = Bytes::new();
            let lane = live.lanes.entry(lane_id).or_insert_with(LiveLane::new);
            if self.durable.topics.get(slot.event.topic).is_some() {
                lane.waiting.push_front(slot.waiting());
            }
            if touched.last() != Some(&lane_id) {
                touched.push(lane_id);
            }
        }
        self.left_run(id, run_id, member, back.count_ones());
        for lane_id in touched.into_iter().rev() {
            self.make_ready(id, lane_id);
        }
    }

    /// Bookkeeping after events have left a run: credit, lease, the run itself.
    fn left_run(&mut self, id: GroupId, run_id: RunId, member: u64, count: u32) {
        let Some(live) = self.live.get_mut(&id) else { return };
        live.out = live.out.saturating_sub(count);
        if let Some(member) = live.members.get_mut(&member) {
            member.out = member.out.saturating_sub(count);
        }
        self.dirty.insert(id);
        if live.runs.get(&run_id).is_none_or(|run| !run.is_finished()) {
            return;
        }
        let Some(run) = live.runs.remove(&run_id) else { return };
        live.leases.remove(&(run.deadline, run_id));
        if let Some(lane) = run.lane.and_then(|lane| live.lanes.get_mut(&lane))
            && lane.state == LaneState::Out(run_id)
        {
            lane.state = LaneState::Idle;
        }
        live.finished.push_back(run);
        if live.finished.len() > FINISHED {
            live.finished.pop_front();
            live.forgot_runs = true;
        }
    }

    /// Takes a delivery out of its run (or out of the group's future) and notes what to record.
    pub(super) fn release_grip(
        &mut self,
        grip: Held,
        token: &Token,
        how: How,
        settles: &mut Settles,
    ) {
        let EventRef { topic, offset, .. } = token.event;
        settles.offsets.push((topic, offset));
        if grip == Held::Earlier {
            return self.release_earlier(token, settles);
        }
        let Some(live) = self.live.get_mut(&token.group) else { return };
        let Some(run) = live.runs.get_mut(&token.run) else { return };
        run.settled |= 1 << token.index;
        if let Some(slot) = run.slots.get_mut(token.index as usize) {
            slot.how = how;
            slot.bytes = Bytes::new();
            if slot.superseding {
                settles.turns.push((slot.saga, slot.turn));
            }
        }
        settles.careful += u32::from(run.careful);
        let (member, lane) = (run.member, run.lane);
        if lane.is_some() || self.is_listed(token.group, token.lane) {
            settles.lanes.push(token.lane);
        }
        self.left_run(token.group, token.run, member, 1);
    }

    /// An event that was handed out before a restart and is the first of its lane.
    fn release_earlier(&mut self, token: &Token, settles: &mut Settles) {
        let known = self.known_head(token).copied();
        let Some(live) = self.live.get_mut(&token.group) else { return };
        if let Some(head) = known
            && live.filter.supersedes(&head)
        {
            settles.turns.push((head.saga, head.turn));
        }
        if let Some(lane) = live.lanes.get_mut(&token.lane) {
            live.cached -= lane.take(|slot| slot.event == token.event);
            if let Some(gap) = &mut lane.gap {
                gap.from = gap.from.max(token.event.at.next());
            }
            if let Some(Block::Held(due)) = lane.block.take() {
                live.due.remove(&(due, token.lane));
            }
        }
        settles.lanes.push(token.lane);
    }
}

fn how(settle: &Settle) -> How {
    match settle {
        Settle::Retry { .. } => How::Retried,
        Settle::Defer { .. } => How::Deferred,
        Settle::Unavailable { .. } => How::Unavailable,
        Settle::DeadLetter { .. } => How::DeadLettered,
        Settle::Release => How::Released,
        Settle::Dropped { .. } => How::Dropped,
    }
}
