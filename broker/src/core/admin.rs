//! Topics and groups: creating, changing, pausing, deleting. Each checks, records, applies.

use std::collections::{BTreeMap, BTreeSet};

use quadrille_proto::name;
use quadrille_proto::record::{
    self, GroupConfig, Kind, OrderBy, RetryPolicy, SettleKind, TopicConfig,
};

use super::command::{Answer, StartAt};
use super::durable::Group;
use super::live::LiveGroup;
use super::output::{Closed, Output};
use super::plan::Plan;
use super::refusal::Refusal;
use super::types::{GroupId, TopicId};
use super::{Core, Sequencer};
use crate::time::Now;

/// The topic of the bus's own account of parked events.
pub const DEAD_LETTERS: &str = "quadrille.dead_letters";

/// What a command would add to a disk that is nearly full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskUse {
    /// Plain publishes and timers.
    Publish = 0,
    /// Steps that publish.
    Step = 1,
    /// Retries, parks with their account, administration.
    Other = 2,
}

impl Core {
    /// Whether there is room for this kind of command.
    pub(super) fn check_disk(&self, class: DiskUse) -> Result<(), Refusal> {
        let [publish, step, other] = self.limits.disk_marks;
        let needed = match class {
            DiskUse::Publish => publish,
            DiskUse::Step => step,
            DiskUse::Other => other,
        };
        match self.free < needed {
            true => Err(Refusal::DiskFull { free: self.free, needed }),
            false => Ok(()),
        }
    }

    pub(super) fn create_topic(
        &mut self,
        now: Now,
        name: String,
        config: TopicConfig,
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        check_name(&name)?;
        check_topic_config(&config)?;
        if let Some(topic) = self.durable.topics.id(&name) {
            let has = self.durable.topics.get(topic).map(|it| it.config).unwrap_or_default();
            topic_conflict(&name, &has, &config)?;
            return Ok(Answer::Topic { topic, created: false });
        }
        self.check_disk(DiskUse::Other)?;
        let (used, max) = (self.durable.topics.by_id.len() as u64, self.limits.topics as u64);
        if used >= max {
            let relief = "delete some topics, or raise the limit";
            return Err(Refusal::LimitReached { what: "the number of topics", used, max, relief });
        }
        let topic = self.durable.topics.next_topic;
        let record = record::TopicCreated { topic, name, config: Some(config) };
        self.commit(now, seq, Plan::sync(vec![Kind::TopicCreated(record)]));
        Ok(Answer::Topic { topic, created: true })
    }

    pub(super) fn alter_topic(
        &mut self,
        now: Now,
        topic: TopicId,
        config: TopicConfig,
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        check_topic_config(&config)?;
        let it = self.durable.topics.get(topic).ok_or(Refusal::UnknownTopicNumber(topic))?;
        if it.config.versioned != config.versioned {
            return Err(Refusal::TopicConfigConflict {
                topic: it.name.clone(),
                field: "versioned",
                has: it.config.versioned.to_string(),
                asked: config.versioned.to_string(),
            });
        }
        let record = record::TopicChanged { topic, config: Some(config) };
        self.commit(now, seq, Plan::sync(vec![Kind::TopicChanged(record)]));
        Ok(Answer::Topic { topic, created: false })
    }

    pub(super) fn delete_topic(
        &mut self,
        now: Now,
        topic: TopicId,
        discard: bool,
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        let it = self.durable.topics.get(topic).ok_or(Refusal::UnknownTopicNumber(topic))?;
        if name::is_reserved(&it.name) {
            return Err(Refusal::Reserved(it.name.clone()));
        }
        let mut records = Vec::new();
        let (mut unsettled, mut dead_letters) = (0, 0);
        for group in self.durable.groups.values() {
            let Some(settled) = group.topics.get(&topic) else { continue };
            let dead = group.dead().filter(|(_, dead)| {
                dead.superseded_by.is_none()
                    && dead.parked.event.is_some_and(|event| event.topic == topic)
            });
            dead_letters += dead.count() as u64;
            unsettled += it.next.saturating_sub(settled.floor() + settled.above());
            records.push(discarded(group, topic, it.next));
        }
        if !discard && unsettled + dead_letters > 0 {
            let what = format!("topic {:?}", it.name);
            return Err(Refusal::StillNeeded { what, unsettled, dead_letters });
        }
        records.push(Kind::TopicDeleted(record::TopicDeleted { topic, unsettled }));
        self.commit(now, seq, Plan::sync(records));
        for group in self.readers.remove(&topic).unwrap_or_default() {
            self.forget_topic(now, group, topic, seq);
        }
        Ok(Answer::Done)
    }

