//! A service's own database: its rows, a journal of its effects on the world, and its inbox, all
//! changed in one local transaction. What the rows mean is the services' business.
//!
//! A commit syncs the file (redb's `Immediate`): the bus may hear of an event's outputs only when
//! its effects can no longer be lost. What makes that cheap is that many events share one commit.

use std::fmt;
use std::path::Path;

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, Table, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::events::{Kind, Origin, Output};
use super::orders::{Item, Money};

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
    pub(crate) order_id: String,
    pub(crate) what: What,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    StockReceived(Vec<Item>),
    StockReserved(Vec<Item>),
    StockReleased(Vec<Item>),
    StockShipped(Vec<Item>),
    CardCharged(Money),
    CardRefunded(Money),
    ParcelSent(Vec<Item>),
    MailSent(Kind),
    OrderCompleted,
    OrderCancelled,
}

/// What the inbox remembers of a handled event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handled {
    /// Where its first copy is. A later offset is a copy, not a redelivery.
    pub(crate) offset: u64,
    /// What was, or still has to be, published because of it.
    pub(crate) outputs: Vec<Output>,
}

/// The database of one service.
pub(crate) struct Store(Database);

impl Store {
    /// Opens, or makes, `dir/SERVICE.redb`.
    pub(crate) fn open(dir: &Path, service: &str) -> Result<Self, StoreError> {
        let path = dir.join(format!("{service}.redb"));
        let db = Database::builder().set_cache_size(CACHE_BYTES).create(path);
        let store = Self(db.map_err(|e| match e {
            DatabaseError::DatabaseAlreadyOpen => {
                StoreError("another process has them open; wait until it has ended".to_owned())
            }
            other => other.into(),
        })?);
        store.write(|_| Ok(()))?;
        Ok(store)
    }

    /// Runs `change` in one transaction: committed if it returns Ok, dropped on an error or panic.
    pub(crate) fn write<T>(
        &self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let txn = self.0.begin_write()?;
        let done = {
            let mut tables = Tables {
                inbox: txn.open_table(INBOX)?,
                rows: txn.open_table(ROWS)?,
                effects: txn.open_table(EFFECTS)?,
            };
            change(&mut tables)?
        };
        txn.commit()?;
        Ok(done)
    }

    /// All rows whose key starts with `prefix`, without it, in order of their keys.
    pub(crate) fn rows<T: DeserializeOwned>(
        &self,
        prefix: &str,
    ) -> Result<Vec<(String, T)>, StoreError> {
        let txn = self.0.begin_read()?;
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
        let txn = self.0.begin_read()?;
        let table = txn.open_table(EFFECTS)?;
        let mut effects = Vec::new();
        for row in table.iter()? {
            effects.push(serde_json::from_slice(row?.1.value())?);
        }
        Ok(effects)
    }
}

#[cfg(test)]
impl Store {
    /// Takes lines out of the journal, which no service ever does.
    pub(crate) fn forget(&self, which: impl Fn(&Effect) -> bool) {
        let change = |tables: &mut Tables<'_>| {
            let keep = |_: u64, bytes: &[u8]| !which(&serde_json::from_slice(bytes).unwrap());
            Ok(tables.effects.retain(keep)?)
        };
        self.write(change).unwrap();
    }
}

/// The tables of one open transaction: what a handler may touch.
pub(crate) struct Tables<'txn> {
    inbox: Table<'txn, &'static str, &'static [u8]>,
    rows: Table<'txn, &'static str, &'static [u8]>,
    effects: Table<'txn, u64, &'static [u8]>,
}

