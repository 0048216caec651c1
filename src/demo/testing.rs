//! For tests: the shop on a test bus, with stores in memory.

use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quadrille::{Begun, Bus, TestBus, TypedEvent};

use super::audit::books::Books;
use super::audit::log::{self, LogEvent};
use super::audit::{Auditor, Violation};
use super::chance::{Chance, Fate};
use super::options::Plan;
use super::order::{self, OrderCreated, Status};
use super::orders;
use super::payment::provider::Slow;
use super::shop::{Shop, Stores, TOPICS, create_topics};

/// A run of so many orders of the sample.
pub(crate) fn plan(count: u64, fail_rate: f64) -> Plan {
    Plan { seed: 2, count, fail_rate, orders_digest: 0, story: false }
}

/// The shop, with goods for just its orders.
pub(crate) struct Hall {
    pub(crate) shop: Shop,
    pub(crate) ids: Vec<String>,
    pub(crate) chance: Chance,
}

impl Hall {
    pub(crate) async fn open(t: &TestBus, plan: &Plan, crash_rate: f64) -> Self {
        Self::on(t.bus(), Stores::memory(), plan, crash_rate).await
    }

    pub(crate) async fn on(bus: &Bus, stores: Stores, plan: &Plan, crash_rate: f64) -> Self {
        let taken = stores.prepare(plan, &orders::load(None).unwrap()).await.unwrap();
        let ids = taken.orders.into_iter().map(|(id, _)| id).collect();
        create_topics(bus).await.unwrap();
        let chance = plan.chance(crash_rate);
        Self { shop: Shop::new(bus, stores, chance, None), ids, chance }
    }

    /// With a provider that answers the charge of the first order only after this time.
    pub(crate) fn slow(mut self, t: &TestBus, answers_after: Duration) -> Self {
        let slow = Slow { order: self.ids[0].clone(), answers_after };
        self.shop = Shop::new(t.bus(), self.shop.stores, self.chance, Some(slow));
        self
    }

    pub(crate) async fn order_all(&self, bus: &Bus) {
        let rows = order::all(&self.shop.stores.order).unwrap();
        let event = |(id, row): &(String, _)| {
            order::created(id, row).event().unwrap().id(id.as_str()).source("shop")
        };
        let events: Vec<_> = rows.iter().map(event).collect();
        bus.topic(OrderCreated::TOPIC).publish_all(events).await.unwrap();
    }

    /// The first order that meets this fate.
    pub(crate) fn with_fate(&self, fate: Option<Fate>) -> String {
        self.ids.iter().find(|id| self.chance.fate(id) == fate).unwrap().clone()
    }

    pub(crate) fn status(&self, id: &str) -> Status {
        let rows = order::all(&self.shop.stores.order).unwrap();
        rows.into_iter().find(|(it, _)| it == id).unwrap().1.status
    }

    /// How much was moved by this deed.
    pub(crate) fn moved(&self, deed: &str) -> u64 {
        self.books().moved(deed)
    }

    pub(crate) fn books(&self) -> Books {
        Books::of(&self.shop.stores).unwrap()
    }

    pub(crate) async fn audit(&self, bus: &Bus) -> Vec<Violation> {
        audited(&log(bus).await, &self.books())
    }
}

/// Where a handling may stop for ever: before its transaction is opened, after that, before its
/// commit, after that.
#[derive(Debug, Default)]
pub(crate) struct Stops {
    /// How many such places were come to.
    passed: AtomicU64,
    /// At which of them it stops; at none if this is 0.
    pub(crate) at: AtomicU64,
    /// Transactions that were opened.
    pub(crate) begun: AtomicU64,
}

impl Stops {
    pub(crate) async fn pass(&self) {
        let place = self.passed.fetch_add(1, Ordering::Relaxed) + 1;
        if place == self.at.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
    }

    pub(crate) async fn begun<T>(&self, begun: &Begun<T>) {
        if matches!(begun, Begun::New(_)) {
            self.begun.fetch_add(1, Ordering::Relaxed);
        }
        self.pass().await;
    }

    /// Whether it was come to the place where it stops.
    pub(crate) fn has_stopped(&self) -> bool {
        self.passed.load(Ordering::Relaxed) >= self.at.load(Ordering::Relaxed)
    }
}

/// All events of the choreography.
pub(crate) async fn log(bus: &Bus) -> Vec<LogEvent> {
    let mut events = Vec::new();
    for topic in TOPICS {
        log::topic(bus, topic, |event| events.push(event)).await.unwrap();
    }
    events.sort_by_key(|it| it.at);
    events
}

pub(crate) fn audited(log: &[LogEvent], books: &Books) -> Vec<Violation> {
    let mut auditor = Auditor::default();
    log.iter().for_each(|it| auditor.event(it));
    auditor.compare(books)
}