    /// What a group had of a deleted topic in memory goes; lanes that it blocked go on.
    fn forget_topic(&mut self, now: Now, id: GroupId, topic: TopicId, seq: &mut dyn Sequencer) {
        let Some(group) = self.durable.groups.get(&id) else { return };
        let Some(live) = self.live.get_mut(&id) else { return };
        let lanes = live.forget_topic(topic, |lane| group.lane_head(lane).is_some());
        for lane in lanes {
            self.close_if_finished(now, id, lane, seq);
            self.make_ready(id, lane);
        }
        self.dirty.insert(id);
    }

    pub(super) fn create_group(
        &mut self,
        now: Now,
        name: String,
        mut config: GroupConfig,
        start: Option<StartAt>,
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        check_name(&name)?;
        normalize(&mut config);
        check_group_config(&name, &config)?;
        if let Some(group) = self.group_by_name(&name) {
            group_conflict(group, &config)?;
            return Ok(Answer::Group { group: group.id, created: false });
        }
        self.check_disk(DiskUse::Other)?;
        let (used, max) = (self.durable.groups.len() as u64, self.limits.groups as u64);
        if used >= max {
            let relief = "delete some groups, or raise the limit";
            return Err(Refusal::LimitReached { what: "the number of groups", used, max, relief });
        }
        let starts = self.starts(&name, &config, start)?;
        let group = self.durable.topics.next_group;
        let record = record::GroupCreated { group, name, config: Some(config), starts };
        self.commit(now, seq, Plan::sync(vec![Kind::GroupCreated(record)]));
        self.revive_group(now, group, None);
        self.learn_superseding();
        Ok(Answer::Group { group, created: true })
    }

    pub(super) fn alter_group(
        &mut self,
        now: Now,
        id: GroupId,
        mut config: GroupConfig,
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        normalize(&mut config);
        let group = self.group(id)?;
        check_group_config(&group.name, &config)?;
        for (field, has, asked) in [
            ("order_by", group.config.order_by().as_str_name(), config.order_by().as_str_name()),
            ("topics", &*sorted(&group.config.topics), &*sorted(&config.topics)),
        ] {
            if has != asked {
                return Err(Refusal::GroupConfigConflict {
                    group: group.name.clone(),
                    field,
                    has: has.to_owned(),
                    asked: asked.to_owned(),
                });
            }
        }
        let record = record::GroupChanged { group: id, config: Some(config), starts: Vec::new() };
        self.commit(now, seq, Plan::sync(vec![Kind::GroupChanged(record)]));
        if let Some(group) = self.durable.groups.get(&id)
            && let Some(live) = self.live.get_mut(&id)
        {
            live.configure(&group.config, &self.hasher);
        }
        self.learn_superseding();
        self.dirty.insert(id);
        Ok(Answer::Group { group: id, created: false })
    }

    pub(super) fn delete_group(
        &mut self,
        now: Now,
        id: GroupId,
        discard: bool,
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        let group = self.group(id)?;
        let unsettled = self.unsettled(group);
        let (_, dead_letters) = group.counts();
        let dead_letters = dead_letters as u64;
        if !discard && unsettled + dead_letters > 0 {
            let what = format!("group {:?}", group.name);
            return Err(Refusal::StillNeeded { what, unsettled, dead_letters });
        }
        let record = record::GroupDeleted { group: id, unsettled, dead_letters };
        self.commit(now, seq, Plan::sync(vec![Kind::GroupDeleted(record)]));
        for readers in self.readers.values_mut() {
            readers.remove(&id);
        }
        if let Some(live) = self.live.remove(&id) {
            for member in live.members.keys() {
                self.members.remove(member);
                let (member, why) = (*member, Closed::GroupDeleted);
                self.outputs.push_back(Output::MemberClosed { member, why });
            }
        }
        self.learn_superseding();
        Ok(Answer::Done)
    }

    pub(super) fn pause(
        &mut self,
        now: Now,
        group: GroupId,
        reason: String,
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        self.group(group)?;
        let record = record::GroupPaused { group, reason, kill_switch: false };
        self.commit(now, seq, Plan::sync(vec![Kind::GroupPaused(record)]));
        Ok(Answer::Done)
    }

    pub(super) fn resume(
        &mut self,
        now: Now,
        id: GroupId,
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        if self.group(id)?.paused.is_some() {
            let record = record::GroupResumed { group: id, probe: false };
            self.commit(now, seq, Plan::sync(vec![Kind::GroupResumed(record)]));
            self.dirty.insert(id);
        }
        Ok(Answer::Done)
    }

