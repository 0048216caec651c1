//! The shop: five services with a store each, put together on a bus. Who runs them, and what is
//! ordered, is not decided here.

use std::collections::{BTreeMap, HashMap};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quadrille::{
    AdminError, Begun, Bus, Inbox, InboxKey, Participant, Retention, RetryPolicy, StartAt,
    TopicOptions,
};

use super::chance::{Chance, Crash};
use super::options::Plan;
use super::order::{OrderRow, Status};
use super::orders::Order;
use super::payment::provider::{Provider, Slow};
use super::store::{Store, StoreError, StoreTx};
use super::{inventory, notification, order, payment, shipping};

/// Everybody in the shop: the participants' names, and their stores' files.
pub(crate) const SERVICES: [&str; 5] =
    ["order", "inventory", "payment", "shipping", "notification"];

/// Every topic of the choreography.
pub(crate) const TOPICS: [&str; 5] =
    ["orders", "inventory", "payments", "shipments", "notifications"];

/// More attempts than `--crash-rate` takes, and room for a process that is killed again and again;
/// pauses that fit services which are back at once.
const RETRY: RetryPolicy = RetryPolicy {
    max_attempts: 100,
    first: Duration::from_millis(20),
    factor_percent: 200,
    cap: Duration::from_millis(400),
};

/// The stores of all services.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) order: Arc<Store>,
    pub(crate) inventory: Arc<Store>,
    pub(crate) payment: Arc<Store>,
    pub(crate) shipping: Arc<Store>,
    pub(crate) notification: Arc<Store>,
}

impl Stores {
    /// Opens, or makes, those in a directory.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::of(|service| Store::open(dir, service))
    }

    #[cfg(test)]
    pub(crate) fn memory() -> Self {
        Self::of(|_| Ok(Store::memory())).unwrap()
    }

    fn of(open: impl Fn(&str) -> Result<Store, StoreError>) -> Result<Self, StoreError> {
        let [order, inventory, payment, shipping, notification] = SERVICES.map(open);
        Ok(Self {
            order: Arc::new(order?),
            inventory: Arc::new(inventory?),
            payment: Arc::new(payment?),
            shipping: Arc::new(shipping?),
            notification: Arc::new(notification?),
        })
    }

    /// All of them, as in [`SERVICES`].
    pub(crate) fn all(&self) -> [&Arc<Store>; 5] {
        [&self.order, &self.inventory, &self.payment, &self.shipping, &self.notification]
    }

    /// Takes the orders of a plan and fills the shelves for them, unless that was done. All orders,
    /// and how many starts before were cut off.
    pub(crate) async fn prepare(&self, plan: &Plan, orders: &[Order]) -> Result<Taken, StoreError> {
        let kills = order::take(&self.order, plan, orders).await?;
        let orders = order::all(&self.order)?;
        let mut wanted = BTreeMap::new();
        for item in orders.iter().flat_map(|(_, row)| &row.order.items) {
            *wanted.entry(item.product_id.clone()).or_default() += u64::from(item.quantity);
        }
        inventory::receive(&self.inventory, wanted).await?;
        payment::accept(&self.payment, "EUR").await?;
        Ok(Taken { orders, kills })
    }
}

/// What a run is about to work on.
pub(crate) struct Taken {
    /// Ids and rows, in the order of the run.
    pub(crate) orders: Vec<(String, OrderRow)>,
    pub(crate) kills: u64,
}

impl Taken {
    pub(crate) fn ids(&self) -> Vec<String> {
        self.orders.iter().map(|(id, _)| id.clone()).collect()
    }

    pub(crate) fn open(&self) -> impl Iterator<Item = &(String, OrderRow)> {
        self.orders.iter().filter(|(_, row)| row.status == Status::Open)
    }
}

/// What the services count together, in this process.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Handlings that were planned to panic, and did.
    pub(crate) panics: AtomicU64,
    /// Handlings that an earlier process had committed: only their events still had to go out.
    pub(crate) resent: AtomicU64,
    /// Handlings that have begun, and where one of them stops.
    #[cfg(test)]
    pub(crate) stops: super::testing::Stops,
}

