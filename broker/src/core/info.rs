//! What people ask of the state: plain data, gathered on demand.

use quadrille_proto::record;

use super::Core;
use super::durable::{Durable, Group, Status};
use super::live::{Block, LiveGroup, LiveRun, bits};
use super::types::{EventRef, GroupId, LaneId, MemberId, Position, TopicId};
use crate::time::Now;

/// A group, as operators see it.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupInfo {
    /// Its number.
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// Its configuration.
    pub config: record::GroupConfig,
    /// Why it hands out nothing.
    pub paused: Option<String>,
    /// It has too many unfinished lanes and opens no new ones.
    pub saturated: bool,
    /// Events of its topics that it has not settled (filtered ones it has not looked at included).
    pub unsettled: u64,
    /// Broker time of the oldest unsettled event that memory knows of, ms since 1970.
    pub oldest: Option<u64>,
    /// Lanes that wait for a time.
    pub held: usize,
    /// Lanes that wait for somebody.
    pub parked: usize,
    /// Lanes with anything in them, and their limit.
    pub lanes: (usize, usize),
    /// Events in members' hands, and their limit.
    pub out: (u32, u32),
    /// Who is here.
    pub members: Vec<MemberInfo>,
}

/// A member, and what it holds since when.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberInfo {
    /// Its number.
    pub id: MemberId,
    /// Its name.
    pub name: String,
    /// How many events it may hold.
    pub credit: u32,
    /// How many it holds.
    pub out: u32,
    /// For how long it has been here, ms.
    pub here_ms: u64,
    /// What it holds: the event, for how long (ms), whether user code has seen it.
    pub holds: Vec<(EventRef, u64, bool)>,
}

/// An event that waits for somebody, or was superseded.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadInfo {
    /// The event.
    pub event: EventRef,
    /// The name of its topic.
    pub topic: String,
    /// The story.
    pub parked: record::Parked,
    /// Since when, broker ms since 1970.
    pub time: u64,
    /// The compensation that overtook it.
    pub superseded_by: Option<EventRef>,
    /// How many events of its lane are known to wait behind it.
    pub behind: usize,
}

/// A topic, as operators see it.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicInfo {
    /// Its number.
    pub id: TopicId,
    /// Its name.
    pub name: String,
    /// Its configuration.
    pub config: record::TopicConfig,
    /// The oldest offset that is still there.
    pub first: u64,
    /// The next offset.
    pub next: u64,
}

/// A lane that is held.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldInfo {
    /// Its lane.
    pub lane: LaneId,
    /// The held event.
    pub event: EventRef,
    /// Attempts used.
    pub attempts: u32,
    /// Until when, wall ms since 1970.
    pub due: u64,
    /// In the consumer's words.
    pub reason: String,
}

/// What is used of a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gauge {
    /// The limit's name.
    pub name: &'static str,
    /// Used.
    pub used: u64,
    /// Allowed.
    pub max: u64,
}

impl Core {
    /// The durable half.
    pub fn durable(&self) -> &Durable {
        &self.durable
    }

    /// The keyed hash of this log.
    pub fn hasher(&self) -> &quadrille_proto::Hasher128 {
        &self.hasher
    }

    /// All topics.
    pub fn topics(&self) -> Vec<TopicInfo> {
        let info = |(id, it): (&TopicId, &super::durable::Topic)| TopicInfo {
            id: *id,
            name: it.name.clone(),
            config: it.config,
            first: it.first,
            next: it.next,
        };
        self.durable.topics.by_id.iter().map(info).collect()
    }

    /// All groups.
    pub fn groups(&self, now: Now) -> Vec<GroupInfo> {
        self.durable.groups.values().filter_map(|group| self.group_info(now, group.id)).collect()
    }

    /// One group.
    pub fn group_info(&self, now: Now, id: GroupId) -> Option<GroupInfo> {
        let group = self.durable.groups.get(&id)?;
        let live = self.live.get(&id)?;
        let block = |want: fn(&Block) -> bool| {
            live.lanes.values().filter(|lane| lane.block.as_ref().is_some_and(want)).count()
        };
        Some(GroupInfo {
            id,
            name: group.name.clone(),
            config: group.config.clone(),
            paused: group.paused.clone(),
            saturated: live.lanes.len() >= self.limits.lanes_unfinished,
            unsettled: self.unsettled(group),
            oldest: self.oldest(group, live),
            held: block(|it| matches!(it, Block::Held(_))),
            parked: block(|it| matches!(it, Block::Parked)),
            lanes: (live.lanes.len(), self.limits.lanes_unfinished),
            out: (live.out, live.max_in_flight),
            members: self.members_of(now, live),
        })
    }

    /// Dead letters of a group, in the order of the log; superseded ones too.
    pub fn dead_letters(&self, id: GroupId) -> Vec<DeadInfo> {
        let Some(group) = self.durable.groups.get(&id) else { return Vec::new() };
        let info = |(_, dead): (Position, &super::durable::Dead)| {
            let event = dead.parked.event.as_ref().map(EventRef::from).unwrap_or_default();
            let lane = super::durable::lane_id(dead.parked.lane.as_ref());
            let lane = self.live.get(&id).and_then(|live| live.lanes.get(&lane));
            let behind = lane.map_or(0, |lane| lane.waiting.len().saturating_sub(1));
            DeadInfo {
                event,
                topic: self.durable.topics.name(event.topic).to_owned(),
                parked: dead.parked.clone(),
                time: dead.time,
                superseded_by: dead.superseded_by,
                behind: if dead.parked.blocking { behind } else { 0 },
            }
        };
        group.dead().map(info).collect()
    }

