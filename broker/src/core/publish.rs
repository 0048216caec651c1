//! Publishing: what a publish, a step, a fired timer and a dead letter have in common is decided
//! here, in this order: session, size, shape, repeats, offsets.

use std::collections::BTreeMap;

use bytes::Bytes;
use hashbrown::HashMap;
use quadrille_proto::record::{self, Durability, Kind};
use quadrille_proto::{EventView, name};

use super::admin::DiskUse;
use super::command::{Answer, NewEvent, Publish, Receipt, Receipts};
use super::dedup::{DIGEST_MASK, Seen};
use super::durable::Topic;
use super::facts::Facts;
use super::plan::{Appended, Plan};
use super::refusal::Refusal;
use super::types::{EventRef, GroupId, Head, TimerId, TopicId};
use super::{Core, Sequencer};
use crate::time::Now;

/// Why events are appended: what their records say beside their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Origin {
    /// The turn of the deliveries that a step settles; otherwise the event's own field counts.
    pub turn: Option<u32>,
    /// The lowest of these deliveries, and its group.
    pub emitted_by: Option<(GroupId, EventRef)>,
}

/// The running numbers of one command: next offsets and next timer.
#[derive(Default)]
struct Numbers {
    offsets: BTreeMap<TopicId, u64>,
    timers: u64,
    /// Ids of this very command, with digest and index of the receipt.
    ids: HashMap<u128, (u64, usize)>,
}

impl Core {
    pub(super) fn publish(
        &mut self,
        now: Now,
        command: Publish,
        facts: Vec<Facts>,
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        let session = command.session.map(|it| (it, self.digest(&command.events, &[], &[])));
        if let Some((session, digest)) = session
            && let Some(receipts) = self.resent(now, session, digest, seq)?
        {
            return Ok(Answer::Published(receipts));
        }
        self.check_disk(DiskUse::Publish)?;
        if command.events.is_empty() {
            return Err(Refusal::Empty);
        }
        let mut plan = Plan::default();
        let receipts =
            self.plan_events(now, &command.events, facts, Origin::default(), &mut plan)?;
        if let Some((session, digest)) = session {
            self.plan_receipt(session, digest, &receipts, &mut plan);
        }
        Ok(Answer::Published(self.commit_events(now, seq, plan, receipts)))
    }

    /// Commits a plan with events and gives their receipts the entry's number.
    pub(super) fn commit_events(
        &mut self,
        now: Now,
        seq: &mut dyn Sequencer,
        plan: Plan,
        mut receipts: Vec<Receipt>,
    ) -> Receipts {
        let sync = plan.sync;
        let entry = match plan.records.is_empty() {
            true => 0,
            false => self.commit(now, seq, plan),
        };
        for receipt in &mut receipts {
            if let Receipt::Appended { event, synced } = receipt {
                event.at.entry = entry;
                *synced = sync;
            }
        }
        Receipts::of(receipts)
    }

    /// Decides on events: records into `plan`, receipts back (entry numbers still missing).
    pub(super) fn plan_events(
        &self,
        now: Now,
        events: &[NewEvent],
        mut facts: Vec<Facts>,
        origin: Origin,
        plan: &mut Plan,
    ) -> Result<Vec<Receipt>, Refusal> {
        self.check_size(events)?;
        if facts.len() != events.len() {
            facts = Facts::of(events, &self.hasher, &self.limits)?;
        }
        // In a loop of its own the cache misses of a batch overlap.
        let seen: Vec<_> = facts.iter().map(|it| self.ids.find(it.id)).collect();
        let mut numbers = Numbers::default();
        let mut receipts = Vec::with_capacity(events.len());
        plan.records.reserve(events.len());
        plan.appended.reserve(events.len());
        for ((event, facts), seen) in events.iter().zip(&facts).zip(seen) {
            let topic = self.topic_for(event.topic)?;
            let known = self.known(event, facts, seen, &numbers, &receipts)?;
            let receipt = match (known, event.due) {
                (Some(receipt), _) => receipt,
                (None, Some(due)) => {
                    self.plan_timer(now, event, due, facts, origin, &mut numbers, plan)?
                }
                (None, None) => {
                    let offset = numbers.offsets.entry(event.topic).or_insert(topic.next);
                    let event = (event.topic, *offset, event.bytes.clone());
                    *offset += 1;
                    self.plan_append(event, topic, facts, origin, plan)
                }
            };
            if known.is_none() && events.len() > 1 {
                numbers.ids.insert(facts.id, (facts.digest, receipts.len()));
            }
            receipts.push(receipt);
        }
        Ok(receipts)
    }

