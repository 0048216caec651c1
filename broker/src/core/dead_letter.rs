//! Dead letters: parking with an account on `quadrille.dead_letters`, and resolving.

use bytes::{Bytes, BytesMut};
use quadrille_proto::record::{self, Kind, LaneMoved, ParkClass, Resolution, SettleKind};
use quadrille_proto::{Event, EventView, name};

use super::admin::DEAD_LETTERS;
use super::command::{Answer, Resolve};
use super::durable::{Dead, lane_record};
use super::facts;
use super::fail::Subject;
use super::live::{Block, LiveLane, Slot, place_lane};
use super::output::{Notice, Output};
use super::plan::{Appended, Plan};
use super::refusal::Refusal;
use super::types::{EventRef, GroupId, Head, LaneId, Stamp};
use super::{Core, Sequencer};
use crate::time::Now;

impl Core {
    /// Nobody but a person can say what becomes of this event. Its account is published in the same
    /// entry: a reference and the story, no payload.
    pub(super) fn park(
        &mut self,
        now: Now,
        subject: &Subject,
        class: ParkClass,
        attempts: u32,
        reason: String,
        seq: &mut dyn Sequencer,
    ) {
        let Subject { id, lane, event, .. } = *subject;
        let Ok(group) = self.group(id) else { return };
        let (name, blocking) = (group.name.clone(), self.blocks(group, lane));
        let known = self.tail.get(event.topic, event.offset).map(|event| &event.bytes);
        let known = known.unwrap_or(&subject.bytes);
        let view = EventView::parse(known).unwrap_or_default();
        let lanes = match blocking {
            true => Vec::new(),
            false => self.moved_past(id, lane, event),
        };
        let parked = record::Parked {
            group: id,
            event: Some(event.into()),
            lane: Some(lane_record(lane)),
            class: class.into(),
            attempts,
            reason: reason.clone(),
            blocking,
            member: subject.member.clone(),
            event_type: view.ty.to_owned(),
            event_id: view.id.to_owned(),
            saga: view.saga_or_id().to_owned(),
            lanes,
        };
        let mut plan = Plan::sync(vec![Kind::Parked(parked.clone())]);
        if !name::is_reserved(self.durable.topics.name(event.topic)) {
            self.plan_account(now, &name, &parked, &mut plan);
        }
        let entry = self.commit(now, seq, plan);
        let notice = Notice::Parked { group: name, event, attempts, reason, blocking };
        self.outputs.push_back(Output::Notice(notice));
        match blocking {
            true => self.block_lane(id, lane, event, Block::Parked, entry),
            false => self.go_on(id, lane, event, entry),
        }
    }

