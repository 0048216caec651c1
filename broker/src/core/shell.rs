//! What the engine asks of core, and tells it, beside commands: numbers of names, the catalog of a
//! segment, retention, the orderly end.

use quadrille_proto::record::{self, Catalog, Kind, OffsetRange, SettleKind};

use super::durable::{Topics, halves, lane_record};
use super::info::TopicInfo;
use super::output::Output;
use super::types::{EventRef, GroupId, MemberId, Position, TopicId};
use super::{Core, Sequencer};
use crate::time::Now;
use crate::upkeep::{self, Pin, Place};

impl Core {
    /// A topic's number.
    pub fn topic_id(&self, name: &str) -> Option<TopicId> {
        self.durable.topics.id(name)
    }

    /// The numbers of all topics.
    pub fn topic_ids(&self) -> Vec<TopicId> {
        self.durable.topics.by_id.keys().copied().collect()
    }

    /// A group's number.
    pub fn group_id(&self, name: &str) -> Option<GroupId> {
        self.group_by_name(name).map(|group| group.id)
    }

    /// The topics of a group.
    pub fn topics_of(&self, group: GroupId) -> Vec<TopicId> {
        let group = self.durable.groups.get(&group);
        group.map(|group| group.topics.keys().copied().collect()).unwrap_or_default()
    }

    /// How many ids the window takes: worth remembering at a start.
    pub fn id_capacity(&self) -> usize {
        self.ids.reach().1 * 2
    }

    /// What a segment begins with, so that it can be understood after a gap.
    pub fn catalog(&self) -> Kind {
        let topics = self.topics().into_iter().map(|it: TopicInfo| record::CatalogTopic {
            topic: it.id,
            name: it.name,
            config: Some(it.config),
            next_offset: it.next,
            first_offset: it.first,
        });
        let groups = self.durable.groups.values().map(|group| record::CatalogGroup {
            group: group.id,
            name: group.name.clone(),
            config: Some(group.config.clone()),
            cursors: group
                .topics
                .iter()
                .map(|(topic, settled)| {
                    let (from, to) = (settled.floor(), settled.end());
                    OffsetRange { topic: *topic, from, to }
                })
                .collect(),
            paused: group.paused.clone().unwrap_or_default(),
            is_paused: group.paused.is_some(),
        });
        let (seed_hi, seed_lo) = halves(self.hash_key);
        Kind::Catalog(Catalog {
            log_id_hi: seed_hi,
            log_id_lo: seed_lo,
            seed_hi,
            seed_lo,
            next_topic: self.durable.topics.next_topic,
            next_group: self.durable.topics.next_group,
            next_timer: self.durable.topics.next_timer,
            topics: topics.collect(),
            groups: groups.collect(),
        })
    }

    /// Begins with what a catalog knows, because nothing before it can be read: topics, groups and
    /// their floors. What was settled above a floor, held, parked or armed is not known.
    pub fn adopt(&mut self, catalog: &Catalog) {
        self.durable.adopt(catalog);
    }

    /// Learns from the first catalog behind a gap what was created in it, and which offsets and
    /// numbers are used up.
    pub fn mend(&mut self, catalog: &Catalog) {
        self.durable.mend(catalog);
    }

    /// The first record of an epoch.
    pub fn begin_epoch(&mut self, now: Now, begins: Kind, seq: &mut dyn Sequencer) {
        self.record(now, true, vec![begins], seq);
    }

    /// Topics as retention sees them.
    pub fn retention(&self) -> Vec<upkeep::Topic> {
        let topics: &Topics = &self.durable.topics;
        let topic = |id: &TopicId| upkeep::Topic {
            topic: *id,
            retention: topics
                .get(*id)
                .and_then(|topic| topic.config.retention)
                .unwrap_or(DEFAULT_RETENTION),
            settled: self.settled_by_all(*id),
        };
        topics.by_id.keys().map(topic).collect()
    }

