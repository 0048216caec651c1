//! What a run counts while it goes, and how it shows that it goes: a bar on a terminal, plain
//! lines elsewhere, nothing when a program reads.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};

/// How often plain progress writes a line.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// What one process counts of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Deliveries that were not the first of their event.
    pub(crate) retries: AtomicU64,
    /// Copies of an event that the bus or an inbox recognised.
    pub(crate) duplicates: AtomicU64,
    /// Events that a compensation overtook.
    pub(crate) superseded: AtomicU64,
    /// Orders that have ended, also before this process started.
    pub(crate) ended: AtomicU64,
    sagas: Mutex<Sagas>,
}

#[derive(Debug, Default)]
struct Sagas {
    started: HashMap<String, tokio::time::Instant>,
    /// Microseconds from an order's publish to its end.
    latency: Option<Histogram<u64>>,
    /// When the first order was published here.
    since: Option<tokio::time::Instant>,
    /// How long after that the last one ended.
    lasted: Duration,
}

impl Tally {
    /// An order is about to be published.
    pub(crate) fn started(&self, order_id: &str) {
        let (mut sagas, now) = (self.sagas(), tokio::time::Instant::now());
        sagas.since.get_or_insert(now);
        sagas.started.insert(order_id.to_owned(), now);
    }

    /// An order has ended; false if it was not started here, or has ended before.
    pub(crate) fn ended(&self, order_id: &str) -> bool {
        let mut sagas = self.sagas();
        let Some(start) = sagas.started.remove(order_id) else {
            return false;
        };
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        sagas.lasted = sagas.since.map(|it| it.elapsed()).unwrap_or_default();
        // Three digits up to an hour: a histogram that can always be made.
        if let Ok(empty) = Histogram::new_with_bounds(1, 3_600_000_000, 3) {
            sagas.latency.get_or_insert(empty).saturating_record(micros);
        }
        self.ended.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Sagas that ended here, per second.
    pub(crate) fn rate(&self) -> f64 {
        let sagas = self.sagas();
        let ended = sagas.latency.as_ref().map_or(0, Histogram::len);
        if ended == 0 { 0.0 } else { ended as f64 / sagas.lasted.as_secs_f64() }
    }

    /// In how many milliseconds this share of the sagas ended, counted from their publish.
    pub(crate) fn latency_ms(&self, share: f64) -> f64 {
        let sagas = self.sagas();
        sagas.latency.as_ref().map_or(0.0, |it| it.value_at_quantile(share) as f64 / 1000.0)
    }

    fn sagas(&self) -> MutexGuard<'_, Sagas> {
        // A panic elsewhere leaves at worst a sample out.
        self.sagas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Shows how far a run is.
pub(crate) enum Progress {
    Bar(ProgressBar),
    /// The last line, and when it was written.
    Lines(String, tokio::time::Instant),
    Silent,
}

impl Progress {
    pub(crate) fn new(total: u64, plain: bool, silent: bool) -> Self {
        if silent {
            return Self::Silent;
        }
        if plain || !io::stderr().is_terminal() {
            return Self::Lines(String::new(), tokio::time::Instant::now());
        }
        let look = "{bar:40.green} {pos} of {len} orders ended, {per_sec}, {msg} retries";
        let style = ProgressStyle::with_template(look);
        Self::Bar(
            ProgressBar::new(total)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())),
        )
    }

    /// Says where `tally` is; lines at most once a second, and only when there is news.
    pub(crate) fn show(&mut self, tally: &Tally) {
        let [ended, retries] = [&tally.ended, &tally.retries].map(|it| it.load(Ordering::Relaxed));
        match self {
            Self::Silent => {}
            Self::Bar(bar) => {
                bar.set_position(ended);
                bar.set_message(retries.to_string());
            }
            Self::Lines(last, at) => {
                let line = format!("{ended} orders ended, {retries} retries");
                if line != *last && at.elapsed() >= LINE_EVERY {
                    // Progress is a courtesy: without a reader there is nothing to do about it.
                    let _ = writeln!(io::stderr(), "{line}");
                    (*last, *at) = (line, tokio::time::Instant::now());
                }
            }
        }
    }

    /// Leaves the terminal as it was.
    pub(crate) fn finish(self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_ends_once_and_only_if_it_was_started() {
        let tally = Tally::default();
        assert!(!tally.ended("a"));
        tally.started("a");
        assert!(tally.ended("a"));
        assert!(!tally.ended("a"));
        assert_eq!(tally.ended.load(Ordering::Relaxed), 1);
        assert!(tally.rate() > 0.0 && tally.rate().is_finite());
        assert!(tally.latency_ms(0.5) <= tally.latency_ms(1.0));
    }
}
