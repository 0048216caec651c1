//! Rows by key: the newest in memory, the others in runs. A run is sorted, in blocks, and written
//! once; a small last run is written again with what is new. What is known of a key is what its
//! rows come to, oldest first.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use prost::Message;

use super::head::{Block, Directory, Head, RunHead};
use super::{Change, Damaged, Store};

/// A row of a table.
pub(super) trait Row: Message + Default + Clone {
    /// Something newer is said of the same.
    fn take_in(&mut self, newer: Self);
    /// The newest entry of the log that it speaks of.
    fn newest(&self) -> u64;
}

/// Rows in a block, at most.
const BLOCK_ROWS: usize = 128;
/// A last run with fewer rows is written again with what is new.
const SMALL_RUN: u64 = 1 << 15;
/// What a table begins its keys with.
const BLOCK: u8 = b'b';
const DIRECTORY: u8 = b'd';

/// One table.
pub(super) struct Table<R> {
    number: u8,
    memory: HashMap<u128, R>,
    runs: Vec<Run>,
}

struct Run {
    head: RunHead,
    blocks: Vec<Block>,
}

impl<R: Row> Table<R> {
    pub(super) fn new(number: u8) -> Self {
        Self { number, memory: HashMap::new(), runs: Vec::new() }
    }

    pub(super) fn open(store: &dyn Store, number: u8, head: &Head) -> Result<Self, Damaged> {
        let open = |run: &RunHead| {
            let bytes = store.get(&directory_key(run.id))?;
            let bytes = checked(bytes, run.crc, "a directory of rows")?;
            let blocks = Directory::decode(&*bytes).map_err(|_| damaged("a directory of rows"))?;
            Ok(Run { head: *run, blocks: blocks.blocks })
        };
        let runs = head.runs.iter().filter(|run| run.table == u32::from(number)).map(open);
        Ok(Self { number, memory: HashMap::new(), runs: runs.collect::<Result<_, _>>()? })
    }

    /// How many rows are not written.
    pub(super) fn in_memory(&self) -> usize {
        self.memory.len()
    }

    /// Something is said of a key.
    pub(super) fn add(&mut self, key: u128, row: R) {
        match self.memory.entry(key) {
            hashbrown::hash_map::Entry::Occupied(mut it) => it.get_mut().take_in(row),
            hashbrown::hash_map::Entry::Vacant(it) => {
                it.insert(row);
            }
        }
    }

    /// All that is said of a key.
    pub(super) fn get(&self, store: &dyn Store, key: u128) -> Result<Option<R>, Damaged> {
        let mut found: Option<R> = None;
        for run in &self.runs {
            if let Some(row) = run.get(store, key)? {
                merge(&mut found, row);
            }
        }
        if let Some(row) = self.memory.get(&key) {
            merge(&mut found, row.clone());
        }
        Ok(found)
    }

    /// Every key, and all that is said of it.
    pub(super) fn all(&self, store: &dyn Store) -> Result<BTreeMap<u128, R>, Damaged> {
        let mut all: BTreeMap<u128, R> = BTreeMap::new();
        let mut add = |key, row: R| match all.entry(key) {
            std::collections::btree_map::Entry::Occupied(mut it) => it.get_mut().take_in(row),
            std::collections::btree_map::Entry::Vacant(it) => {
                it.insert(row);
            }
        };
        for run in &self.runs {
            run.rows(store, &mut add)?;
        }
        for (key, row) in &self.memory {
            add(*key, row.clone());
        }
        Ok(all)
    }

    /// Lists the runs in `head`, after writing what is in memory as one, and leaving out those that
    /// speak only of entries before `first`.
    pub(super) fn flush(
        &mut self,
        store: &dyn Store,
        next_run: &mut u32,
        first: u64,
        head: &mut Head,
        changes: &mut Vec<Change>,
    ) -> Result<(), Damaged> {
        let (gone, kept) = self.runs.drain(..).partition(|run| run.head.newest < first);
        self.runs = kept;
        if !self.memory.is_empty() {
            let mut rows: Vec<(u128, R)> = self.memory.drain().collect();
            rows.sort_unstable_by_key(|(key, _)| *key);
            if let Some(last) = self.runs.pop_if(|run| run.head.rows < SMALL_RUN) {
                let mut older = Vec::new();
                last.rows(store, &mut |key, row| older.push((key, row)))?;
                rows = merged(older, rows);
                last.remove(changes);
            }
            self.runs.push(Run::write(self.number, *next_run, &rows, changes));
            *next_run += 1;
        }
        let gone: Vec<Run> = gone;
        gone.iter().for_each(|run| run.remove(changes));
        head.runs.extend(self.runs.iter().map(|run| run.head));
        Ok(())
    }
}

