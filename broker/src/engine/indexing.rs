//! Feeding the index from the durable log, by a thread of its own (without threads: when driven),
//! and asking it. It never has the engine's lock while it works, and what goes wrong with it goes
//! wrong with nothing else: it is thrown away and made again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{MutexGuard, PoisonError};

use super::shared::{Shared, message};
use crate::index::{Damaged, Index, Known, MemStore, Store};
use crate::log::{Read, ReadError};
use crate::time::Now;

/// Bytes of log per step.
const STEP_BYTES: usize = 1 << 20;
/// While others work, it works for at most 3 of every 20 µs.
const REST_PERCENT: u64 = 100 * (100 - 15) / 15;
/// It looks at what is new no sooner than after this, ms: a little more at a time costs less.
const GATHER: u64 = 20;
/// What is in memory is written after this, ms, if there is little of it.
const FLUSH_EVERY: u64 = 10_000;
/// After a failure, ms.
const REST: u64 = 5_000;
/// A question lets it read so many entries on the spot, so that the answer is of now.
const CATCH_UP: u64 = 20_000;

/// The index of an engine, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexInfo {
    /// The last entry that is in.
    pub position: u64,
    /// How many durable entries are not.
    pub lag: u64,
    /// The first entry that may be in; what came before was retired before it was read.
    pub from: u64,
    /// How often it was made anew since the engine began.
    pub rebuilt: u64,
    /// Why it was made anew last, or why it does not work.
    pub note: Option<String>,
}

/// The state of indexing.
#[derive(Default)]
pub(crate) struct Indexing {
    /// Where it is kept; in memory if nowhere.
    root: Option<PathBuf>,
    index: Option<Index>,
    /// The opening of the engine whose log it was made for.
    opening: u64,
    anew: bool,
    rebuilt: u64,
    note: Option<String>,
    flush_at: u64,
    rests_until: u64,
    closed: bool,
}

/// An answer, and the last entry that it knows of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exact<T> {
    /// The answer.
    pub value: T,
    /// It is exact up to this entry.
    pub to: u64,
    /// That was the last durable one.
    pub whole: bool,
}

#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Damaged(#[from] Damaged),
    #[error(transparent)]
    Log(#[from] ReadError),
}

impl Indexing {
    pub(crate) fn new(root: Option<PathBuf>) -> Self {
        Self { root, ..Self::default() }
    }

    /// Does one piece of work; false if there is nothing to do now.
    pub(crate) fn step(&mut self, shared: &Shared, now: Now) -> bool {
        if self.closed || now.mono < self.rests_until {
            return false;
        }
        // What is wrong with it is wrong with nothing else.
        let done = catch_unwind(AssertUnwindSafe(|| self.piece(shared, now)));
        let done = done.unwrap_or_else(|panic| Err(Damaged(message(&*panic).to_owned()).into()));
        if done.is_ok() && self.rests_until <= now.mono {
            // It works again: nobody needs to look because of what was.
            self.rests_until = 0;
        }
        done.unwrap_or_else(|error| {
            self.failed(&error, now);
            self.rests_until <= now.mono
        })
    }

    /// When time alone gives it something to do, mono ms.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let flush = self.index.as_ref().filter(|it| it.has_news()).map(|_| self.flush_at);
        flush.into_iter().chain((self.rests_until > 0).then_some(self.rests_until)).max()
    }

    /// Stores what it has.
    pub(crate) fn close(&mut self, shared: &Shared) {
        self.closed = true;
        if let Some(mut index) = self.index.take()
            && let Err(error) = index.flush(first_entry(shared))
        {
            tracing::warn!(%error, "the index was not stored; it reads more when it opens again");
        }
    }

    fn failed(&mut self, error: &StepError, now: Now) {
        tracing::warn!(%error, "the index is made anew");
        if matches!(error, StepError::Damaged(_)) {
            (self.index, self.anew) = (None, true);
            self.rebuilt += 1;
        }
        self.note = Some(error.to_string());
        let once = self.anew && self.rebuilt == 1;
        self.rests_until = if once { 0 } else { now.mono + REST };
    }

    fn piece(&mut self, shared: &Shared, now: Now) -> Result<bool, StepError> {
        let opening = shared.look(|s| s.fenced.is_none().then_some(s.opening));
        let Some(opening) = opening else { return Ok(false) };
        if self.index.is_none() || self.opening != opening {
            self.index = None;
            let (index, why) = self.opened(shared)?;
            if let Some(why) = why {
                self.rebuilt += 1;
                self.note = Some(why.to_string());
            }
            (self.index, self.opening, self.anew) = (Some(index), opening, false);
            self.flush_at = now.mono + FLUSH_EVERY;
        }
        let Some(index) = &mut self.index else { return Ok(false) };
        if index.is_full() && !has_room(shared) {
            self.rests_until = now.mono + REST;
            return Ok(false);
        }
        let fed = feed(shared, index, STEP_BYTES)?;
        let due = now.mono >= self.flush_at;
        if (index.is_full() || due && index.has_news()) && has_room(shared) {
            index.flush(first_entry(shared))?;
            self.flush_at = now.mono + FLUSH_EVERY;
            return Ok(true);
        }
        Ok(fed)
    }

    fn opened(&self, shared: &Shared) -> Result<(Index, Option<Damaged>), Damaged> {
        let (store, why) = open_store(self.root.as_ref(), self.anew)?;
        let whole = |store| {
            let (first, durable) = (first_entry(shared), shared.log.watermarks().durable);
            let place = shared.place();
            let at = (place.opened.log_id, first, durable);
            Index::open(store, place.hasher, at, known(shared))
        };
        match whole(store) {
            Ok(index) => Ok((index, why)),
            Err(why) => Ok((whole(open_store(self.root.as_ref(), true)?.0)?, Some(why))),
        }
    }
}

