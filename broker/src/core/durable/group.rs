//! One group: its configuration, what it has settled, and its unfinished lanes.

use std::collections::BTreeMap;

use quadrille_proto::record::{self, Kind, Resolution};

use super::lane::{Head, SHARDS, Shard, lane_id, shard_of};
use super::{Dead, Gate};
use crate::core::settled::Settled;
use crate::core::types::{EventRef, GroupId, LaneId, Position, TopicId};

/// One group.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its number.
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// Its configuration.
    pub config: record::GroupConfig,
    /// Why it hands out nothing.
    pub paused: Option<String>,
    /// What it has settled, or has in an unfinished lane, by topic.
    pub topics: BTreeMap<TopicId, Settled>,
    /// Lanes, dead letters and turns.
    pub shards: [Shard; SHARDS],
    pub(super) gate: Gate,
}

impl Group {
    /// The shard of a lane.
    pub fn shard(&self, lane: LaneId) -> &Shard {
        self.shards.get(shard_of(lane)).unwrap_or(&self.shards[0])
    }

    /// The history of an event, if it has one.
    pub fn head(&self, lane: LaneId, event: EventRef) -> Option<&Head> {
        self.shard(lane).head(lane, event)
    }

    /// The history of a lane's first event, if it has one.
    pub fn lane_head(&self, lane: LaneId) -> Option<&Head> {
        self.shard(lane).lanes.get(&lane)?.head.as_ref()
    }

    /// Whether a lane is listed as unfinished.
    pub fn is_listed(&self, lane: LaneId) -> bool {
        self.shard(lane).lanes.contains_key(&lane)
    }

    /// The highest turn it has taken of a saga.
    pub fn turn(&self, saga: LaneId) -> u32 {
        self.shard(saga).turns.get(&saga).map_or(0, |(turn, _)| *turn)
    }

    /// Dead letters in the order of the log.
    pub fn dead(&self) -> impl Iterator<Item = (Position, &Dead)> {
        let mut all: Vec<_> = self
            .shards
            .iter()
            .flat_map(|it| it.dead.iter().map(|(at, dead)| (*at, dead)))
            .collect();
        all.sort_unstable_by_key(|(at, _)| *at);
        all.into_iter()
    }

    /// The dead letter at a place.
    pub fn dead_at(&self, at: Position) -> Option<&Dead> {
        self.shards.iter().find_map(|shard| shard.dead.get(&at))
    }

    /// How many lanes are unfinished, how many dead letters wait.
    pub fn counts(&self) -> (usize, usize) {
        let waiting =
            |shard: &Shard| shard.dead.values().filter(|dead| dead.superseded_by.is_none()).count();
        (
            self.shards.iter().map(|shard| shard.lanes.len()).sum(),
            self.shards.iter().map(waiting).sum(),
        )
    }

    pub(super) fn created(at: Position, it: &record::GroupCreated) -> Self {
        Self {
            id: it.group,
            name: it.name.clone(),
            config: it.config.clone().unwrap_or_default(),
            paused: None,
            topics: it.starts.iter().map(|s| (s.topic, Settled::below(s.from))).collect(),
            shards: std::array::from_fn(|_| Shard { gate: Gate(at), ..Shard::default() }),
            gate: Gate(at),
        }
    }

    pub(super) fn forget_topic(&mut self, at: Position, topic: TopicId) {
        if self.gate.passes(at) {
            self.topics.remove(&topic);
        }
        for shard in self.shards.iter_mut().filter(|shard| shard.gate.passes(at)) {
            shard.forget_topic(topic);
        }
    }

