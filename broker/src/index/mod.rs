//! What people ask about sagas and dead letters, kept as rows: derived from the durable log, lagging
//! behind it, and disposable. Nothing here is needed to recover, to publish or to deliver.
//!
//! ```text
//!  log ──feed──▶ rows in memory ──flush──▶ runs: sorted blocks of rows, in a Store
//! ```
//!
//! A *run* is written once and replaced as a whole; its directory (the first key and the checksum
//! of every block) and the list of runs hang below one value, the *head*, which names the log and
//! the last entry that is in. So whatever is lost, old or changed is noticed when it is read. A
//! [`Store`] keeps values by key: on disk one of another's making (`tree`), in memory a map.
//!
//! ```text
//! head            version, log id, position, from, next run, runs, checksum of names; its own crc32
//! names           sources, types, edges
//! d + run         directory: first key and crc of each block
//! b + run + block up to 128 rows: a key of 16 bytes, length, protobuf
//!
//! tables          0 sagas: by hash, rows add up; 1 dead letters: entry, index, group;
//!                 2 unusual settles: group, topic, offset; of 1 and 2 the newest row counts
//! ```

mod feed;
mod head;
mod rows;
mod table;
#[cfg(test)]
mod tests;
#[cfg(feature = "index")]
mod tree;

use std::collections::BTreeMap;

use quadrille_proto::Hasher128;

pub use self::feed::Edge;
use self::feed::Feed;
use self::head::Head;
pub use self::rows::{DeadRow, OddRow, Resolved, SagaRow};
use self::rows::{dead_key, odd_key};
use self::table::Table;
#[cfg(feature = "index")]
pub(crate) use self::tree::TreeStore;
use crate::core::types::{EventRef, GroupId, LaneId, Position, TopicId};
use crate::log::Entry;

/// Values by key. One caller at a time.
pub trait Store: Send {
    /// The value of a key.
    ///
    /// # Errors
    /// The store does not work any more; throw it away.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Damaged>;

    /// All of these changes, or none. `None` removes.
    ///
    /// # Errors
    /// The store does not work any more; throw it away.
    fn write(&mut self, changes: Vec<Change>) -> Result<(), Damaged>;
}

/// A key, and what becomes of its value.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// A store is not what it was. There is only one thing to do: throw it away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damaged(pub String);

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemStore(BTreeMap<Vec<u8>, Vec<u8>>);

impl Store for MemStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Damaged> {
        Ok(self.0.get(key).cloned())
    }

    fn write(&mut self, changes: Vec<Change>) -> Result<(), Damaged> {
        for (key, value) in changes {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
        Ok(())
    }
}

/// So many rows in memory, and they are written.
const FLUSH_ROWS: usize = 1 << 16;

/// The index of one log.
pub struct Index {
    store: Box<dyn Store>,
    log_id: u128,
    next_run: u32,
    sagas: Table<SagaRow>,
    dead: Table<DeadRow>,
    odd: Table<OddRow>,
    feed: Feed,
    /// The last entry that is in.
    position: u64,
    /// The first entry that may be in; what came before was gone already.
    from: u64,
    /// The last entry that is in what is stored.
    stored: u64,
}

/// What is known by number, and not by the log behind the index's position.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Topics.
    pub topics: BTreeMap<TopicId, String>,
    /// Groups.
    pub groups: BTreeMap<GroupId, String>,
}

impl Index {
    /// Opens what is in a store, or begins behind entry `from` if it is not of this log, ahead of
    /// it (`end`: its last durable entry), or empty; then nothing of it is used.
    ///
    /// # Errors
    /// The store holds something that is not whole.
    pub fn open(
        store: Box<dyn Store>,
        hasher: Hasher128,
        (log_id, from, end): (u128, u64, u64),
        known: Known,
    ) -> Result<Self, Damaged> {
        let head = Head::read(&*store)?;
        let head = head.filter(|it| it.log_id() == log_id && it.position <= end);
        let Some(head) = head else {
            return Ok(Self::empty(store, hasher, (log_id, from), known));
        };
        let (sagas, dead, odd) = (
            Table::open(&*store, 0, &head)?,
            Table::open(&*store, 1, &head)?,
            Table::open(&*store, 2, &head)?,
        );
        let mut feed = Feed::new(hasher, known);
        feed.adopt(&head, &odd, &*store)?;
        let (position, from, next_run) = (head.position, head.from, head.next_run);
        let stored = position;
        Ok(Self { store, log_id, next_run, sagas, dead, odd, feed, position, from, stored })
    }