    /// Held events of a group, in the order of their lanes.
    pub fn held(&self, id: GroupId) -> Vec<HeldInfo> {
        let shards = self.durable.groups.get(&id).into_iter().flat_map(|group| &group.shards);
        let lanes = shards.flat_map(|shard| &shard.lanes);
        let held = lanes.filter_map(|(lane, it)| {
            let head = it.head.as_ref()?;
            let Status::Held { due, reason, .. } = &head.status else { return None };
            Some(HeldInfo {
                lane: *lane,
                event: head.event,
                attempts: head.attempts,
                due: *due,
                reason: reason.clone(),
            })
        });
        held.collect()
    }

    /// Whether a group has settled an event.
    pub fn is_settled(&self, id: GroupId, event: EventRef) -> bool {
        let group = self.durable.groups.get(&id);
        let topic = group.and_then(|group| group.topics.get(&event.topic));
        topic.is_some_and(|settled| settled.contains(event.offset))
    }

    /// The events that wait in its lane behind one that is in somebody's hands, as far as memory
    /// knows them.
    pub fn waiting_behind(&self, id: GroupId, event: EventRef) -> Vec<EventRef> {
        let Some(live) = self.live.get(&id) else { return Vec::new() };
        let held = |run: &&LiveRun| {
            bits(run.open()).any(|i| run.slots.get(i as usize).is_some_and(|it| it.event == event))
        };
        let Some(run) = live.runs.values().find(held) else { return Vec::new() };
        let Some(lane) = run.lane else { return Vec::new() };
        let rest = bits(run.open()).filter_map(|i| run.slots.get(i as usize)).map(|it| it.event);
        let waiting = live.lanes.get(&lane).into_iter().flat_map(|lane| &lane.waiting);
        let all = rest.chain(waiting.map(|slot| slot.event));
        all.filter(|it| it.at > event.at).collect()
    }

    /// The offset of a topic below which every group has settled; its next offset without groups.
    pub fn settled_by_all(&self, topic: TopicId) -> u64 {
        let next = self.durable.topics.get(topic).map_or(0, |topic| topic.next);
        let floors = self.durable.groups.values().filter_map(|group| group.topics.get(&topic));
        floors.map(super::settled::Settled::floor).min().unwrap_or(next)
    }

    /// Limits as used and allowed.
    pub fn gauges(&self) -> Vec<Gauge> {
        let gauge =
            |name, used: usize, max: usize| Gauge { name, used: used as u64, max: max as u64 };
        let lanes = self.live.values().map(|live| live.lanes.len()).max().unwrap_or(0);
        let (ids, _) = self.ids.reach();
        let limits = &self.limits;
        vec![
            gauge("topics", self.durable.topics.by_id.len(), limits.topics),
            gauge("groups", self.durable.groups.len(), limits.groups),
            gauge("timers", self.durable.timers.len(), limits.timers),
            gauge("sessions", self.durable.sessions.by_id.len(), limits.sessions),
            gauge("lanes_unfinished", lanes, limits.lanes_unfinished),
            gauge("tail_bytes", self.tail.bytes(), limits.tail_bytes),
            gauge("dedup_ids", ids, self.ids.reach().1 * 2),
        ]
    }

    /// Deliveries in members' hands, over all groups.
    pub fn out(&self) -> u32 {
        self.live.values().map(|live| live.out).sum()
    }

    fn oldest(&self, group: &Group, live: &LiveGroup) -> Option<u64> {
        let at_floor = group.topics.iter().filter_map(|(topic, settled)| {
            let event = self.tail.get(*topic, settled.next_missing(0))?;
            Some(event.head.time)
        });
        let out = live.runs.values().flat_map(|run| {
            bits(run.open()).filter_map(|index| run.slots.get(index as usize)).map(|it| it.time)
        });
        let waiting = live.lanes.values().filter_map(|lane| lane.waiting.front());
        let waiting = waiting.map(|slot| slot.time).filter(|time| *time > 0);
        at_floor.chain(out).chain(waiting).min()
    }

    fn members_of(&self, now: Now, live: &LiveGroup) -> Vec<MemberInfo> {
        let holds = |member: MemberId| {
            let runs = live.runs.values().filter(|run| run.member == member);
            let events = runs.flat_map(|run| {
                bits(run.open()).filter_map(|index| {
                    let slot = run.slots.get(index as usize)?;
                    let seen = run.started & 1 << index != 0;
                    Some((slot.event, now.mono.saturating_sub(run.since), seen))
                })
            });
            events.collect()
        };
        let info = |(id, it): (&MemberId, &super::live::LiveMember)| MemberInfo {
            id: *id,
            name: it.name.clone(),
            credit: it.credit,
            out: it.out,
            here_ms: now.mono.saturating_sub(it.since),
            holds: holds(*id),
        };
        live.members.iter().map(info).collect()
    }
}
