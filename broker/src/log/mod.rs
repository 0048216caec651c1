//! The log: chunks of entries, in order, durable; bytes only.
//! The contract that the engine builds on. No topics, no protobuf, no futures here, and no files either:
//! those belong to [`FileLog`].

mod blobs;
mod chunk;
mod file;
mod format;
#[cfg(any(test, feature = "sim"))]
mod hostile;
mod mem;
mod open;
mod prepare;
mod read;
mod recover;
mod rewrite;
mod scan;
mod sync;
mod threads;
mod verdict;
mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;

pub use blobs::FileBlobs;
pub use chunk::{Chunk, ChunkBuilder, ENTRY_SYNC, Entry, FormatError, RawRecord};
pub use file::{FileLog, LogOptions};
#[cfg(any(test, feature = "sim"))]
pub use hostile::HostileLog;
pub use mem::{MemBlobs, MemLog};
pub use open::OpenError;

use crate::time::Now;

/// One append-only log with one writer at a time.
///
/// Entries are numbered densely from 1 by the caller. Nothing is visible before it is written, and nothing
/// that was once at or below `durable` is lost by a crash. A failed write or sync ends the epoch: the log is
/// *fenced* and refuses appends until it is claimed again.
pub trait Log: Send + Sync + 'static {
    /// Start, takeover, and the way back from a fence: recovers what is there and claims the next epoch.
    ///
    /// Whatever was queued and not yet written is forgotten. After this returns, everything up to
    /// [`Recovered::end`] is durable and can be read, except the gaps that are named.
    fn claim(&self, now: Now) -> Result<Recovered, ClaimError>;

    /// Queues one chunk; never waits for the disk. `chunk.first` must be the end of the log, and `chunk.epoch`
    /// the claimed one.
    ///
    /// `starts_segment` asks for the chunk to open a new segment (it then begins with the catalog entry). The
    /// first such chunk after a claim stays in the segment that the claim opened.
    ///
    /// # Panics
    /// If `chunk.first` is not the end of the log: the numbers of the caller are wrong.
    fn append(&self, chunk: Chunk, starts_segment: bool) -> Result<(), AppendError>;

    /// How far the log has come. Cheap; never waits for the disk.
    fn watermarks(&self) -> Watermarks;

    /// Registers what is called after every movement of a watermark and on a fence. No lock of the log is held,
    /// but the caller of `append` or `step` may hold some of its own: so it only signals.
    fn set_waker(&self, wake: Arc<dyn Fn() + Send + Sync>);

    /// Reads whole entries from number `from` on, about `max_bytes` of them but at least one. Only entries at or
    /// below `written`.
    fn read(&self, from: u64, max_bytes: usize) -> Result<Read, ReadError>;

    /// Drops the whole segments that lie entirely below `before`. Answers the first entry that is left.
    fn trim(&self, before: u64) -> Result<u64, LogError>;

    /// Forgets the tail that the last recovery has rewritten. To be called when a checkpoint that lies behind
    /// that recovery is durable.
    fn release_old_tail(&self) -> Result<(), LogError>;

    /// All live segments, oldest first.
    fn segments(&self) -> Vec<SegmentInfo>;

    /// Room on the disk.
    fn space(&self) -> Space;

    /// What this log can take.
    fn limits(&self) -> Limits;

    /// Asks for a sync of all that is written or queued, although nobody waits for it.
    fn sync_now(&self);

    /// The orderly end: writes and syncs what is queued, then a clean-shutdown mark, and lets go of the files and
    /// of the directory. Only `claim` works afterwards.
    fn close_epoch(&self) -> Result<(), LogError>;

    /// The end without order: when this returns, nobody holds the place where the log is. What is queued may be lost.
    fn abandon(&self) {}

    /// One piece of background work; false if there was nothing to do. Threads are short loops around it, and a
    /// driver in virtual time calls it itself.
    fn step(&self, work: Work, now: Now) -> bool;
}

/// The kinds of background work of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Write what is queued; moves `written`.
    Append,
    /// Sync what is written, if something needs it; moves `durable`. Also writes marks.
    Sync,
    /// Prepare the next segment, and truncate the last one.
    Prepare,
}

/// What a claim has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The random number that this log was given when it was made.
    pub log_id: u128,
    /// The epoch that has now begun; higher than every earlier one.
    pub epoch: u32,
    /// The oldest entry that is kept; equal to `end` if there is none.
    pub first: u64,
    /// The number of the next entry.
    pub end: u64,
    /// True if the last epoch was closed in an orderly way, or if the log is new.
    pub clean: bool,
    /// What is missing before `end`, in order, as far as this claim has looked (the newest segments, see
    /// `LogOptions::verify_bytes`); damage further back shows when it is read.
    pub gaps: Vec<Gap>,
    /// What was cut off at the end.
    pub dropped: Option<TailDropped>,
    /// The broker time of the newest entry, unix milliseconds; 0 if there is none.
    pub last_time: u64,
}

/// Damage inside the log: bytes that no longer say what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The first entry that is lost.
    pub from: u64,
    /// The first entry behind that is there again. Equal to `from` if the damaged bytes held no entry.
    pub to: u64,
    /// How many bytes are damaged.
    pub bytes: u64,
    /// Where and what, for people.
    pub reason: String,
}

/// A torn tail: bytes behind the last known-durable position that did not survive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailDropped {
    /// The number that the first dropped entry had, or would have had. It is given out again, in a new epoch.
    pub from: u64,
    /// How many bytes were dropped.
    pub bytes: u64,
    /// False only if it is certain that nobody had been told that the dropped bytes are safe.
    pub may_contain_acknowledged: bool,
    /// Where the bytes are kept, relative to the data directory.
    pub quarantine: String,
}

