//! How long fdatasync takes, by what was on the disk before: grown, fallocated, zeroed ahead,
//! reused; alone, and beside another file that is written and synced. Decides how the log keeps
//! its next segment ready (DESIGN §3).
#![expect(clippy::print_stdout, reason = "a program that prints what it measured")]

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use quadrille_benches::{
    FileKind, Options, Report, Spread, SyncFile, Table, nanos_histogram, now, pause, raw_sync_rate,
    record, timed,
};

const MIB: usize = 1 << 20;
/// Bytes of one write, and how many of them make a round.
const SIZES: [(usize, u32); 4] = [(4 << 10, 200), (16 << 10, 200), (64 << 10, 100), (MIB, 12)];
/// What the other file gets: about what checkpoints and sidecars write while publishing is busy.
const BESIDE_PER_SECOND: u64 = 32 << 20;
const BESIDE_SYNC_EVERY: u64 = 8 << 20;
/// Short, so that nine rounds on a fast disk write a few GiB.
const RAW_LASTING: Duration = Duration::from_millis(10);

fn main() -> io::Result<()> {
    let options = Options::parse();
    let mut times = Table::new(
        "fdatasync after one write, µs, and write+fdatasync per second; median [min..max] of rounds",
        &["bytes", "beside", "file", "p50", "p99", "cycles/s"],
    );
    let mut samples: Vec<Sample> = Vec::new();
    for _ in 0..options.rounds {
        for (bytes, writes) in SIZES {
            for beside in [false, true] {
                samples.extend(one_round(&options.dir, bytes, writes, beside)?);
            }
        }
    }
    for (bytes, _) in SIZES {
        for beside in [false, true] {
            for kind in FileKind::ALL {
                let of = |value: fn(&Sample) -> f64| {
                    let same = |s: &&Sample| (s.bytes, s.beside, s.kind) == (bytes, beside, kind);
                    Spread::of(samples.iter().filter(same).map(value).collect())
                };
                times.row(vec![
                    format!("{} KiB", bytes >> 10).into(),
                    if beside { "another" } else { "alone" }.into(),
                    kind.name().into(),
                    of(|s| s.p50).into(),
                    of(|s| s.p99).into(),
                    of(|s| s.cycles_per_second).into(),
                ]);
            }
        }
    }
    let tables = vec![times, limit(&options)?, preparation(&options)?];
    println!("{}", Report::new("physics_fdatasync", tables).render(options.json));
    Ok(())
}

/// One kind of file in one round.
struct Sample {
    bytes: usize,
    beside: bool,
    kind: FileKind,
    p50: f64,
    p99: f64,
    cycles_per_second: f64,
}

/// All four kinds, interleaved write by write, so that a slow moment of a shared machine hits all
/// of them alike.
fn one_round(dir: &Path, bytes: usize, writes: u32, beside: bool) -> io::Result<Vec<Sample>> {
    let size = bytes as u64 * u64::from(writes);
    let mut files = Vec::new();
    for kind in FileKind::ALL {
        files.push((kind, SyncFile::prepare(dir, kind, size)?, nanos_histogram(), Duration::ZERO));
    }
    let block: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(1..)).take(bytes).collect();
    let over = AtomicBool::new(!beside);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| write_beside(dir, &over));
        let mut measure = || -> io::Result<()> {
            for _ in 0..writes {
                for (_, file, nanos, elapsed) in &mut files {
                    let (write, sync) = file.write_and_sync(&block)?;
                    record(nanos, sync);
                    *elapsed += write + sync;
                }
            }
            Ok(())
        };
        let measured = measure();
        over.store(true, Ordering::Relaxed);
        other.join().map_err(|_| io::Error::other("the other writer panicked"))??;
        measured
    })?;
    let sample = |(kind, _, nanos, elapsed): (FileKind, SyncFile, Histogram<u64>, Duration)| {
        let micros = |quantile| nanos.value_at_quantile(quantile) as f64 / 1e3;
        let cycles_per_second = f64::from(writes) / elapsed.as_secs_f64();
        Sample { bytes, beside, kind, p50: micros(0.5), p99: micros(0.99), cycles_per_second }
    };
    Ok(files.into_iter().map(sample).collect())
}

/// Another file that grows at a steady rate and is synced now and then, until `over`.
fn write_beside(dir: &Path, over: &AtomicBool) -> io::Result<()> {
    let file = tempfile::tempfile_in(dir)?;
    let block = vec![0x5a; 256 << 10];
    let start = now();
    let mut at = 0;
    while !over.load(Ordering::Relaxed) {
        file.write_all_at(&block, at)?;
        at += block.len() as u64;
        if at.is_multiple_of(BESIDE_SYNC_EVERY) {
            file.sync_data()?;
        }
        let due = Duration::from_secs_f64(at as f64 / BESIDE_PER_SECOND as f64);
        pause(due.saturating_sub(start.elapsed()));
    }
    Ok(())
}

/// The limit that other benchmarks divide by.
fn limit(options: &Options) -> io::Result<Table> {
    let mut table = Table::new(
        "raw write+fdatasync of 1 MiB (raw_sync_rate), MB/s; median [min..max] of rounds",
        &["file", "MB/s", "cycles/s"],
    );
    let mut rates: [Vec<(f64, f64)>; 4] = Default::default();
    for _ in 0..options.rounds {
        for (kind, rates) in FileKind::ALL.into_iter().zip(&mut rates) {
            let rate = raw_sync_rate(&options.dir, MIB, kind, RAW_LASTING)?;
            rates.push((rate.megabytes_per_second(), rate.syncs_per_second()));
        }
    }
    for (kind, rates) in FileKind::ALL.into_iter().zip(rates) {
        let (megabytes, syncs) = rates.into_iter().unzip();
        table.row(vec![kind.name().into(), Spread::of(megabytes).into(), Spread::of(syncs).into()]);
    }
    Ok(table)
}

/// What it costs to have the next segment ready.
fn preparation(options: &Options) -> io::Result<Table> {
    let mut table = Table::new(
        "making a 64 MiB segment and syncing it, ms; median [min..max] of 3",
        &["file", "ms"],
    );
    for kind in [FileKind::Fallocated, FileKind::Zeroed] {
        let mut times = Vec::new();
        for _ in 0..3 {
            let (time, file) = timed(|| SyncFile::prepare(&options.dir, kind, 64 << 20));
            drop(file?);
            times.push(time.as_secs_f64() * 1e3);
        }
        table.row(vec![kind.name().into(), Spread::of(times).into()]);
    }
    Ok(table)
}
