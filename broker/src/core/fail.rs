//! Failures of any kind: an event that failed holds its lane by the policy, or is parked.
//! What follows it in its run goes back to waiting.

use bytes::Bytes;
use quadrille_proto::record::{self, HoldClass, Kind, OnExhausted, ParkClass, RetryPolicy};

use super::durable::{Group, lane_record};
use super::live::{Block, LiveLane, Slot};
use super::plan::Plan;
use super::refusal::Refusal;
use super::types::{EventRef, GroupId, LaneId, RunId, Token};
use super::{Core, Sequencer};
use crate::time::Now;

/// How much of a reason is kept, bytes.
const REASON_MAX: usize = 4096;

/// How an event failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    class: HoldClass,
    reason: String,
    after_ms: Option<u64>,
    /// Never again without somebody.
    park: Option<ParkClass>,
}

impl Failure {
    pub(super) fn counted(class: HoldClass, reason: &str) -> Self {
        let chars = reason.char_indices().take_while(|(at, c)| at + c.len_utf8() <= REASON_MAX);
        let reason = chars.map(|(_, c)| c).collect();
        Self { class, reason, after_ms: None, park: None }
    }

    pub(super) fn parked(class: ParkClass, reason: &str) -> Self {
        Self { park: Some(class), ..Self::counted(HoldClass::Retry, reason) }
    }

    /// It comes back after this time, whatever the policy says.
    pub(super) fn after(self, after_ms: Option<u64>) -> Self {
        Self { after_ms, ..self }
    }

    pub(super) fn parks(&self) -> bool {
        self.park.is_some()
    }

    fn counts(&self) -> bool {
        !matches!(self.class, HoldClass::Unavailable | HoldClass::Defer)
    }
}

/// The event that failed.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) id: GroupId,
    pub(super) lane: LaneId,
    pub(super) event: EventRef,
    pub(super) superseding: bool,
    pub(super) member: String,
    /// Its bytes, if they are at hand.
    pub(super) bytes: Bytes,
}

/// How many events are scanned at a time on the way to an event.
const SCAN: usize = 256;

impl Core {
    /// One event of a run failed.
    pub(super) fn fail(
        &mut self,
        now: Now,
        id: GroupId,
        run: RunId,
        index: u32,
        failure: Failure,
        seq: &mut dyn Sequencer,
    ) {
        let Some(live) = self.live.get(&id) else { return };
        let Some(it) = live.runs.get(&run) else { return };
        let Some(slot) = it.slots.get(index as usize) else { return };
        if it.open() & (1 << index) == 0 {
            return;
        }
        let lane = it.lane_at(index as usize);
        let member = live.members.get(&it.member).map(|it| it.name.clone()).unwrap_or_default();
        let bytes = slot.bytes.clone();
        let subject =
            Subject { id, lane, event: slot.event, superseding: slot.superseding, member, bytes };
        let back = it.from(index);
        self.give_back(id, run, back);
        self.fail_event(now, subject, failure, seq);
    }

    /// An event failed that was handed out before a restart. Scanning must have come to it: only
    /// then is it known that nothing of its lane precedes it.
    pub(super) fn fail_earlier(
        &mut self,
        now: Now,
        token: &Token,
        failure: Failure,
        seq: &mut dyn Sequencer,
    ) -> Result<(), Refusal> {
        let (id, lane, event) = (token.group, token.lane, token.event);
        let known = self.known_head(token).copied();
        let live = self.live.get(&id).ok_or_else(|| Refusal::lost(event))?;
        let superseding = known.is_some_and(|head| live.filter.supersedes(&head));
        if live.query(lane).is_some() {
            while !self.live.get(&id).is_some_and(|live| live.has_scanned(event))
                && !self.scan(id, SCAN, &mut Vec::new())
            {}
            let lane = self.live.get(&id).and_then(|live| live.lanes.get(&lane));
            if lane.and_then(LiveLane::first) != Some(event.at) {
                return Err(Refusal::lost(event));
            }
        }
        let (member, bytes) = (String::new(), Bytes::new());
        let subject = Subject { id, lane, event, superseding, member, bytes };
        self.fail_event(now, subject, failure, seq);
        Ok(())
    }

