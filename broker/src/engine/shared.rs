//! The lock, and what happens around it: run something under it, then catch up with the log, give
//! it back, and only then wake whoever has been waiting. A panic under it fences the engine.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::Duration;

use quadrille_proto::Hasher128;
use quadrille_proto::ids::Sequence;
use tokio::sync::Semaphore;

use super::indexing::Indexing;
use super::keeper::Keepers;
use super::state::State;
use super::upkeep::Upkeep;
use super::{Opened, Options};
use crate::core::Facts;
use crate::core::command::NewEvent;
use crate::core::types::TopicId;
use crate::log::{Blobs, Log};
use crate::sidecar::Index;
use crate::time::Now;

/// What all handles, members and threads of one engine share.
pub(crate) struct Shared {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) options: Options,
    /// Bytes that may still be queued.
    pub(crate) queue: Arc<Semaphore>,
    /// The log's, the same in every opening.
    hasher: Hasher128,
    /// One at a time: background work, reopening, closing. Taken before `state`.
    upkeep: Mutex<Upkeep>,
    /// If there is an index. Taken before `state`.
    pub(super) indexing: Option<Mutex<Indexing>>,
    pub(crate) bells: Bells,
    pub(crate) keepers: Keepers,
    /// Numbers of topics by name, as far as anybody asked. Changed only under the lock of `state`.
    topics: Mutex<HashMap<String, TopicId>>,
    state: Mutex<State>,
    place: Mutex<Place>,
    /// Of an engine that repeats itself.
    pub(crate) ids: Option<Ids>,
    /// The log has moved since anybody looked.
    moved: AtomicBool,
}

/// What an opening has found and made, replaced as a whole by the next one.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) opened: Opened,
    pub(crate) index: Arc<Index>,
    pub(crate) hasher: Hasher128,
}

/// Fresh ids that are the same again.
pub(crate) struct Ids {
    sequence: Sequence,
    rng: Mutex<fastrand::Rng>,
}

impl Ids {
    fn new(seed: u64) -> Self {
        Self { sequence: Sequence::new(), rng: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }

    pub(crate) fn next(&self, now_ms: u64) -> String {
        let random = self.rng.lock().unwrap_or_else(PoisonError::into_inner).u64(..);
        self.sequence.next(now_ms, random)
    }
}

/// Who is woken for what.
#[derive(Default)]
pub(crate) struct Bells {
    /// The clock's thread: there is an earlier deadline.
    pub(crate) clock: Bell,
    /// The reading thread: there is something to read.
    pub(crate) fetch: Bell,
    /// The upkeep thread: it has to look again.
    pub(crate) upkeep: Bell,
    /// The indexing thread: there is more to read.
    pub(crate) index: Bell,
    /// Whoever closes the engine: something has changed.
    pub(crate) close: Bell,
    /// Whoever drives an engine without threads: for any of these.
    pub(crate) hook: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// Wakes one thread; a ring that comes early is not lost.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    pub(crate) fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.heard.notify_one();
    }

    /// Waits for a ring, at most so many milliseconds.
    pub(crate) fn wait(&self, ms: Option<u64>) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        // Woken for nothing is fine too: whoever waits looks again.
        if !*rung {
            rung = match ms {
                Some(ms) => {
                    let waited = self.heard.wait_timeout(rung, Duration::from_millis(ms));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.heard.wait(rung).unwrap_or_else(PoisonError::into_inner),
            };
        }
        *rung = false;
    }
}

impl Shared {
    pub(crate) fn new(
        log: Arc<dyn Log>,
        blobs: Arc<dyn Blobs>,
        options: Options,
        (state, place, upkeep): (State, Place, Upkeep),
        indexing: Option<Indexing>,
    ) -> Self {
        let queue = options.limits.queue_bytes.min(Semaphore::MAX_PERMITS);
        // Of the epoch too: an engine that is opened again does not give out ids that are taken.
        let seed = options.seed ^ u64::from(place.opened.epoch) << 32;
        let ids = (!options.threads).then(|| Ids::new(seed));
        Self {
            ids,
            log,
            blobs,
            options,
            queue: Arc::new(Semaphore::new(queue)),
            hasher: place.hasher.clone(),
            upkeep: Mutex::new(upkeep),
            indexing: indexing.map(Mutex::new),
            bells: Bells::default(),
            keepers: Keepers::default(),
            topics: Mutex::default(),
            state: Mutex::new(state),
            place: Mutex::new(place),
            moved: AtomicBool::new(true),
        }
    }

