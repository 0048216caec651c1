//! What people ask: plain data, gathered under the lock and seen when it is safe. What a group or a
//! topic says of itself is core's; see [`crate::core::info`].

use super::{Engine, IndexInfo, Opened, Stamped};
use crate::core::Core;
use crate::core::durable::Loss;
use crate::core::info::{DeadInfo, Gauge, GroupInfo, HeldInfo, TopicInfo};
use crate::core::types::{EventRef, GroupId, TopicId};
use crate::log::{SegmentInfo, Space};
use crate::upkeep::{Blocker, Pin};

/// One engine at a glance.
#[derive(Clone, Debug)]
pub struct BusInfo {
    /// What the last opening has found.
    pub opened: Opened,
    /// Every topic.
    pub topics: Vec<TopicInfo>,
    /// Every group.
    pub groups: Vec<GroupInfo>,
    /// What is used of every limit.
    pub limits: Vec<Gauge>,
    /// What was lost, truncated or dropped, newest last.
    pub losses: Vec<Loss>,
    /// What must stay in the log, and for whom.
    pub pins: Vec<Pin>,
    /// What retention would take were it not for these, worst first; as of its last look.
    pub blocked: Vec<Blocker>,
    /// The last entry that is written, and the last that is durable.
    pub written: u64,
    /// Likewise.
    pub durable: u64,
    /// The log's segments.
    pub segments: Vec<SegmentInfo>,
    /// Room on the disk.
    pub space: Space,
    /// How far the index is, if there is one.
    pub index: Option<IndexInfo>,
}

impl Engine {
    /// The engine at a glance.
    pub fn info(&self) -> Stamped<BusInfo> {
        let shared = &self.0.shared;
        let (opened, blocked) = (self.opened(), shared.upkeep().blocked().to_vec());
        let (segments, space) = (shared.log.segments(), shared.log.space());
        let (marks, index) = (shared.log.watermarks(), shared.index_info());
        let (now, queue) = (shared.now(), self.queue_gauge());
        self.view(|core| BusInfo {
            opened,
            topics: core.topics(),
            groups: core.groups(now),
            limits: core.gauges().into_iter().chain([queue]).collect(),
            losses: core.durable().losses.iter().cloned().collect(),
            pins: core.pins(),
            blocked,
            written: marks.written,
            durable: marks.durable,
            segments,
            space,
            index,
        })
    }

    /// All topics.
    pub fn topics(&self) -> Stamped<Vec<TopicInfo>> {
        self.view(Core::topics)
    }

    /// One group: its lag, its lanes, its members and what they hold; `None` if there is none of
    /// that number.
    pub fn group_info(&self, group: GroupId) -> Stamped<Option<GroupInfo>> {
        let now = self.0.shared.now();
        self.view(|core| core.group_info(now, group))
    }

    /// What a group could not process, superseded events included, in the order of the log.
    pub fn dead_letters(&self, group: GroupId) -> Stamped<Vec<DeadInfo>> {
        self.view(|core| core.dead_letters(group))
    }

    /// What a group holds back until a time.
    pub fn held(&self, group: GroupId) -> Stamped<Vec<HeldInfo>> {
        self.view(|core| core.held(group))
    }

    /// Whether a group has settled an event. Not only what is revealed: for tests.
    #[must_use]
    pub fn is_settled(&self, group: GroupId, event: EventRef) -> bool {
        self.0.shared.look(|state| state.core.is_settled(group, event))
    }

    /// What waits in its lane behind an event that is in somebody's hands. Likewise.
    #[must_use]
    pub fn waiting_behind(&self, group: GroupId, event: EventRef) -> Vec<EventRef> {
        self.0.shared.look(|state| state.core.waiting_behind(group, event))
    }

    /// The number of the next entry. Likewise.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.0.shared.look(|state| state.seq.end() + 1)
    }

    /// A topic's name, if it is there.
    #[must_use]
    pub fn topic_name(&self, topic: TopicId) -> Option<String> {
        let name = |core: &Core| core.durable().topics.get(topic).map(|it| it.name.clone());
        self.0.shared.look(|state| name(&state.core))
    }

    fn queue_gauge(&self) -> Gauge {
        let max = self.0.shared.options.limits.queue_bytes as u64;
        let free = self.0.shared.queue.available_permits() as u64;
        Gauge { name: "queue_bytes", used: max.saturating_sub(free), max }
    }
}