    /// The event is back at the head of its lane; hold it, or park it.
    fn fail_event(
        &mut self,
        now: Now,
        subject: Subject,
        failure: Failure,
        seq: &mut dyn Sequencer,
    ) {
        let Subject { id, lane, event, superseding, .. } = subject;
        let Ok(group) = self.group(id) else { return };
        if !group.topics.contains_key(&event.topic) && group.head(lane, event).is_none() {
            // Its topic was deleted meanwhile, and it with it.
            return;
        }
        let policy = policy(group, superseding);
        let head = group.head(lane, event);
        let attempts = head.map_or(0, |head| head.attempts)
            + u32::from(failure.counts() && failure.park.is_none());
        let unavailable = match failure.class {
            HoldClass::Unavailable => head.map_or(0, |head| head.unavailable) + 1,
            _ => 0,
        };
        let exhausted = failure.counts() && attempts >= policy.max_attempts;
        let park = failure.park.or_else(|| exhausted.then_some(ParkClass::Exhausted));
        if let Some(class) = park {
            return self.park(now, &subject, class, attempts, failure.reason, seq);
        }
        let delay = failure.after_ms.unwrap_or_else(|| {
            let step = if failure.counts() { attempts } else { unavailable };
            self.backoff(&policy, step)
        });
        let record = record::Held {
            group: id,
            event: Some(event.into()),
            lane: Some(lane_record(lane)),
            class: failure.class.into(),
            attempts,
            unavailable,
            due: now.wall.saturating_add(delay),
            reason: failure.reason,
            member: subject.member,
        };
        let entry = self.commit(now, seq, Plan::sync(vec![Kind::Held(record)]));
        self.block_lane(id, lane, event, Block::Held(now.mono.saturating_add(delay)), entry);
    }

    /// The lane's head is held or parked from this entry on.
    pub(super) fn block_lane(
        &mut self,
        id: GroupId,
        lane_id: LaneId,
        event: EventRef,
        block: Block,
        entry: u64,
    ) {
        let keep = self.limits.lane_cached_blocked;
        let Some(live) = self.live.get_mut(&id) else { return };
        let lane = live.lanes.entry(lane_id).or_insert_with(LiveLane::new);
        if lane.first() != Some(event.at) {
            lane.waiting.push_front(Slot::unread(event));
        }
        if let Some(Block::Held(due)) = lane.block.replace(block) {
            live.due.remove(&(due, lane_id));
        }
        if let Block::Held(due) = block {
            live.due.insert((due, lane_id));
        }
        lane.stamp = entry;
        for slot in &mut lane.waiting {
            live.cached -= slot.bytes.take().map_or(0, |bytes| bytes.len());
        }
        live.forget_beyond(lane_id, keep);
        self.make_ready(id, lane_id);
    }

    fn backoff(&mut self, policy: &RetryPolicy, step: u32) -> u64 {
        let mut limit = policy.first_ms.min(policy.cap_ms);
        for _ in 1..step.min(64) {
            limit = limit.saturating_mul(u64::from(policy.factor_percent)) / 100;
            if limit >= policy.cap_ms {
                limit = policy.cap_ms;
                break;
            }
        }
        // Full jitter, but never none at all.
        self.rng.u64(limit.min(1)..=limit)
    }

    /// Whether a lane goes on when its head is exhausted.
    pub(super) fn blocks(&self, group: &Group, lane: LaneId) -> bool {
        let ordered = self.live.get(&group.id).is_some_and(super::live::LiveGroup::ordered);
        ordered && group.config.on_exhausted() == OnExhausted::Park && !super::live::is_place(lane)
    }
}

/// The policy of an event's class.
pub(super) fn policy(group: &Group, superseding: bool) -> RetryPolicy {
    let it = match superseding {
        true => &group.config.compensating,
        false => &group.config.forward,
    };
    it.unwrap_or_default()
}