    /// A group that exists.
    pub(super) fn group(&self, id: GroupId) -> Result<&Group, Refusal> {
        self.durable.groups.get(&id).ok_or_else(|| Refusal::UnknownGroup(format!("number {id}")))
    }

    /// A group by its name.
    pub fn group_by_name(&self, name: &str) -> Option<&Group> {
        self.durable.groups.values().find(|group| group.name == name)
    }

    /// How many events of its topics a group has not settled, filtered ones included that it has
    /// not looked at.
    pub(super) fn unsettled(&self, group: &Group) -> u64 {
        let of = |(topic, settled): (&TopicId, &super::settled::Settled)| {
            let next = self.durable.topics.get(*topic).map_or(0, |topic| topic.next);
            next.saturating_sub(settled.floor() + settled.above())
        };
        let (lanes, _) = group.counts();
        group.topics.iter().map(of).sum::<u64>().max(lanes as u64)
    }

    /// Puts a group's live half together: at its creation, and at a start.
    pub(super) fn revive_group(&mut self, now: Now, id: GroupId, careful: Option<u64>) {
        if let Some(group) = self.durable.groups.get(&id) {
            let live = LiveGroup::new(now, group, &self.hasher, careful);
            for topic in group.topics.keys() {
                self.readers.entry(*topic).or_default().insert(id);
            }
            self.live.insert(id, live);
            self.dirty.insert(id);
        }
    }

    /// The types that supersede in any group.
    pub(super) fn learn_superseding(&mut self) {
        let types = self.durable.groups.values().flat_map(|group| &group.config.superseding);
        self.superseding = types.map(|ty| self.hasher.ty(ty)).collect();
    }

    fn starts(
        &self,
        group: &str,
        config: &GroupConfig,
        start: Option<StartAt>,
    ) -> Result<Vec<record::OffsetRange>, Refusal> {
        let mut starts = Vec::with_capacity(config.topics.len());
        for name in &config.topics {
            let topic = self.durable.topics.id(name);
            let topic = topic.ok_or_else(|| Refusal::UnknownTopic(name.clone()))?;
            let Some(it) = self.durable.topics.get(topic) else { continue };
            let from = match start {
                Some(StartAt::End) => it.next,
                Some(StartAt::Beginning) => it.first,
                None if it.next == it.first => it.first,
                None => {
                    return Err(Refusal::StartRequired {
                        group: group.to_owned(),
                        topic: name.clone(),
                        events: it.next - it.first,
                    });
                }
            };
            starts.push(record::OffsetRange { topic, from, to: from });
        }
        Ok(starts)
    }
}

/// Everything a group has not settled of a topic, given up.
fn discarded(group: &Group, topic: TopicId, next: u64) -> Kind {
    Kind::Settled(record::Settled {
        group: group.id,
        kind: SettleKind::Discarded.into(),
        ranges: vec![record::OffsetRange { topic, from: 0, to: next }],
        ..Default::default()
    })
}

fn check_name(name: &str) -> Result<(), Refusal> {
    if let Err(error) = name::check(name) {
        let rule = "1 to 255 of A-Z a-z 0-9 . _ -, not starting with a dot";
        let name = match error.code() {
            _ if name.len() > 300 => format!("{}...", name.chars().take(40).collect::<String>()),
            _ => name.to_owned(),
        };
        return Err(Refusal::BadName { name, rule });
    }
    match name::is_reserved(name) {
        true => Err(Refusal::Reserved(name.to_owned())),
        false => Ok(()),
    }
}

fn check_topic_config(config: &TopicConfig) -> Result<(), Refusal> {
    if config.versioned || config.max_keys != 0 {
        let why = "versioned topics are not there yet".to_owned();
        return Err(Refusal::BadConfig { what: "versioned", why });
    }
    match config.domain {
        0 => Ok(()),
        other => {
            let why = format!("there is one log, domain 0, and not {other}");
            Err(Refusal::BadConfig { what: "domain", why })
        }
    }
}

