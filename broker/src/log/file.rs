//! The log on a disk: its parts, who locks what, and the operations that are short.
//! Writing, syncing, preparing, recovering and reading have files of their own.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;

use super::format::{CHUNK_HEADER, Manifest, Place, segment_path};
use super::open::{self, OpenError};
use super::read::Tail;
use super::scan::Index;
use super::sync::Pending;
use super::write::Writer;
use super::{
    AppendError, Chunk, ClaimError, Durability, Limits, Log, LogError, Read, ReadError, Recovered,
    SegmentInfo, Space, Watermarks, Work,
};
use crate::disk::{Disk, RealDisk, is_full};
use crate::time::{Clock, Now};

/// What can be set about a log on a disk. All sizes are bytes, all times milliseconds.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The size of a segment; the engine is asked to roll there.
    pub segment_bytes: u64,
    /// The size of the first segment after a claim: small, so that a small bus is small.
    pub first_segment_bytes: u64,
    /// What a chunk should not exceed.
    pub max_chunk_bytes: usize,
    /// How much of what was written last is kept in memory for readers.
    pub tail_cache_bytes: usize,
    /// Written entries are synced at the latest after this time, also if nobody waits.
    pub sync_after_ms: u64,
    /// Written entries are synced when there are this many bytes of them, also if nobody waits.
    pub sync_after_bytes: u64,
    /// A mark is written after this time without traffic.
    pub mark_after_ms: u64,
    /// How much of the log a claim verifies, from its end.
    pub verify_bytes: u64,
    /// Go on although whole segments are missing; they become gaps.
    pub accept_missing_segments: bool,
    /// Makes the log id of a new log, and the nonces.
    pub seed: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            first_segment_bytes: 4 << 20,
            max_chunk_bytes: 1 << 20,
            tail_cache_bytes: 8 << 20,
            sync_after_ms: 100,
            sync_after_bytes: 16 << 20,
            mark_after_ms: 5,
            verify_bytes: 256 << 20,
            accept_missing_segments: false,
            seed: fastrand::u64(..),
        }
    }
}

/// A log in a data directory. See [`Log`].
pub struct FileLog {
    pub(super) inner: Arc<Inner>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads share. Locks are taken in the order of the fields, never the other way; `append` takes only `queue`.
pub(super) struct Inner {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) options: LogOptions,
    /// The lock of the directory, while it is open.
    pub(super) held: Mutex<Option<Box<dyn Send + Sync>>>,
    /// Whoever changes which files there are.
    pub(super) files: Mutex<Files>,
    /// Whoever syncs: at most one sync is in flight.
    pub(super) gate: Mutex<()>,
    /// Whoever writes.
    pub(super) writer: Mutex<Option<Writer>>,
    pub(super) map: RwLock<Vec<Arc<Segment>>>,
    pub(super) pending: Mutex<Pending>,
    pub(super) need_sync: Condvar,
    pub(super) queue: Mutex<Queue>,
    pub(super) need_append: Condvar,
    pub(super) need_prepare: Condvar,
    pub(super) tail: Mutex<Tail>,
    pub(super) fence: Mutex<Option<Arc<str>>>,
    pub(super) wake: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
    pub(super) marks: Marks,
}

/// Which files there are.
pub(super) struct Files {
    pub(super) manifest: Manifest,
    /// Segments whose bytes from here on were rewritten by the last claim.
    pub(super) old_tails: Vec<(u32, u64)>,
    /// When to try again to get room, in ms of `mono`.
    pub(super) retry_at: u64,
}

/// What is read without a lock.
#[derive(Default)]
pub(super) struct Marks {
    pub(super) epoch: AtomicU32,
    pub(super) written: AtomicU64,
    pub(super) durable: AtomicU64,
    pub(super) backlog: AtomicU64,
    pub(super) fenced: AtomicBool,
    /// Space that is wanted cannot be had.
    pub(super) full: AtomicBool,
    pub(super) want_roll: AtomicBool,
    pub(super) stop: AtomicBool,
}

/// What `append` has taken and the writer has not.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) chunks: VecDeque<(Chunk, bool)>,
    /// The number of the next entry.
    pub(super) end: u64,
    /// Bytes taken for the segment in which the next chunk will lie, of `room` that are allocated.
    pub(super) bytes: u64,
    pub(super) room: u64,
    /// At how many bytes a roll is asked for.
    pub(super) roll_at: u64,
    /// What the next segment has room for, if it stands ready.
    pub(super) next_room: Option<u64>,
    pub(super) idle: bool,
}

