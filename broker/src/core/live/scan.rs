//! Scanning: walking a group's topics in the order of the log, and routing each event to its lane.
//! Scanning never stops for one lane; only credit, saturation and the tail stop it.

use std::collections::VecDeque;

use quadrille_proto::record::{self, Kind};

use super::super::output::Output;
use super::super::plan::Plan;
use super::super::types::{GroupId, Position, TailEvent, TopicId};
use super::super::{Core, Sequencer, durable};
use super::{Gap, LaneState, LiveGroup, LiveLane, Slot};
use crate::limits::Limits;
use crate::time::Now;

/// How far a group has looked at one topic.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) topic: TopicId,
    /// The next offset to look at.
    pub(crate) next: u64,
    /// Events read back because the tail no longer has them; dense, from `next` on.
    window: VecDeque<TailEvent>,
    /// A read is under way.
    reading: bool,
    /// A read found nothing from here on.
    missing: Option<u64>,
    /// Something was revealed since the read was asked for.
    changed: bool,
}

/// What a topic has next for a group.
enum Peek {
    /// This event.
    Event(Position),
    /// One that is not revealed: nothing of another topic passes it.
    Hidden(Position),
    /// Nothing.
    Nothing,
    /// It must be read first.
    Unread,
    /// It was appended, but cannot be read yet.
    Unreadable,
}

/// How many events one read of a topic asks for.
const READ_AHEAD: usize = 1024;

/// Records of passed-over offsets are written when there are this many ranges.
const PASSED_MAX: usize = 256;

impl Scan {
    pub(crate) fn new(topic: TopicId, floor: u64) -> Self {
        let window = VecDeque::new();
        Self { topic, next: floor, window, reading: false, missing: None, changed: false }
    }
}

impl Core {
    /// Routes up to `want` events: into their lanes, or, if the group is unordered, into `fresh`.
    /// Answers whether it stopped for another reason than `want`.
    pub(in super::super) fn scan(
        &mut self,
        id: GroupId,
        want: usize,
        fresh: &mut Vec<Slot>,
    ) -> bool {
        let Some(group) = self.durable.groups.get(&id) else { return true };
        let Some(live) = self.live.get_mut(&id) else { return true };
        let ctx = Ctx {
            tail: &self.tail,
            topics: &self.durable.topics,
            revealed: self.revealed,
            unrevealed: [&self.unrevealed_sync, &self.unrevealed_written],
        };
        let mut routed = 0;
        while routed < want {
            if live.is_full(&self.limits) {
                return true;
            }
            let Some(index) = live.next_scan(id, group, &ctx, &mut self.outputs) else {
                return true;
            };
            let Some((event, at_tail)) = live.take(index, &ctx) else { return true };
            if !live.wants(&event.head) {
                live.pass(event.head.event.topic, event.head.event.offset);
                continue;
            }
            routed += 1;
            live.route(event, at_tail, &self.limits, fresh);
        }
        false
    }

    /// Events of a topic, read back for a group that is behind; dense from the first one. A hole
    /// before that one is lost for good, and that is recorded.
    pub(in super::super) fn window(
        &mut self,
        now: Now,
        id: GroupId,
        (topic, from): (TopicId, u64),
        events: Vec<TailEvent>,
        seq: &mut dyn Sequencer,
    ) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let Some(scan) = live.scans.iter_mut().find(|scan| scan.topic == topic) else { return };
        scan.reading = false;
        self.dirty.insert(id);
        if scan.next != from || !scan.window.is_empty() {
            return;
        }
        let missing = events.is_empty() && !std::mem::take(&mut scan.changed);
        scan.missing = missing.then_some(from);
        let first = events.first().map_or(from, |event| event.head.event.offset);
        scan.window = events.into();
        if first > from {
            scan.next = first;
            let ranges = vec![record::OffsetRange { topic, from, to: first }];
            let record = record::Truncated { group: id, ranges, count: first - from };
            self.commit(now, seq, Plan::lazy(vec![Kind::Truncated(record)]));
        }
    }
}

/// What scanning looks at beside the group.
struct Ctx<'a> {
    tail: &'a super::super::tail::Tail,
    topics: &'a durable::Topics,
    revealed: super::super::Revealed,
    unrevealed: [&'a VecDeque<(u64, TopicId)>; 2],
}

impl Ctx<'_> {
    /// Whether a topic has events that are not revealed.
    fn unrevealed(&self, topic: TopicId) -> bool {
        self.unrevealed.iter().any(|queue| queue.iter().any(|(_, of)| *of == topic))
    }
}

