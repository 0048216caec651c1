//! What the disk can do without Quadrille: write, fdatasync, again. Other benchmarks divide by
//! this, so it runs interleaved with them, on the same kind of file in the same directory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::fs::{FallocateFlags, fallocate};
use tempfile::NamedTempFile;

use crate::{nanos_histogram, record, timed};

const MIB: usize = 1 << 20;
/// The size of a log segment (DESIGN §3).
const SEGMENT: u64 = 64 << 20;

/// What is on the disk where the next write goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// Nothing: every write makes the file longer.
    Grown,
    /// Reserved, unwritten space (`fallocate`).
    Fallocated,
    /// Zeros that were written and synced before.
    Zeroed,
    /// Other bytes that were written and synced before.
    Reused,
}

impl FileKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Grown, Self::Fallocated, Self::Zeroed, Self::Reused];

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Grown => "grown",
            Self::Fallocated => "fallocated",
            Self::Zeroed => "zeroed",
            Self::Reused => "reused",
        }
    }
}

/// A file that is written from front to end, synced after every write, and removed on drop.
#[derive(Debug)]
pub struct SyncFile {
    file: NamedTempFile,
    at: u64,
    size: u64,
}

impl SyncFile {
    /// Makes a file with `size` bytes of room, prepared as `kind` says, synced with its directory.
    ///
    /// # Errors
    /// What the file system answers; among them that it can't `fallocate`.
    pub fn prepare(dir: &Path, kind: FileKind, size: u64) -> io::Result<Self> {
        let file = NamedTempFile::new_in(dir)?;
        match kind {
            FileKind::Grown => {}
            FileKind::Fallocated => fallocate(&file, FallocateFlags::empty(), 0, size)?,
            FileKind::Zeroed => fill(file.as_file(), size, 0)?,
            FileKind::Reused => fill(file.as_file(), size, 0x5a)?,
        }
        file.as_file().sync_all()?;
        File::open(dir)?.sync_all()?;
        Ok(Self { file, at: 0, size })
    }

    /// Whether another write of `bytes` fits.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.at + bytes as u64 <= self.size
    }

    /// Writes `block` behind the last one and syncs it. Returns the time of the write and of the
    /// fdatasync.
    ///
    /// # Errors
    /// A failed write or sync.
    pub fn write_and_sync(&mut self, block: &[u8]) -> io::Result<(Duration, Duration)> {
        let file = self.file.as_file();
        let (write, written) = timed(|| file.write_all_at(block, self.at));
        written?;
        let (sync, synced) = timed(|| file.sync_data());
        synced?;
        self.at += block.len() as u64;
        Ok((write, sync))
    }
}

fn fill(file: &File, size: u64, byte: u8) -> io::Result<()> {
    let block = vec![byte; MIB];
    let mut at = 0;
    while at < size {
        let length = usize::try_from(size - at).map_or(MIB, |left| left.min(MIB));
        file.write_all_at(block.get(..length).unwrap_or_default(), at)?;
        at += length as u64;
    }
    Ok(())
}

/// What `raw_sync_rate` found.
#[derive(Debug, Clone)]
pub struct SyncRate {
    /// Writes, each followed by an fdatasync.
    pub syncs: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Time in write and fdatasync, without the preparation of files.
    pub elapsed: Duration,
    /// Time of each fdatasync, in nanoseconds.
    pub sync_nanos: Histogram<u64>,
}

impl SyncRate {
    /// Writes with fdatasync per second.
    #[must_use]
    pub fn syncs_per_second(&self) -> f64 {
        self.syncs as f64 / self.elapsed.as_secs_f64()
    }

    /// Megabytes (10⁶ bytes) written and synced per second.
    #[must_use]
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.elapsed.as_secs_f64()
    }
}

/// The physical limit: one write of `bytes` and one fdatasync after the other, alone, on files of
/// `kind` in `dir`, for about `lasting` (at least once). Files are as long as a log segment; the
/// time to prepare them doesn't count, so a caller who counts it must measure it.
///
/// # Errors
/// What the disk answers.
pub fn raw_sync_rate(
    dir: &Path,
    bytes: usize,
    kind: FileKind,
    lasting: Duration,
) -> io::Result<SyncRate> {
    let size = SEGMENT.max(bytes as u64);
    // Not zeros: a disk may treat those as a special case.
    let block: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(1..)).take(bytes).collect();
    let sync_nanos = nanos_histogram();
    let mut rate = SyncRate { syncs: 0, bytes: 0, elapsed: Duration::ZERO, sync_nanos };
    let mut file = SyncFile::prepare(dir, kind, size)?;
    while rate.syncs == 0 || rate.elapsed < lasting {
        if !file.has_room(bytes) {
            file = SyncFile::prepare(dir, kind, size)?;
        }
        let (write, sync) = file.write_and_sync(&block)?;
        rate.syncs += 1;
        rate.bytes += bytes as u64;
        rate.elapsed += write + sync;
        record(&mut rate.sync_nanos, sync);
    }
    Ok(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_file_is_written_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        for kind in FileKind::ALL {
            let mut file = SyncFile::prepare(dir.path(), kind, 8192).unwrap();
            assert_eq!(file.file.as_file().metadata().unwrap().len() > 0, kind != FileKind::Grown);
            file.write_and_sync(&[1; 8192]).unwrap();
            assert!(!file.has_room(1));
            assert_eq!(file.file.as_file().metadata().unwrap().len(), 8192);
        }
        let rate = raw_sync_rate(dir.path(), 4096, FileKind::Grown, Duration::ZERO).unwrap();
        assert_eq!((rate.syncs, rate.bytes), (1, 4096));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "files are removed");
    }
}
