//! What the stores say: read once, from the databases alone.

use std::collections::BTreeMap;

use crate::cli::Failure;
use crate::demo::inventory::{self, Shelf};
use crate::demo::options::DataDir;
use crate::demo::order::{self, OrderRow, Status};
use crate::demo::store::{Effect, Store, What};
use crate::demo::{SERVICES, store_failure};

/// The contents of all five stores.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) orders: BTreeMap<String, OrderRow>,
    pub(crate) shelves: BTreeMap<String, Shelf>,
    /// The journals of all services.
    pub(crate) effects: Vec<Effect>,
}

impl Books {
    /// Reads the stores of a directory.
    ///
    /// # Errors
    /// One is missing, in use, or not readable.
    pub(crate) fn read(data: &DataDir) -> Result<Self, Failure> {
        let mut books = Self::default();
        for service in &SERVICES {
            let file = data.stores().join(format!("{}.redb", service.name));
            if !file.is_file() {
                return Err(Failure::Input(format!(
                    "{} is missing; {} holds no complete demo",
                    file.display(),
                    data.path.display()
                )));
            }
            let store = Store::open(&data.stores(), service.name).map_err(store_failure(data))?;
            books.effects.extend(store.effects().map_err(store_failure(data))?);
            match service.name {
                "order" => {
                    let orders = order::all(&store).map_err(store_failure(data))?;
                    books.orders = orders.into_iter().collect();
                }
                "inventory" => {
                    let shelves = inventory::shelves(&store).map_err(store_failure(data))?;
                    books.shelves = shelves.into_iter().collect();
                }
                _ => {}
            }
        }
        Ok(books)
    }

    /// How many orders have this status.
    pub(crate) fn count(&self, status: Status) -> u64 {
        self.orders.values().filter(|row| row.status == status).count() as u64
    }

    /// A cancelled order, rather one whose card was refunded than one that was stopped early.
    pub(crate) fn cancelled(&self) -> Option<&str> {
        let of = |pick: fn(&What) -> bool| self.effects.iter().find(|it| pick(&it.what));
        of(|what| matches!(what, What::CardRefunded(_)))
            .or_else(|| of(|what| *what == What::OrderCancelled))
            .map(|effect| effect.order_id.as_str())
    }
}
