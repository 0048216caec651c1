//! The newest events of all topics, parsed once: what groups at the tail share. Bounded by bytes
//! over all topics; the oldest go first, and who still needs them reads them from the log.

use std::collections::{BTreeMap, VecDeque};

use super::types::{TailEvent, TopicId};

/// The newest events, by topic and offset.
#[derive(Debug)]
pub(super) struct Tail {
    rings: BTreeMap<TopicId, Ring>,
    order: VecDeque<TopicId>,
    bytes: usize,
    max: usize,
}

#[derive(Debug, Default)]
struct Ring {
    first: u64,
    events: VecDeque<TailEvent>,
}

/// What one event costs beside its bytes.
const OVERHEAD: usize = size_of::<TailEvent>() + size_of::<TopicId>();

impl Tail {
    /// A tail of at most about `max` bytes.
    pub(super) fn new(max: usize) -> Self {
        Self { rings: BTreeMap::new(), order: VecDeque::new(), bytes: 0, max }
    }

    /// Adds an event; if it does not follow its predecessor, what came before is forgotten.
    pub(super) fn push(&mut self, event: TailEvent) {
        let place = event.head.event;
        self.bytes += event.bytes.len() + OVERHEAD;
        let ring = self.rings.entry(place.topic).or_default();
        if ring.first + ring.events.len() as u64 != place.offset {
            self.bytes -= ring.events.drain(..).map(|it| it.bytes.len() + OVERHEAD).sum::<usize>();
            ring.first = place.offset;
        }
        ring.events.push_back(event);
        self.order.push_back(place.topic);
        while self.bytes > self.max && self.evict() {}
    }

    /// The event at an offset, if it is still here.
    pub(super) fn get(&self, topic: TopicId, offset: u64) -> Option<&TailEvent> {
        let ring = self.rings.get(&topic)?;
        ring.events.get(usize::try_from(offset.checked_sub(ring.first)?).ok()?)
    }

    /// Bytes in use.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn evict(&mut self) -> bool {
        let Some(topic) = self.order.pop_front() else { return false };
        if let Some(ring) = self.rings.get_mut(&topic)
            && let Some(event) = ring.events.pop_front()
        {
            ring.first += 1;
            self.bytes -= event.bytes.len() + OVERHEAD;
        }
        true
    }
}
