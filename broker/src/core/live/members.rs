//! Members and their leases: who is here, who holds what since when, and what happens to it when
//! they go.

use super::super::command::{Answer, Renewal};
use super::super::fail::Failure;
use super::super::output::{Closed, Output};
use super::super::refusal::Refusal;
use super::super::types::{GroupId, MemberId, RunId, Token};
use super::super::{Core, Sequencer};
use super::{LiveMember, run};
use crate::time::Now;
use quadrille_proto::record::HoldClass;

impl Core {
    pub(in super::super) fn join(
        &mut self,
        now: Now,
        group: GroupId,
        name: String,
        credit: u32,
    ) -> Result<Answer, Refusal> {
        self.group(group)?;
        if self.shutting_down {
            return Err(Refusal::ShuttingDown);
        }
        let member = self.next_member;
        self.next_member += 1;
        let credit = credit.clamp(1, self.limits.member_credit);
        let it = LiveMember { name, credit, out: 0, draining: false, since: now.mono };
        if let Some(live) = self.live.get_mut(&group) {
            live.members.insert(member, it);
        }
        self.members.insert(member, group);
        self.dirty.insert(group);
        Ok(Answer::Joined { member })
    }

    /// A member goes: what it had started counts, what it had buffered does not.
    pub(in super::super) fn leave(
        &mut self,
        now: Now,
        member: MemberId,
        started: &[Token],
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        let group = self.member_group(member)?;
        for token in started {
            let run = self.live.get_mut(&group).and_then(|live| live.runs.get_mut(&token.run));
            if let Some(run) = run.filter(|run| run.member == member) {
                run.started |= 1 << (token.index & 63);
            }
        }
        for run in self.runs_of(group, member) {
            self.take_back(now, group, run, HoldClass::MemberLost, "its member was lost", seq);
        }
        if let Some(live) = self.live.get_mut(&group) {
            live.members.remove(&member);
        }
        self.members.remove(&member);
        self.dirty.insert(group);
        let why = Closed::Left;
        self.outputs.push_back(Output::MemberClosed { member, why });
        Ok(Answer::Done)
    }

    /// A member gives back what it has not started, and gets nothing more.
    pub(in super::super) fn drain(&mut self, member: MemberId) -> Result<Answer, Refusal> {
        let group = self.member_group(member)?;
        if let Some(it) = self.live.get_mut(&group).and_then(|it| it.members.get_mut(&member)) {
            it.draining = true;
        }
        let runs = self.runs_of(group, member);
        for run in &runs {
            let open = self.live.get(&group).and_then(|live| live.runs.get(run));
            let back = open.map_or(0, |run| run.open() & !run.started);
            self.give_back(group, *run, back);
        }
        Ok(Answer::Drained(runs))
    }

    pub(in super::super) fn renew(
        &mut self,
        now: Now,
        member: MemberId,
        renewals: &[Renewal],
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        let group = self.member_group(member)?;
        let deadline = self.lease_time(now).saturating_add(self.lease_ms(group));
        for it in renewals {
            let Some(live) = self.live.get_mut(&group) else { break };
            let Some(run) = live.runs.get_mut(&it.run) else { continue };
            if run.member != member {
                continue;
            }
            run.started |= it.started | it.expired;
            live.leases.remove(&(run.deadline, it.run));
            run.deadline = deadline;
            live.leases.insert((deadline, it.run));
            let expired = it.expired & run.open();
            if expired != 0 {
                let reason = "its handler ran longer than handler_timeout";
                self.expire(now, group, it.run, expired, reason, seq);
            }
        }
        Ok(Answer::Done)
    }

    /// Leases that have ended.
    pub(in super::super) fn expire_leases(&mut self, now: Now, seq: &mut dyn Sequencer) {
        let time = self.lease_time(now);
        let groups: Vec<GroupId> = self.live.keys().copied().collect();
        for group in groups {
            while let Some(live) = self.live.get(&group)
                && let Some((deadline, run)) = live.leases.first().copied()
                && deadline <= time
            {
                let member = live.runs.get(&run).map(|run| (run.member, run.open()));
                self.take_back(now, group, run, HoldClass::LeaseExpired, "its lease ended", seq);
                if let Some((member, open)) = member {
                    let indexes = run::bits(open).collect();
                    self.outputs.push_back(Output::LeaseLost { member, run, indexes });
                }
                self.dirty.insert(group);
            }
        }
    }

    /// Some events of a run are taken from their member; of a lane, also all that follow.
    fn expire(
        &mut self,
        now: Now,
        group: GroupId,
        run: RunId,
        expired: u64,
        reason: &str,
        seq: &mut dyn Sequencer,
    ) {
        let Some(it) = self.live.get(&group).and_then(|live| live.runs.get(&run)) else { return };
        let (member, expired) = (it.member, it.reachable(expired));
        let lost = run::bits(expired).fold(0, |lost, index| lost | it.from(index));
        for index in run::bits(expired) {
            let failure = Failure::counted(HoldClass::LeaseExpired, reason);
            self.fail(now, group, run, index, failure, seq);
        }
        if lost != 0 {
            let indexes = run::bits(lost).collect();
            self.outputs.push_back(Output::LeaseLost { member, run, indexes });
        }
    }

    /// All of a run is taken back: what was started counts as an attempt, the rest is as before.
    fn take_back(
        &mut self,
        now: Now,
        group: GroupId,
        run: RunId,
        class: HoldClass,
        reason: &str,
        seq: &mut dyn Sequencer,
    ) {
        let Some(it) = self.live.get(&group).and_then(|live| live.runs.get(&run)) else {
            if let Some(live) = self.live.get_mut(&group) {
                live.leases.retain(|(_, of)| *of != run);
            }
            return;
        };
        let started = it.reachable(it.started);
        for index in run::bits(started) {
            self.fail(now, group, run, index, Failure::counted(class, reason), seq);
        }
        let rest = self.live.get(&group).and_then(|live| live.runs.get(&run));
        let rest = rest.map_or(0, super::LiveRun::open);
        self.give_back(group, run, rest);
    }

    pub(in super::super) fn member_group(&self, member: MemberId) -> Result<GroupId, Refusal> {
        self.members.get(&member).copied().ok_or(Refusal::UnknownMember(member))
    }

    fn runs_of(&self, group: GroupId, member: MemberId) -> Vec<RunId> {
        let live = self.live.get(&group);
        let runs = live.into_iter().flat_map(|live| live.runs.values());
        runs.filter(|run| run.member == member).map(|run| run.id).collect()
    }

    /// Leases run on a clock of their own, which stands still while the process or the machine
    /// did.
    pub(in super::super) fn lease_time(&self, now: Now) -> u64 {
        now.mono.saturating_sub(self.lease_shift)
    }

    pub(in super::super) fn lease_ms(&self, group: GroupId) -> u64 {
        self.durable.groups.get(&group).map_or(30_000, |group| group.config.lease_ms)
    }
}
