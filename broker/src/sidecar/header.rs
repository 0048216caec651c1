//! The fixed parts of a sidecar as they are read: header, and rows of the directory.

use super::TopicStats;
use super::codec::Reader;
use super::encode::{HEADER, MAGIC, PAGE_BYTES};
use super::store::Fault;

pub(super) const SHORT: Fault = Fault::Wrong("it is cut short");

/// A page as the directory describes it.
#[derive(Clone, Copy)]
pub(super) struct Page {
    pub(super) at: u32,
    pub(super) len: u32,
    pub(super) crc: u32,
    pub(super) row: u32,
    pub(super) hash: u64,
}

/// The fixed part of a sidecar.
pub(super) struct Header {
    pub(super) directory_crc: u32,
    pub(super) log_id: u128,
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) events: u32,
    pub(super) topics: usize,
    pub(super) directory: usize,
}

impl Header {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let bytes = bytes.get(..HEADER).ok_or(SHORT)?;
        let (fields, crc) = bytes.split_at(HEADER - 4);
        if Some(crc32fast::hash(fields)) != Reader(crc).u32() {
            return Err(Fault::Wrong("its header is damaged"));
        }
        let fields = fields.strip_prefix(&MAGIC).ok_or(Fault::Wrong("it is no sidecar"))?;
        let mut r = Reader(fields);
        let (_compat, read_compat, incompat) = (r.u32(), r.u32(), r.u32());
        if (read_compat, incompat) != (Some(0), Some(0)) {
            return Err(Fault::Wrong("a newer version wrote it"));
        }
        Self::fields(&mut r).ok_or(SHORT)
    }

    fn fields(r: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            directory_crc: r.u32()?,
            log_id: r.u128()?,
            first: r.u64()?,
            end: r.u64()?,
            events: r.u32()?,
            topics: usize::try_from(r.u32()?).ok()?,
            directory: usize::try_from(r.u32()?).ok()?,
        })
    }

    pub(super) fn body(&self) -> usize {
        HEADER + self.directory
    }
}

pub(super) fn take_topic(r: &mut Reader<'_>) -> Option<TopicStats> {
    let (topic, count) = (r.u32()?, r.u32()?.into());
    let (first, next, bytes) = (r.u64()?, r.u64()?, r.u64()?);
    let (first_time, last_time) = (r.u64()?, r.u64()?);
    Some(TopicStats { topic, first, next, count, bytes, first_time, last_time })
}

pub(super) fn take_page(r: &mut Reader<'_>) -> Option<Page> {
    Some(Page { at: r.u32()?, len: r.u32()?, crc: r.u32()?, row: r.u32()?, hash: r.u64()? })
}

const _: () =
    assert!(size_of::<Page>() == PAGE_BYTES, "a page's row takes as much in memory as on disk");
