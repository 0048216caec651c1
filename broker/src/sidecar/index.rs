//! All segments' indexes as one. Lookups may read files and, where a sidecar is missing or
//! damaged, the log: never call them under the engine's lock ([`Index::active`], [`Index::roll`]
//! and [`Index::want_roll`] excepted).

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quadrille_proto::hash::Hasher128;

use super::active::Active;
use super::encode::encode;
use super::ended::{Slot, State, View};
use super::store::{Store, name, parse_name};
use super::{IdEntry, TopicStats, Wanted, rebuild};
use crate::core::types::{EventRef, Position, TopicId};
use crate::log::{Blobs, Log, LogError, ReadError};

/// The bounds of an [`Index`].
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of sidecars kept in memory (20 MiB).
    pub cache_bytes: usize,
    /// Bytes of the active segment's index at which [`Index::want_roll`] says so (20 MiB). Up to
    /// two ended segments' indexes stay in memory beside it until their sidecars are written.
    pub active_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 20 << 20, active_bytes: 20 << 20 }
    }
}

/// What a segment holds, for retention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentStats {
    /// Its first entry.
    pub first: u64,
    /// The first entry behind it; `None` for the active segment.
    pub end: Option<u64>,
    /// Per topic, by topic number.
    pub topics: Vec<TopicStats>,
}

/// Why a lookup failed. It may succeed later.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log could not be read to build a sidecar again.
    #[error("building the index of the segment that begins with entry {first}: {source}")]
    Log {
        /// The segment's first entry.
        first: u64,
        /// What the log said.
        source: ReadError,
    },
    /// A record of the log is not what its number says.
    #[error("entry {entry} cannot be indexed: {reason}")]
    Record {
        /// The entry.
        entry: u64,
        /// What is wrong.
        reason: String,
    },
    /// Sidecars could not be read or written.
    #[error(transparent)]
    Blobs(#[from] LogError),
}

/// Where every event of the log is.
pub struct Index {
    pub(super) log: Arc<dyn Log>,
    pub(super) log_id: u128,
    pub(super) hasher: Hasher128,
    options: Options,
    pub(super) store: Store,
    active: Mutex<Active>,
    ended: Mutex<VecDeque<Slot>>,
    pub(super) rebuilt: AtomicU64,
}

/// Rows of the active segment that one lookup looks at before it lets others have the lock.
const SCAN_ROWS: usize = if cfg!(test) { 7 } else { 32 * 1024 };

/// Indexes of ended segments that wait in memory for their sidecar; the rest is read again.
const WAITING: usize = 2;

impl Index {
    /// Opens the sidecars of a claimed log and reads its active segment. Sidecars of segments that
    /// are gone are removed.
    ///
    /// # Errors
    /// The active segment cannot be read, or blobs cannot be listed.
    pub fn open(
        log: Arc<dyn Log>,
        blobs: Arc<dyn Blobs>,
        log_id: u128,
        hasher: Hasher128,
        options: Options,
    ) -> Result<Self, Error> {
        let found: BTreeSet<u64> =
            blobs.list()?.iter().filter_map(|name| parse_name(name)).collect();
        let segments = log.segments();
        let slot = |first, end| {
            let state = if found.contains(&first) { State::Stored } else { State::Missing };
            Slot { first, end, state }
        };
        let ended: VecDeque<_> = segments
            .iter()
            .filter_map(|s| s.end.filter(|end| *end > s.first).map(|end| slot(s.first, end)))
            .collect();
        for first in &found {
            if !ended.iter().any(|slot| slot.first == *first) {
                blobs.remove(&name(*first))?;
            }
        }
        let behind = ended.back().map_or(1, |slot| slot.end);
        let first = segments.iter().find(|s| s.end.is_none()).map_or(behind, |s| s.first);
        let active = rebuild::read(&*log, &hasher, first, None)?;
        Ok(Self {
            log,
            log_id,
            hasher,
            options,
            store: Store::new(blobs, options.cache_bytes),
            active: Mutex::new(active),
            ended: Mutex::new(ended),
            rebuilt: AtomicU64::new(0),
        })
    }

    /// The active segment's index, locked: `index.active().push(..)` for each event of a batch. To
    /// be held for a moment, and not while anything else here is called.
    pub fn active(&self) -> MutexGuard<'_, Active> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The active segment's index is large: roll the segment as if it were full.
    pub fn want_roll(&self) -> bool {
        self.active().memory() >= self.options.active_bytes
    }

    /// A new segment begins with entry `first`: to be called with the append that starts it, before
    /// its events are pushed. Cheap.
    pub fn roll(&self, first: u64) {
        let mut active = self.active();
        if active.first() == first {
            return;
        }
        let next = active.next(first);
        let old = std::mem::replace(&mut *active, next);
        let mut ended = self.ended();
        ended.push_back(Slot {
            first: old.first(),
            end: first,
            state: State::Memory(Arc::new(old)),
        });
        let waiting = ended.iter_mut().rev().filter(|s| matches!(s.state, State::Memory(_)));
        for slot in waiting.skip(WAITING) {
            slot.state = State::Missing;
        }
    }