impl Tables<'_> {
    pub(crate) fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        read(&self.rows, key)
    }

    pub(crate) fn put<T: Serialize>(&mut self, key: &str, row: &T) -> Result<(), StoreError> {
        write(&mut self.rows, key, row)
    }

    /// Does something to the world outside: here, a line in the journal.
    pub(crate) fn effect(&mut self, order_id: &str, what: What) -> Result<(), StoreError> {
        let last = self.effects.last()?;
        let next = last.map_or(1, |(number, _)| number.value() + 1);
        let effect = Effect { order_id: order_id.to_owned(), what };
        self.effects.insert(next, serde_json::to_vec(&effect)?.as_slice())?;
        Ok(())
    }

    /// What became of this event here, if it was handled.
    pub(crate) fn handled(&self, event: &Origin) -> Result<Option<Handled>, StoreError> {
        read(&self.inbox, &inbox_key(event))
    }

    /// Remembers that this event was handled, and what is to be published because of it.
    pub(crate) fn remember(
        &mut self,
        event: &Origin,
        outputs: &[Output],
    ) -> Result<(), StoreError> {
        let handled = Handled { offset: event.offset, outputs: outputs.to_vec() };
        write(&mut self.inbox, &inbox_key(event), &handled)
    }
}

/// The group is not part of it: every group has a database of its own.
fn inbox_key(event: &Origin) -> String {
    let Origin { topic, source, id, generation, .. } = event;
    // Lengths first: no two origins share a key, whatever their names hold.
    format!("{generation}|{}|{}|{topic}|{source}|{id}", topic.len(), source.len())
}

fn read<T: DeserializeOwned>(
    table: &Table<'_, &'static str, &'static [u8]>,
    key: &str,
) -> Result<Option<T>, StoreError> {
    let row = table.get(key)?;
    Ok(row.map(|bytes| serde_json::from_slice(bytes.value())).transpose()?)
}

fn write<T: Serialize>(
    table: &mut Table<'_, &'static str, &'static [u8]>,
    key: &str,
    row: &T,
) -> Result<(), StoreError> {
    table.insert(key, serde_json::to_vec(row)?.as_slice())?;
    Ok(())
}

/// A store could not be read or written.
#[derive(Debug)]
pub(crate) struct StoreError(String);

impl<E: std::error::Error> From<E> for StoreError {
    fn from(e: E) -> Self {
        Self(e.to_string())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(topic: &str, source: &str, id: &str) -> Origin {
        let [topic, source, id] = [topic, source, id].map(str::to_owned);
        Origin { topic, offset: 3, source, id, generation: 0, attempt: 1 }
    }

    #[test]
    fn an_error_takes_back_rows_effects_and_inbox_together() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "payment").unwrap();
        let event = origin("orders", "shop", "1");
        for fails in [true, false] {
            let done = store.write(|tables| {
                assert_eq!(tables.get::<u32>("row/1")?, None);
                assert_eq!(tables.handled(&event)?, None);
                tables.put("row/1", &1)?;
                tables.effect("o", What::CardCharged(Money::default()))?;
                tables.remember(&event, &[])?;
                if fails { Err(StoreError("no".into())) } else { Ok(()) }
            });
            assert_eq!(done.is_err(), fails);
        }
        assert_eq!(store.effects().unwrap().len(), 1);
        assert_eq!(store.rows::<u32>("row/").unwrap(), [("1".to_owned(), 1)]);
        let handled = store.write(|tables| tables.handled(&event)).unwrap();
        assert_eq!(handled, Some(Handled { offset: 3, outputs: Vec::new() }));
    }

    #[test]
    fn inbox_keys_of_different_origins_never_meet() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "payment").unwrap();
        store.write(|tables| tables.remember(&origin("a", "b|c", "d"), &[])).unwrap();
        for other in [origin("a|b", "c", "d"), origin("a", "b", "c|d"), origin("a", "b|c", "e")] {
            assert_eq!(store.write(|tables| tables.handled(&other)).unwrap(), None);
        }
    }

    #[test]
    fn a_second_opening_finds_everything_and_one_at_a_time_may_have_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "shipping").unwrap();
        store.write(|tables| tables.put("a/1", &"x")).unwrap();
        store.write(|tables| tables.put("b/1", &"y")).unwrap();
        assert!(Store::open(dir.path(), "shipping").is_err());
        drop(store);
        let store = Store::open(dir.path(), "shipping").unwrap();
        assert_eq!(store.rows::<String>("a/").unwrap(), [("1".to_owned(), "x".to_owned())]);
    }
}