    /// An index that begins with entry `from`.
    pub fn empty(
        store: Box<dyn Store>,
        hasher: Hasher128,
        (log_id, from): (u128, u64),
        known: Known,
    ) -> Self {
        let position = from.saturating_sub(1);
        Self {
            store,
            log_id,
            next_run: 1,
            sagas: Table::new(0),
            dead: Table::new(1),
            odd: Table::new(2),
            feed: Feed::new(hasher, known),
            position,
            from,
            stored: 0,
        }
    }

    /// The last entry that is in.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The first entry that may be in.
    pub fn from(&self) -> u64 {
        self.from
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// The store cannot be read, or a record cannot.
    pub fn feed(&mut self, entry: &Entry) -> Result<(), Damaged> {
        self.position = entry.number;
        let tables = feed::Tables {
            sagas: &mut self.sagas,
            dead: &mut self.dead,
            odd: &mut self.odd,
            store: &*self.store,
        };
        self.feed.entry(entry, tables)
    }

    /// Entries before this one are not to be had.
    pub fn skip_to(&mut self, entry: u64) {
        self.position = self.position.max(entry.saturating_sub(1));
    }

    /// Whether so much is in memory that it should be written.
    pub fn is_full(&self) -> bool {
        let rows = self.sagas.in_memory() + self.dead.in_memory() + self.odd.in_memory();
        rows >= FLUSH_ROWS
    }

    /// Whether anything is not stored.
    pub fn has_news(&self) -> bool {
        self.position != self.stored
    }

    /// Stores what is in memory, and forgets what speaks only of entries before `first`.
    ///
    /// # Errors
    /// The store does not work any more.
    pub fn flush(&mut self, first: u64) -> Result<(), Damaged> {
        let mut changes = Vec::new();
        let (store, next) = (&*self.store, &mut self.next_run);
        let mut head = Head::new(self.log_id, self.position, self.from);
        self.sagas.flush(store, next, first, &mut head, &mut changes)?;
        self.dead.flush(store, next, first, &mut head, &mut changes)?;
        self.odd.flush(store, next, first, &mut head, &mut changes)?;
        head.next_run = *next;
        self.feed.save(&mut head, &mut changes);
        head.write(&mut changes);
        self.store.write(changes)?;
        self.stored = self.position;
        Ok(())
    }

    /// The row of a saga.
    ///
    /// # Errors
    /// The store is damaged.
    pub fn saga(&self, saga: LaneId) -> Result<Option<SagaRow>, Damaged> {
        self.sagas.get(&*self.store, saga)
    }

    /// The names of a saga's services.
    pub fn services(&self, row: &SagaRow) -> Vec<String> {
        self.feed.services.of(row.services)
    }

    /// The row of a dead letter.
    ///
    /// # Errors
    /// The store is damaged.
    pub fn dead_letter(&self, group: GroupId, at: Position) -> Result<Option<DeadRow>, Damaged> {
        self.dead.get(&*self.store, dead_key(group, at))
    }

    /// All dead letters, in the order of their events.
    ///
    /// # Errors
    /// The store is damaged.
    pub fn dead_letters(&self) -> Result<Vec<DeadRow>, Damaged> {
        Ok(self.dead.all(&*self.store)?.into_values().collect())
    }

    /// How a group has settled an event, if not at the first attempt.
    ///
    /// # Errors
    /// The store is damaged.
    pub fn odd(&self, group: GroupId, event: EventRef) -> Result<Option<OddRow>, Damaged> {
        self.odd.get(&*self.store, odd_key(group, event.topic, event.offset))
    }

    /// Which types have led to which, most often first.
    pub fn edges(&self) -> Vec<Edge> {
        self.feed.edges()
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("position", &self.position).finish_non_exhaustive()
    }
}
