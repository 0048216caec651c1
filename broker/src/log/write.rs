//! The append step: takes what is queued, seals it, writes it in one vectored write, moves `written`.
//! Never syncs.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::chunk::{Chunk, ENTRY_SYNC, EntryHeader};
use super::file::{Facts, Inner, Segment, locked};
use super::format::{
    CHUNK_HEADER, ChunkHeader, Kind, Place, SEGMENT_HEADER, SegmentHeader, seal_entries,
};
use super::scan::Index;
use crate::disk::{File, is_full};
use crate::time::Now;

/// One vectored write takes at most about this much.
const BATCH_BYTES: usize = 4 << 20;
const BATCH_CHUNKS: usize = 256;

/// The open end of the log.
pub(super) struct Writer {
    pub(super) epoch: u32,
    pub(super) segment: Arc<Segment>,
    pub(super) file: Arc<dyn File>,
    pub(super) pos: u64,
    pub(super) allocated: u64,
    pub(super) last_time: u64,
    /// The next segment, if it stands ready.
    pub(super) next: Option<Prepared>,
    /// True if the engine has appended to the segment.
    pub(super) used: bool,
    /// Taken from the queue, not yet written.
    pub(super) taken: VecDeque<(Chunk, bool)>,
}

/// A segment that stands ready: named, allocated, synced, empty.
pub(super) struct Prepared {
    pub(super) header: SegmentHeader,
    pub(super) file: Arc<dyn File>,
    pub(super) allocated: u64,
}

enum Failure {
    /// Nothing was written; the same may succeed later.
    NoRoom,
    Io(io::Error),
}

/// A chunk as it goes to the disk.
struct Sealed {
    header: [u8; CHUNK_HEADER],
    first: u64,
    body: Bytes,
    offset: u64,
    last_time: u64,
    time: u64,
    waiting: u64,
}

impl Inner {
    pub(super) fn append_step(&self, now: Now) -> bool {
        let mut guard = locked(&self.writer);
        let Some(writer) = guard.as_mut().filter(|_| !self.is_fenced()) else {
            return false;
        };
        writer.taken.append(&mut locked(&self.queue).chunks);
        if writer.taken.is_empty() {
            return false;
        }
        match self.write_batch(writer, now) {
            Ok(written) => {
                drop(guard);
                if written {
                    self.wake();
                }
                written
            }
            Err(Failure::NoRoom) => {
                self.set_full(true);
                false
            }
            Err(Failure::Io(e)) => {
                drop(guard);
                self.fence(&format!("writing the log: {e}"));
                false
            }
        }
    }

    /// False if the next segment is not ready.
    fn write_batch(&self, writer: &mut Writer, now: Now) -> Result<bool, Failure> {
        let starts = writer.taken.front().is_some_and(|(_, starts)| *starts);
        if starts && writer.used && !self.roll(writer).map_err(Failure::Io)? {
            return Ok(false);
        }
        let mut count = 0;
        let mut bytes = 0;
        for (chunk, starts) in writer.taken.iter().take(BATCH_CHUNKS) {
            if count > 0 && (*starts || bytes + chunk.body.len() > BATCH_BYTES) {
                break;
            }
            count += 1;
            bytes += chunk.body.len() + CHUNK_HEADER;
        }
        let end = writer.pos + bytes as u64;
        if end > writer.allocated {
            // The engine goes on in a full segment, because the next one cannot be had or because it does not care.
            let more = end + self.options.segment_bytes / 8;
            writer.file.allocate(more).map_err(|e| match is_full(&e) {
                true => Failure::NoRoom,
                false => Failure::Io(e),
            })?;
            writer.allocated = more;
            self.set_full(false);
        }
        let durable = self.marks.durable.load(Ordering::SeqCst);
        let mut offset = writer.pos;
        let chunks: Vec<_> = writer.taken.drain(..count).collect();
        let mut sealed = Vec::with_capacity(count);
        for (chunk, _) in chunks {
            writer.last_time = writer.last_time.max(chunk.time);
            let chunk = seal(chunk, writer.segment.place, offset, durable, writer.last_time);
            writer.last_time = writer.last_time.max(chunk.last_time);
            offset += (CHUNK_HEADER + chunk.body.len()) as u64;
            sealed.push(chunk);
        }
        let mut bufs: Vec<_> =
            sealed.iter().flat_map(|c| [IoSlice::new(&c.header), IoSlice::new(&c.body)]).collect();
        // Final whatever the reason: the file may now hold part of it.
        writer.file.write_at(writer.pos, &mut bufs).map_err(Failure::Io)?;
        writer.pos = offset;
        writer.used = true;
        self.publish(writer, sealed, bytes, now);
        Ok(true)
    }