    fn plan_append(
        &self,
        (topic_id, offset, bytes): (TopicId, u64, Bytes),
        topic: &Topic,
        facts: &Facts,
        origin: Origin,
        plan: &mut Plan,
    ) -> Receipt {
        let turn = self.turn_of(facts, origin);
        let index = u32::try_from(plan.records.len()).unwrap_or(u32::MAX);
        let mut event = EventRef { topic: topic_id, offset, ..EventRef::default() };
        event.at.index = index;
        let synced = topic.config.durability() == Durability::Synced;
        plan.sync |= synced;
        plan.appended.push(Appended {
            index,
            head: Head { event, turn, ..facts.head },
            id: facts.id,
            digest: facts.digest,
            len: bytes.len(),
        });
        let (group, by) = origin.emitted_by.unzip();
        plan.records.push(Kind::EventAppended(record::EventAppended {
            topic: topic_id,
            offset,
            turn,
            emitted_by: by.map(Into::into),
            emitted_by_group: group.unwrap_or(0),
            event: bytes,
            ..Default::default()
        }));
        Receipt::Appended { event, synced }
    }

    #[expect(clippy::too_many_arguments, reason = "the pieces of one decision")]
    fn plan_timer(
        &self,
        now: Now,
        event: &NewEvent,
        due: u64,
        facts: &Facts,
        origin: Origin,
        numbers: &mut Numbers,
        plan: &mut Plan,
    ) -> Result<Receipt, Refusal> {
        let delay_ms = due.saturating_sub(now.wall);
        let max_ms = self.limits.timer_delay_ms;
        if delay_ms > max_ms {
            return Err(Refusal::DelayTooLong { delay_ms, max_ms });
        }
        let used = self.durable.timers.len() as u64 + numbers.timers;
        if used >= self.limits.timers as u64 {
            return Err(Refusal::LimitReached {
                what: "the number of armed timers",
                used,
                max: self.limits.timers as u64,
                relief: "cancel some, or wait for them to fire",
            });
        }
        let timer: TimerId = self.durable.topics.next_timer + numbers.timers;
        numbers.timers += 1;
        let turn = self.turn_of(facts, origin);
        let (id_hi, id_lo) = super::durable::halves(facts.id);
        plan.sync = true;
        plan.records.push(Kind::TimerArmed(record::TimerArmed {
            timer,
            topic: event.topic,
            due,
            turn,
            id_hi,
            id_lo,
            event: event.bytes.clone(),
        }));
        Ok(Receipt::Scheduled { timer, due })
    }

    /// An event's turn is its cause's, plus one if its type supersedes in any group.
    fn turn_of(&self, facts: &Facts, origin: Origin) -> u32 {
        let turn = origin.turn.unwrap_or(facts.turn);
        turn.saturating_add(u32::from(self.superseding.contains(&facts.head.ty)))
    }