    /// One piece of background work: writes the sidecar of a segment that has ended and is durable.
    /// False if there was nothing to do.
    ///
    /// # Errors
    /// The disk is full or has failed; lookups work nevertheless. Try again later.
    pub fn step(&self) -> Result<bool, Error> {
        let durable = self.log.watermarks().durable;
        let todo = |slot: &&Slot| slot.end <= durable + 1 && !matches!(slot.state, State::Stored);
        let Some(slot) = self.ended().iter().find(todo).cloned() else {
            return Ok(false);
        };
        match &slot.state {
            State::Memory(active) => self.write(&slot, &encode(active, self.log_id, slot.end))?,
            _ => self.rebuild_slot(&slot)?.1?,
        }
        Ok(true)
    }

    /// Writes the sidecar of the ended segment that holds `entry` again, from the log.
    ///
    /// # Errors
    /// The log or the disk has failed.
    pub fn rebuild(&self, entry: u64) -> Result<(), Error> {
        let slot = self.slot_from(entry).filter(|slot| slot.first <= entry);
        slot.map_or(Ok(()), |slot| self.rebuild_slot(&slot)?.1.map_err(Error::from))
    }

    /// How many sidecars had to be built again from the log since `open`.
    pub fn rebuilt(&self) -> u64 {
        self.rebuilt.load(Ordering::Relaxed)
    }

    /// Bytes of sidecars in memory.
    pub fn cached_bytes(&self) -> usize {
        self.store.bytes()
    }

    /// Where an event is.
    ///
    /// # Errors
    /// The log or the disk has failed.
    pub fn locate(&self, topic: TopicId, offset: u64) -> Result<Option<EventRef>, Error> {
        Ok(self.range(topic, offset, 1)?.pop().filter(|found| found.offset == offset))
    }

    /// Events of a topic from `offset` on (or from the first one that is still there), at most
    /// `max`.
    ///
    /// # Errors
    /// The log or the disk has failed.
    pub fn range(&self, topic: TopicId, offset: u64, max: usize) -> Result<Vec<EventRef>, Error> {
        let mut out = Vec::new();
        let mut cursor = self.first_with(topic, |stats| stats.next > offset)?;
        while out.len() < max {
            let left = max - out.len();
            let Some(slot) = self.slot_or(cursor, |active| {
                out.extend(active.range(topic, offset, left));
            }) else {
                break;
            };
            cursor = slot.end;
            out.extend(self.view(&slot, |view| match view {
                View::Memory(active) => Ok(active.range(topic, offset, left)),
                View::File(sidecar, store) => sidecar.range(store, topic, offset, left),
            })?);
        }
        Ok(out)
    }

    /// The wanted events, in order; fewer than `max` only if there are no more.
    ///
    /// # Errors
    /// The log or the disk has failed.
    pub fn find(&self, wanted: &Wanted<'_>) -> Result<Vec<EventRef>, Error> {
        let mut out: Vec<EventRef> = Vec::new();
        let mut from = wanted.from;
        while out.len() < wanted.max && from < wanted.to {
            let part = Wanted { from, max: wanted.max - out.len(), ..*wanted };
            let mut rest = None;
            let slot = self.slot_or(from.entry, |active| {
                let (found, more) = active.scan(&part, SCAN_ROWS);
                out.extend(found);
                rest = more;
            });
            match (slot, rest) {
                (Some(slot), _) => {
                    from = Position { entry: slot.end, index: 0 };
                    out.extend(self.view(&slot, |view| match view {
                        View::Memory(active) => Ok(active.find(&part)),
                        View::File(sidecar, store) => sidecar.find(store, &part),
                    })?);
                }
                (None, Some(more)) => from = more,
                (None, None) => break,
            }
        }
        Ok(out)
    }

    /// The first event of a topic that is not older than `time` (broker time, ms since 1970).
    ///
    /// # Errors
    /// The log or the disk has failed.
    pub fn at_time(&self, topic: TopicId, time: u64) -> Result<Option<EventRef>, Error> {
        let cursor = self.first_with(topic, |stats| stats.last_time >= time)?;
        let mut found = None;
        let mut cursor = Some(cursor);
        while let (None, Some(from)) = (found, cursor) {
            let slot = self.slot_or(from, |active| found = active.at_time(topic, time));
            cursor = slot.as_ref().map(|slot| slot.end);
            if let Some(slot) = slot {
                found = self.view(&slot, |view| match view {
                    View::Memory(active) => Ok(active.at_time(topic, time)),
                    View::File(sidecar, store) => sidecar.at_time(store, topic, time),
                })?;
            }
        }
        Ok(found)
    }

    /// The offset of the oldest event of a topic; `None` if there is no event of it.
    ///
    /// # Errors
    /// The log or the disk has failed.
    pub fn first_offset(&self, topic: TopicId) -> Result<Option<u64>, Error> {
        Ok(self.range(topic, 0, 1)?.first().map(|event| event.offset))
    }

