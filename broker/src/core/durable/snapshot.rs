//! The durable state as sections of a checkpoint, and back. Each section is small enough to be
//! copied between two commands, and carries the position it is as of.

use prost::Message;
use quadrille_proto::record;

use super::lane::{Dead, Head, Lane, SHARDS, Shard, Status, lane_id};
use super::sessions::number;
use super::{Durable, Gate, Group, Loss, Session, Timer, Topic};
use crate::core::settled::Settled;
use crate::core::types::{EventRef, GroupId, LaneId, Position, SupersededEvent};

/// One section: what to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Topics, next numbers, losses.
    Topics,
    /// Armed timers.
    Timers,
    /// Sessions.
    Sessions,
    /// A group's configuration and cursors.
    Group(GroupId),
    /// A part of a group's lanes, dead letters and turns.
    Shard(GroupId, u32),
}

impl Section {
    /// Its number in a checkpoint file.
    #[must_use]
    pub const fn kind(self) -> u16 {
        match self {
            Self::Topics => 1,
            Self::Timers => 2,
            Self::Sessions => 3,
            Self::Group(_) => 4,
            Self::Shard(..) => 5,
        }
    }
}

/// A section that is not one.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A kind that this release does not know.
    #[error("section kind {0} is not known")]
    UnknownKind(u16),
    /// Bytes that do not decode.
    #[error("a section of kind {0} does not decode")]
    Malformed(u16, #[source] prost::DecodeError),
}

impl Durable {
    /// Every section there is now.
    pub fn sections(&self) -> Vec<Section> {
        let mut all = vec![Section::Topics, Section::Timers, Section::Sessions];
        for group in self.groups.keys() {
            all.push(Section::Group(*group));
            all.extend((0u32..).take(SHARDS).map(|shard| Section::Shard(*group, shard)));
        }
        all
    }

    /// A copy of one section, `None` if it is gone meanwhile.
    pub fn export(&self, section: Section) -> Option<Vec<u8>> {
        Some(match section {
            Section::Topics => self.export_topics().encode_to_vec(),
            Section::Timers => self.export_timers().encode_to_vec(),
            Section::Sessions => self.export_sessions().encode_to_vec(),
            Section::Group(id) => export_group(self.groups.get(&id)?).encode_to_vec(),
            Section::Shard(id, index) => {
                let shard = self.groups.get(&id)?.shards.get(index as usize)?;
                export_shard(id, index, shard).encode_to_vec()
            }
        })
    }

    /// Takes a section back, as of `at`. Groups come before their shards.
    ///
    /// # Errors
    /// A kind that is not known, or bytes that do not decode.
    pub fn import(&mut self, kind: u16, at: Position, bytes: &[u8]) -> Result<(), SnapshotError> {
        let malformed = |error| SnapshotError::Malformed(kind, error);
        match kind {
            1 => self.import_topics(at, decode(bytes).map_err(malformed)?),
            2 => self.import_timers(at, decode(bytes).map_err(malformed)?),
            3 => self.import_sessions(at, decode(bytes).map_err(malformed)?),
            4 => self.import_group(at, decode(bytes).map_err(malformed)?),
            5 => self.import_shard(at, decode(bytes).map_err(malformed)?),
            _ => return Err(SnapshotError::UnknownKind(kind)),
        }
        Ok(())
    }

    /// Topics, groups and floors as a catalog has them.
    pub fn adopt(&mut self, it: &record::Catalog) {
        let topics = record::TopicsSection {
            next_topic: it.next_topic,
            next_group: it.next_group,
            next_timer: it.next_timer,
            topics: it.topics.clone(),
            losses: Vec::new(),
        };
        self.import_topics(Position::default(), topics);
        for group in &it.groups {
            let section = record::GroupSection { group: Some(group.clone()), islands: Vec::new() };
            self.import_group(Position::default(), section);
        }
    }

    /// What a catalog behind a gap knows of what happened in it: topics and groups that were
    /// created there, and which numbers are used up. Nothing that is known otherwise changes.
    pub fn mend(&mut self, it: &record::Catalog) {
        let topics = &mut self.topics;
        topics.next_topic = topics.next_topic.max(it.next_topic);
        topics.next_group = topics.next_group.max(it.next_group);
        topics.next_timer = topics.next_timer.max(it.next_timer);
        for one in &it.topics {
            topics.by_name.insert(one.name.clone(), one.topic);
            let config = one.config.unwrap_or_default();
            let (name, first) = (one.name.clone(), one.first_offset);
            let new = || Topic { name, config, next: 0, first };
            let topic = topics.by_id.entry(one.topic).or_insert_with(new);
            topic.next = topic.next.max(one.next_offset);
        }
        for group in &it.groups {
            if !self.groups.contains_key(&group.group) {
                let group = Some(group.clone());
                let section = record::GroupSection { group, islands: Vec::new() };
                self.import_group(Position::default(), section);
            }
        }
    }

