//! Reads all of one segment and says what in it is whole. Decides nothing about what that means for the log.

use bytes::Bytes;

use super::chunk::{ENTRY_MUST_KNOW, EntryHeader};
use super::format::{
    CHUNK_HEADER, ChunkHeader, Kind, Place, SEGMENT_HEADER, SegmentHeader, Unknown, walk,
};

/// Entries are found again from the nearest chunk that is remembered; one per this many bytes.
const SPARSE: u64 = 64 << 10;

/// Where the chunks of a segment are, roughly.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    /// (first entry, offset), for one chunk in every 64 KiB, and for each that follows damage.
    offsets: Vec<(u64, u64)>,
    /// Entries that are damaged: from, to.
    pub(crate) lost: Vec<(u64, u64)>,
}

impl Index {
    /// Of a segment that is missing.
    pub(crate) fn all_lost() -> Self {
        Self { offsets: Vec::new(), lost: vec![(0, u64::MAX)] }
    }

    /// Remembers a chunk, if the last one that is remembered is far enough away.
    pub(crate) fn add(&mut self, first: u64, offset: u64, force: bool) {
        if force || self.offsets.last().is_none_or(|(_, last)| offset >= last + SPARSE) {
            self.offsets.push((first, offset));
        }
    }

    /// The offset of a chunk from which one reaches `number` by going forward.
    pub(crate) fn find(&self, number: u64) -> Option<u64> {
        let after = self.offsets.partition_point(|(first, _)| *first <= number);
        self.offsets.get(after.checked_sub(1)?).map(|(_, offset)| *offset)
    }
}

/// Damaged bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bad {
    /// The entry that should have come here; 0 if that cannot be known from this segment.
    pub(crate) next: u64,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// What a segment holds.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) header: Option<SegmentHeader>,
    pub(crate) nonce: u64,
    /// Per whole chunk: the lowest number below which it must be kept, and its end in the file.
    ends: Vec<(u64, u64)>,
    /// Whole entries: from, to; in the order of the file.
    pub(crate) runs: Vec<(u64, u64)>,
    pub(crate) bad: Vec<Bad>,
    pub(crate) index: Index,
    /// The highest epoch and durable watermark in any chunk.
    pub(crate) epoch: u32,
    pub(crate) durable: u64,
    /// Number of the first entry in it or behind it; 0 if no chunk is whole.
    pub(crate) first: u64,
    /// The last whole chunk.
    last: Option<Kind>,
    /// For a segment that a claim opened: its rewrite was complete.
    pub(crate) counts: bool,
    pub(crate) first_time: u64,
    pub(crate) last_time: u64,
    /// The end of what is in it.
    pub(crate) end: u64,
    /// The size of the file.
    pub(crate) size: u64,
}

/// Scans the bytes of a whole segment.
pub(crate) fn scan(bytes: &[u8], log_id: u128, segment: u32) -> Result<Scan, Unknown> {
    let header =
        SegmentHeader::decode(bytes)?.filter(|h| h.log_id == log_id && h.number == segment);
    // Zeros behind are room that was reserved, unless the file has been cut.
    let cut = header.is_some_and(|header| bytes.len() < header.allocated as usize);
    let written = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    let used = if cut { bytes.len() } else { written };
    let mut scan = Scan { header, end: used as u64, size: bytes.len() as u64, ..Scan::default() };
    let mut next = header.map_or(0, |h| h.base);
    let mut nonce = header.map(|h| h.nonce);
    if header.is_none() {
        scan.bad.push(Bad { next: 0, offset: 0, len: used.min(SEGMENT_HEADER) as u64 });
    }
    let mut at = SEGMENT_HEADER;
    while at < used {
        let Some((start, chunk)) = find_chunk(bytes, at, used, log_id, segment, nonce)? else {
            scan.bad.push(Bad { next, offset: at as u64, len: (used - at) as u64 });
            break;
        };
        if start > at {
            scan.bad.push(Bad { next, offset: at as u64, len: (start - at) as u64 });
        }
        nonce = Some(chunk.nonce);
        let body = bytes.get(start + CHUNK_HEADER..).unwrap_or_default();
        let body = body.get(..chunk.len as usize).unwrap_or(body);
        scan.take(&chunk, start, body, start > at || chunk.first != next)?;
        next = chunk.next();
        at = start + CHUNK_HEADER + body.len();
    }
    scan.end = scan.end.max(at as u64);
    scan.nonce = nonce.unwrap_or_default();
    scan.counts |= header.is_some_and(|h| h.base == 0);
    Ok(scan)
}