impl Run {
    fn write<R: Row>(table: u8, id: u32, rows: &[(u128, R)], changes: &mut Vec<Change>) -> Self {
        let mut blocks = Vec::with_capacity(rows.len() / BLOCK_ROWS + 1);
        for (number, rows) in (0..).zip(rows.chunks(BLOCK_ROWS)) {
            let mut bytes = Vec::with_capacity(BLOCK_ROWS * 64);
            for (key, row) in rows {
                bytes.extend_from_slice(&key.to_be_bytes());
                // A vector grows, so there is always room.
                let _ = row.encode_length_delimited(&mut bytes);
            }
            let first = rows.first().map_or(0, |(key, _)| *key);
            blocks.push(Block::new(first, crc32fast::hash(&bytes)));
            changes.push((block_key(id, number), Some(bytes)));
        }
        let directory = Directory { blocks }.encode_to_vec();
        let newest = rows.iter().map(|(_, row)| row.newest()).max().unwrap_or(0);
        let head = RunHead {
            table: table.into(),
            id,
            rows: rows.len() as u64,
            newest,
            crc: crc32fast::hash(&directory),
        };
        let blocks = Directory::decode(&*directory).map(|it| it.blocks).unwrap_or_default();
        changes.push((directory_key(id), Some(directory)));
        Self { head, blocks }
    }

    fn remove(&self, changes: &mut Vec<Change>) {
        let blocks = (0..).zip(&self.blocks);
        changes.extend(blocks.map(|(number, _)| (block_key(self.head.id, number), None)));
        changes.push((directory_key(self.head.id), None));
    }

    fn get<R: Row>(&self, store: &dyn Store, key: u128) -> Result<Option<R>, Damaged> {
        let behind = self.blocks.partition_point(|block| block.first() <= key);
        let Some(number) = behind.checked_sub(1) else { return Ok(None) };
        let mut found = None;
        self.block(store, number, |at, row| {
            if at == key {
                found = Some(R::decode(row).map_err(|_| damaged("a row"))?);
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn rows<R: Row>(
        &self,
        store: &dyn Store,
        visit: &mut dyn FnMut(u128, R),
    ) -> Result<(), Damaged> {
        for number in 0..self.blocks.len() {
            self.block(store, number, |key, row| {
                visit(key, R::decode(row).map_err(|_| damaged("a row"))?);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn block(
        &self,
        store: &dyn Store,
        number: usize,
        mut visit: impl FnMut(u128, &[u8]) -> Result<(), Damaged>,
    ) -> Result<(), Damaged> {
        let Some(block) = self.blocks.get(number) else { return Ok(()) };
        let key = block_key(self.head.id, u32::try_from(number).unwrap_or(u32::MAX));
        let bytes = checked(store.get(&key)?, block.crc, "a block of rows")?;
        let mut rest = bytes.as_slice();
        while let Some((key, behind)) = rest.split_first_chunk::<16>() {
            rest = behind;
            let len = prost::decode_length_delimiter(&mut rest).map_err(|_| damaged("a row"))?;
            let (row, behind) = rest.split_at_checked(len).ok_or_else(|| damaged("a row"))?;
            rest = behind;
            visit(u128::from_be_bytes(*key), row)?;
        }
        Ok(())
    }
}

fn merge<R: Row>(found: &mut Option<R>, newer: R) {
    match found {
        Some(row) => row.take_in(newer),
        None => *found = Some(newer),
    }
}

/// Both are sorted; what is in both is what they come to.
fn merged<R: Row>(older: Vec<(u128, R)>, newer: Vec<(u128, R)>) -> Vec<(u128, R)> {
    let mut out = Vec::with_capacity(older.len() + newer.len());
    let (mut older, mut newer) = (older.into_iter().peekable(), newer.into_iter().peekable());
    while let Some((key, _)) = older.peek() {
        out.extend(std::iter::from_fn(|| newer.next_if(|(it, _)| it < key)));
        let Some((key, mut row)) = older.next() else { break };
        if let Some((_, news)) = newer.next_if(|(it, _)| *it == key) {
            row.take_in(news);
        }
        out.push((key, row));
    }
    out.extend(newer);
    out
}

pub(super) fn checked(bytes: Option<Vec<u8>>, crc: u32, what: &str) -> Result<Vec<u8>, Damaged> {
    let bytes = bytes.ok_or_else(|| Damaged(format!("{what} is missing")))?;
    match crc32fast::hash(&bytes) == crc {
        true => Ok(bytes),
        false => Err(damaged(what)),
    }
}

pub(super) fn damaged(what: &str) -> Damaged {
    Damaged(format!("{what} is not what was written"))
}

fn block_key(run: u32, number: u32) -> Vec<u8> {
    [&[BLOCK][..], &run.to_be_bytes(), &number.to_be_bytes()].concat()
}

fn directory_key(run: u32) -> Vec<u8> {
    [&[DIRECTORY][..], &run.to_be_bytes()].concat()
}
