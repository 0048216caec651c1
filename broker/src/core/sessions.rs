//! Sessions: a resend by the same session gets the first receipts, exactly.

use quadrille_proto::record::{self, Kind};

use super::command::{NewEvent, Receipt, Receipts, SessionRef};
use super::durable::halves;
use super::plan::Plan;
use super::refusal::Refusal;
use super::types::{EventRef, TimerId, Token, TopicId};
use super::{Core, Sequencer};
use crate::time::Now;

impl Core {
    /// What a command says, to tell a resend from a reused sequence number.
    pub(super) fn digest(&self, events: &[NewEvent], settles: &[Token], cancel: &[TimerId]) -> u64 {
        let mut said = Vec::with_capacity(24 * (events.len() + settles.len() + cancel.len()));
        for event in events {
            said.extend(event.topic.to_le_bytes());
            said.extend(event.due.map_or(0, |due| due.max(1)).to_le_bytes());
            said.extend(self.hasher.digest("", &event.bytes).to_le_bytes());
        }
        for token in settles {
            said.extend(token.group.to_le_bytes());
            said.extend(token.event.at.entry.to_le_bytes());
            said.extend(token.event.at.index.to_le_bytes());
        }
        for timer in cancel {
            said.extend(timer.to_le_bytes());
        }
        self.hasher.digest("command", &said)
    }

    /// Makes sure that a session may send this command. Its receipts, if it has sent it before.
    pub(super) fn resent(
        &mut self,
        now: Now,
        session: SessionRef,
        digest: u64,
        seq: &mut dyn Sequencer,
    ) -> Result<Option<Receipts>, Refusal> {
        let known = self.durable.sessions.by_id.get(&session.id);
        let sequence = session.sequence;
        let confirmed = known.map_or(0, |it| it.confirmed).max(session.confirmed);
        if sequence <= confirmed {
            return Err(Refusal::SequenceForgotten { sequence, confirmed });
        }
        let max = self.limits.session_receipts;
        match known.and_then(|it| it.receipts.get(&sequence)) {
            Some((had, _)) if *had != digest => return Err(Refusal::SequenceReused { sequence }),
            Some((_, receipts)) => {
                let receipts = Receipts::of(receipts.iter().map(receipt).collect());
                self.heard.insert(session.id, now.mono);
                return Ok(Some(receipts));
            }
            None => {}
        }
        if let Some(it) = known.filter(|it| it.receipts.len() >= max) {
            let used = it.receipts.range(confirmed + 1..).count();
            if used >= max {
                return Err(Refusal::LimitReached {
                    what: "the number of unconfirmed commands of the session",
                    used: used as u64,
                    max: max as u64,
                    relief: "confirm what was answered",
                });
            }
        }
        if known.is_none() && self.durable.sessions.by_id.len() >= self.limits.sessions {
            self.end_oldest_sessions(now, seq);
        }
        self.heard.insert(session.id, now.mono);
        Ok(None)
    }

    /// Adds the record that keeps the receipts.
    pub(super) fn plan_receipt(
        &self,
        session: SessionRef,
        digest: u64,
        receipts: &[Receipt],
        plan: &mut Plan,
    ) {
        let (hi, lo) = halves(session.id);
        plan.records.push(Kind::SessionReceipt(record::SessionReceipt {
            hi,
            lo,
            sequence: session.sequence,
            confirmed: session.confirmed,
            receipts: receipts.iter().map(|it| to_record(it, plan.sync)).collect(),
            digest,
        }));
    }

    pub(super) fn end_session(&mut self, now: Now, id: u128, seq: &mut dyn Sequencer) {
        if self.durable.sessions.by_id.contains_key(&id) {
            self.end_sessions(now, &[id], false, seq);
        }
    }

    /// Ends sessions that were silent for too long.
    pub(super) fn expire_sessions(&mut self, now: Now, seq: &mut dyn Sequencer) {
        let dead = now.mono.saturating_sub(self.limits.session_idle_ms);
        let heard = |id: &u128| self.heard.get(id).copied().unwrap_or(self.started);
        let sessions = self.durable.sessions.by_id.keys();
        let gone: Vec<u128> = sessions.copied().filter(|id| heard(id) < dead).collect();
        self.end_sessions(now, &gone, true, seq);
    }

    /// Makes room for a new session, and a few more, so that looking for the oldest is rare.
    fn end_oldest_sessions(&mut self, now: Now, seq: &mut dyn Sequencer) {
        let sessions = &self.durable.sessions.by_id;
        let over = (sessions.len() + 1).saturating_sub(self.limits.sessions);
        let mut all: Vec<_> = sessions.iter().map(|(id, it)| (it.time, *id)).collect();
        all.sort_unstable();
        all.truncate(over + self.limits.sessions / 64);
        let gone: Vec<u128> = all.into_iter().map(|(_, id)| id).collect();
        self.end_sessions(now, &gone, true, seq);
    }

    fn end_sessions(&mut self, now: Now, ids: &[u128], expired: bool, seq: &mut dyn Sequencer) {
        for id in ids {
            self.heard.remove(id);
        }
        if !ids.is_empty() {
            let records = ids.iter().map(|id| ended(*id, expired)).collect();
            self.commit(now, seq, Plan::lazy(records));
        }
    }

    /// The armed timer that will append this event.
    pub fn timer_of(&self, topic: TopicId, source: &str, id: &str) -> Option<TimerId> {
        self.armed_id(self.hasher.id(source, id, topic)).map(|(timer, _)| timer)
    }

    /// The armed timer that holds an event of this id.
    pub(super) fn armed_id(&self, id: u128) -> Option<(TimerId, u64)> {
        let timer = self.armed.get(&id)?;
        Some((*timer, self.durable.timers.get(*timer)?.due))
    }
}

fn ended(id: u128, expired: bool) -> Kind {
    let (hi, lo) = halves(id);
    Kind::SessionEnded(record::SessionEnded { hi, lo, expired })
}

/// A receipt as records keep it. The entry's number is the record's own.
fn to_record(receipt: &Receipt, synced: bool) -> record::Receipt {
    match *receipt {
        Receipt::Appended { event, .. } => record::Receipt {
            topic: event.topic,
            offset: event.offset,
            at: Some(event.at.into()),
            synced,
            ..Default::default()
        },
        Receipt::Duplicate { topic, offset } => {
            record::Receipt { topic, offset, duplicate: true, ..Default::default() }
        }
        Receipt::Scheduled { timer, due } => record::Receipt { timer, due, ..Default::default() },
    }
}

fn receipt(it: &record::Receipt) -> Receipt {
    match it {
        it if it.timer != 0 => Receipt::Scheduled { timer: it.timer, due: it.due },
        it if it.duplicate => Receipt::Duplicate { topic: it.topic, offset: it.offset },
        it => {
            let event = record::EventRef { topic: it.topic, offset: it.offset, at: it.at };
            Receipt::Appended { event: EventRef::from(&event), synced: it.synced }
        }
    }
}