impl Scan {
    fn take(
        &mut self,
        chunk: &ChunkHeader,
        start: usize,
        body: &[u8],
        behind_damage: bool,
    ) -> Result<(), Unknown> {
        if self.first == 0 {
            self.first = chunk.first;
            self.first_time = chunk.time;
        }
        self.epoch = self.epoch.max(chunk.epoch);
        self.durable = self.durable.max(chunk.durable);
        self.last_time = self.last_time.max(chunk.time);
        self.last = Some(chunk.kind);
        self.counts |= !matches!(chunk.kind, Kind::Claim | Kind::Rewritten);
        self.index.add(chunk.first, start as u64, behind_damage);
        let mut damaged = false;
        for (number, at, entry) in walk(chunk, body) {
            let Some(entry) = entry else {
                let end = EntryHeader::parse(body.get(at..).unwrap_or_default());
                let end = start + CHUNK_HEADER + end.map_or(body.len(), |e| at + e.size());
                // A chunk whose first entry is lost is of no use from its header on.
                let offset = if at == 0 { start } else { start + CHUNK_HEADER + at };
                match self.bad.last_mut() {
                    Some(bad) if damaged => bad.len = end as u64 - bad.offset,
                    _ => self.bad.push(Bad {
                        next: number,
                        offset: offset as u64,
                        len: (end - offset) as u64,
                    }),
                }
                damaged = true;
                continue;
            };
            damaged = false;
            if entry.flags & ENTRY_MUST_KNOW != 0 {
                return Err(Unknown(u32::from(entry.flags)));
            }
            self.last_time = self.last_time.max(entry.time);
            match self.runs.last_mut() {
                Some((_, to)) if *to == number => *to += 1,
                _ => self.runs.push((number, number + 1)),
            }
        }
        self.ends.push((
            chunk.first + u64::from(chunk.entries > 0),
            (start + CHUNK_HEADER + body.len()) as u64,
        ));
        Ok(())
    }

    /// The entries between `from` and `to` that are not whole.
    pub(crate) fn missing(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        let mut next = from;
        let mut lost = Vec::new();
        for (start, end) in self.runs.iter().copied().chain([(to, to)]) {
            if start.min(to) > next {
                lost.push((next, start.min(to)));
            }
            next = next.max(end);
        }
        lost
    }

    /// The end of the bytes that hold the entries below `to`.
    pub(crate) fn end_of(&self, to: u64) -> u64 {
        let kept = self.ends.partition_point(|(needed_for, _)| *needed_for <= to);
        let last = kept.checked_sub(1).and_then(|last| self.ends.get(last));
        last.map_or(SEGMENT_HEADER as u64, |(_, end)| *end)
    }

    /// The end of what was written, as far as one can tell.
    pub(crate) fn used(&self) -> u64 {
        self.bad.iter().map(|bad| bad.offset + bad.len).max().unwrap_or(0).max(self.end)
    }

    /// Where the damage lies that has taken the entries from `lost` on; what is known to be durable stays.
    pub(crate) fn offset_of(&self, lost: u64, durable: u64) -> u64 {
        let bad = self.bad.iter().find(|bad| bad.offset > 0 && (bad.next == 0 || bad.next >= lost));
        bad.map_or(SEGMENT_HEADER as u64, |bad| {
            if lost > durable { bad.offset } else { bad.offset + bad.len }
        })
    }

    /// Nothing whole lies behind a clean shutdown.
    pub(crate) fn is_clean(&self) -> bool {
        self.last == Some(Kind::CleanShutdown)
    }

    /// Somebody has cut it: it is shorter than it was when it got its name, and was never closed.
    pub(crate) fn is_cut(&self) -> bool {
        let closed = matches!(self.last, Some(Kind::CleanShutdown | Kind::End));
        !closed && self.header.is_none_or(|header| self.size < u64::from(header.allocated))
    }

    /// Nothing in it counts.
    pub(crate) fn forget(&mut self) {
        self.runs.clear();
        self.ends.clear();
        self.index = Index::default();
        self.durable = 0;
        self.first = 0;
        self.last = None;
    }
}

/// The first whole chunk header at or behind `at`.
fn find_chunk(
    bytes: &[u8],
    at: usize,
    used: usize,
    log_id: u128,
    segment: u32,
    nonce: Option<u64>,
) -> Result<Option<(usize, ChunkHeader)>, Unknown> {
    for start in at..used {
        if bytes.get(start) != Some(&b'Q') {
            continue;
        }
        let rest = bytes.get(start..).unwrap_or_default();
        let chunk = ChunkHeader::decode(rest, log_id, segment, start as u64)?;
        if let Some(chunk) = chunk.filter(|c| nonce.is_none_or(|n| n == c.nonce)) {
            return Ok(Some((start, chunk)));
        }
    }
    Ok(None)
}

/// One chunk in `bytes`, which were read from `offset`: header, body (what of it is there), and where the next begins.
pub(crate) fn chunk_at(
    bytes: &Bytes,
    at: usize,
    offset: u64,
    place: Place,
) -> Option<(ChunkHeader, Bytes)> {
    let rest = bytes.get(at..)?;
    let chunk = ChunkHeader::decode(rest, place.log_id, place.segment, offset).ok().flatten()?;
    let end = (at + CHUNK_HEADER + chunk.len as usize).min(bytes.len());
    (chunk.nonce == place.nonce).then(|| (chunk, bytes.slice(at + CHUNK_HEADER..end)))
}
