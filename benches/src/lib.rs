//! Shared helpers of the benchmarks: the clock, the physical limit of the disk, and tables of
//! results. What is measured lives in the programs under `bin/`, and nothing here prints.

mod disk;
mod goal;
mod raw;
mod report;
pub mod saga;
mod stage;

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

pub use disk::{FileKind, SyncFile, SyncRate, raw_sync_rate};
pub use goal::{Goal, Goals, Line, Needs};
pub use raw::{Ends, observe, raw_round};
pub use report::{Cell, Report, Spread, Table};
pub use stage::{Failure, Stage, file_bytes, refuse_memory, resident};

/// Options that every program takes.
#[derive(Debug, Clone, clap::Parser)]
pub struct Options {
    /// Print one JSON object instead of tables.
    #[arg(long)]
    pub json: bool,
    /// Rounds; every variant runs once in each, and medians are taken over them.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Directory for the files of disk measurements; the disk under it is what is measured.
    #[arg(long, default_value = ".")]
    pub dir: std::path::PathBuf,
}

impl Options {
    /// Reads the command line; ends the process with a usage message if it is wrong.
    #[must_use]
    pub fn parse() -> Self {
        clap::Parser::parse()
    }
}

/// The time now. The one place of the benchmarks that reads the clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a measurement needs the real clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Blocks this thread for `time`: the fake disk of a measurement, never a way to wait for something.
#[expect(clippy::disallowed_methods, reason = "stands for a disk that takes this long")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Time that `work` took, and its result.
pub fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = now();
    let result = work();
    (start.elapsed(), result)
}

/// An empty histogram of nanoseconds, up to a minute, three digits.
#[must_use]
pub fn nanos_histogram() -> Histogram<u64> {
    // Bounds and digits are in the range that the constructor accepts, so it can't fail.
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds")
}

/// Counts `time` in a histogram of nanoseconds.
pub fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
}
