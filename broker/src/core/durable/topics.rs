//! Topics: names, configurations, the next offset of each, and the next number of everything.

use std::collections::BTreeMap;

use quadrille_proto::record;

use super::Gate;
use crate::core::types::{GroupId, Position, TimerId, TopicId};

/// One topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its configuration.
    pub config: record::TopicConfig,
    /// The offset of the next event.
    pub next: u64,
    /// The offset of the oldest event that is still there.
    pub first: u64,
}

/// All topics.
#[derive(Clone, Debug, PartialEq)]
pub struct Topics {
    /// By number.
    pub by_id: BTreeMap<TopicId, Topic>,
    /// Numbers by name.
    pub by_name: BTreeMap<String, TopicId>,
    /// The number of the next topic.
    pub next_topic: TopicId,
    /// The number of the next group.
    pub next_group: GroupId,
    /// The number of the next timer.
    pub next_timer: TimerId,
    pub(super) gate: Gate,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            by_id: BTreeMap::new(),
            by_name: BTreeMap::new(),
            next_topic: 1,
            next_group: 1,
            next_timer: 1,
            gate: Gate::default(),
        }
    }
}

impl Topics {
    /// A topic by number.
    pub fn get(&self, topic: TopicId) -> Option<&Topic> {
        self.by_id.get(&topic)
    }

    /// A topic's number by its name.
    pub fn id(&self, name: &str) -> Option<TopicId> {
        self.by_name.get(name).copied()
    }

    /// The name of a topic, for people.
    pub fn name(&self, topic: TopicId) -> &str {
        self.get(topic).map_or("(deleted)", |topic| &topic.name)
    }

    pub(super) fn appended(&mut self, at: Position, it: &record::EventAppended) {
        if self.gate.passes(at)
            && let Some(topic) = self.by_id.get_mut(&it.topic)
        {
            topic.next = it.offset + 1;
        }
    }

    pub(super) fn created(&mut self, at: Position, it: &record::TopicCreated) {
        if !self.gate.passes(at) {
            return;
        }
        let topic = Topic {
            name: it.name.clone(),
            config: it.config.unwrap_or_default(),
            next: 0,
            first: 0,
        };
        self.by_name.insert(it.name.clone(), it.topic);
        self.by_id.insert(it.topic, topic);
        self.next_topic = self.next_topic.max(it.topic + 1);
    }

    pub(super) fn changed(&mut self, at: Position, it: &record::TopicChanged) {
        if self.gate.passes(at)
            && let Some(topic) = self.by_id.get_mut(&it.topic)
        {
            topic.config = it.config.unwrap_or_default();
        }
    }

    pub(super) fn deleted(&mut self, at: Position, topic: TopicId) {
        if self.gate.passes(at)
            && let Some(topic) = self.by_id.remove(&topic)
        {
            self.by_name.remove(&topic.name);
        }
    }

    pub(super) fn trimmed(&mut self, at: Position, it: &record::TopicTrimmed) {
        for range in &it.first {
            if self.gate.passes(at)
                && let Some(topic) = self.by_id.get_mut(&range.topic)
            {
                topic.first = topic.first.max(range.from);
            }
        }
    }

    pub(super) fn group_numbered(&mut self, at: Position, group: GroupId) {
        if self.gate.passes(at) {
            self.next_group = self.next_group.max(group + 1);
        }
    }

    pub(super) fn timer_numbered(&mut self, at: Position, timer: TimerId) {
        if self.gate.passes(at) {
            self.next_timer = self.next_timer.max(timer + 1);
        }
    }
}