/// The services on a bus.
#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) stores: Stores,
    pub(crate) provider: Provider,
    pub(crate) counts: Arc<Counts>,
    chance: Chance,
}

/// The five, each with the state it has.
pub(crate) type Five =
    (Participant, Participant<Chance>, Participant<Provider>, Participant<Chance>, Participant);

impl Shop {
    pub(crate) fn new(bus: &Bus, stores: Stores, chance: Chance, slow: Option<Slow>) -> Self {
        let provider = Provider::new(bus, chance, slow);
        Self { stores, provider, counts: Arc::default(), chance }
    }

    pub(crate) fn participants(&self) -> Five {
        let (stores, chance) = (&self.stores, self.chance);
        (
            self.employ(order::participant(), &stores.order),
            self.employ(inventory::participant(chance), &stores.inventory),
            self.employ(payment::participant(self.provider.clone()), &stores.payment),
            self.employ(shipping::participant(chance), &stores.shipping),
            self.employ(notification::participant(), &stores.notification),
        )
    }

    /// What all of them have in common.
    fn employ<S>(&self, participant: Participant<S>, store: &Arc<Store>) -> Participant<S>
    where
        S: Send + Sync + 'static,
    {
        let (store, counts) = (Arc::clone(store), Arc::clone(&self.counts));
        let desk = Desk { store, counts, chance: self.chance, tries: Mutex::default() };
        participant.inbox(desk).retry(RETRY).start(StartAt::Beginning)
    }
}

/// Creates the topics. The audit needs every event, also when somebody comes back to it after a
/// month.
pub(crate) async fn create_topics(bus: &Bus) -> Result<(), AdminError> {
    let retention = Retention { settled: None, ..Retention::default() };
    let keep_all = TopicOptions { retention, ..TopicOptions::default() };
    for topic in TOPICS {
        bus.create_topic_with(topic, keep_all).await?;
    }
    Ok(())
}

/// A store as an inbox in which some handlings panic, just before or just after their commit.
struct Desk {
    store: Arc<Store>,
    counts: Arc<Counts>,
    chance: Chance,
    /// How often each event that has crashed here has come to its commit.
    // order: looked up by event, never walked.
    tries: Mutex<HashMap<String, u32>>,
}

impl Desk {
    /// Panics if this handling is to crash, and at this place.
    fn crash(&self, key: &InboxKey, place: Crash) {
        let mut tries = self.tries();
        let tried = tries.get(&key.id).copied().unwrap_or(0) + 1;
        if self.chance.crash(&key.group, &key.id, tried) != Some(place) {
            return;
        }
        tries.insert(key.id.clone(), tried);
        drop(tries);
        self.counts.panics.fetch_add(1, Ordering::Relaxed);
        // Unwinds like any other panic, and writes no backtrace over the progress.
        resume_unwind(Box::new("planned by --crash-rate"))
    }

    fn tries(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        // It is only ever added to.
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox for Desk {
    type Tx = StoreTx;
    type Error = StoreError;

    async fn begin(&self, key: &InboxKey) -> Result<Begun<StoreTx>, StoreError> {
        #[cfg(test)]
        self.counts.stops.pass().await;
        let begun = self.store.begin(key).await?;
        if matches!(begun, Begun::Known(_)) && !self.tries().contains_key(&key.id) {
            self.counts.resent.fetch_add(1, Ordering::Relaxed);
        }
        #[cfg(test)]
        self.counts.stops.begun(&begun).await;
        Ok(begun)
    }

    async fn commit(&self, tx: StoreTx, key: &InboxKey, outputs: Bytes) -> Result<(), StoreError> {
        self.crash(key, Crash::BeforeCommit);
        #[cfg(test)]
        self.counts.stops.pass().await;
        self.store.commit(tx, key, outputs).await?;
        #[cfg(test)]
        self.counts.stops.pass().await;
        self.crash(key, Crash::AfterCommit);
        Ok(())
    }
}
