//! A service's own database: its rows, a journal of its effects on the world, and its inbox, all
//! changed in one local transaction. What the rows mean is the services' business.
//!
//! One handler at a time has the open transaction. What it writes lies beside it until the handler
//! is done, so that an error takes back its own work alone; then it joins the transaction, and the
//! next handler goes on in the same one. Who commits waits its turn behind the handlers that wait
//! already: so they all share one sync, and a lone one waits for nobody. A commit syncs the file
//! (redb's `Immediate`) before any of them is answered: the bus may hear of an event's outputs only
//! when its effects can no longer be lost.

mod commit;
mod error;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quadrille::{Begun, Inbox, InboxKey};
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition, WriteTransaction,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use self::commit::{Committer, Group};
pub(crate) use self::error::StoreError;

const INBOX: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("inbox");
const ROWS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("rows");
const EFFECTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("effects");

/// What redb may keep in memory for one service.
const CACHE_BYTES: usize = 32 << 20;

/// One effect on the world outside, as the service's journal holds it. The journal is only ever
/// appended to, so an effect that happens twice is there twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Effect {
    /// Empty for goods that came in for nobody.
    pub(crate) order: String,
    /// What was done, such as `card charged`.
    pub(crate) deed: String,
    /// What was moved by it, and how much of each: goods, cents.
    pub(crate) moved: Vec<(String, u64)>,
}

/// The database of one service.
pub(crate) struct Store {
    db: Arc<Database>,
    group: Arc<Mutex<Group>>,
    /// Commits when it is its turn. Without one, everybody commits for itself and on the spot.
    committer: Option<Committer>,
    handled: AtomicU64,
    busy: Arc<AtomicU64>,
    #[cfg(test)]
    gone: std::sync::atomic::AtomicBool,
}

impl Store {
    /// Opens, or makes, `dir/SERVICE.redb`.
    pub(crate) fn open(dir: &Path, service: &str) -> Result<Self, StoreError> {
        let path = dir.join(format!("{service}.redb"));
        let db = Database::builder().set_cache_size(CACHE_BYTES).create(path);
        let db = db.map_err(|e| match e {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse,
            other => other.into(),
        })?;
        let mut store = Self::on(db)?;
        store.committer = Some(Committer::start(&store.group)?);
        Ok(store)
    }

    /// A store in memory, without a thread.
    #[cfg(test)]
    pub(crate) fn memory() -> Self {
        let backend = redb::backends::InMemoryBackend::new();
        Self::on(Database::builder().create_with_backend(backend).unwrap()).unwrap()
    }

    fn on(db: Database) -> Result<Self, StoreError> {
        let txn = db.begin_write()?;
        let handled = txn.open_table(INBOX)?.len()?;
        txn.open_table(ROWS)?;
        txn.open_table(EFFECTS)?;
        txn.commit()?;
        let (group, handled, busy) = (Arc::default(), AtomicU64::new(handled), Arc::default());
        Ok(Self {
            db: Arc::new(db),
            group,
            committer: None,
            handled,
            busy,
            #[cfg(test)]
            gone: Default::default(),
        })
    }

    /// How many events its service has handled.
    pub(crate) fn handled(&self) -> u64 {
        self.handled.load(Ordering::Relaxed)
    }

    /// How many handlers wait for a transaction, have it, or wait for its commit.
    pub(crate) fn busy(&self) -> u64 {
        self.busy.load(Ordering::Relaxed)
    }

    /// Changes rows beside all events, and commits.
    pub(crate) async fn change<T>(
        &self,
        change: impl FnOnce(&mut StoreTx) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut tx = self.transaction().await?;
        let done = change(&mut tx)?;
        let StoreTx { mut group, rows, effects, .. } = tx;
        group.join(rows, effects, None)?;
        group.commit()?;
        Ok(done)
    }

    /// All rows whose key starts with `prefix`, without it, in order of their keys.
    pub(crate) fn rows<T: DeserializeOwned>(
        &self,
        prefix: &str,
    ) -> Result<Vec<(String, T)>, StoreError> {
        let txn = self.db.begin_read()?;
        let table = txn.open_table(ROWS)?;
        let mut rows = Vec::new();
        for row in table.range(prefix..)? {
            let (key, value) = row?;
            let Some(name) = key.value().strip_prefix(prefix) else {
                break;
            };
            rows.push((name.to_owned(), serde_json::from_slice(value.value())?));
        }
        Ok(rows)
    }

