//! What everything else in a store hangs below: which log, up to where, which runs, which names.
//! Its bytes end with their own checksum.

use prost::Message;

use super::table::{checked, damaged};
use super::{Change, Damaged, Store};

const HEAD: &[u8] = b"head";
const NAMES: &[u8] = b"names";
/// A store of another layout is not read.
const VERSION: u32 = 1;

/// The head.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Head {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(fixed64, tag = "2")]
    log_hi: u64,
    #[prost(fixed64, tag = "3")]
    log_lo: u64,
    /// The last entry that is in.
    #[prost(uint64, tag = "4")]
    pub(super) position: u64,
    /// The first entry that may be in.
    #[prost(uint64, tag = "5")]
    pub(super) from: u64,
    #[prost(uint32, tag = "6")]
    pub(super) next_run: u32,
    #[prost(message, repeated, tag = "7")]
    pub(super) runs: Vec<RunHead>,
    #[prost(fixed32, tag = "8")]
    names_crc: u32,
}

/// A run.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct RunHead {
    #[prost(uint32, tag = "1")]
    pub(super) table: u32,
    #[prost(uint32, tag = "2")]
    pub(super) id: u32,
    #[prost(uint64, tag = "3")]
    pub(super) rows: u64,
    /// The newest entry that any of its rows speaks of.
    #[prost(uint64, tag = "4")]
    pub(super) newest: u64,
    /// Of its directory.
    #[prost(fixed32, tag = "5")]
    pub(super) crc: u32,
}

/// Where the blocks of a run begin.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Directory {
    #[prost(message, repeated, tag = "1")]
    pub(super) blocks: Vec<Block>,
}

/// A block.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Block {
    #[prost(fixed64, tag = "1")]
    hi: u64,
    #[prost(fixed64, tag = "2")]
    lo: u64,
    #[prost(fixed32, tag = "3")]
    pub(super) crc: u32,
}

/// Names that rows have as numbers, and the edges between types.
#[derive(Clone, PartialEq, Message)]
pub(super) struct NamesRow {
    #[prost(string, repeated, tag = "1")]
    pub(super) services: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(super) types: Vec<String>,
    /// From, to, how often; three at a time.
    #[prost(uint64, repeated, tag = "3")]
    pub(super) edges: Vec<u64>,
}

impl Head {
    pub(super) fn new(log_id: u128, position: u64, from: u64) -> Self {
        let (log_hi, log_lo) = crate::core::durable::halves(log_id);
        Self { version: VERSION, log_hi, log_lo, position, from, ..Self::default() }
    }

    pub(super) fn log_id(&self) -> u128 {
        u128::from(self.log_hi) << 64 | u128::from(self.log_lo)
    }

    /// The head of a store; `None` if the store is empty or of another layout.
    pub(super) fn read(store: &dyn Store) -> Result<Option<Self>, Damaged> {
        let Some(bytes) = store.get(HEAD)? else { return Ok(None) };
        let (head, crc) = bytes.split_last_chunk::<4>().ok_or_else(|| damaged("the head"))?;
        if crc32fast::hash(head) != u32::from_le_bytes(*crc) {
            return Err(damaged("the head"));
        }
        let head = Self::decode(head).map_err(|_| damaged("the head"))?;
        Ok(Some(head).filter(|it| it.version == VERSION))
    }

    pub(super) fn write(&self, changes: &mut Vec<Change>) {
        let mut bytes = self.encode_to_vec();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        changes.push((HEAD.to_vec(), Some(bytes)));
    }

    pub(super) fn names(&self, store: &dyn Store) -> Result<NamesRow, Damaged> {
        let bytes = checked(store.get(NAMES)?, self.names_crc, "the names")?;
        NamesRow::decode(&*bytes).map_err(|_| damaged("the names"))
    }

    pub(super) fn set_names(&mut self, names: &NamesRow, changes: &mut Vec<Change>) {
        let bytes = names.encode_to_vec();
        self.names_crc = crc32fast::hash(&bytes);
        changes.push((NAMES.to_vec(), Some(bytes)));
    }
}

impl Block {
    pub(super) fn new(first: u128, crc: u32) -> Self {
        let (hi, lo) = crate::core::durable::halves(first);
        Self { hi, lo, crc }
    }

    pub(super) fn first(&self) -> u128 {
        u128::from(self.hi) << 64 | u128::from(self.lo)
    }
}
