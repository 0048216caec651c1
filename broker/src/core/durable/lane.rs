//! Unfinished lanes, dead letters and turns of one group, in shards by lane so that a checkpoint
//! can copy a large group in small pieces.
//!
//! ```text
//!          ┌────────── settled ──────────┐
//!  Open ───┤ retry, lease end ...        │
//!    ▲     └▶ Held ── due (live) ──▶ Open again, in memory only
//!    │        │ attempts used up
//!    └────────┴──▶ Parked ── resolve ──▶ Open with no attempts | settled (skip)
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quadrille_proto::record::{self, HoldClass, ParkClass};

use super::Gate;
use crate::core::types::{EventRef, LaneId, Position, SupersededEvent, TopicId};

/// How many shards a group's lanes are kept in.
pub const SHARDS: usize = 16;

/// The shard of a lane.
pub fn shard_of(lane: LaneId) -> usize {
    usize::try_from(lane >> 124).unwrap_or(0)
}

/// A lane that is not settled up to its group's floor, or whose first event has a history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lane {
    /// Everything of the lane before this place is settled.
    pub first: Position,
    /// What is known of its first unsettled event.
    pub head: Option<Head>,
}

/// The history of a lane's first unsettled event.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// The event.
    pub event: EventRef,
    /// Attempts used.
    pub attempts: u32,
    /// Times in a row that a dependency was unavailable.
    pub unavailable: u32,
    /// Times handed to user code without any account of it since.
    pub unaccounted: u32,
    /// What it waits for.
    pub status: Status,
    /// The bytes that take its place in this group.
    pub replacement: Option<Bytes>,
    /// What it superseded.
    pub superseded: Option<Arc<[SupersededEvent]>>,
}

/// What a lane's first unsettled event waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// Its turn.
    Open,
    /// A time, wall ms.
    Held {
        /// Wall ms.
        due: u64,
        /// Why.
        class: HoldClass,
        /// In the consumer's words.
        reason: String,
    },
    /// Somebody.
    Parked,
}

/// An event that a group could not process, with its whole story.
#[derive(Clone, Debug, PartialEq)]
pub struct Dead {
    /// The record that parked it.
    pub parked: record::Parked,
    /// When, broker ms since 1970.
    pub time: u64,
    /// The compensation that overtook it.
    pub superseded_by: Option<EventRef>,
}

/// One shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shard {
    /// Unfinished lanes.
    pub lanes: BTreeMap<LaneId, Lane>,
    /// Dead letters by place.
    pub dead: BTreeMap<Position, Dead>,
    /// The highest turn taken per saga, and when.
    pub turns: BTreeMap<LaneId, (u32, u64)>,
    pub(super) gate: Gate,
}

impl Head {
    /// An event without history.
    pub fn open(event: EventRef) -> Self {
        Self {
            event,
            attempts: 0,
            unavailable: 0,
            unaccounted: 0,
            status: Status::Open,
            replacement: None,
            superseded: None,
        }
    }
}

impl Shard {
    /// The head of a lane if it is this event.
    pub fn head(&self, lane: LaneId, event: EventRef) -> Option<&Head> {
        self.lanes.get(&lane)?.head.as_ref().filter(|head| head.event == event)
    }

    fn head_mut(&mut self, lane: LaneId, event: EventRef) -> &mut Head {
        let lane = self.lanes.entry(lane).or_default();
        lane.first = event.at;
        if lane.head.as_ref().is_none_or(|head| head.event != event) {
            lane.head = None;
        }
        lane.head.get_or_insert_with(|| Head::open(event))
    }

    pub(super) fn moved(&mut self, lane: LaneId, first: Option<Position>) {
        match first {
            Some(first) => {
                self.lanes.insert(lane, Lane { first, head: None });
            }
            None => {
                self.lanes.remove(&lane);
            }
        }
    }

