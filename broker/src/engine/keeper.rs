//! Those who want to be called when it is time: the libraries behind members, which hand over acks
//! and renew leases. What they do then is theirs; when they are called is here.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Somebody who is called when it is time, on a thread of the engine (without threads: by
/// [`Engine::drive`](super::Engine::drive)), and under none of its locks.
pub trait Keeper: Send + Sync {
    /// It is time. Returns when it is time again, ms of the clock's `mono`.
    fn tick(self: Arc<Self>, mono: u64) -> u64;
}

/// One keeper, and when it is time.
pub(crate) struct Kept {
    due: AtomicU64,
    keeper: Weak<dyn Keeper>,
}

impl Kept {
    /// It is time at `mono` at the latest; whether that is earlier than it was.
    pub(crate) fn at(&self, mono: u64) -> bool {
        self.due.fetch_min(mono, SeqCst) > mono
    }
}

#[derive(Default)]
pub(crate) struct Keepers(Mutex<Vec<Arc<Kept>>>);

impl Keepers {
    pub(crate) fn add(&self, keeper: Weak<dyn Keeper>) -> Arc<Kept> {
        let kept = Arc::new(Kept { due: AtomicU64::new(0), keeper });
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|it| it.keeper.strong_count() > 0);
        all.push(Arc::clone(&kept));
        kept
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<u64> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = all.iter().filter(|it| it.keeper.strong_count() > 0);
        alive.map(|it| it.due.load(SeqCst)).min()
    }

    /// Calls those whose time has come; whether there were any.
    pub(crate) fn tick(&self, mono: u64) -> bool {
        let due: Vec<Arc<Kept>> = {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().filter(|it| it.due.load(SeqCst) <= mono).map(Arc::clone).collect()
        };
        let mut any = false;
        for kept in due {
            // Whoever asks for an earlier time meanwhile is not overwritten.
            kept.due.store(u64::MAX, SeqCst);
            if let Some(keeper) = kept.keeper.upgrade() {
                kept.at(keeper.tick(mono));
                any = true;
            }
        }
        any
    }
}
