//! The threads of a log: short loops around its steps, and the waiting between them. The only place that waits.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::file::{Inner, locked};
use super::sync::Due;
use crate::time::Clock;

/// How long a loop waits at most before it looks around.
const LOOK_AROUND: Duration = Duration::from_millis(100);
/// A gathering sync waits no longer than this, however slow the disk.
const GATHER_AT_MOST: u64 = 5_000;

type Loop = fn(&Inner, &dyn Clock);

pub(super) fn spawn(inner: &Arc<Inner>, clock: &Arc<dyn Clock>) -> io::Result<Vec<JoinHandle<()>>> {
    let loops: [(&str, Loop); 3] =
        [("log-append", append_loop), ("log-sync", sync_loop), ("log-prepare", prepare_loop)];
    let start = |(name, body): (&str, Loop)| {
        let (inner, clock) = (inner.clone(), clock.clone());
        Builder::new().name(name.to_owned()).spawn(move || {
            let fence = FenceOnPanic(&inner);
            body(&inner, &*clock);
            drop(fence);
        })
    };
    loops.into_iter().map(start).collect()
}

/// A loop that panics takes its epoch with it, not the host.
struct FenceOnPanic<'a>(&'a Inner);

impl Drop for FenceOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fence("a thread of the log has panicked");
        }
    }
}

fn stopped(inner: &Inner) -> bool {
    inner.marks.stop.load(Ordering::SeqCst)
}

fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>, time: Duration) -> MutexGuard<'a, T> {
    condvar.wait_timeout(guard, time).unwrap_or_else(PoisonError::into_inner).0
}

fn append_loop(inner: &Inner, clock: &dyn Clock) {
    while !stopped(inner) {
        if !inner.append_step(clock.now()) {
            let mut queue = locked(&inner.queue);
            // With chunks taken that wait for a segment: installing it notifies.
            if (queue.chunks.is_empty() || inner.is_fenced()) && !stopped(inner) {
                queue.idle = true;
                wait(&inner.need_append, queue, LOOK_AROUND).idle = false;
            }
        }
    }
}

fn sync_loop(inner: &Inner, clock: &dyn Clock) {
    let mut recent = 0u64;
    let mut gather_until = 0u64;
    while !stopped(inner) {
        let mut pending = locked(&inner.pending);
        let now = clock.now();
        let due = if inner.is_fenced() { Due::Never } else { inner.due(&pending, now) };
        let pause = match due {
            Due::Sync => gather_until.saturating_sub(clock.micros()),
            Due::Mark => 0,
            Due::At(at) => at.saturating_sub(now.mono) * 1000,
            Due::Never => u64::MAX,
        };
        let gathered = due == Due::Sync && pending.waiting >= pending.released;
        if pause > 0 && !gathered {
            if due != Due::Sync || !stopped(inner) {
                pending =
                    wait(&inner.need_sync, pending, Duration::from_micros(pause).min(LOOK_AROUND));
            }
            drop(pending);
            continue;
        }
        drop(pending);
        let begun = clock.micros();
        inner.sync_step(now);
        if due == Due::Sync {
            let ended = clock.micros();
            recent = (3 * recent + (ended - begun)) / 4;
            // A lone publisher is not delayed.
            let many = locked(&inner.pending).released > 1;
            gather_until = if many { ended + (recent / 2).min(GATHER_AT_MOST) } else { 0 };
        }
    }
}

fn prepare_loop(inner: &Inner, clock: &dyn Clock) {
    while !stopped(inner) {
        if !inner.prepare_step(clock.now()) {
            let queue = locked(&inner.queue);
            if !stopped(inner) {
                drop(wait(&inner.need_prepare, queue, LOOK_AROUND));
            }
        }
    }
}
