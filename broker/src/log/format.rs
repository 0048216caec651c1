//! The bytes of segment headers, chunk headers and the manifest, as `FORMAT.md` fixes them. No I/O here.

use bytes::{Buf, BufMut};

use super::chunk::EntryHeader;

pub(crate) const SEGMENT_HEADER: usize = 64;
pub(crate) const CHUNK_HEADER: usize = 64;
/// Where the second copy of the manifest starts.
const MANIFEST_COPY: usize = 512;
const MANIFEST_LEN: usize = 64;
const SEGMENT_MAGIC: &[u8; 8] = b"QDRLSEG1";
const MANIFEST_MAGIC: &[u8; 8] = b"QDRLMAN1";
const CHUNK_MAGIC: &[u8; 4] = b"QdrC";

/// What a chunk is. All but the first two have no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Kind {
    Entries = 1,
    /// Entries that recovery has copied from the tail of earlier segments.
    Rewritten = 2,
    Claim = 3,
    RewriteComplete = 4,
    Mark = 5,
    CleanShutdown = 6,
    /// The segment was full; the log goes on in the next one.
    End = 7,
}

impl Kind {
    fn from(value: u16) -> Option<Self> {
        let all = [
            Self::Entries,
            Self::Rewritten,
            Self::Claim,
            Self::RewriteComplete,
            Self::Mark,
            Self::CleanShutdown,
            Self::End,
        ];
        all.into_iter().find(|kind| *kind as u16 == value)
    }
}

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) log_id: u128,
    pub(crate) number: u32,
    pub(crate) epoch: u32,
    pub(crate) nonce: u64,
    /// In a segment that a claim opened: its first entry. Otherwise 0: not known when it was prepared.
    pub(crate) base: u64,
    /// The file was at least this long when it got its name, and stays so until it is closed.
    pub(crate) allocated: u32,
}

/// Header bits that this version does not know and must not ignore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unknown(pub(crate) u32);

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        let mut out = bytes.as_mut_slice();
        out.put_slice(SEGMENT_MAGIC);
        out.put_u64_le(0); // compat, read-compat, incompat: u16, u16, u32
        out.put_u128_le(self.log_id);
        out.put_u32_le(self.number);
        out.put_u32_le(self.epoch);
        out.put_u64_le(self.nonce);
        out.put_u64_le(self.base);
        out.put_u32_le(self.allocated);
        seal(&mut bytes, 0);
        bytes
    }

    /// `Ok(None)` if this is not a whole header.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Self>, Unknown> {
        let Some(mut b) = sealed(bytes, SEGMENT_HEADER, SEGMENT_MAGIC, 0) else {
            return Ok(None);
        };
        feature_bits(&mut b)?;
        Ok(Some(Self {
            log_id: b.get_u128_le(),
            number: b.get_u32_le(),
            epoch: b.get_u32_le(),
            nonce: b.get_u64_le(),
            base: b.get_u64_le(),
            allocated: b.get_u32_le(),
        }))
    }
}

/// What makes a chunk belong to one place in one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) log_id: u128,
    pub(crate) segment: u32,
    pub(crate) nonce: u64,
}

/// The header of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkHeader {
    pub(crate) kind: Kind,
    pub(crate) epoch: u32,
    pub(crate) nonce: u64,
    /// The number of the first entry, or of the next one if there is none.
    pub(crate) first: u64,
    pub(crate) time: u64,
    /// The durable watermark when this was written.
    pub(crate) durable: u64,
    pub(crate) entries: u32,
    pub(crate) len: u32,
}

impl ChunkHeader {
    pub(crate) fn encode(&self, place: Place, offset: u64) -> [u8; CHUNK_HEADER] {
        let mut bytes = [0; CHUNK_HEADER];
        let mut out = bytes.as_mut_slice();
        out.put_slice(CHUNK_MAGIC);
        out.put_u16_le(self.kind as u16);
        out.put_u16_le(0); // read-compat and incompat bits: u8, u8
        out.put_u64_le(place.nonce);
        out.put_u64_le(self.first);
        out.put_u64_le(self.time);
        out.put_u64_le(self.durable);
        out.put_u32_le(self.epoch);
        out.put_u32_le(self.entries);
        out.put_u32_le(self.len);
        seal(&mut bytes, chunk_seed(place.log_id, place.segment, offset));
        bytes
    }