/// A segment that readers can use.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) place: Place,
    /// The first entry that is read from here; it ends where its successor begins.
    pub(super) first: u64,
    pub(super) facts: Mutex<Facts>,
    /// `None` until somebody has scanned it.
    pub(super) index: Mutex<Option<Index>>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts {
    pub(super) bytes: u64,
    pub(super) first_time: u64,
    pub(super) last_time: u64,
}

impl Segment {
    pub(super) fn path(&self) -> String {
        segment_path(self.place.segment)
    }
}

/// A lock that a panic elsewhere does not close: each of these guards data that is whole between statements.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FileLog {
    /// Opens the data directory on `disk`, makes it if it is empty, and locks it. The log must then be claimed.
    pub fn open(disk: Arc<dyn Disk>, options: LogOptions) -> Result<Self, OpenError> {
        let exists = open::inspect(&*disk)?;
        let lock = open::lock(&*disk)?;
        if !exists {
            let mut random = fastrand::Rng::with_seed(options.seed);
            open::create(&*disk, random.u128(1..))?;
        }
        let (manifest, _) = open::load(&*disk)?;
        let inner = Inner {
            disk,
            options,
            held: Mutex::new(Some(lock)),
            files: Mutex::new(Files { manifest, old_tails: Vec::new(), retry_at: 0 }),
            gate: Mutex::default(),
            writer: Mutex::default(),
            map: RwLock::default(),
            pending: Mutex::default(),
            need_sync: Condvar::new(),
            queue: Mutex::default(),
            need_append: Condvar::new(),
            need_prepare: Condvar::new(),
            tail: Mutex::default(),
            fence: Mutex::default(),
            wake: Mutex::default(),
            marks: Marks::default(),
        };
        inner.fence("not claimed yet");
        Ok(Self { inner: Arc::new(inner), threads: Mutex::default() })
    }

    /// Opens the data directory at `path`, which is made if it is missing.
    pub fn open_path(path: impl AsRef<Path>, options: LogOptions) -> Result<Self, OpenError> {
        Self::open(Arc::new(RealDisk::open(path)?), options)
    }

    /// Starts the threads that do the background work; they end when the log is closed or dropped.
    pub fn spawn(&self, clock: Arc<dyn Clock>) -> std::io::Result<()> {
        self.stop();
        self.inner.marks.stop.store(false, Ordering::SeqCst);
        *locked(&self.threads) = super::threads::spawn(&self.inner, &clock)?;
        Ok(())
    }

    fn stop(&self) {
        self.inner.marks.stop.store(true, Ordering::SeqCst);
        self.inner.notify_all();
        let threads: Vec<_> = locked(&self.threads).drain(..).collect();
        let me = std::thread::current().id();
        // Whoever was woken by one of these threads may drop the log on it: it ends by itself.
        for thread in threads.into_iter().filter(|it| it.thread().id() != me) {
            // A thread that has panicked has left the log fenced.
            let _ = thread.join();
        }
    }
}

impl Drop for FileLog {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Inner {
    /// Final for this epoch. The first reason stays.
    pub(super) fn fence(&self, reason: &str) {
        let mut fence = locked(&self.fence);
        if fence.is_none() {
            *fence = Some(reason.into());
        }
        self.marks.fenced.store(true, Ordering::SeqCst);
        drop(fence);
        self.notify_all();
        self.wake();
    }

    pub(super) fn is_fenced(&self) -> bool {
        self.marks.fenced.load(Ordering::SeqCst)
    }

    pub(super) fn fenced(&self) -> Option<Arc<str>> {
        if self.is_fenced() { locked(&self.fence).clone() } else { None }
    }

    /// Tells the engine that a watermark has moved.
    pub(super) fn wake(&self) {
        let wake = locked(&self.wake).clone();
        if let Some(wake) = wake {
            wake();
        }
    }

    /// With the locks taken, so that nobody who is about to wait misses it.
    pub(super) fn notify_all(&self) {
        drop(locked(&self.pending));
        self.need_sync.notify_all();
        drop(locked(&self.queue));
        self.need_append.notify_all();
        self.need_prepare.notify_all();
    }

