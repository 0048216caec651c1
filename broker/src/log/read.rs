//! Reading: from the tail in memory, else from the segments. Never shows anything that is not written.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::chunk::Entry;
use super::file::{Inner, Segment, locked};
use super::format::{ChunkHeader, walk};
use super::scan::{Index, chunk_at, scan};
use super::write::headers;
use super::{Read, ReadError};
use crate::disk::{Disk, Mode, read_range};

/// Entry flags that a reader must know; the other high bits only forbid writing.
const MUST_KNOW_TO_READ: u16 = 0xf000;

/// The chunks that were written last.
#[derive(Default)]
pub(super) struct Tail {
    chunks: VecDeque<(u64, Bytes)>,
    bytes: usize,
}

impl Tail {
    pub(super) fn add(&mut self, first: u64, body: Bytes, limit: usize) {
        self.bytes += body.len();
        self.chunks.push_back((first, body));
        while self.bytes > limit {
            let Some((_, oldest)) = self.chunks.pop_front() else {
                break;
            };
            self.bytes -= oldest.len();
        }
    }

    /// Chunks from the one that has `from` on, enough for `max_bytes`; empty if it is not here.
    fn find(&self, from: u64, max_bytes: usize) -> Vec<(u64, Bytes)> {
        let after = self.chunks.partition_point(|(first, _)| *first <= from);
        let Some(start) = after.checked_sub(1) else {
            return Vec::new();
        };
        let mut bytes = 0;
        let enough = |(_, body): &&(u64, Bytes)| {
            let before = bytes;
            bytes += body.len();
            before <= 2 * max_bytes
        };
        self.chunks.iter().skip(start).take_while(enough).cloned().collect()
    }
}

impl Inner {
    pub(super) fn read(&self, from: u64, max_bytes: usize) -> Result<Read, ReadError> {
        if from > self.marks.written.load(Ordering::SeqCst) {
            return Ok(Read::NotYet);
        }
        let chunks = locked(&self.tail).find(from, max_bytes);
        if !chunks.is_empty() {
            return Ok(Read::Entries(from_tail(&chunks, from, self.end(), max_bytes)));
        }
        loop {
            let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
            let first = map.first().ok_or(ReadError::Closed)?.first;
            if from < first {
                return Ok(Read::Retired { first });
            }
            let at = map.partition_point(|segment| segment.first <= from);
            let Some(segment) = at.checked_sub(1).and_then(|i| map.get(i)).cloned() else {
                return Err(ReadError::Closed);
            };
            let to = map.get(at).map_or_else(|| self.end(), |next| next.first);
            drop(map);
            match self.read_segment(&segment, from, to, max_bytes) {
                // Trimmed in between: the map says so now.
                Err(ReadError::Io(e))
                    if e.kind() == ErrorKind::NotFound && self.is_retired(&segment) => {}
                other => return other,
            }
        }
    }

    fn end(&self) -> u64 {
        self.marks.written.load(Ordering::SeqCst) + 1
    }

    fn is_retired(&self, segment: &Segment) -> bool {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        map.first().is_none_or(|first| first.place.segment > segment.place.segment)
    }

    fn read_segment(
        &self,
        segment: &Arc<Segment>,
        from: u64,
        to: u64,
        max: usize,
    ) -> Result<Read, ReadError> {
        for attempt in 0..2 {
            let known = locked(&segment.index).clone();
            let index = match known.filter(|_| attempt == 0) {
                Some(index) => index,
                None => self.rescan(segment, to)?,
            };
            if let Some((_, lost_to)) = index.lost.iter().find(|(a, b)| (*a..*b).contains(&from)) {
                return Ok(Read::Gap { from, to: to.min(*lost_to) });
            }
            let entries = read_entries(&*self.disk, segment, &index, from, to, max)?;
            if let Some(entry) = entries.iter().find(|entry| entry.flags & MUST_KNOW_TO_READ != 0) {
                return Err(ReadError::Newer { number: entry.number, flags: entry.flags });
            }
            if !entries.is_empty() {
                return Ok(Read::Entries(entries));
            }
            // Not where the index says: damaged since it was made.
        }
        Err(ReadError::Io(io::Error::new(
            ErrorKind::InvalidData,
            format!("entry {from} cannot be read"),
        )))
    }