    /// `Ok(None)` if this is not a whole header of a chunk at this offset of this segment. The nonce is not compared:
    /// whoever has lost the segment's header finds it here.
    pub(crate) fn decode(
        bytes: &[u8],
        log_id: u128,
        segment: u32,
        offset: u64,
    ) -> Result<Option<Self>, Unknown> {
        let seed = chunk_seed(log_id, segment, offset);
        let Some(mut b) = sealed(bytes, CHUNK_HEADER, CHUNK_MAGIC, seed) else {
            return Ok(None);
        };
        let (kind, bits) = (b.get_u16_le(), b.get_u16_le());
        let Some(kind) = Kind::from(kind).filter(|_| bits == 0) else {
            return Err(Unknown(u32::from(kind) << 16 | u32::from(bits)));
        };
        Ok(Some(Self {
            kind,
            nonce: b.get_u64_le(),
            first: b.get_u64_le(),
            time: b.get_u64_le(),
            durable: b.get_u64_le(),
            epoch: b.get_u32_le(),
            entries: b.get_u32_le(),
            len: b.get_u32_le(),
        }))
    }

    /// The first entry behind this chunk.
    pub(crate) fn next(&self) -> u64 {
        self.first + u64::from(self.entries)
    }

    pub(crate) fn size(&self) -> u64 {
        CHUNK_HEADER as u64 + u64::from(self.len)
    }
}

/// A chunk is at home at one offset of one segment of one log: anywhere else its checksum is wrong.
fn chunk_seed(log_id: u128, segment: u32, offset: u64) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&log_id.to_le_bytes());
    crc.update(&segment.to_le_bytes());
    crc.update(&offset.to_le_bytes());
    crc.finalize()
}

/// Fills in the checksums of a body's entries; answers the time of the last one.
///
/// # Panics
/// If the body is not what `ChunkBuilder` makes.
pub(crate) fn seal_entries(body: &mut [u8], nonce: u64, first: u64, entries: u32) -> u64 {
    let (mut at, mut time) = (0, 0);
    for number in (first..).take(entries as usize) {
        let rest = body.get_mut(at..).unwrap_or_default();
        let header = EntryHeader::parse(rest).expect("a chunk is made of whole entries");
        let crc = entry_crc(rest, &header, nonce, number);
        if let Some(mut place) = rest.get_mut(8..12) {
            place.put_u32_le(crc);
        }
        at += header.size();
        time = header.time;
    }
    assert_eq!(at, body.len(), "a chunk is made of whole entries");
    time
}

fn entry_crc(bytes: &[u8], header: &EntryHeader, nonce: u64, number: u64) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    let mut seed = [0; 24];
    let mut out = seed.as_mut_slice();
    out.put_u64_le(nonce);
    out.put_u64_le(number);
    out.put_slice(bytes.get(..8).unwrap_or_default());
    crc.update(&seed);
    crc.update(bytes.get(12..header.size()).unwrap_or_default());
    crc.finalize()
}

/// The entries of a chunk: number, offset in the body, and the header if the entry is whole. One that is not is stepped
/// over if its successor, or the end of the chunk, shows that its length is right; otherwise all behind it are lost too.
pub(crate) fn walk<'a>(
    chunk: &ChunkHeader,
    body: &'a [u8],
) -> impl Iterator<Item = (u64, usize, Option<EntryHeader>)> + use<'a> {
    let chunk = *chunk;
    let mut at = 0;
    (chunk.first..chunk.next()).map(move |number| {
        let start = at;
        let (entry, size) = match check(&chunk, body, start, number) {
            Some((entry, true)) => (Some(entry), entry.size()),
            Some((entry, false))
                if length_is_right(&chunk, body, start + entry.size(), number + 1) =>
            {
                (None, entry.size())
            }
            _ => (None, body.len() - start),
        };
        at += size;
        (number, start, entry)
    })
}

fn check(chunk: &ChunkHeader, body: &[u8], at: usize, number: u64) -> Option<(EntryHeader, bool)> {
    let rest = body.get(at..)?;
    let entry = EntryHeader::parse(rest)?;
    Some((entry, entry_crc(rest, &entry, chunk.nonce, number) == entry.crc))
}