    /// What must not be retired, and who needs it.
    pub fn pins(&self) -> Vec<Pin> {
        let mut pins = Vec::new();
        for group in self.durable.groups.values() {
            let what = format!("group {}", group.name);
            for (topic, settled) in &group.topics {
                let from = Place::Offset(*topic, settled.floor());
                pins.push(Pin { what: what.clone(), from, group: Some(group.id) });
            }
            let lanes = group.shards.iter().flat_map(|shard| shard.lanes.values());
            if let Some(first) = lanes.map(|lane| lane.first).min() {
                let what = format!("unfinished lanes of group {}", group.name);
                pins.push(Pin { what, from: Place::Entry(first.entry), group: None });
            }
            let waiting = group.dead().filter(|(_, dead)| dead.superseded_by.is_none());
            if let Some((at, _)) = waiting.min_by_key(|(at, _)| *at) {
                let what = format!("dead letter {at} of group {}", group.name);
                pins.push(Pin { what, from: Place::Entry(at.entry), group: None });
            }
        }
        if let Some((at, timer)) = self.durable.timers.iter().map(|(id, it)| (it.at, id)).min() {
            let what = format!("timer {timer}");
            pins.push(Pin { what, from: Place::Entry(at.entry), group: None });
        }
        pins
    }

    /// Retention takes the oldest events; what groups lose by it is recorded for each.
    pub fn retire(
        &mut self,
        now: Now,
        trimmed: Vec<OffsetRange>,
        truncated: Vec<(GroupId, Vec<OffsetRange>)>,
        before: u64,
        seq: &mut dyn Sequencer,
    ) {
        let mut records = Vec::with_capacity(1 + 2 * truncated.len());
        // An offset range of `TopicTrimmed` says the new first offset in `from`.
        let first = trimmed.iter().map(|it| OffsetRange { from: it.to, ..*it }).collect();
        records.push(Kind::TopicTrimmed(record::TopicTrimmed { first, before_entry: before }));
        for (group, ranges) in truncated {
            let count = ranges.iter().map(|it| it.to.saturating_sub(it.from)).sum();
            let lanes = self.lanes_within(group, &ranges);
            let kind = SettleKind::Discarded.into();
            let settled =
                record::Settled { group, kind, ranges: ranges.clone(), lanes, turns: Vec::new() };
            records.push(Kind::Truncated(record::Truncated { group, ranges, count }));
            records.push(Kind::Settled(settled));
        }
        self.record(now, true, records, seq);
        self.dirty.extend(self.live.keys().copied());
    }

    /// Nothing is handed out any more.
    pub fn shutting_down(&mut self) {
        self.shutting_down = true;
    }

    /// Takes back what is in members' hands, without prejudice.
    pub fn release_all(&mut self) {
        let runs: Vec<_> = self
            .live
            .iter()
            .flat_map(|(id, live)| live.runs.values().map(|run| (*id, run.id, run.open())))
            .collect();
        for (group, run, open) in runs {
            self.give_back(group, run, open);
        }
        let members: Vec<MemberId> = self.members.keys().copied().collect();
        for member in members {
            let why = super::output::Closed::ShuttingDown;
            self.outputs.push_back(Output::MemberClosed { member, why });
        }
    }

    /// Listed lanes whose head lies in these ranges.
    fn lanes_within(&self, group: GroupId, ranges: &[OffsetRange]) -> Vec<record::LaneMoved> {
        let within = |event: &EventRef| {
            ranges
                .iter()
                .any(|it| it.topic == event.topic && (it.from..it.to).contains(&event.offset))
        };
        let shards = self.durable.groups.get(&group).into_iter().flat_map(|group| &group.shards);
        let lanes = shards.flat_map(|shard| &shard.lanes);
        let gone = lanes.filter(|(_, lane)| lane.head.as_ref().is_some_and(|it| within(&it.event)));
        let moved = gone.map(|(id, _)| record::LaneMoved {
            lane: Some(lane_record(*id)),
            first: None::<Position>.map(Into::into),
        });
        moved.collect()
    }
}

/// Settled by every group and older than 7 days.
const DEFAULT_RETENTION: record::Retention = record::Retention {
    age_ms: 0,
    bytes: 0,
    count: 0,
    settled_min_age_ms: 7 * 24 * 3600 * 1000,
    unsettled_at_most_ms: 0,
};
