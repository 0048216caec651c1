//! Chunks, entries and records as the engine sees them: building them, and taking them apart.
//! Checksums and headers of chunks are none of its business: the log adds those when it writes.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before an entry's payload: len u32, flags u16, records u16, crc u32, time u64.
pub(crate) const ENTRY_HEADER: usize = 20;

/// The entry answers only at `durable`: the log syncs for it.
pub const ENTRY_SYNC: u16 = 1;

/// Flags of entries that a reader of this version must know to read the entry: bits 8 to 15.
pub(crate) const ENTRY_MUST_KNOW: u16 = 0xff00;

/// What one append carries: consecutive, complete, framed entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The number of the first entry.
    pub first: u64,
    /// How many entries.
    pub entries: u32,
    /// The epoch of the writer.
    pub epoch: u32,
    /// Broker time of the first entry, unix milliseconds; never below its predecessor's.
    pub time: u64,
    /// The framed entries; their checksums are filled in by the log.
    pub body: BytesMut,
}

/// Builds a chunk's body under the engine's lock. Cheap: checksums are left to the log.
#[derive(Debug)]
pub struct ChunkBuilder {
    epoch: u32,
    first: u64,
    entries: u32,
    time: u64,
    last_time: u64,
    records: u16,
    open: Option<usize>,
    body: BytesMut,
}

impl ChunkBuilder {
    /// A builder whose next entry has the number `first`.
    pub fn new(epoch: u32, first: u64) -> Self {
        Self {
            epoch,
            first,
            entries: 0,
            time: 0,
            last_time: 0,
            records: 0,
            open: None,
            body: BytesMut::new(),
        }
    }

    /// Opens an entry. A `time` (unix milliseconds) below the predecessor's is raised to it.
    ///
    /// # Panics
    /// If an entry is open.
    pub fn begin(&mut self, flags: u16, time: u64) {
        assert!(self.open.is_none(), "an entry is already open");
        self.last_time = self.last_time.max(time);
        if self.entries == 0 {
            self.time = self.last_time;
        }
        self.open = Some(self.body.len());
        self.records = 0;
        self.body.reserve(ENTRY_HEADER);
        self.body.put_u32_le(0);
        self.body.put_u16_le(flags);
        self.body.put_u16_le(0);
        self.body.put_u32_le(0);
        self.body.put_u64_le(self.last_time);
    }

    /// Adds one framed record to the open entry; `write` must write exactly `len` bytes.
    ///
    /// # Panics
    /// If no entry is open, if `write` wrote another number of bytes, or at 65,536 records.
    pub fn record(
        &mut self,
        kind: u32,
        must_understand: bool,
        len: usize,
        write: impl FnOnce(&mut BytesMut),
    ) {
        assert!(self.open.is_some(), "no entry is open");
        let tag = u64::from(kind) << 1 | u64::from(must_understand);
        self.body.reserve(len + 15);
        put_varint(&mut self.body, (varint_len(tag) + len) as u64);
        put_varint(&mut self.body, tag);
        let at = self.body.len();
        write(&mut self.body);
        assert_eq!(
            self.body.len() - at,
            len,
            "a record of kind {kind} has another length than was said"
        );
        self.records = self.records.checked_add(1).expect("an entry has at most 65,535 records");
    }

    /// Closes the open entry and answers its number.
    ///
    /// # Panics
    /// If no entry is open, or if it is longer than 4 GiB.
    pub fn end(&mut self) -> u64 {
        let start = self.open.take().expect("no entry is open");
        let len = u32::try_from(self.body.len() - start - ENTRY_HEADER)
            .expect("an entry is shorter than 4 GiB");
        if let Some(mut header) = self.body.get_mut(start..start + 8) {
            header.put_u32_le(len);
            if let Some(mut records) = header.get_mut(2..) {
                records.put_u16_le(self.records);
            }
        }
        self.entries += 1;
        self.next() - 1
    }

    /// Forgets the open entry, if there is one.
    pub fn abort(&mut self) {
        if let Some(start) = self.open.take() {
            self.body.truncate(start);
        }
    }

    /// Bytes so far, the open entry included.
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// True if nothing was begun.
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The number of the next entry (of the open one, if one is open).
    pub fn next(&self) -> u64 {
        self.first + u64::from(self.entries)
    }

    /// The closed entries as a chunk, if there are any. The builder is ready for the next entry number.
    ///
    /// # Panics
    /// If an entry is open.
    pub fn take(&mut self) -> Option<Chunk> {
        assert!(self.open.is_none(), "an entry is still open");
        if self.entries == 0 {
            return None;
        }
        let next = self.next();
        // A chunk of its own allocation: readers keep slices of it, and must not pin its successors.
        let room = (self.body.len() + self.body.len() / 8).min(2 << 20);
        let body = std::mem::replace(&mut self.body, BytesMut::with_capacity(room));
        let chunk = Chunk {
            first: self.first,
            entries: self.entries,
            epoch: self.epoch,
            time: self.time,
            body,
        };
        self.first = next;
        self.entries = 0;
        Some(chunk)
    }
}

/// One entry, as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub number: u64,
    /// `ENTRY_SYNC`, and bits of later versions.
    pub flags: u16,
    /// Broker time, unix milliseconds.
    pub time: u64,
    /// How many records it has.
    pub records: u16,
    /// The framed records.
    pub payload: Bytes,
}