    /// Every segment, oldest first, the active one last.
    ///
    /// # Errors
    /// The log or the disk has failed.
    pub fn segments(&self) -> Result<Vec<SegmentStats>, Error> {
        let mut out = Vec::new();
        let mut cursor = 0;
        while let Some(slot) = self.slot_or(cursor, |active| {
            out.push(SegmentStats { first: active.first(), end: None, topics: active.stats() });
        }) {
            cursor = slot.end;
            let topics = self.view(&slot, |view| match view {
                View::Memory(active) => Ok(active.stats()),
                View::File(sidecar, _) => Ok(sidecar.stats()),
            })?;
            out.push(SegmentStats { first: slot.first, end: Some(slot.end), topics });
        }
        Ok(out)
    }

    /// The newest `max` ids, oldest first. Events that are pushed meanwhile may be missing.
    ///
    /// # Errors
    /// The log or the disk has failed.
    pub fn ids(&self, max: usize, mut visit: impl FnMut(IdEntry)) -> Result<(), Error> {
        let (newest, ended): (Vec<IdEntry>, Vec<Slot>) = {
            let active = self.active();
            let skip = active.len().saturating_sub(max);
            (active.ids(skip).collect(), self.ended().iter().cloned().collect())
        };
        let mut missing = max - newest.len();
        let mut from = Vec::new();
        for slot in ended.iter().rev() {
            if missing == 0 {
                break;
            }
            let len = self.view(slot, |view| match view {
                View::Memory(active) => Ok(active.len()),
                View::File(sidecar, _) => Ok(sidecar.len()),
            })?;
            from.push((slot, len.saturating_sub(missing)));
            missing = missing.saturating_sub(len);
        }
        for (slot, skip) in from.into_iter().rev() {
            let mut ids = Vec::new();
            self.view(slot, |view| {
                ids.clear();
                match view {
                    View::Memory(active) => ids.extend(active.ids(skip)),
                    View::File(sidecar, store) => {
                        sidecar.ids(store, skip, &mut |id| ids.push(id))?;
                    }
                }
                Ok(())
            })?;
            ids.into_iter().for_each(&mut visit);
        }
        newest.into_iter().for_each(visit);
        Ok(())
    }

    /// The log was trimmed: forgets the segments that end at or before `entry`, and removes their
    /// sidecars.
    ///
    /// # Errors
    /// A blob cannot be removed; the next `open` tries again.
    pub fn drop_before(&self, entry: u64) -> Result<(), Error> {
        let gone: Vec<Slot> = {
            let mut ended = self.ended();
            let keep = ended.partition_point(|slot| slot.end <= entry);
            ended.drain(..keep).collect()
        };
        for slot in &gone {
            self.store.forget(slot.first);
            self.store.blobs.remove(&name(slot.first))?;
        }
        Ok(())
    }

    pub(super) fn ended(&self) -> MutexGuard<'_, VecDeque<Slot>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first ended segment that ends behind `entry`.
    fn slot_from(&self, entry: u64) -> Option<Slot> {
        let ended = self.ended();
        ended.get(ended.partition_point(|slot| slot.end <= entry)).cloned()
    }

    /// The first ended segment that ends behind `entry`; if there is none, `visit`s the active one.
    /// Holds both locks, so that a roll in between hides nothing.
    fn slot_or(&self, entry: u64, visit: impl FnOnce(&Active)) -> Option<Slot> {
        let active = self.active();
        let slot = self.slot_from(entry);
        if slot.is_none() {
            visit(&active);
        }
        slot
    }

    /// The first entry of the first ended segment that holds the topic and for which `reached`
    /// holds, as it then does for all later ones; otherwise the end of the last ended one.
    fn first_with(
        &self,
        topic: TopicId,
        reached: impl Fn(&TopicStats) -> bool,
    ) -> Result<u64, Error> {
        let slots: Vec<Slot> = self.ended().iter().cloned().collect();
        let (mut low, mut high) = (0, slots.len());
        let mut answer = slots.last().map_or(0, |slot| slot.end);
        while low < high {
            let middle = low.midpoint(high);
            // Segments without the topic say nothing; the next one that has it speaks for them.
            let mut speaks = None;
            for (number, slot) in slots.iter().enumerate().take(high).skip(middle) {
                let stats = self.view(slot, |view| match view {
                    View::Memory(active) => Ok(active.topic(topic)),
                    View::File(sidecar, _) => Ok(sidecar.topic(topic)),
                })?;
                if let Some(stats) = stats {
                    speaks = Some((number, slot, reached(&stats)));
                    break;
                }
            }
            match speaks {
                Some((number, _, false)) => low = number + 1,
                Some((_, slot, true)) => (answer, high) = (slot.first, middle),
                None => high = middle,
            }
        }
        Ok(answer)
    }
}