    /// The journal, oldest first.
    pub(crate) fn effects(&self) -> Result<Vec<Effect>, StoreError> {
        let txn = self.db.begin_read()?;
        let table = txn.open_table(EFFECTS)?;
        let mut effects = Vec::new();
        for row in table.iter()? {
            effects.push(serde_json::from_slice(row?.1.value())?);
        }
        Ok(effects)
    }

    async fn transaction(&self) -> Result<StoreTx, StoreError> {
        let busy = Busy::new(&self.busy);
        let mut group = Arc::clone(&self.group).lock_owned().await;
        group.open(&self.db)?;
        Ok(StoreTx { group, rows: BTreeMap::new(), effects: Vec::new(), busy })
    }
}

#[cfg(test)]
impl Store {
    /// A transaction for a handler that is tested as a plain function.
    pub(crate) async fn tx(&self) -> quadrille::Tx<StoreTx> {
        quadrille::Tx::new(self.transaction().await.unwrap())
    }

    /// From now on no handler gets a transaction, or again.
    pub(crate) fn set_gone(&self, gone: bool) {
        self.gone.store(gone, Ordering::Relaxed);
    }

    /// Takes lines out of the journal, which no service ever does.
    pub(crate) async fn forget(&self, which: impl Fn(&Effect) -> bool) {
        let mut tx = self.transaction().await.unwrap();
        let mut table = tx.group.txn().unwrap().open_table(EFFECTS).unwrap();
        table.retain(|_, bytes| !which(&serde_json::from_slice(bytes).unwrap())).unwrap();
        drop(table);
        tx.group.commit().unwrap();
    }
}

impl Inbox for Store {
    type Tx = StoreTx;
    type Error = StoreError;

    async fn begin(&self, key: &InboxKey) -> Result<Begun<StoreTx>, StoreError> {
        #[cfg(test)]
        if self.gone.load(Ordering::Relaxed) {
            return Err(StoreError::Closed);
        }
        let mut tx = self.transaction().await?;
        let known = read(tx.group.txn()?, INBOX, &key.to_string(), Bytes::copy_from_slice)?;
        let Some(outputs) = known else { return Ok(Begun::New(tx)) };
        // It may have joined and not be committed: nobody may hear of it before.
        tx.group.commit()?;
        Ok(Begun::Known(outputs))
    }

    async fn commit(&self, tx: StoreTx, key: &InboxKey, outputs: Bytes) -> Result<(), StoreError> {
        let StoreTx { mut group, rows, effects, busy: _busy } = tx;
        group.join(rows, effects, Some((&key.to_string(), &outputs)))?;
        match &self.committer {
            None => group.commit()?,
            Some(committer) => {
                let (told, tells) = oneshot::channel();
                group.waits(told);
                committer.wake();
                drop(group);
                tells.await.map_err(|_| StoreError::Closed)??;
            }
        }
        self.handled.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The open transaction in the hands of one handler, and what it has written.
pub(crate) struct StoreTx {
    group: OwnedMutexGuard<Group>,
    rows: BTreeMap<String, Vec<u8>>,
    effects: Vec<Vec<u8>>,
    busy: Busy,
}

/// Counts while it lives.
struct Busy(Arc<AtomicU64>);

impl Busy {
    fn new(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl StoreTx {
    pub(crate) fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let own = self.rows.get(key).cloned();
        let bytes = match own {
            Some(bytes) => Some(bytes),
            None => read(self.group.txn()?, ROWS, key, <[u8]>::to_vec)?,
        };
        Ok(bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose()?)
    }

    pub(crate) fn put<T: Serialize>(&mut self, key: &str, row: &T) -> Result<(), StoreError> {
        self.rows.insert(key.to_owned(), serde_json::to_vec(row)?);
        Ok(())
    }

    /// Does something to the world outside: here, a line in the journal.
    pub(crate) fn effect<T: Into<String>>(
        &mut self,
        order: &str,
        deed: &str,
        moved: impl IntoIterator<Item = (T, u64)>,
    ) -> Result<(), StoreError> {
        let moved = moved.into_iter().map(|(what, much)| (what.into(), much)).collect();
        let effect = Effect { order: order.to_owned(), deed: deed.to_owned(), moved };
        self.effects.push(serde_json::to_vec(&effect)?);
        Ok(())
    }
}

fn read<T>(
    txn: &WriteTransaction,
    table: TableDefinition<'_, &'static str, &'static [u8]>,
    key: &str,
    of: impl FnOnce(&[u8]) -> T,
) -> Result<Option<T>, StoreError> {
    Ok(txn.open_table(table)?.get(key)?.map(|bytes| of(bytes.value())))
}