    fn export_topics(&self) -> record::TopicsSection {
        let topic = |(id, it): (&u32, &Topic)| record::CatalogTopic {
            topic: *id,
            name: it.name.clone(),
            config: Some(it.config),
            next_offset: it.next,
            first_offset: it.first,
        };
        let loss = |it: &Loss| record::LossSnapshot {
            at: Some(it.at.into()),
            time: it.time,
            record: Some(record::Record { kind: Some(it.record.clone()) }),
        };
        record::TopicsSection {
            next_topic: self.topics.next_topic,
            next_group: self.topics.next_group,
            next_timer: self.topics.next_timer,
            topics: self.topics.by_id.iter().map(topic).collect(),
            losses: self.losses.iter().map(loss).collect(),
        }
    }

    fn import_topics(&mut self, at: Position, it: record::TopicsSection) {
        self.topics.gate = Gate(at);
        self.topics.next_topic = it.next_topic;
        self.topics.next_group = it.next_group;
        self.topics.next_timer = it.next_timer;
        for one in it.topics {
            self.topics.by_name.insert(one.name.clone(), one.topic);
            let config = one.config.unwrap_or_default();
            let (next, first) = (one.next_offset, one.first_offset);
            self.topics.by_id.insert(one.topic, Topic { name: one.name, config, next, first });
        }
        for one in it.losses {
            if let Some(record) = one.record.and_then(|record| record.kind) {
                let at = one.at.map(Position::from).unwrap_or_default();
                self.losses.push_back(Loss { at, time: one.time, record });
            }
        }
    }

    fn export_timers(&self) -> record::TimersSection {
        let timers = self.timers.iter().map(|(timer, it)| record::TimerSnapshot {
            timer,
            topic: it.topic,
            due: it.due,
            turn: it.turn,
            at: Some(it.at.into()),
            id_hi: halves(it.id).0,
            id_lo: halves(it.id).1,
        });
        record::TimersSection { timers: timers.collect() }
    }

    fn import_timers(&mut self, at: Position, section: record::TimersSection) {
        self.timers.gate = Gate(at);
        for it in section.timers {
            let id = number(it.id_hi, it.id_lo);
            let at = it.at.map(Position::from).unwrap_or_default();
            let (topic, due, turn) = (it.topic, it.due, it.turn);
            self.timers.insert(it.timer, Timer { topic, due, turn, at, id });
        }
    }

    fn export_sessions(&self) -> record::SessionsSection {
        let session = |(id, it): (&u128, &Session)| {
            let (hi, lo) = halves(*id);
            let receipt =
                |(sequence, (digest, receipts)): (&u64, &(u64, Vec<_>))| record::SessionReceipt {
                    hi,
                    lo,
                    sequence: *sequence,
                    confirmed: it.confirmed,
                    receipts: receipts.clone(),
                    digest: *digest,
                };
            record::SessionSnapshot {
                hi,
                lo,
                confirmed: it.confirmed,
                time: it.time,
                receipts: it.receipts.iter().map(receipt).collect(),
            }
        };
        record::SessionsSection { sessions: self.sessions.by_id.iter().map(session).collect() }
    }

    fn import_sessions(&mut self, at: Position, section: record::SessionsSection) {
        self.sessions.gate = Gate(at);
        for it in section.sessions {
            let receipts =
                it.receipts.into_iter().map(|one| (one.sequence, (one.digest, one.receipts)));
            let session =
                Session { confirmed: it.confirmed, time: it.time, receipts: receipts.collect() };
            self.sessions.by_id.insert(number(it.hi, it.lo), session);
        }
    }

    fn import_group(&mut self, at: Position, section: record::GroupSection) {
        let Some(it) = section.group else { return };
        let created = record::GroupCreated {
            group: it.group,
            name: it.name,
            config: it.config,
            starts: it.cursors,
        };
        let mut group = Group::created(at, &created);
        group.paused = it.is_paused.then_some(it.paused);
        for island in section.islands {
            if let Some(settled) = group.topics.get_mut(&island.topic) {
                settled.insert(island.from, island.to);
            }
        }
        self.groups.insert(it.group, group);
    }