    /// Tells everybody about what is written: first readers, then the sync loop, then the watermark.
    fn publish(&self, writer: &Writer, sealed: Vec<Sealed>, bytes: usize, now: Now) {
        let mut index = locked(&writer.segment.index);
        let known = index.get_or_insert_default();
        for chunk in &sealed {
            known.add(chunk.first, chunk.offset, false);
        }
        drop(index);
        let mut facts = locked(&writer.segment.facts);
        facts.bytes = writer.pos;
        facts.last_time = writer.last_time;
        if facts.first_time == 0 {
            facts.first_time = sealed.first().map_or(0, |chunk| chunk.time);
        }
        drop(facts);
        let last =
            sealed.last().map_or(0, |chunk| chunk.first) + sealed.last().map_or(0, count) - 1;
        let waiting = sealed.iter().map(|chunk| chunk.waiting).sum();
        let body_bytes: usize = sealed.iter().map(|chunk| chunk.body.len()).sum();
        let mut tail = locked(&self.tail);
        for chunk in sealed {
            tail.add(chunk.first, chunk.body, self.options.tail_cache_bytes);
        }
        drop(tail);
        self.marks.written.store(last, Ordering::SeqCst);
        locked(&self.pending).wrote(
            last,
            bytes as u64,
            waiting,
            now,
            self.options.sync_after_bytes,
        );
        self.marks.backlog.fetch_sub(body_bytes as u64, Ordering::SeqCst);
        self.need_sync.notify_all();
    }

    /// Goes to the next segment, if it stands ready.
    fn roll(&self, writer: &mut Writer) -> io::Result<bool> {
        let Some(next) = writer.next.take() else {
            return Ok(false);
        };
        let last = self.marks.written.load(Ordering::SeqCst);
        let durable = self.marks.durable.load(Ordering::SeqCst);
        self.write_marker(writer, Kind::End, last + 1, durable)?;
        let place =
            Place { segment: next.header.number, nonce: next.header.nonce, ..writer.segment.place };
        let first = writer.taken.front().map_or(0, |(chunk, _)| chunk.first);
        let facts = Facts { bytes: SEGMENT_HEADER as u64, ..Facts::default() };
        let segment = Arc::new(Segment {
            place,
            first,
            facts: facts.into(),
            index: Some(Index::default()).into(),
        });
        self.map.write().unwrap_or_else(PoisonError::into_inner).push(segment.clone());
        writer.segment = segment;
        let old = std::mem::replace(&mut writer.file, next.file.clone());
        locked(&self.pending).rolled(old, next.file, writer.pos);
        writer.pos = SEGMENT_HEADER as u64;
        writer.allocated = next.allocated;
        writer.used = false;
        self.need_prepare.notify_all();
        Ok(true)
    }

    /// Writes a chunk without entries at the end.
    pub(super) fn write_marker(
        &self,
        writer: &mut Writer,
        kind: Kind,
        first: u64,
        durable: u64,
    ) -> io::Result<()> {
        let header = ChunkHeader {
            kind,
            epoch: writer.epoch,
            nonce: writer.segment.place.nonce,
            first,
            time: writer.last_time,
            durable,
            entries: 0,
            len: 0,
        };
        let bytes = header.encode(writer.segment.place, writer.pos);
        writer.file.write_at(writer.pos, &mut [IoSlice::new(&bytes)])?;
        writer.pos += CHUNK_HEADER as u64;
        locked(&writer.segment.facts).bytes = writer.pos;
        Ok(())
    }

    pub(super) fn set_full(&self, full: bool) {
        let queue = locked(&self.queue);
        if self.marks.full.swap(full, Ordering::SeqCst) != full {
            tracing::warn!(full, "room for the log");
        }
        self.set_want_roll(&queue);
    }
}

fn count(chunk: &Sealed) -> u64 {
    headers(&chunk.body).count() as u64
}

/// The headers of whole entries that are known to be good.
pub(super) fn headers(body: &[u8]) -> impl Iterator<Item = (usize, EntryHeader)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let header = EntryHeader::parse(body.get(at..)?)?;
        let start = at;
        at += header.size();
        Some((start, header))
    })
}

fn seal(chunk: Chunk, place: Place, offset: u64, durable: u64, time: u64) -> Sealed {
    let Chunk { first, entries, epoch, mut body, .. } = chunk;
    let last_time = seal_entries(&mut body, place.nonce, first, entries);
    let waiting = headers(&body).filter(|(_, entry)| entry.flags & ENTRY_SYNC != 0).count() as u64;
    let len = u32::try_from(body.len()).expect("a chunk is shorter than 4 GiB");
    let header = ChunkHeader {
        kind: Kind::Entries,
        epoch,
        nonce: place.nonce,
        first,
        time,
        durable,
        entries,
        len,
    };
    let header = header.encode(place, offset);
    Sealed { header, first, body: body.freeze(), offset, last_time, time, waiting }
}