    /// The lane goes on behind an event that is settled now.
    fn go_on(&mut self, id: GroupId, lane_id: LaneId, event: EventRef, entry: u64) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let Some(lane) = live.lanes.get_mut(&lane_id) else { return };
        live.cached -= lane.take(|slot| slot.event == event);
        if let Some(gap) = &mut lane.gap
            && lane.waiting.is_empty()
        {
            gap.from = gap.from.max(event.at.next());
        }
        if let Some(Block::Held(due)) = lane.block.take() {
            live.due.remove(&(due, lane_id));
        }
        lane.stamp = entry;
        self.make_ready(id, lane_id);
    }

    /// Where a listed lane's first unsettled event is once this one is settled.
    fn moved_past(&self, id: GroupId, lane_id: LaneId, event: EventRef) -> Vec<LaneMoved> {
        let mut moved = self.lane_moved(id, lane_id);
        if let Some(it) = moved.first_mut() {
            let lane = self.live.get(&id).and_then(|live| live.lanes.get(&lane_id));
            let next = lane.and_then(|lane| {
                let waiting = lane.waiting.iter().find(|slot| slot.event > event);
                let gap = lane.gap.map(|gap| gap.from.max(event.at.next()));
                waiting.map(|slot| slot.event.at).or(gap)
            });
            it.first = next.map(Into::into);
        }
        moved
    }

    /// The account of a parked event, as an event of the bus's own.
    fn plan_account(&self, now: Now, group: &str, parked: &record::Parked, plan: &mut Plan) {
        let (topic, offset) = match self.durable.topics.id(DEAD_LETTERS) {
            Some(topic) => (topic, self.durable.topics.get(topic).map_or(0, |it| it.next)),
            None => {
                let topic = self.durable.topics.next_topic;
                let (name, config) = (DEAD_LETTERS.to_owned(), Some(Default::default()));
                let created = record::TopicCreated { topic, name, config };
                plan.records.push(Kind::TopicCreated(created));
                (topic, 0)
            }
        };
        let event = EventRef::from(&parked.event.unwrap_or_default());
        let topic_name = self.durable.topics.name(event.topic);
        let account = Event::new("quadrille.dead_letter")
            .id(format!("{group}-{}-{offset}", event.at))
            .source("quadrille")
            .saga(parked.saga.as_str())
            .cause(parked.event_id.as_str())
            .time(now.wall)
            .content_type("application/json")
            .data(story(group, topic_name, event, parked));
        let mut bytes = BytesMut::with_capacity(account.encoded_len());
        account.encode(&mut bytes);
        let view = account.view();
        let index = u32::try_from(plan.records.len()).unwrap_or(u32::MAX);
        let mut place = EventRef { topic, offset, ..EventRef::default() };
        place.at.index = index;
        plan.appended.push(Appended {
            index,
            head: Head::of(&view, &self.hasher, Stamp { event: place, ..Stamp::default() }),
            id: self.hasher.id(view.source, view.id, topic),
            digest: self.hasher.digest(view.ty, view.data),
            len: bytes.len(),
        });
        plan.records.push(Kind::EventAppended(record::EventAppended {
            topic,
            offset,
            event: bytes.freeze(),
            ..Default::default()
        }));
    }

    pub(super) fn resolve(
        &mut self,
        now: Now,
        it: Resolve,
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        let group = self.group(it.group)?;
        let dead = group.dead_at(it.at).ok_or_else(|| Refusal::NoDeadLetter {
            group: group.name.clone(),
            event: it.at.to_string(),
        })?;
        let skip = it.how == Resolution::ResolveSkip;
        if dead.superseded_by.is_some() && !skip && !it.override_superseded {
            return Err(Refusal::WasSuperseded(it.at.to_string()));
        }
        let replacement = match it.how {
            Resolution::ResolveReplace => self.checked(it.replacement.as_ref())?,
            Resolution::ResolveRetry | Resolution::ResolveSkip => Bytes::new(),
        };
        let event = dead.parked.event.as_ref().map(EventRef::from).unwrap_or_default();
        let (lane, blocking) = target(dead, event);
        let lanes = match (skip, blocking) {
            (true, true) => self.moved_past_head(it.group, lane, event),
            (true, false) => Vec::new(),
            (false, _) => {
                let (lane, first) = (Some(lane_record(lane)), Some(event.at.into()));
                vec![LaneMoved { lane, first }]
            }
        };
        let mut records = vec![Kind::Resolved(record::Resolved {
            group: it.group,
            event: Some(event.into()),
            how: it.how.into(),
            by: it.by,
            comment: it.comment,
            replacement,
            lanes,
        })];
        if skip && blocking {
            records.extend(self.skipped_turn(it.group, lane, event));
        }
        let entry = self.commit(now, seq, Plan::sync(records));
        match skip {
            true if blocking => self.go_on(it.group, lane, event, entry),
            true => {}
            false => self.retry_lane(it.group, lane, event, entry),
        }
        Ok(Answer::Resolved(event))
    }

    /// The bytes of an event that may take another's place.
    fn checked(&self, bytes: Option<&Bytes>) -> Result<Bytes, Refusal> {
        let bytes = bytes.ok_or(Refusal::ReplacementMissing)?;
        facts::view(0, bytes, &self.limits)?;
        Ok(bytes.clone())
    }

    /// A parked head that is skipped: its lane is listed, so it is always said where it goes on.
    fn moved_past_head(&self, id: GroupId, lane: LaneId, event: EventRef) -> Vec<LaneMoved> {
        let moved = self.moved_past(id, lane, event);
        match moved.is_empty() {
            true => vec![LaneMoved { lane: Some(lane_record(lane)), first: None }],
            false => moved,
        }
    }

    /// A compensation that is skipped has been taken all the same: what it undid stays undone.
    fn skipped_turn(&self, id: GroupId, lane_id: LaneId, event: EventRef) -> Option<Kind> {
        let group = self.durable.groups.get(&id)?;
        let live = self.live.get(&id)?;
        let parked = &group.dead_at(event.at)?.parked;
        let waiting = live.lanes.get(&lane_id).and_then(|lane| lane.waiting.front());
        let waiting = waiting.filter(|slot| slot.event == event && slot.superseding);
        let known = self.tail.get(event.topic, event.offset).map(|event| &event.head);
        let known = known.filter(|head| live.filter.supersedes(head)).map(|head| head.turn);
        // What memory has lost has turned back at least once.
        let told = group.config.superseding.contains(&parked.event_type).then_some(1);
        let turn = waiting.map(|slot| slot.turn).or(known).or(told)?;
        let turns = vec![record::TurnTaken { saga: Some(lane_record(lane_id)), turn }];
        let kind = SettleKind::Skipped.into();
        Some(Kind::Settled(record::Settled { group: id, kind, turns, ..Default::default() }))
    }

    fn retry_lane(&mut self, id: GroupId, lane_id: LaneId, event: EventRef, entry: u64) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let lane = live.lanes.entry(lane_id).or_insert_with(LiveLane::new);
        lane.block = None;
        lane.stamp = entry;
        let has_it = lane.waiting.front().is_some_and(|slot| slot.event == event);
        if !has_it && lane.gap.is_none_or(|gap| gap.from > event.at) {
            lane.waiting.push_front(Slot::unread(event));
        }
        self.make_ready(id, lane_id);
    }
}

/// Where a resolved dead letter goes: back to the head of its lane, or, if that has gone on, to a
/// lane of its own.
fn target(dead: &Dead, event: EventRef) -> (LaneId, bool) {
    let blocking = dead.parked.blocking && dead.superseded_by.is_none();
    match blocking {
        true => (super::durable::lane_id(dead.parked.lane.as_ref()), true),
        false => (place_lane(event), false),
    }
}

/// The story as JSON; the only JSON the engine writes.
fn story(group: &str, topic: &str, event: EventRef, parked: &record::Parked) -> String {
    let class = parked.class().as_str_name().to_lowercase();
    let fields = [
        ("group", text(group)),
        ("topic", text(topic)),
        ("offset", event.offset.to_string()),
        ("position", text(&event.at.to_string())),
        ("type", text(&parked.event_type)),
        ("id", text(&parked.event_id)),
        ("saga", text(&parked.saga)),
        ("class", text(&class)),
        ("attempts", parked.attempts.to_string()),
        ("reason", text(&parked.reason)),
        ("member", text(&parked.member)),
        ("blocking", parked.blocking.to_string()),
    ];
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// A JSON string.
fn text(it: &str) -> String {
    let mut out = String::with_capacity(it.len() + 2);
    out.push('"');
    for c in it.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_cannot_break_out_of_the_story() {
        assert_eq!(text("a\"b\\c\nd"), "\"a\\\"b\\\\c\\u000ad\"");
    }
}