    fn import_shard(&mut self, at: Position, section: record::ShardSection) {
        let Some(shard) = self
            .groups
            .get_mut(&section.group)
            .and_then(|group| group.shards.get_mut(section.shard as usize))
        else {
            return;
        };
        shard.gate = Gate(at);
        for it in section.lanes {
            let lane = lane_id(it.lane.as_ref());
            shard.lanes.insert(lane, import_lane(it));
        }
        for it in section.dead {
            let Some(parked) = it.parked else { continue };
            let at = parked.event.as_ref().map(EventRef::from).unwrap_or_default().at;
            let superseded_by = it.superseded_by.as_ref().map(EventRef::from);
            shard.dead.insert(at, Dead { parked, time: it.time, superseded_by });
        }
        for it in section.turns {
            shard.turns.insert(lane_id(it.saga.as_ref()), (it.turn, it.time));
        }
    }
}

/// A number in the two halves that records carry.
pub(crate) fn halves(number: u128) -> (u64, u64) {
    let [hi, lo] = [number >> 64, number & u128::from(u64::MAX)];
    (u64::try_from(hi).unwrap_or(0), u64::try_from(lo).unwrap_or(0))
}

/// A lane as records carry it.
pub(crate) fn lane_record(lane: LaneId) -> record::Lane {
    let (hi, lo) = halves(lane);
    record::Lane { hi, lo }
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, prost::DecodeError> {
    M::decode(bytes)
}

fn export_group(group: &Group) -> record::GroupSection {
    let range = |topic, from, to| record::OffsetRange { topic, from, to };
    let floors = group.topics.iter().map(|(id, it)| range(*id, it.floor(), it.floor()));
    let islands = group
        .topics
        .iter()
        .flat_map(|(id, it): (&u32, &Settled)| it.iter().map(move |(a, b)| range(*id, a, b)));
    record::GroupSection {
        islands: islands.collect(),
        group: Some(record::CatalogGroup {
            group: group.id,
            name: group.name.clone(),
            config: Some(group.config.clone()),
            cursors: floors.collect(),
            paused: group.paused.clone().unwrap_or_default(),
            is_paused: group.paused.is_some(),
        }),
    }
}

fn export_shard(group: GroupId, index: u32, shard: &Shard) -> record::ShardSection {
    let dead = |it: &Dead| record::DeadSnapshot {
        parked: Some(it.parked.clone()),
        time: it.time,
        superseded_by: it.superseded_by.map(Into::into),
    };
    let turn = |(saga, (turn, time)): (&LaneId, &(u32, u64))| record::TurnSnapshot {
        saga: Some(lane_record(*saga)),
        turn: *turn,
        time: *time,
    };
    record::ShardSection {
        group,
        shard: index,
        lanes: shard.lanes.iter().map(|(id, lane)| export_lane(*id, lane)).collect(),
        dead: shard.dead.values().map(dead).collect(),
        turns: shard.turns.iter().map(turn).collect(),
    }
}

fn export_lane(id: LaneId, lane: &Lane) -> record::LaneSnapshot {
    let mut it = record::LaneSnapshot {
        lane: Some(lane_record(id)),
        first: Some(lane.first.into()),
        ..Default::default()
    };
    let Some(head) = &lane.head else { return it };
    it.has_head = true;
    it.event = Some(head.event.into());
    it.attempts = head.attempts;
    it.unavailable = head.unavailable;
    it.unaccounted = head.unaccounted;
    it.replaced = head.replacement.is_some();
    it.replacement = head.replacement.clone().unwrap_or_default();
    match &head.status {
        Status::Open => {}
        Status::Parked => it.status = 2,
        Status::Held { due, class, reason } => {
            it.status = 1;
            it.due = *due;
            it.set_class(*class);
            it.reason.clone_from(reason);
        }
    }
    let superseded = |one: &SupersededEvent| record::SupersededEvent {
        event: Some(one.event.into()),
        attempts: one.attempts,
        reason: one.reason.clone(),
        event_type: String::new(),
    };
    it.superseded = head.superseded.iter().flat_map(|all| all.iter().map(superseded)).collect();
    it
}

fn import_lane(it: record::LaneSnapshot) -> Lane {
    let first = it.first.map(Position::from).unwrap_or_default();
    if !it.has_head {
        return Lane { first, head: None };
    }
    let status = match it.status {
        0 => Status::Open,
        1 => Status::Held { due: it.due, class: it.class(), reason: it.reason.clone() },
        _ => Status::Parked,
    };
    let superseded: Vec<_> = it
        .superseded
        .into_iter()
        .map(|one| SupersededEvent {
            event: one.event.as_ref().map(EventRef::from).unwrap_or_default(),
            attempts: one.attempts,
            reason: one.reason,
        })
        .collect();
    let head = Head {
        event: it.event.as_ref().map(EventRef::from).unwrap_or_default(),
        attempts: it.attempts,
        unavailable: it.unavailable,
        unaccounted: it.unaccounted,
        status,
        replacement: it.replaced.then_some(it.replacement),
        superseded: (!superseded.is_empty()).then(|| superseded.into()),
    };
    Lane { first, head: Some(head) }
}