    /// The lane is unfinished; what was known of it stays.
    pub(super) fn opened(&mut self, lane: LaneId, first: Option<Position>) {
        let first = first.unwrap_or_default();
        self.lanes.entry(lane).or_insert(Lane { first, head: None });
    }

    /// Dead letters of a deleted topic, and histories of its events, go with it.
    pub(super) fn forget_topic(&mut self, topic: TopicId) {
        self.dead.retain(|_, dead| dead.parked.event.is_none_or(|event| event.topic != topic));
        for lane in self.lanes.values_mut() {
            lane.head = lane.head.take().filter(|head| head.event.topic != topic);
        }
    }

    pub(super) fn turn_taken(&mut self, saga: LaneId, turn: u32, time: u64) {
        let taken = self.turns.entry(saga).or_default();
        *taken = (taken.0.max(turn), time);
    }

    pub(super) fn held(&mut self, lane: LaneId, it: &record::Held) {
        let Some(event) = &it.event else { return };
        let head = self.head_mut(lane, event.into());
        head.attempts = it.attempts;
        head.unavailable = it.unavailable;
        head.unaccounted = 0;
        head.status = Status::Held { due: it.due, class: it.class(), reason: it.reason.clone() };
    }

    pub(super) fn parked(&mut self, lane: LaneId, time: u64, it: &record::Parked) {
        let Some(event) = it.event.as_ref().map(EventRef::from) else { return };
        if it.blocking {
            let head = self.head_mut(lane, event);
            head.attempts = it.attempts;
            head.unaccounted = 0;
            head.status = Status::Parked;
        }
        let dead = Dead { parked: it.clone(), time, superseded_by: None };
        self.dead.insert(event.at, dead);
    }

    /// The dead letter goes back to its lane (of its own, if its lane has gone on).
    pub(super) fn retried(&mut self, lane: LaneId, it: &record::Resolved) {
        let Some(event) = it.event.as_ref().map(EventRef::from) else { return };
        self.dead.remove(&event.at);
        let head = self.head_mut(lane, event);
        head.attempts = 0;
        head.unavailable = 0;
        head.unaccounted = 0;
        head.status = Status::Open;
        if it.how() == record::Resolution::ResolveReplace {
            head.replacement = Some(it.replacement.clone());
        }
    }

    pub(super) fn superseded(&mut self, lane: LaneId, time: u64, it: &record::Superseded) {
        let Some(by) = it.by.as_ref().map(EventRef::from) else { return };
        let mut list = Vec::with_capacity(it.events.len());
        for one in &it.events {
            let Some(event) = one.event.as_ref().map(EventRef::from) else { continue };
            list.push(SupersededEvent {
                event,
                attempts: one.attempts,
                reason: one.reason.clone(),
            });
            let dead = self.dead.entry(event.at).or_insert_with(|| Dead {
                parked: record::Parked {
                    group: it.group,
                    event: one.event,
                    lane: it.lane,
                    class: ParkClass::Exhausted.into(),
                    attempts: one.attempts,
                    reason: one.reason.clone(),
                    event_type: one.event_type.clone(),
                    ..Default::default()
                },
                time,
                superseded_by: None,
            });
            dead.superseded_by = Some(by);
        }
        self.lanes.remove(&lane);
        self.head_mut(lane, by).superseded = Some(list.into());
    }

    pub(super) fn handed_out(&mut self, lane: LaneId, event: EventRef) {
        self.head_mut(lane, event).unaccounted += 1;
    }

    pub(super) fn released(&mut self, lane: LaneId, event: EventRef) {
        if let Some(Lane { head: Some(head), .. }) = self.lanes.get_mut(&lane)
            && head.event == event
        {
            head.unaccounted = head.unaccounted.saturating_sub(1);
        }
    }
}

/// A lane's number as the log has it.
pub(crate) fn lane_id(lane: Option<&record::Lane>) -> LaneId {
    lane.map_or(0, |lane| super::sessions::number(lane.hi, lane.lo))
}