    /// The receipt of an event that was published before, in the window, armed, or a few events
    /// back in this command.
    fn known(
        &self,
        event: &NewEvent,
        it: &Facts,
        seen: Option<Seen>,
        numbers: &Numbers,
        receipts: &[Receipt],
    ) -> Result<Option<Receipt>, Refusal> {
        let topic = event.topic;
        let reused = |offset| {
            let view = EventView::parse(&event.bytes).unwrap_or_default();
            Refusal::IdReused {
                id: view.id.to_owned(),
                source_name: view.source.to_owned(),
                topic: self.durable.topics.name(topic).to_owned(),
                offset,
            }
        };
        if let Some(seen) = seen {
            return match seen.digest == it.digest & DIGEST_MASK {
                true => Ok(Some(Receipt::Duplicate { topic, offset: seen.offset })),
                false => Err(reused(seen.offset)),
            };
        }
        if let Some((timer, due)) = self.armed_id(it.id) {
            return Ok(Some(Receipt::Scheduled { timer, due }));
        }
        let Some((digest, index)) = numbers.ids.get(&it.id) else { return Ok(None) };
        let first = receipts.get(*index).copied();
        let offset = match first {
            Some(Receipt::Appended { event, .. }) => event.offset,
            _ => 0,
        };
        if *digest != it.digest {
            return Err(reused(offset));
        }
        Ok(Some(match first {
            Some(Receipt::Appended { event, .. }) => {
                Receipt::Duplicate { topic, offset: event.offset }
            }
            Some(receipt) => receipt,
            None => Receipt::Duplicate { topic, offset },
        }))
    }

    fn check_size(&self, events: &[NewEvent]) -> Result<(), Refusal> {
        let bytes: usize = events.iter().map(|event| event.bytes.len()).sum();
        let (max_events, max_bytes) = (self.limits.command_events, self.limits.command_bytes);
        if events.len() > max_events || bytes > max_bytes {
            let events = events.len();
            return Err(Refusal::CommandTooLarge { events, bytes, max_events, max_bytes });
        }
        Ok(())
    }

    fn topic_for(&self, id: TopicId) -> Result<&Topic, Refusal> {
        let topic = self.durable.topics.get(id).ok_or(Refusal::UnknownTopicNumber(id))?;
        if name::is_reserved(&topic.name) {
            return Err(Refusal::Reserved(topic.name.clone()));
        }
        Ok(topic)
    }

    /// Appends the events of due timers, with the bytes that the caller has read back.
    pub(super) fn fire(
        &mut self,
        now: Now,
        timers: Vec<(TimerId, Bytes)>,
        seq: &mut dyn Sequencer,
    ) -> Answer {
        let mut plan = Plan::sync(Vec::with_capacity(timers.len()));
        let mut numbers = Numbers::default();
        for (id, bytes) in timers {
            self.reading_timers.remove(&id);
            let Some(timer) = self.durable.timers.get(id).copied() else { continue };
            let Ok(view) = EventView::parse(&bytes) else { continue };
            let Some(topic) = self.durable.topics.get(timer.topic) else {
                plan.records.push(Kind::TimerCancelled(record::TimerCancelled { timer: id }));
                continue;
            };
            let offset = numbers.offsets.entry(timer.topic).or_insert(topic.next);
            let place = (timer.topic, *offset, bytes.clone());
            *offset += 1;
            // The stamped turn was decided when the timer was armed.
            let facts = Facts::of_view(&view, timer.topic, &self.hasher);
            let facts = Facts { id: timer.id, ..facts };
            self.plan_append(place, topic, &facts, Origin::default(), &mut plan);
            if let Some(appended) = plan.appended.last_mut() {
                appended.head.turn = timer.turn;
            }
            if let Some(Kind::EventAppended(it)) = plan.records.last_mut() {
                it.timer = id;
                it.turn = timer.turn;
            }
        }
        if !plan.records.is_empty() {
            self.commit(now, seq, plan);
        }
        Answer::Done
    }

    pub(super) fn cancel_timer(
        &mut self,
        now: Now,
        timer: TimerId,
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        self.durable.timers.get(timer).ok_or(Refusal::UnknownTimer(timer))?;
        // Whoever was reading its bytes may have found none.
        self.reading_timers.remove(&timer);
        let record = Kind::TimerCancelled(record::TimerCancelled { timer });
        self.commit(now, seq, Plan::sync(vec![record]));
        Ok(Answer::Done)
    }
}