type Opened = (Box<dyn Store>, Option<Damaged>);

#[cfg(feature = "index")]
fn open_store(root: Option<&PathBuf>, anew: bool) -> Result<Opened, Damaged> {
    let Some(root) = root else { return Ok((Box::<MemStore>::default(), None)) };
    let (store, why) = crate::index::TreeStore::open(root, anew)?;
    Ok((Box::new(store), why))
}

#[cfg(not(feature = "index"))]
fn open_store(_: Option<&PathBuf>, _: bool) -> Result<Opened, Damaged> {
    Ok((Box::<MemStore>::default(), None))
}

/// Reads on; false if there is nothing more that is durable.
fn feed(shared: &Shared, index: &mut Index, bytes: usize) -> Result<bool, StepError> {
    let durable = shared.log.watermarks().durable;
    let next = index.position() + 1;
    if next > durable {
        return Ok(false);
    }
    match shared.log.read(next, bytes)? {
        Read::Entries(entries) => {
            for entry in entries.iter().take_while(|entry| entry.number <= durable) {
                index.feed(entry)?;
            }
        }
        Read::Retired { first } => index.skip_to(first.max(next + 1)),
        Read::Gap { to, .. } => index.skip_to(to.max(next + 1)),
        Read::NotYet => return Ok(false),
    }
    Ok(true)
}

/// Whoever publishes needs the last of the disk.
fn has_room(shared: &Shared) -> bool {
    let marks = shared.options.limits.disk_marks;
    shared.log.space().free >= marks.into_iter().max().unwrap_or(0)
}

fn first_entry(shared: &Shared) -> u64 {
    shared.log.segments().first().map_or(1, |segment| segment.first)
}

fn known(shared: &Shared) -> Known {
    shared.look(|state| {
        let durable = state.core.durable();
        let topics = durable.topics.by_id.iter().map(|(id, it)| (*id, it.name.clone()));
        let groups = durable.groups.iter().map(|(id, it)| (*id, it.name.clone()));
        Known { topics: topics.collect(), groups: groups.collect() }
    })
}

impl Shared {
    pub(super) fn indexing(&self) -> Option<MutexGuard<'_, Indexing>> {
        let indexing = self.indexing.as_ref()?;
        Some(indexing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn index_info(&self) -> Option<IndexInfo> {
        let durable = self.log.watermarks().durable;
        let it = self.indexing()?;
        let place = it.index.as_ref().map(|index| (index.position(), index.from()));
        let (position, from) = place.unwrap_or_default();
        let lag = durable.saturating_sub(position);
        Some(IndexInfo { position, lag, from, rebuilt: it.rebuilt, note: it.note.clone() })
    }

    /// Asks the index, after letting it read what is new if that is not too much. Without one, the
    /// log from entry `from` on is read for this answer alone, if that is not too much; otherwise
    /// there is no answer.
    pub(super) fn ask<R>(
        &self,
        from: u64,
        ask: impl Fn(&Index) -> Result<R, Damaged>,
    ) -> Option<Exact<R>> {
        let exact = |index: &Index| {
            let value = catch_unwind(AssertUnwindSafe(|| ask(index)));
            let value = value.unwrap_or_else(|p| Err(Damaged(message(&*p).to_owned())))?;
            Ok(Exact { value, to: index.position(), whole: lag(self, index) == 0 })
        };
        let Some(mut it) = self.indexing() else {
            let place = self.place();
            let at = (place.opened.log_id, from.max(first_entry(self)));
            let store = Box::<MemStore>::default();
            let mut index = Index::empty(store, place.hasher, at, known(self));
            if lag(self, &index) > CATCH_UP {
                return None;
            }
            while feed(self, &mut index, STEP_BYTES).ok()? {}
            return exact(&index).ok();
        };
        let now = self.now();
        let near = |it: &Indexing| it.index.as_ref().is_none_or(|it| lag(self, it) <= CATCH_UP);
        while near(&it) && it.step(self, now) {}
        let answer = exact(it.index.as_ref()?);
        answer.map_err(|error: Damaged| it.failed(&error.into(), now)).ok()
    }

    /// Stores what the index has, and lets go of where it is kept.
    pub(super) fn close_index(&self) {
        if let Some(mut it) = self.indexing() {
            it.close(self);
        }
    }

    /// One piece of indexing; false if there is nothing to do.
    pub(super) fn index_step(&self) -> bool {
        self.indexing().is_some_and(|mut it| it.step(self, self.now()))
    }

    pub(super) fn index_loop(&self, stop: &AtomicBool) {
        let mut written = 0;
        while !stop.load(Ordering::SeqCst) {
            let begun = self.options.clock.micros();
            let worked = self.index_step();
            let took = self.options.clock.micros().saturating_sub(begun);
            let before = std::mem::replace(&mut written, self.log.watermarks().written);
            let busy = written != before;
            if worked && !busy {
                continue;
            }
            if worked {
                let rest = (took * REST_PERCENT / 100_000).max(GATHER);
                self.bells.index.wait(Some(rest));
                continue;
            }
            let (next, until) = match self.indexing() {
                Some(it) => (it.index.as_ref().map(Index::position), it.next_deadline()),
                None => return,
            };
            self.look(|state| {
                let works = state.fenced.is_none();
                state.awaited.index = next.filter(|_| works).map(|position| position + 1);
            });
            let wait = until.map(|at| at.saturating_sub(self.now().mono).max(GATHER));
            self.bells.index.wait(wait);
        }
    }
}

fn lag(shared: &Shared, index: &Index) -> u64 {
    shared.log.watermarks().durable.saturating_sub(index.position())
}