impl LiveGroup {
    /// The topic whose next event comes first in the log. `None`: nothing is revealed, or the
    /// order is not known before something is read or revealed.
    fn next_scan(
        &mut self,
        id: GroupId,
        group: &durable::Group,
        ctx: &Ctx<'_>,
        outputs: &mut VecDeque<Output>,
    ) -> Option<usize> {
        let mut best: Option<(Position, usize)> = None;
        let mut hidden: Option<Position> = None;
        let mut unknown = false;
        for (index, scan) in self.scans.iter_mut().enumerate() {
            match scan.peek(group, ctx) {
                Peek::Event(at) if best.is_none_or(|(first, _)| at < first) => {
                    best = Some((at, index));
                }
                Peek::Event(_) | Peek::Nothing => {}
                Peek::Hidden(at) => hidden = Some(hidden.map_or(at, |first| first.min(at))),
                Peek::Unreadable => unknown = true,
                Peek::Unread => {
                    unknown = true;
                    if !scan.reading {
                        (scan.reading, scan.changed) = (true, false);
                        let (topic, from, max) = (scan.topic, scan.next, READ_AHEAD);
                        outputs.push_back(Output::ReadTopic { group: id, topic, from, max });
                    }
                }
            }
        }
        let best = best.filter(|(at, _)| !unknown && hidden.is_none_or(|hidden| *at < hidden));
        best.map(|(_, index)| index)
    }

    /// The next event of a topic, and whether the tail still has it.
    fn take(&mut self, index: usize, ctx: &Ctx<'_>) -> Option<(TailEvent, bool)> {
        let scan = self.scans.get_mut(index)?;
        let event = match scan.window.pop_front() {
            Some(event) => (event, false),
            None => (ctx.tail.get(scan.topic, scan.next)?.clone(), true),
        };
        scan.next = event.0.head.event.offset + 1;
        Some(event)
    }

    /// Notes an offset that the filter passes over.
    fn pass(&mut self, topic: TopicId, offset: u64) {
        match self.passed.last_mut() {
            Some((of, _, to)) if *of == topic && *to == offset => *to += 1,
            _ => self.passed.push((topic, offset, offset + 1)),
        }
    }

    /// Whether passed-over offsets should be recorded now.
    pub(in super::super) fn passed_too_much(&self) -> bool {
        self.passed.len() > PASSED_MAX
    }

    fn is_full(&self, limits: &Limits) -> bool {
        let full = |lane: &LiveLane| lane.waiting.len() >= limits.lane_cached || lane.gap.is_some();
        self.lanes.len() >= limits.lanes_unfinished
            || self.order == record::OrderBy::Everything
                && self.lanes.get(&super::EVERYTHING).is_some_and(full)
    }

    fn route(&mut self, event: TailEvent, at_tail: bool, limits: &Limits, fresh: &mut Vec<Slot>) {
        let TailEvent { head, bytes } = event;
        let id = self.lane_of(&head);
        // The tail hands out its events again for nothing; what was read back is kept at hand.
        let keep = at_tail || self.cached + bytes.len() <= limits.window_bytes;
        let mut slot = self.slot(&head, keep.then_some(bytes));
        if !self.ordered() {
            // One with a history is in a lane of its own already.
            if !self.lanes.contains_key(&id) {
                fresh.push(slot);
            }
            return;
        }
        let lane = self.lanes.entry(id).or_insert_with(LiveLane::new);
        let superseding = slot.superseding;
        let room = match lane.block {
            Some(_) => limits.lane_cached_blocked,
            None => limits.lane_cached,
        };
        if let Some(gap) = &mut lane.gap {
            gap.grew = true;
            gap.superseding |= superseding;
        } else if lane.waiting.len() >= room {
            lane.gap = Some(Gap { from: head.event.at, grew: true, superseding });
        } else {
            if lane.block.is_some() || at_tail && lane.state != LaneState::Idle {
                slot.bytes = None;
            }
            self.cached += slot.at_hand();
            lane.waiting.push_back(slot);
        }
        let wake = lane.state == LaneState::Idle
            && (lane.block.is_none() || superseding && lane.may_be_overtaken());
        if wake {
            lane.state = LaneState::Ready;
            self.ready.push_back(id);
        }
    }
}

impl Scan {
    fn peek(&mut self, group: &durable::Group, ctx: &Ctx<'_>) -> Peek {
        if let Some(settled) = group.topics.get(&self.topic) {
            self.skip_to(settled.next_missing(self.next));
        }
        let Some(topic) = ctx.topics.get(self.topic) else { return Peek::Nothing };
        self.skip_to(topic.first);
        if self.next >= topic.next {
            return Peek::Nothing;
        }
        let event = match self.window.front() {
            Some(event) => event,
            None => match ctx.tail.get(self.topic, self.next) {
                Some(event) => event,
                None if self.missing == Some(self.next) => {
                    return match ctx.unrevealed(self.topic) {
                        true => Peek::Unreadable,
                        false => Peek::Nothing,
                    };
                }
                None => return Peek::Unread,
            },
        };
        match ctx.revealed.covers(&event.head) {
            true => Peek::Event(event.head.event.at),
            false => Peek::Hidden(event.head.event.at),
        }
    }

    /// What the group has settled above its floor, or retention has taken, is not looked at.
    fn skip_to(&mut self, offset: u64) {
        if offset > self.next {
            self.next = offset;
            while self.window.front().is_some_and(|event| event.head.event.offset < offset) {
                self.window.pop_front();
            }
        }
    }

    /// Something has been revealed: what was missing may be readable now.
    pub(crate) fn look_again(&mut self) {
        self.missing = None;
        self.changed = true;
    }
}
