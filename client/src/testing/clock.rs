//! The clock of a test: tokio's, which stands still and moves only when nobody has anything to do.
//! Stopping it, and the bus's view of it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::{advance, pause, sleep_until};

use crate::link::{Clock, Now};

/// Where every test begins: a second after the start of its machine, 2026-01-01.
const START: Now = Now { mono: 1_000, wall: 1_767_225_600_000 };
/// A clock that shows the same time so often stands still.
const READINGS: usize = 200;
const TICK: Duration = Duration::from_millis(1);

/// The bus's clock.
#[derive(Debug)]
pub(super) struct TestClock {
    start: tokio::time::Instant,
    /// What it showed last, for whoever asks when the runtime is gone.
    micros: AtomicU64,
}

impl TestClock {
    /// Stops tokio's clock, unless it stands still already; the bus's begins now.
    ///
    /// # Panics
    /// On a runtime whose clock cannot be stopped.
    pub(super) async fn stopped() -> Self {
        let flavor = Handle::try_current().map(|it| it.runtime_flavor());
        assert!(
            matches!(flavor, Ok(RuntimeFlavor::CurrentThread)),
            "a TestBus needs a runtime of one thread, whose time can stand still: write \
             #[tokio::test] or #[tokio::test(start_paused = true)]"
        );
        if !stands_still() {
            pause();
        }
        align().await;
        Self { start: tokio::time::Instant::now(), micros: AtomicU64::new(0) }
    }

    pub(super) fn mono(&self) -> u64 {
        START.mono + self.micros() / 1000
    }

    /// When it will be `mono`.
    pub(super) fn at(&self, mono: u64) -> tokio::time::Instant {
        self.start + Duration::from_millis(mono.saturating_sub(START.mono))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Now {
        let ms = self.micros() / 1000;
        Now { mono: START.mono + ms, wall: START.wall + ms }
    }

    fn micros(&self) -> u64 {
        // Outside of the runtime tokio shows the time of the machine.
        if Handle::try_current().is_err() {
            return self.micros.load(Relaxed);
        }
        let elapsed = tokio::time::Instant::now().saturating_duration_since(self.start).as_micros();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        self.micros.fetch_max(elapsed, Relaxed).max(elapsed)
    }
}

/// Stopping a clock that stands still is a panic, and asking whether it does is not possible.
fn stands_still() -> bool {
    let now = tokio::time::Instant::now();
    (0..READINGS).all(|_| tokio::time::Instant::now() == now)
}

/// Moves a stopped clock onto one of the runtime's ticks. Timers fire on ticks: between two of them
/// every sleep would take a millisecond too long.
async fn align() {
    // A sleep ends on the first tick at or after its deadline: this finds the one that is next.
    let (mut before, mut behind) = (Duration::ZERO, TICK);
    if ends_on_the_next_tick(TICK).await {
        return;
    }
    while behind - before > Duration::from_nanos(1) {
        let middle = (before + behind) / 2;
        match ends_on_the_next_tick(middle).await {
            true => before = middle,
            false => behind = middle,
        }
    }
    advance(before).await;
}

async fn ends_on_the_next_tick(sleep: Duration) -> bool {
    let begun = tokio::time::Instant::now();
    sleep_until(begun + sleep).await;
    begun.elapsed() <= TICK
}