/// How far a log has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watermarks {
    /// The last entry that is written; 0 = none. It survives the process.
    pub written: u64,
    /// The last entry that is synced; 0 = none. It survives the machine.
    pub durable: u64,
    /// Why the log is fenced, if it is. Final for this epoch.
    pub fenced: Option<Arc<str>>,
    /// Bytes that are queued and not yet written.
    pub backlog: u64,
    /// The segment is full: the next chunk should begin with a catalog and start a segment.
    pub want_roll: bool,
}

/// The answer to a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// Consecutive entries; the first one has the number that was asked for.
    Entries(Vec<Entry>),
    /// Trimmed away; the oldest entry is `first`.
    Retired {
        /// The oldest entry that is kept.
        first: u64,
    },
    /// Damaged; go on at `to`.
    Gap {
        /// The number that was asked for.
        from: u64,
        /// The next number that may be there.
        to: u64,
    },
    /// Not written yet.
    NotYet,
}

/// One segment, for people and for retention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number; dense.
    pub number: u64,
    /// The first entry in it.
    pub first: u64,
    /// The first entry behind it; `None` for the active segment.
    pub end: Option<u64>,
    /// Bytes in use.
    pub bytes: u64,
    /// Broker time of the first entry, unix milliseconds; 0 if there is none.
    pub first_time: u64,
    /// Broker time of the last entry, as far as it is known, unix milliseconds; 0 if there is none.
    pub last_time: u64,
}

/// Room on the disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// What this process may still write.
    pub free: u64,
    /// The size of the file system.
    pub total: u64,
    /// What the segments of this log use.
    pub log_bytes: u64,
}

/// What a log can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A chunk should not be longer than this, unless it is a single entry.
    pub max_chunk_bytes: usize,
    /// What `durable` means here.
    pub durability: Durability,
}

/// What `durable` means in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Nothing survives the process.
    Process,
    /// It survives the machine: synced to a disk.
    Disk,
}

/// Why an append was refused. Nothing was queued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// A write or sync has failed, somebody else has claimed the log, or it is closed.
    #[error("the log is fenced: {0}")]
    Fenced(Arc<str>),
    /// The disk is full. The same append, with the chunk that comes back here, may succeed later.
    #[error("the disk is full")]
    Full(Box<Chunk>),
}

/// Why a claim has failed. Nothing was revealed; it can be tried again.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// A segment is missing from the dense sequence of numbers.
    #[error("segment {number} is missing ({name}); bring it back, or accept the gap explicitly")]
    SegmentMissing {
        /// Its number.
        number: u64,
        /// The file that is missing, relative to the data directory.
        name: String,
    },
    /// Written by a newer version that says that this one must not touch it.
    #[error("{what} was written by a newer version of Quadrille (feature bits {bits:#x})")]
    Newer {
        /// The file.
        what: String,
        /// The bits this version does not know.
        bits: u32,
    },
    /// No copy of the manifest is readable.
    #[error("the manifest is damaged: {0}")]
    Manifest(String),
    /// Somebody else has the directory, or has claimed the log.
    #[error("the log belongs to somebody else: {0}")]
    Taken(String),
    /// The disk is full.
    #[error("the disk is full; recovery needs room for the tail of the log")]
    Full,
    /// The disk has failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Why a read has failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log is closed or was never claimed.
    #[error("the log is not open")]
    Closed,
    /// Written by a newer version that says that this one must not read it.
    #[error("entry {number} was written by a newer version of Quadrille (flags {flags:#x})")]
    Newer {
        /// The entry.
        number: u64,
        /// Its flags.
        flags: u16,
    },
    /// The disk has failed.
    #[error("reading the log: {0}")]
    Io(#[from] std::io::Error),
}

/// Why another operation has failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log is fenced, closed, or was never claimed.
    #[error("the log is fenced: {0}")]
    Fenced(Arc<str>),
    /// A blob's name may only have `[A-Za-z0-9._-]`, and at most one `/`.
    #[error("`{0}` is not a name for a blob")]
    BadName(String),
    /// The disk has failed or is full.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl AppendError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Fenced(_) => "log_fenced",
            Self::Full(_) => "disk_full",
        }
    }
}

impl ClaimError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::SegmentMissing { .. } => "segment_missing",
            Self::Newer { .. } => "newer_format",
            Self::Manifest(_) => "manifest_damaged",
            Self::Taken(_) => "log_taken",
            Self::Full => "disk_full",
            Self::Io { .. } => "disk_failed",
        }
    }
}

impl ReadError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Closed => "log_closed",
            Self::Newer { .. } => "newer_format",
            Self::Io(_) => "disk_failed",
        }
    }
}

impl LogError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Fenced(_) => "log_fenced",
            Self::BadName(_) => "bad_blob_name",
            Self::Io { .. } => "disk_failed",
        }
    }
}

/// Small files beside the log: checkpoints and side files. Names are `name` or `folder/name`.
pub trait Blobs: Send + Sync + 'static {
    /// Writes a blob as a whole, or not at all; durable when this returns. Replaces an older one.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), LogError>;
    /// At most `len` bytes of a blob from `from` on, fewer where it ends; `None` if there is none of
    /// that name.
    fn get_range(&self, name: &str, from: u64, len: usize) -> Result<Option<Bytes>, LogError>;
    /// A blob's bytes; `None` if there is none of that name.
    fn get(&self, name: &str) -> Result<Option<Bytes>, LogError> {
        self.get_range(name, 0, usize::MAX)
    }
    /// The names of all blobs, sorted.
    fn list(&self) -> Result<Vec<String>, LogError>;
    /// Removes a blob; fine if there is none.
    fn remove(&self, name: &str) -> Result<(), LogError>;
}
