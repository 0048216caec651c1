//! Time as a value: [`Now`], and the clocks that make it.
//! The only file that may read the operating system's clocks. Nothing here sleeps.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks. Everything below the engine takes it as a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Milliseconds since the clock was made. Never goes back.
    pub mono: u64,
    /// Milliseconds since 1970-01-01 UTC. May jump either way.
    pub wall: u64,
}

/// Where [`Now`] comes from.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Both clocks, in milliseconds.
    fn now(&self) -> Now;
    /// The monotonic clock in microseconds: for measuring how long a sync took.
    fn micros(&self) -> u64;
}

/// The clocks of the operating system.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose `mono` starts at 0 now.
    #[expect(clippy::disallowed_methods, reason = "the one file that reads the clock")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one file that reads the clock")]
    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            mono: self.micros() / 1000,
            wall: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// A clock that moves only when told to. For tests and simulations.
#[derive(Debug, Default)]
pub struct ManualClock {
    mono: AtomicU64,
    wall: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: Now) -> Self {
        Self { mono: AtomicU64::new(now.mono), wall: AtomicU64::new(now.wall) }
    }

    /// Moves both clocks forward by `ms` milliseconds.
    pub fn advance(&self, ms: u64) {
        self.mono.fetch_add(ms, Ordering::SeqCst);
        self.wall.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the wall clock, in either direction; `mono` stays.
    pub fn set_wall(&self, unix_ms: u64) {
        self.wall.store(unix_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        Now { mono: self.mono.load(Ordering::SeqCst), wall: self.wall.load(Ordering::SeqCst) }
    }

    fn micros(&self) -> u64 {
        self.mono.load(Ordering::SeqCst).saturating_mul(1000)
    }
}