fn length_is_right(chunk: &ChunkHeader, body: &[u8], end: usize, next: u64) -> bool {
    let last = next == chunk.next();
    (last && end == chunk.len as usize)
        || (!last && check(chunk, body, end, next).is_some_and(|(_, whole)| whole))
}

/// What the log must know before it reads a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) log_id: u128,
    pub(crate) epoch: u32,
    /// The oldest live segment; files with lower numbers are retired.
    pub(crate) oldest: u32,
    /// Segments up to this one must be there.
    pub(crate) newest: u32,
    /// The first entry of the oldest segment; everything below was durable once.
    pub(crate) first: u64,
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut copy = [0; MANIFEST_LEN];
        let mut out = copy.as_mut_slice();
        out.put_slice(MANIFEST_MAGIC);
        out.put_u64_le(0);
        out.put_u128_le(self.log_id);
        out.put_u32_le(self.epoch);
        out.put_u32_le(self.oldest);
        out.put_u32_le(self.newest);
        out.put_u64_le(self.first);
        seal(&mut copy, 0);
        let mut bytes = vec![0; MANIFEST_COPY + MANIFEST_LEN];
        for at in [0, MANIFEST_COPY] {
            if let Some(place) = bytes.get_mut(at..at + MANIFEST_LEN) {
                place.copy_from_slice(&copy);
            }
        }
        bytes
    }

    /// `Ok(None)` if neither copy is whole; true if exactly one is.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<(Self, bool)>, Unknown> {
        let first = Self::decode_copy(bytes)?;
        let second = Self::decode_copy(bytes.get(MANIFEST_COPY..).unwrap_or_default())?;
        Ok(first.or(second).map(|manifest| (manifest, first != second)))
    }

    /// True if this was a manifest at least by its first bytes: damaged, not foreign.
    pub(crate) fn is_ours(bytes: &[u8]) -> bool {
        let copies = [Some(bytes), bytes.get(MANIFEST_COPY..)];
        copies.into_iter().flatten().any(|copy| copy.starts_with(MANIFEST_MAGIC))
    }

    fn decode_copy(bytes: &[u8]) -> Result<Option<Self>, Unknown> {
        let Some(mut b) = sealed(bytes, MANIFEST_LEN, MANIFEST_MAGIC, 0) else {
            return Ok(None);
        };
        feature_bits(&mut b)?;
        Ok(Some(Self {
            log_id: b.get_u128_le(),
            epoch: b.get_u32_le(),
            oldest: b.get_u32_le(),
            newest: b.get_u32_le(),
            first: b.get_u64_le(),
        }))
    }
}

fn feature_bits(b: &mut &[u8]) -> Result<(), Unknown> {
    let (_compat, read_compat, incompat) = (b.get_u16_le(), b.get_u16_le(), b.get_u32_le());
    if read_compat == 0 && incompat == 0 {
        Ok(())
    } else {
        Err(Unknown(u32::from(read_compat) | incompat))
    }
}

/// Puts the checksum into the last four bytes.
fn seal(bytes: &mut [u8], seed: u32) {
    if let Some((content, mut place)) =
        bytes.split_last_chunk_mut::<4>().map(|(c, p)| (c, &mut p[..]))
    {
        place.put_u32_le(seeded_crc(content, seed));
    }
}

/// The content behind the magic, if the checksum in the last four of `len` bytes is right.
fn sealed<'a>(bytes: &'a [u8], len: usize, magic: &[u8], seed: u32) -> Option<&'a [u8]> {
    let bytes = bytes.get(..len)?;
    let inner = bytes.strip_prefix(magic)?;
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    (u32::from_le_bytes(*crc) == seeded_crc(content, seed)).then_some(inner)
}

fn seeded_crc(content: &[u8], seed: u32) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(seed);
    crc.update(content);
    crc.finalize()
}

/// The file of a segment.
pub(crate) fn segment_path(number: u32) -> String {
    format!("log/{number:010}.seg")
}

/// The number of a segment's file; `None` if the name is not one of ours.
pub(crate) fn segment_number(name: &str) -> Option<u32> {
    let digits = name
        .strip_suffix(".seg")
        .filter(|d| d.len() == 10 && d.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok()
}
