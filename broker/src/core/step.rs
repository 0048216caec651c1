//! The step: settle, publish, arm and cancel timers, in one entry.

use hashbrown::HashSet;
use quadrille_proto::record::{self, Kind, SettleKind};

use super::admin::DiskUse;
use super::command::{Answer, Receipts, SessionRef, Step};
use super::cursor::Settles;
use super::facts::Facts;
use super::grip::Held;
use super::live::How;
use super::plan::Plan;
use super::publish::Origin;
use super::refusal::Refusal;
use super::types::Token;
use super::{Core, Sequencer};
use crate::time::Now;

impl Core {
    pub(super) fn step(
        &mut self,
        now: Now,
        step: Step,
        facts: Vec<Facts>,
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        let digest = |session| (session, self.digest(&step.events, &step.settles, &step.cancel));
        let session = step.session.map(digest);
        if let Some((session, digest)) = session
            && let Some(receipts) = self.resent(now, session, digest, seq)?
        {
            return Ok(Answer::Published(receipts));
        }
        if step.settles.is_empty() && step.events.is_empty() && step.cancel.is_empty() {
            return Err(Refusal::Empty);
        }
        let (max_events, max_bytes) = (self.limits.step_events, self.limits.command_bytes);
        if step.events.len() > max_events {
            let bytes = step.events.iter().map(|event| event.bytes.len()).sum();
            let events = step.events.len();
            return Err(Refusal::CommandTooLarge { events, bytes, max_events, max_bytes });
        }
        if !step.events.is_empty() {
            self.check_disk(DiskUse::Step)?;
        }
        let grips = self.step_grips(&step.settles)?;
        if grips.is_empty() && !step.settles.is_empty() {
            // The same step again, by the same tokens: it has happened, once.
            return Ok(Answer::Published(Receipts::Each(Vec::new())));
        }
        self.commit_step(now, step, facts, session, grips, seq)
    }

    /// Who holds what a step settles: all of it is held, or (and then nothing is answered) all of
    /// it was settled by this very step.
    fn step_grips(&self, tokens: &[Token]) -> Result<Vec<(Held, Token)>, Refusal> {
        let mut grips = Vec::with_capacity(tokens.len());
        let mut seen = HashSet::with_capacity(tokens.len());
        let mut before = None;
        for token in tokens {
            if let Some(first) = tokens.first().filter(|it| it.group != token.group) {
                return Err(Refusal::SeveralGroups(first.group, token.group));
            }
            match self.grip(token, How::Stepped)? {
                Some(grip) if seen.insert(*token) => grips.push((grip, *token)),
                Some(_) => {}
                None => before = Some(token),
            }
        }
        match before {
            Some(token) if !grips.is_empty() => Err(Refusal::lost(token.event)),
            _ => Ok(grips),
        }
    }

    fn commit_step(
        &mut self,
        now: Now,
        step: Step,
        facts: Vec<Facts>,
        session: Option<(SessionRef, u64)>,
        grips: Vec<(Held, Token)>,
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        let mut plan = Plan::sync(Vec::with_capacity(step.events.len() + 2));
        let origin = self.origin(&step.settles);
        // The settle comes first; its record is completed once nothing can be refused any more.
        if !grips.is_empty() {
            plan.records.push(Kind::Settled(record::Settled::default()));
        }
        let receipts = match step.events.is_empty() {
            true => Vec::new(),
            false => self.plan_events(now, &step.events, facts, origin, &mut plan)?,
        };
        for timer in step.cancel {
            if self.durable.timers.get(timer).is_some() {
                plan.records.push(Kind::TimerCancelled(record::TimerCancelled { timer }));
            }
        }
        if let Some((session, digest)) = session {
            self.plan_receipt(session, digest, &receipts, &mut plan);
        }
        let group = step.settles.first().map(|token| token.group);
        let mut settles = Settles::default();
        for (grip, token) in grips {
            self.release_grip(grip, &token, How::Stepped, &mut settles);
        }
        if let Some(group) = group
            && let Some(first) = plan.records.first_mut()
        {
            *first = self.settle_record(group, SettleKind::Step, &mut settles);
        }
        let receipts = self.commit_events(now, seq, plan, receipts);
        if let Some(group) = group {
            let stamp = self.last_sync;
            self.after_settles(now, group, stamp, &mut settles, seq);
        }
        Ok(Answer::Published(receipts))
    }

    /// What the emitted events inherit: the highest turn of what the step settles, and the lowest
    /// of the deliveries.
    fn origin(&self, tokens: &[Token]) -> Origin {
        // A run of an earlier epoch may have the number of another one now.
        let turn = |token: &Token| {
            if token.epoch != self.epoch {
                return None;
            }
            let live = self.live.get(&token.group)?;
            let run = live.runs.get(&token.run)?;
            run.slots.get(token.index as usize).map(|slot| slot.turn)
        };
        let earlier = |token: &Token| {
            self.tail.get(token.event.topic, token.event.offset).map(|event| event.head.turn)
        };
        let turns = tokens.iter().filter_map(|token| turn(token).or_else(|| earlier(token)));
        let lowest = tokens.iter().min_by_key(|token| token.event);
        Origin { turn: turns.max(), emitted_by: lowest.map(|token| (token.group, token.event)) }
    }
}