    fn append(&self, chunk: Chunk, starts_segment: bool) -> Result<(), AppendError> {
        let mut queue = locked(&self.queue);
        if let Some(reason) = self.fenced() {
            return Err(AppendError::Fenced(reason));
        }
        if chunk.epoch != self.marks.epoch.load(Ordering::SeqCst) {
            return Err(AppendError::Fenced("a later epoch has been claimed".into()));
        }
        assert_eq!(chunk.first, queue.end, "a chunk must start at the end of the log");
        let bytes = (chunk.body.len() + CHUNK_HEADER) as u64;
        let rolls = starts_segment && queue.bytes > 0;
        let used = if rolls { 0 } else { queue.bytes };
        let room = if rolls { queue.next_room.unwrap_or(0) } else { queue.room };
        if self.marks.full.load(Ordering::SeqCst) && used + bytes > room {
            return Err(AppendError::Full(Box::new(chunk)));
        }
        if rolls {
            queue.room = queue.next_room.take().unwrap_or(u64::MAX);
            queue.roll_at = self.options.segment_bytes;
        }
        queue.end += u64::from(chunk.entries);
        queue.bytes = used + bytes;
        self.set_want_roll(&queue);
        self.marks.backlog.fetch_add(chunk.body.len() as u64, Ordering::SeqCst);
        queue.chunks.push_back((chunk, starts_segment));
        let idle = std::mem::replace(&mut queue.idle, false);
        drop(queue);
        if idle {
            self.need_append.notify_all();
        }
        Ok(())
    }

    /// A roll is asked for only if it would succeed.
    pub(super) fn set_want_roll(&self, queue: &Queue) {
        let possible = queue.next_room.is_some() || !self.marks.full.load(Ordering::SeqCst);
        self.marks.want_roll.store(queue.bytes >= queue.roll_at && possible, Ordering::SeqCst);
    }
}

impl Log for FileLog {
    fn claim(&self, now: Now) -> Result<Recovered, ClaimError> {
        self.inner.claim(now)
    }

    fn append(&self, chunk: Chunk, starts_segment: bool) -> Result<(), AppendError> {
        self.inner.append(chunk, starts_segment)
    }

    fn watermarks(&self) -> Watermarks {
        let marks = &self.inner.marks;
        // `durable` first: it is never ahead of what `written` is a moment later.
        let durable = marks.durable.load(Ordering::SeqCst);
        Watermarks {
            written: marks.written.load(Ordering::SeqCst),
            durable,
            fenced: self.inner.fenced(),
            backlog: marks.backlog.load(Ordering::SeqCst),
            want_roll: marks.want_roll.load(Ordering::SeqCst),
        }
    }

    fn set_waker(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        *locked(&self.inner.wake) = Some(wake);
    }

    fn read(&self, from: u64, max_bytes: usize) -> Result<Read, ReadError> {
        self.inner.read(from, max_bytes)
    }

    fn trim(&self, before: u64) -> Result<u64, LogError> {
        self.inner.trim(before)
    }

    fn release_old_tail(&self) -> Result<(), LogError> {
        self.inner.release_old_tail()
    }

    fn segments(&self) -> Vec<SegmentInfo> {
        let map = self.inner.map.read().unwrap_or_else(PoisonError::into_inner);
        let ends = map.iter().skip(1).map(Some).chain([None]);
        let info = |(segment, next): (&Arc<Segment>, Option<&Arc<Segment>>)| {
            let mut facts = *locked(&segment.facts);
            if facts.last_time == 0 {
                // Not looked through since the start: not later than what follows.
                facts.last_time = next.map_or(0, |next| locked(&next.facts).first_time);
            }
            SegmentInfo {
                number: u64::from(segment.place.segment),
                first: segment.first,
                end: next.map(|next| next.first),
                bytes: facts.bytes,
                first_time: facts.first_time,
                last_time: facts.last_time,
            }
        };
        map.iter().zip(ends).map(info).collect()
    }

    fn space(&self) -> Space {
        let log_bytes = self.segments().iter().map(|segment| segment.bytes).sum();
        let (free, total) = self.inner.disk.space().unwrap_or_default();
        Space { free, total, log_bytes }
    }

    fn limits(&self) -> Limits {
        Limits { max_chunk_bytes: self.inner.options.max_chunk_bytes, durability: Durability::Disk }
    }

    fn sync_now(&self) {
        let last = locked(&self.inner.queue).end.saturating_sub(1);
        locked(&self.inner.pending).asked = last;
        self.inner.need_sync.notify_all();
    }

    fn abandon(&self) {
        self.stop();
        *locked(&self.inner.held) = None;
    }

    fn close_epoch(&self) -> Result<(), LogError> {
        self.stop();
        let result = self.inner.close();
        self.inner.fence("closed");
        result
    }

    fn step(&self, work: Work, now: Now) -> bool {
        match work {
            Work::Append => self.inner.append_step(now),
            Work::Sync => self.inner.sync_step(now),
            Work::Prepare => self.inner.prepare_step(now),
        }
    }
}

/// A failure of the disk, as a claim reports it.
pub(super) fn claim_io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> ClaimError {
    move |source| {
        if is_full(&source) {
            ClaimError::Full
        } else {
            ClaimError::Io { what: what.into(), source }
        }
    }
}