fn topic_conflict(name: &str, has: &TopicConfig, asked: &TopicConfig) -> Result<(), Refusal> {
    let conflict = |field, has: String, asked: String| {
        Err(Refusal::TopicConfigConflict { topic: name.to_owned(), field, has, asked })
    };
    if has.durability != asked.durability {
        let text = |it: &TopicConfig| it.durability().as_str_name().to_lowercase();
        return conflict("durability", text(has), text(asked));
    }
    let plain = record::Retention::default();
    if asked.retention.is_some_and(|it| it != plain && Some(it) != has.retention) {
        return conflict(
            "retention",
            format!("{:?}", has.retention.unwrap_or_default()),
            format!("{:?}", asked.retention.unwrap_or_default()),
        );
    }
    Ok(())
}

/// Fills in the defaults, so that what is recorded never refers to them.
fn normalize(config: &mut GroupConfig) {
    let policy = |it: &mut Option<RetryPolicy>| {
        let it = it.get_or_insert_default();
        for (value, default) in [(&mut it.first_ms, 100), (&mut it.cap_ms, 60_000)] {
            if *value == 0 {
                *value = default;
            }
        }
        for (value, default) in [(&mut it.max_attempts, 5), (&mut it.factor_percent, 200)] {
            if *value == 0 {
                *value = default;
            }
        }
    };
    policy(&mut config.forward);
    policy(&mut config.compensating);
    for (value, default) in
        [(&mut config.lease_ms, 30_000), (&mut config.handler_timeout_ms, 300_000)]
    {
        if *value == 0 {
            *value = default;
        }
    }
    if config.max_in_flight == 0 {
        config.max_in_flight = 4096;
    }
}

fn check_group_config(name: &str, config: &GroupConfig) -> Result<(), Refusal> {
    let bad = |what, why: String| Err(Refusal::BadConfig { what, why });
    if config.topics.is_empty() {
        return bad("topics", "a group reads at least one".to_owned());
    }
    let mut seen = BTreeMap::new();
    if let Some(twice) = config.topics.iter().find(|topic| seen.insert(*topic, ()).is_some()) {
        return bad("topics", format!("{twice:?} is named twice"));
    }
    if !config.superseding.is_empty() && config.order_by() != OrderBy::Saga {
        let has = config.order_by().as_str_name();
        return Err(Refusal::SupersedeNeedsSaga { group: name.to_owned(), has });
    }
    let own: BTreeSet<&String> = config.types.iter().collect();
    if !own.is_empty()
        && let Some(other) =
            // order: the lists' own.
            config.superseding.iter().chain(&config.late).find(|ty| !own.contains(ty))
    {
        return bad("superseding", format!("{other:?} is not among the group's types"));
    }
    if !config.type_patterns.is_empty() || config.kill_switch {
        return bad("type_patterns", "patterns and kill switches are not there yet".to_owned());
    }
    for policy in [&config.forward, &config.compensating].into_iter().flatten() {
        if policy.factor_percent < 100 {
            return bad("retry", "the factor is at least 100 percent".to_owned());
        }
    }
    Ok(())
}

/// A member that asks for something else than the group has must say so.
fn group_conflict(group: &Group, asked: &GroupConfig) -> Result<(), Refusal> {
    let has = &group.config;
    let policy = |it: &Option<RetryPolicy>| format!("{:?}", it.unwrap_or_default());
    let fields: [(&'static str, String, String); 11] = [
        ("topics", sorted(&has.topics), sorted(&asked.topics)),
        ("types", sorted(&has.types), sorted(&asked.types)),
        ("order_by", text(has.order_by()), text(asked.order_by())),
        (
            "on_exhausted",
            format!("{:?}", has.on_exhausted()),
            format!("{:?}", asked.on_exhausted()),
        ),
        ("retry", policy(&has.forward), policy(&asked.forward)),
        ("retry of compensations", policy(&has.compensating), policy(&asked.compensating)),
        ("superseding", sorted(&has.superseding), sorted(&asked.superseding)),
        ("late", sorted(&has.late), sorted(&asked.late)),
        ("lease", has.lease_ms.to_string(), asked.lease_ms.to_string()),
        (
            "handler_timeout",
            has.handler_timeout_ms.to_string(),
            asked.handler_timeout_ms.to_string(),
        ),
        ("max_in_flight", has.max_in_flight.to_string(), asked.max_in_flight.to_string()),
    ];
    match fields.into_iter().find(|(_, has, asked)| has != asked) {
        Some((field, has, asked)) => {
            Err(Refusal::GroupConfigConflict { group: group.name.clone(), field, has, asked })
        }
        None => Ok(()),
    }
}

fn sorted(list: &[String]) -> String {
    let mut list = list.to_vec();
    list.sort_unstable();
    list.join(" ")
}

fn text(order: OrderBy) -> String {
    order.as_str_name().to_lowercase()
}