    /// Finds out what a segment holds between its first entry and `to`.
    fn rescan(&self, segment: &Segment, to: u64) -> Result<Index, ReadError> {
        let bytes = read_range(&*self.disk.open(&segment.path(), Mode::Read)?, 0, usize::MAX)?;
        let scan =
            scan(&bytes, segment.place.log_id, segment.place.segment).map_err(|unknown| {
                ReadError::Newer { number: segment.first, flags: (unknown.0 & 0xffff) as u16 }
            })?;
        let mut index = scan.index.clone();
        index.lost = scan.missing(segment.first, to);
        *locked(&segment.index) = Some(index.clone());
        Ok(index)
    }
}

fn from_tail(chunks: &[(u64, Bytes)], from: u64, end: u64, max_bytes: usize) -> Vec<Entry> {
    let mut out = Vec::new();
    let mut bytes = 0;
    for (first, body) in chunks {
        for (number, (at, header)) in (*first..end).zip(headers(body)) {
            if number < from {
                continue;
            }
            if bytes >= max_bytes && !out.is_empty() {
                return out;
            }
            bytes += header.size();
            out.push(header.entry(number, body, at));
        }
    }
    out
}

/// Whole entries of one segment, from `from` up to `to` (exclusive) or about `max_bytes` of them, or up to the next
/// damage. Empty if `from` itself is not to be had.
pub(super) fn read_entries(
    disk: &dyn Disk,
    segment: &Segment,
    index: &Index,
    from: u64,
    to: u64,
    max_bytes: usize,
) -> io::Result<Vec<Entry>> {
    let Some(mut offset) = index.find(from) else {
        return Ok(Vec::new());
    };
    let file = disk.open(&segment.path(), Mode::Read)?;
    let mut want = max_bytes.clamp(64 << 10, 4 << 20);
    loop {
        let bytes = Bytes::from(read_range(&*file, offset, want)?);
        let chunk_at = |at: usize| chunk_at(&bytes, at, offset + at as u64, segment.place);
        let mut at = 0;
        while let Some((chunk, _)) = chunk_at(at).filter(|(chunk, _)| chunk.next() <= from) {
            at += usize::try_from(chunk.size()).unwrap_or(usize::MAX);
        }
        match chunk_at(at) {
            None if at == 0 => return Ok(Vec::new()),
            Some((chunk, body))
                if body.len() < chunk.len as usize && chunk.size() > want as u64 =>
            {
                want = usize::try_from(chunk.size()).unwrap_or(usize::MAX);
            }
            Some((chunk, body)) if body.len() == chunk.len as usize || at == 0 => {
                return Ok(collect(chunk_at, at, from..to, max_bytes));
            }
            _ => {}
        }
        offset += at as u64;
    }
}

fn collect(
    chunk_at: impl Fn(usize) -> Option<(ChunkHeader, Bytes)>,
    mut at: usize,
    wanted: Range<u64>,
    max_bytes: usize,
) -> Vec<Entry> {
    let mut out = Vec::new();
    let mut taken = 0;
    while let Some((chunk, body)) = chunk_at(at) {
        for (number, place, entry) in
            walk(&chunk, &body).skip_while(|(number, ..)| *number < wanted.start)
        {
            let Some(entry) =
                entry.filter(|_| wanted.contains(&number) && (taken < max_bytes || out.is_empty()))
            else {
                return out;
            };
            taken += entry.size();
            out.push(entry.entry(number, &body, place));
        }
        at += usize::try_from(chunk.size()).unwrap_or(usize::MAX);
    }
    out
}
