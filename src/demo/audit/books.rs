//! What the stores say: read once, from the databases alone.

use std::collections::BTreeMap;

use crate::cli::Failure;
use crate::demo::data::DataDir;
use crate::demo::inventory::{self, Shelf};
use crate::demo::order::{self, OrderRow, Status};
use crate::demo::shop::{SERVICES, Stores};
use crate::demo::store::{Effect, StoreError};

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
        for service in SERVICES {
            let file = data.stores().join(format!("{service}.redb"));
            if !file.is_file() {
                return Err(Failure::Input(format!(
                    "{} is missing; {} holds no complete demo",
                    file.display(),
                    data.path.display()
                )));
            }
        }
        let stores = Stores::open(&data.stores()).map_err(data.failure())?;
        Self::of(&stores).map_err(data.failure())
    }

    /// Reads these stores.
    ///
    /// # Errors
    /// One is not readable.
    pub(crate) fn of(stores: &Stores) -> Result<Self, StoreError> {
        let mut effects = Vec::new();
        for store in stores.all() {
            effects.extend(store.effects()?);
        }
        Ok(Self {
            orders: order::all(&stores.order)?.into_iter().collect(),
            shelves: inventory::shelves(&stores.inventory)?.into_iter().collect(),
            effects,
        })
    }

    /// How many orders have this status.
    pub(crate) fn count(&self, status: Status) -> u64 {
        self.orders.values().filter(|row| row.status == status).count() as u64
    }

    /// How much was moved by this deed, in all.
    pub(crate) fn moved(&self, deed: &str) -> u64 {
        let effects = self.effects.iter().filter(|it| it.deed == deed);
        effects.flat_map(|it| &it.moved).map(|(_, much)| much).sum()
    }
}