/// One record of an entry, not yet understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord {
    /// Its index in the entry.
    pub index: u32,
    /// What it is; numbered in `FORMAT.md`.
    pub kind: u32,
    /// A reader that does not know the kind must refuse the log.
    pub must_understand: bool,
    /// Its bytes.
    pub body: Bytes,
}

/// The records of an entry do not parse, although its checksum is right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {index} of entry {number} is malformed")]
pub struct FormatError {
    /// The entry.
    pub number: u64,
    /// The index of the record.
    pub index: u32,
}

impl Entry {
    /// The records, in order. Stops behind the first malformed one.
    pub fn records(&self) -> impl Iterator<Item = Result<RawRecord, FormatError>> + use<> {
        let (number, records) = (self.number, u32::from(self.records));
        let mut rest = self.payload.clone();
        let mut index = 0;
        std::iter::from_fn(move || {
            let missing = index < records;
            if rest.is_empty() && !missing {
                return None;
            }
            let record = if missing { take_record(&mut rest, index) } else { None };
            index = if record.is_some() { index + 1 } else { records };
            if record.is_none() {
                rest.clear();
            }
            Some(record.ok_or(FormatError { number, index }))
        })
    }
}

fn take_record(rest: &mut Bytes, index: u32) -> Option<RawRecord> {
    let len = usize::try_from(take_varint(rest)?).ok()?;
    if len > rest.len() {
        return None;
    }
    let mut body = rest.split_to(len);
    let tag = take_varint(&mut body)?;
    Some(RawRecord {
        index,
        kind: u32::try_from(tag >> 1).ok()?,
        must_understand: tag & 1 == 1,
        body,
    })
}

/// Where an entry lies in a body, and what its header says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EntryHeader {
    pub(crate) len: usize,
    pub(crate) flags: u16,
    pub(crate) records: u16,
    pub(crate) crc: u32,
    pub(crate) time: u64,
}

impl EntryHeader {
    /// Reads the header at the start of `bytes`; `None` if they are too short for it and what it announces.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut b = bytes.get(..ENTRY_HEADER)?;
        let header = Self {
            len: usize::try_from(b.get_u32_le()).ok()?,
            flags: b.get_u16_le(),
            records: b.get_u16_le(),
            crc: b.get_u32_le(),
            time: b.get_u64_le(),
        };
        (bytes.len() - ENTRY_HEADER >= header.len).then_some(header)
    }

    pub(crate) fn size(&self) -> usize {
        ENTRY_HEADER + self.len
    }

    /// The entry itself, as a slice of the `body` in which it starts at `at`.
    pub(crate) fn entry(&self, number: u64, body: &Bytes, at: usize) -> Entry {
        let payload = body.slice(at + ENTRY_HEADER..at + self.size());
        Entry { number, flags: self.flags, time: self.time, records: self.records, payload }
    }
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8((value & 0x7f) as u8);
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn take_varint(from: &mut Bytes) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = from.try_get_u8().ok()?;
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_built_chunk_comes_apart_into_the_same_records() {
        let mut builder = ChunkBuilder::new(3, 7);
        builder.begin(ENTRY_SYNC, 100);
        builder.record(1, true, 3, |b| b.put_slice(b"abc"));
        builder.record(300, false, 200, |b| b.put_bytes(7, 200));
        assert_eq!(builder.end(), 7);
        builder.begin(0, 50);
        builder.record(9, true, 1, |b| b.put_u8(1));
        builder.abort();
        builder.begin(0, 50);
        assert_eq!(builder.end(), 8);
        let chunk = builder.take().unwrap();
        assert_eq!((chunk.first, chunk.entries, chunk.epoch, chunk.time), (7, 2, 3, 100));
        assert!(builder.is_empty() && builder.take().is_none() && builder.next() == 9);
        let body = chunk.body.freeze();
        let header = EntryHeader::parse(&body).unwrap();
        let entry = header.entry(7, &body, 0);
        let records: Vec<_> = entry.records().map(Result::unwrap).collect();
        assert_eq!(records.len(), 2);
        assert_eq!(
            (records[0].kind, records[0].must_understand, &records[0].body[..]),
            (1, true, &b"abc"[..])
        );
        assert_eq!((records[1].index, records[1].kind, records[1].body.len()), (1, 300, 200));
        let second = EntryHeader::parse(&body[header.size()..]).unwrap();
        assert_eq!((second.time, second.len), (100, 0), "time never goes back");
    }

    #[test]
    fn malformed_records_end_with_one_error() {
        let cases = [
            (1, vec![]),
            (1, vec![5, 2, 1]),
            (1, vec![0]),
            (0, vec![1, 2]),
            (2, vec![1, 2]),
            (1, vec![0xff; 11]),
            (1, vec![1, 2, 1, 2]),
        ];
        for (records, payload) in cases {
            let entry = Entry {
                number: 1,
                flags: 0,
                time: 0,
                records,
                payload: Bytes::from(payload.clone()),
            };
            let all: Vec<_> = entry.records().collect();
            assert!(all.last().unwrap().is_err(), "{payload:?}");
            assert_eq!(all.iter().filter(|r| r.is_err()).count(), 1, "{payload:?}");
        }
    }

    #[test]
    fn varints_of_every_length_come_back() {
        for value in (0..64).map(|s| 1u64 << s).chain([0, 127, 128, u64::MAX]) {
            let mut out = BytesMut::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value));
            assert_eq!(take_varint(&mut out.freeze()), Some(value));
        }
    }
}