    pub(crate) fn topics(&self) -> MutexGuard<'_, HashMap<String, TopicId>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of events from their bytes alone; nothing, if core is to say what is wrong.
    pub(crate) fn facts(&self, events: &[NewEvent]) -> Vec<Facts> {
        Facts::of(events, &self.hasher, &self.options.limits).unwrap_or_default()
    }

    pub(crate) fn now(&self) -> Now {
        self.options.clock.now()
    }

    /// Every holder ends with `finish`: the log may have moved while it could not get the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        // What panics under it is caught there, and has fenced the engine.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the state, fenced or not, or puts something into it that core does not see.
    pub(crate) fn look<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = work(&mut state);
        self.finish(state);
        result
    }

    pub(crate) fn upkeep(&self) -> MutexGuard<'_, Upkeep> {
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn place(&self) -> Place {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a new opening in the place of a fenced one.
    pub(crate) fn replace(&self, state: State, place: Place) {
        let mut old = self.lock();
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
        *old = state;
        self.moved.store(true, Ordering::SeqCst);
        self.finish(old);
        self.bells.ring(Rings::ALL);
    }

    /// Runs `work` on a living engine, and all that follows from it. Otherwise says why not: before
    /// `work` (`false`), or in the middle of it (`true`).
    pub(crate) fn section<R>(
        &self,
        work: impl FnOnce(&mut State, Now) -> R,
    ) -> Result<R, (Arc<str>, bool)> {
        let mut state = self.lock();
        if let Some(why) = &state.fenced {
            return Err((Arc::clone(why), false));
        }
        let now = self.now();
        let result = self.guarded(&mut state, |state| {
            let result = work(state, now);
            state.hand_over(now, &*self.log);
            result
        });
        self.finish(state);
        result.map_err(|why| (why, true))
    }

    /// Called by the log, on any thread and under any lock: somebody will look.
    pub(crate) fn moved(&self) {
        self.moved.store(true, Ordering::SeqCst);
        // Whoever holds the lock looks after giving it back.
        match self.state.try_lock() {
            Ok(state) => self.finish(state),
            Err(TryLockError::Poisoned(state)) => self.finish(state.into_inner()),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// Catches up with the log, gives the lock back, wakes; again if the log has moved meanwhile.
    fn finish<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        loop {
            while self.moved.swap(false, Ordering::SeqCst) && state.fenced.is_none() {
                let now = self.now();
                // A panic has fenced the engine; that is all there is to do.
                let _ = self.guarded(&mut state, |state| {
                    state.advance(now, self.log.watermarks());
                    state.hand_over(now, &*self.log);
                });
            }
            let wakes = std::mem::take(&mut state.wakes);
            let rings = state.rings();
            if state.fenced.is_some() {
                // Nobody is to find a topic of an engine that does not work.
                self.topics().clear();
            }
            drop(state);
            self.queue.add_permits(wakes.bytes);
            wakes.go();
            self.bells.ring(rings);
            if !self.moved.load(Ordering::SeqCst) {
                return;
            }
            state = match self.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(state)) => state.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
        }
    }

    fn guarded<R>(
        &self,
        state: &mut MutexGuard<'_, State>,
        work: impl FnOnce(&mut State) -> R,
    ) -> Result<R, Arc<str>> {
        // A state that a panic has left halfway is never used again: it is fenced.
        catch_unwind(AssertUnwindSafe(|| work(state))).map_err(|panic| {
            let why: Arc<str> = format!("the engine panicked: {}", message(&*panic)).into();
            state.fence(Arc::clone(&why));
            why
        })
    }
}

/// Which bells to ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rings {
    pub(crate) clock: bool,
    pub(crate) fetch: bool,
    pub(crate) upkeep: bool,
    pub(crate) index: bool,
    pub(crate) close: bool,
}

impl Rings {
    pub(crate) const ALL: Self =
        Self { clock: true, fetch: true, upkeep: true, index: true, close: true };
    pub(crate) const CLOCK: Self =
        Self { clock: true, fetch: false, upkeep: false, index: false, close: false };
}

impl Bells {
    pub(crate) fn ring(&self, rings: Rings) {
        let all = [
            (&self.clock, rings.clock),
            (&self.fetch, rings.fetch),
            (&self.upkeep, rings.upkeep),
            (&self.index, rings.index),
            (&self.close, rings.close),
        ];
        for (bell, _) in all.into_iter().filter(|(_, wanted)| *wanted) {
            bell.ring();
        }
        if (rings.clock || rings.fetch || rings.upkeep)
            && let Some(hook) = self.hook.get()
        {
            hook();
        }
    }
}

/// What a panic said.
pub(crate) fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
