//! Writing the segment that a claim opens: header, claim, the rewritten tail, "rewrite complete". Not yet in the log.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::chunk::{ENTRY_HEADER, Entry};
use super::format::{
    CHUNK_HEADER, ChunkHeader, Kind, Place, SEGMENT_HEADER, SegmentHeader, seal_entries,
};
use super::scan::Index;
use crate::disk::File;

pub(super) struct Rewrite {
    pub(super) file: Arc<dyn File>,
    pub(super) place: Place,
    pub(super) pos: u64,
    pub(super) allocated: u64,
    pub(super) index: Index,
    /// The first entry of the segment.
    pub(super) first: u64,
    pub(super) first_time: u64,
    pub(super) last_time: u64,
    epoch: u32,
}

impl Rewrite {
    /// Everything up to `durable` stays where it is.
    pub(super) fn new(file: Arc<dyn File>, place: Place, epoch: u32, durable: u64) -> Self {
        let (first, index) = (durable + 1, Index::default());
        Self { file, place, pos: 0, allocated: 0, index, first, first_time: 0, last_time: 0, epoch }
    }

    /// Real space for `bytes` more.
    pub(super) fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        self.allocated = self.pos + bytes;
        self.file.allocate(self.allocated)
    }

    pub(super) fn begin(&mut self) -> io::Result<()> {
        let Place { log_id, segment: number, nonce } = self.place;
        let allocated = u32::try_from(self.allocated).unwrap_or(u32::MAX);
        let header =
            SegmentHeader { log_id, number, epoch: self.epoch, nonce, base: self.first, allocated };
        self.file.write_at(0, &mut [IoSlice::new(&header.encode())])?;
        self.pos = SEGMENT_HEADER as u64;
        self.chunk(Kind::Claim, self.first, self.first - 1, 0, &[])
    }

    pub(super) fn entries(&mut self, entries: &[Entry], room: u64) -> io::Result<()> {
        let mut body = BytesMut::new();
        for entry in entries {
            body.reserve(ENTRY_HEADER + entry.payload.len());
            body.put_u32_le(u32::try_from(entry.payload.len()).map_err(io::Error::other)?);
            body.put_u16_le(entry.flags);
            body.put_u16_le(entry.records);
            body.put_u32_le(0);
            body.put_u64_le(entry.time);
            body.put_slice(&entry.payload);
        }
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(());
        };
        let count = u32::try_from(entries.len()).map_err(io::Error::other)?;
        seal_entries(&mut body, self.place.nonce, first.number, count);
        if self.first_time == 0 {
            self.first_time = first.time;
        }
        self.last_time = self.last_time.max(first.time);
        let end = self.pos + (body.len() + 2 * CHUNK_HEADER) as u64;
        if end + room / 2 > self.allocated {
            self.reserve(end - self.pos + room)?;
        }
        self.chunk(Kind::Rewritten, first.number, self.first - 1, count, &body)?;
        self.last_time = self.last_time.max(last.time);
        Ok(())
    }

    /// The last chunk says that all before it is durable: true once the file has its name.
    pub(super) fn complete(&mut self, end: u64) -> io::Result<()> {
        self.chunk(Kind::RewriteComplete, end, end - 1, 0, &[])?;
        self.file.sync()
    }

    fn chunk(
        &mut self,
        kind: Kind,
        first: u64,
        durable: u64,
        entries: u32,
        body: &[u8],
    ) -> io::Result<()> {
        let len = u32::try_from(body.len()).map_err(io::Error::other)?;
        let (epoch, nonce, time) = (self.epoch, self.place.nonce, self.last_time);
        let header = ChunkHeader { kind, epoch, nonce, first, time, durable, entries, len };
        let bytes = header.encode(self.place, self.pos);
        self.file.write_at(self.pos, &mut [IoSlice::new(&bytes), IoSlice::new(body)])?;
        self.index.add(first, self.pos, false);
        self.pos += header.size();
        Ok(())
    }
}