    pub(super) fn apply(&mut self, at: Position, time: u64, kind: &Kind) {
        if self.gate.passes(at) {
            self.apply_meta(kind);
        }
        let mut on = |lane: LaneId, change: &mut dyn FnMut(&mut Shard)| {
            if let Some(shard) = self.shards.get_mut(shard_of(lane))
                && shard.gate.passes(at)
            {
                change(shard);
            }
        };
        let mut moved = |lanes: &[record::LaneMoved], opened: bool| {
            for it in lanes {
                let (lane, first) = (lane_id(it.lane.as_ref()), it.first.map(Position::from));
                on(lane, &mut |shard| match opened {
                    true => shard.opened(lane, first),
                    false => shard.moved(lane, first),
                });
            }
        };
        match kind {
            Kind::Settled(it) => {
                moved(&it.lanes, false);
                for turn in &it.turns {
                    let saga = lane_id(turn.saga.as_ref());
                    on(saga, &mut |shard| shard.turn_taken(saga, turn.turn, time));
                }
            }
            Kind::CursorMoved(it) => moved(&it.lanes, true),
            Kind::Held(it) => {
                let lane = lane_id(it.lane.as_ref());
                on(lane, &mut |shard| shard.held(lane, it));
            }
            Kind::Parked(it) => {
                moved(&it.lanes, false);
                let lane = lane_id(it.lane.as_ref());
                on(lane, &mut |shard| shard.parked(lane, time, it));
            }
            Kind::Resolved(it) => self.resolved(at, it),
            Kind::Superseded(it) => {
                let lane = lane_id(it.lane.as_ref());
                on(lane, &mut |shard| shard.superseded(lane, time, it));
            }
            Kind::HandedOut(it) => {
                let (lane, event) = (lane_id(it.lane.as_ref()), it.event.as_ref());
                let event = event.map(EventRef::from).unwrap_or_default();
                on(lane, &mut |shard| shard.handed_out(lane, event));
            }
            Kind::Released(it) => {
                let (lane, event) = (lane_id(it.lane.as_ref()), it.event.as_ref());
                let event = event.map(EventRef::from).unwrap_or_default();
                on(lane, &mut |shard| shard.released(lane, event));
            }
            Kind::TurnsEvicted(it) => {
                for saga in &it.sagas {
                    let saga = lane_id(Some(saga));
                    on(saga, &mut |shard| {
                        shard.turns.remove(&saga);
                    });
                }
            }
            _ => {}
        }
    }

    fn apply_meta(&mut self, kind: &Kind) {
        match kind {
            Kind::GroupChanged(it) => {
                self.config = it.config.clone().unwrap_or_default();
                for start in &it.starts {
                    self.topics.entry(start.topic).or_insert_with(|| Settled::below(start.from));
                }
            }
            Kind::GroupPaused(it) => self.paused = Some(it.reason.clone()),
            Kind::GroupResumed(_) => self.paused = None,
            Kind::Settled(it) => self.settle(&it.ranges),
            Kind::Truncated(it) => self.settle(&it.ranges),
            Kind::CursorMoved(it) => {
                if let Some(settled) = self.topics.get_mut(&it.topic) {
                    settled.raise(it.to);
                }
            }
            Kind::Parked(it) if !it.blocking => self.settle_one(it.event.as_ref()),
            Kind::Resolved(it) if it.how() == Resolution::ResolveSkip => {
                self.settle_one(it.event.as_ref());
            }
            Kind::Superseded(it) => {
                it.events.iter().for_each(|one| self.settle_one(one.event.as_ref()));
            }
            _ => {}
        }
    }

    /// A resolution names the event; what it does to the lane is in `lanes` (skip) or follows from
    /// where the dead letter was (retry, replace).
    fn resolved(&mut self, at: Position, it: &record::Resolved) {
        let event = it.event.as_ref().map(EventRef::from).unwrap_or_default();
        let skip = it.how() == Resolution::ResolveSkip;
        for moved in &it.lanes {
            let lane = lane_id(moved.lane.as_ref());
            let Some(shard) = self.shards.get_mut(shard_of(lane)) else { continue };
            if !shard.gate.passes(at) {
                continue;
            }
            shard.dead.remove(&event.at);
            match skip {
                true => shard.moved(lane, moved.first.map(Position::from)),
                false => shard.retried(lane, it),
            }
        }
        for shard in self.shards.iter_mut().filter(|shard| shard.gate.passes(at)) {
            shard.dead.remove(&event.at);
        }
    }

    fn settle(&mut self, ranges: &[record::OffsetRange]) {
        for range in ranges {
            if let Some(settled) = self.topics.get_mut(&range.topic) {
                settled.insert(range.from, range.to);
            }
        }
    }

    fn settle_one(&mut self, event: Option<&record::EventRef>) {
        if let Some(event) = event
            && let Some(settled) = self.topics.get_mut(&event.topic)
        {
            settled.insert(event.offset, event.offset + 1);
        }
    }
}
