//! The open transaction that handlers join, and the thread that commits it for all of them.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use redb::{Database, ReadableTable, WriteTransaction};
use tokio::sync::{Mutex, oneshot};

use super::{EFFECTS, INBOX, ROWS, StoreError};

/// A transaction, and who waits for its commit.
#[derive(Default)]
pub(super) struct Group {
    txn: Option<WriteTransaction>,
    waiting: Vec<oneshot::Sender<Result<(), StoreError>>>,
}

impl Group {
    pub(super) fn open(&mut self, db: &Database) -> Result<(), StoreError> {
        if self.txn.is_none() {
            self.txn = Some(db.begin_write()?);
        }
        Ok(())
    }

    pub(super) fn txn(&self) -> Result<&WriteTransaction, StoreError> {
        self.txn.as_ref().ok_or(StoreError::Closed)
    }

    /// Takes in what a handler has written. If that fails, nothing of the transaction is left.
    pub(super) fn join(
        &mut self,
        rows: BTreeMap<String, Vec<u8>>,
        effects: Vec<Vec<u8>>,
        inbox: Option<(&str, &[u8])>,
    ) -> Result<(), StoreError> {
        let joined = self.txn().and_then(|txn| write(txn, rows, effects, inbox));
        if let Err(e) = &joined {
            self.txn = None;
            self.answer(&Err(e.clone()));
        }
        joined
    }

    pub(super) fn waits(&mut self, told: oneshot::Sender<Result<(), StoreError>>) {
        self.waiting.push(told);
    }

    /// Commits, syncs, and tells everybody who has joined.
    pub(super) fn commit(&mut self) -> Result<(), StoreError> {
        let committed = self.txn.take().map_or(Ok(()), |txn| Ok(txn.commit()?));
        self.answer(&committed);
        committed
    }

    fn answer(&mut self, answer: &Result<(), StoreError>) {
        for told in self.waiting.drain(..) {
            // Who was dropped meanwhile is told by the inbox, next time.
            let _ = told.send(answer.clone());
        }
    }
}

fn write(
    txn: &WriteTransaction,
    rows: BTreeMap<String, Vec<u8>>,
    effects: Vec<Vec<u8>>,
    inbox: Option<(&str, &[u8])>,
) -> Result<(), StoreError> {
    if !rows.is_empty() {
        let mut table = txn.open_table(ROWS)?;
        for (key, row) in &rows {
            table.insert(key.as_str(), row.as_slice())?;
        }
    }
    if !effects.is_empty() {
        let mut table = txn.open_table(EFFECTS)?;
        let last = table.last()?.map_or(0, |(number, _)| number.value());
        for (number, effect) in (last + 1..).zip(&effects) {
            table.insert(number, effect.as_slice())?;
        }
    }
    if let Some((key, outputs)) = inbox {
        txn.open_table(INBOX)?.insert(key, outputs)?;
    }
    Ok(())
}

/// The thread that commits.
pub(super) struct Committer {
    /// None when it is to end.
    wake: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    pub(super) fn start(group: &Arc<Mutex<Group>>) -> Result<Self, StoreError> {
        let (wake, woken) = mpsc::channel::<()>();
        let group = Arc::clone(group);
        let run = move || {
            while woken.recv().is_ok() {
                let mut group = group.blocking_lock();
                // One commit answers all of them.
                while woken.try_recv().is_ok() {}
                // Everybody who waits is told; there is nobody else to tell.
                let _ = group.commit();
            }
        };
        let thread = thread::Builder::new().name("demo-commit".to_owned()).spawn(run)?;
        Ok(Self { wake: Some(wake), thread: Some(thread) })
    }

    pub(super) fn wake(&self) {
        // It ends after the store alone.
        let _ = self.wake.as_ref().map(|wake| wake.send(()));
    }
}

/// Waits until the thread has let go of the database, so that it can be opened again.
impl Drop for Committer {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            // It cannot panic, and if it did, it has let go.
            let _ = thread.join();
        }
    }
}
