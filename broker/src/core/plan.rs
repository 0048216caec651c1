//! A decision: the records of one entry, and what applying them adds beside the durable state.
//! Deciding fills a [`Plan`]; [`Core::commit`] writes and applies it. Nothing else does either.

use bytes::Bytes;
use quadrille_proto::record::{self, Kind};

use super::types::{Head, Position, TailEvent};
use super::{Core, Sequencer};
use crate::time::Now;

/// The records of one entry.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What happened, in order.
    pub records: Vec<Kind>,
    /// The events among them.
    pub appended: Vec<Appended>,
    /// Whether answers wait until it is durable.
    pub sync: bool,
}

/// An event that an entry appends: what indexes need to know of it.
#[derive(Debug)]
pub struct Appended {
    /// Index of its record.
    pub(super) index: u32,
    /// How to route it; its entry number is filled in when there is one.
    pub head: Head,
    /// The hash of its id.
    pub id: u128,
    /// The digest of its type and data.
    pub digest: u64,
    /// The length of its bytes.
    pub len: usize,
}

impl Plan {
    pub(super) fn sync(records: Vec<Kind>) -> Self {
        Self { records, sync: true, ..Self::default() }
    }

    pub(super) fn lazy(records: Vec<Kind>) -> Self {
        Self { records, ..Self::default() }
    }
}

impl Core {
    /// Writes the plan as one entry and applies it; answers the entry's number.
    pub(super) fn commit(&mut self, now: Now, seq: &mut dyn Sequencer, mut plan: Plan) -> u64 {
        self.last_time = self.last_time.max(now.wall);
        let time = self.last_time;
        let entry = seq.entry(time, plan.sync, &plan.records);
        for (index, kind) in (0u32..).zip(&plan.records) {
            self.note_timer(kind);
            self.durable.apply(Position { entry, index }, time, kind);
        }
        if plan.sync {
            self.last_sync = entry;
        }
        for it in &mut plan.appended {
            it.head.event.at = Position { entry, index: it.index };
            (it.head.time, it.head.sync) = (time, plan.sync);
        }
        // One loop for each table: the cache misses of a batch overlap.
        for it in &plan.appended {
            self.ids.insert(it.id, it.digest, it.head.event.offset);
        }
        if !plan.appended.is_empty() {
            seq.appended(&plan.appended);
        }
        for it in &plan.appended {
            let Some(bytes) = event_bytes(&plan.records, it.index) else { continue };
            self.tail.push(TailEvent { head: it.head, bytes });
            self.note_unrevealed(entry, it.head.event.topic, plan.sync);
        }
        entry
    }

    /// Keeps the ids of armed timers: they count as present.
    pub(super) fn note_timer(&mut self, kind: &Kind) {
        let gone = match kind {
            Kind::TimerArmed(it) => {
                let id = u128::from(it.id_hi) << 64 | u128::from(it.id_lo);
                self.armed.insert(id, it.timer);
                return;
            }
            Kind::TimerCancelled(it) => it.timer,
            Kind::EventAppended(it) if it.timer != 0 => it.timer,
            _ => return,
        };
        if let Some(timer) = self.durable.timers.get(gone) {
            self.armed.remove(&timer.id);
        }
    }

    /// Groups on this topic have something to look at once this entry is revealed.
    fn note_unrevealed(&mut self, entry: u64, topic: u32, sync: bool) {
        let queue = match sync {
            true => &mut self.unrevealed_sync,
            false => &mut self.unrevealed_written,
        };
        if queue.back() != Some(&(entry, topic)) {
            queue.push_back((entry, topic));
        }
    }
}

fn event_bytes(records: &[Kind], index: u32) -> Option<Bytes> {
    match records.get(index as usize)? {
        Kind::EventAppended(record::EventAppended { event, .. }) => Some(event.clone()),
        _ => None,
    }
}
