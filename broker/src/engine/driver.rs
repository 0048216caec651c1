//! What makes an engine move by itself: small steps, and threads that are short loops around them.
//! Without threads, [`Engine::drive`] does the same steps inline.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::Engine;
use super::shared::{Rings, Shared, message};
use crate::log::Work;

impl Engine {
    /// Does everything that can be done now: the log's work, what is due by the clock, reads for
    /// groups, upkeep. True if there was anything. For engines without threads.
    pub fn drive(&self) -> bool {
        let shared = &self.0.shared;
        let mut any = false;
        while shared.drive_once() {
            any = true;
        }
        any
    }

    /// When time alone will give [`Engine::drive`] something to do, ms of the clock's `mono`.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let shared = &self.0.shared;
        let upkeep = shared.upkeep().next_deadline();
        let deadline = shared.look(|s| s.fenced.is_none().then(|| s.next_deadline()))?;
        deadline.into_iter().chain(shared.keepers.next()).chain([upkeep]).min()
    }

    /// Likewise, without what can wait as long as nobody comes: upkeep, and the libraries of
    /// members that hold nothing. If it becomes earlier, the hook of [`Engine::on_work`] is called.
    #[must_use]
    pub fn next_wake(&self) -> Option<u64> {
        let shared = &self.0.shared;
        let (deadline, out) = shared.look(|state| {
            let deadline = state.next_deadline();
            state.awaited.clock = Some(deadline.unwrap_or(u64::MAX));
            (deadline, state.fenced.is_none() && state.core.out() > 0)
        });
        let keepers = out.then(|| shared.keepers.next()).flatten();
        deadline.into_iter().chain(keepers).min()
    }

    /// When a hold ends or a timer fires. All else that time brings is housekeeping, or takes from
    /// somebody what he still works on: leases.
    #[must_use]
    pub fn next_armed(&self) -> Option<u64> {
        self.0.shared.look(|state| match state.fenced {
            None => state.core.next_armed(),
            Some(_) => None,
        })
    }

    /// Calls `hook`, on any thread and under none of the engine's locks, when there is something to
    /// [`drive`](Engine::drive), now or earlier than was said. The first hook counts.
    pub fn on_work(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.0.shared.bells.hook.get_or_init(|| Box::new(hook));
    }
}

impl Shared {
    fn drive_once(&self) -> bool {
        let now = self.now();
        let works = [Work::Append, Work::Sync, Work::Prepare];
        let logged = works.map(|work| self.log.step(work, now)).contains(&true);
        let ticked = self.tick() | self.keepers.tick(now.mono);
        let fetched = self.fetch();
        let kept = self.upkeep().step(self, now);
        let indexed = self.index_step();
        logged || ticked || fetched || kept || indexed
    }

    /// What is due by the clock; false if nothing is.
    pub(super) fn tick(&self) -> bool {
        let ticked = self.section(|state, now| {
            let due = state.next_deadline().is_some_and(|at| at <= now.mono);
            if due {
                state.tick(now, &*self.log);
            }
            due
        });
        ticked.unwrap_or(false)
    }

    /// One read that core wants; false if there is none.
    pub(super) fn fetch(&self) -> bool {
        let fetch = self.look(|state| state.fetches.pop_front());
        fetch.is_some_and(|fetch| {
            fetch.run(self);
            true
        })
    }

    fn clock_loop(&self, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            if self.tick() | self.keepers.tick(self.now().mono) {
                continue;
            }
            let until = self.look(|state| {
                let until = state.next_deadline();
                state.awaited.clock = Some(until.unwrap_or(u64::MAX));
                until
            });
            let until = until.into_iter().chain(self.keepers.next()).min();
            self.bells.clock.wait(until.map(|at| at.saturating_sub(self.now().mono)));
        }
    }

    fn fetch_loop(&self, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            if !self.fetch() {
                self.bells.fetch.wait(None);
            }
        }
    }

    fn upkeep_loop(&self, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            let now = self.now();
            let mut upkeep = self.upkeep();
            if !upkeep.step(self, now) {
                let at = upkeep.next_deadline();
                drop(upkeep);
                self.bells.upkeep.wait(Some(at.saturating_sub(now.mono)));
            }
        }
    }
}

/// The threads of one engine.
pub(super) struct Threads {
    stop: Arc<AtomicBool>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

type Loop = fn(&Shared, &AtomicBool);

impl Threads {
    pub(super) fn none() -> Self {
        Self { stop: Arc::default(), handles: Mutex::default() }
    }

    pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let threads = Self::none();
        let loops: [(&str, Loop); 3] = [
            ("quadrille-clock", Shared::clock_loop),
            ("quadrille-fetch", Shared::fetch_loop),
            ("quadrille-upkeep", Shared::upkeep_loop),
        ];
        let index: (&str, Loop) = ("quadrille-index", Shared::index_loop);
        let index = shared.indexing.is_some().then_some(index);
        for (name, work) in loops.into_iter().chain(index) {
            let (shared_there, stop) = (Arc::clone(shared), Arc::clone(&threads.stop));
            let body = move || {
                let done = catch_unwind(AssertUnwindSafe(|| work(&shared_there, &stop)));
                if let Err(panic) = done {
                    // Half of an engine must not go on as if it were whole.
                    let why = format!("a thread of the engine panicked: {}", message(&*panic));
                    shared_there.look(|state| state.fence(why.into()));
                }
            };
            match thread::Builder::new().name(name.to_owned()).spawn(body) {
                Ok(handle) => threads.handles().push(handle),
                Err(error) => {
                    threads.stop(shared);
                    return Err(error);
                }
            }
        }
        Ok(threads)
    }

    /// Ends the threads and waits for them; once.
    pub(super) fn stop(&self, shared: &Shared) {
        self.stop.store(true, Ordering::SeqCst);
        shared.bells.ring(Rings::ALL);
        let handles = std::mem::take(&mut *self.handles());
        let me = thread::current().id();
        // Whoever was woken by one of these threads may drop the engine on it: it ends by itself.
        for handle in handles.into_iter().filter(|it| it.thread().id() != me) {
            // One that has panicked has said so.
            let _ = handle.join();
        }
    }

    pub(super) fn are_running(&self) -> bool {
        !self.handles().is_empty()
    }

    fn handles(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
