//! For tests: the five services around a plain queue, on real stores, so that handlers and audit
//! can be tried without a bus.

use std::collections::BTreeMap;

use tempfile::TempDir;

use super::audit::log::LogEvent;
use super::chance::{Chance, Crash};
use super::events::{EventType, Incoming, Origin, Output};
use super::inbox::{Service, Verdict, handle_batch};
use super::options::{DataDir, Plan};
use super::order::OrderRow;
use super::orders::{self, Order};
use super::store::Store;
use super::{SERVICES, inventory, order};

pub(crate) struct Shop {
    dir: TempDir,
    stores: BTreeMap<&'static str, Store>,
    pub(crate) log: Vec<LogEvent>,
}

/// An event of the first order of the sample, under any id.
pub(crate) fn incoming(ty: EventType, order_id: &str) -> Incoming {
    let order = orders::load(None).unwrap().remove(0);
    let origin = Origin {
        topic: ty.topic().to_owned(),
        offset: 0,
        source: "test".to_owned(),
        id: format!("{}/{order_id}", ty.name()),
        generation: 0,
        attempt: 1,
    };
    Incoming { origin, ty, order_id: order_id.to_owned(), payload: order.into() }
}

/// A run in which nothing goes wrong.
pub(crate) fn no_trouble() -> Chance {
    Chance { seed: 1, fail_rate: 0.0, crash_rate: 0.0 }
}

impl Shop {
    /// A shop that has taken the first orders of the sample and has goods for just these.
    pub(crate) fn new(count: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::prepare(Some(dir.path())).unwrap();
        let open = |it: &Service| (it.name, Store::open(&data.stores(), it.name).unwrap());
        let stores: BTreeMap<_, _> = SERVICES.iter().map(open).collect();
        let orders: Vec<Order> = orders::load(None).unwrap();
        let plan = Plan { seed: 1, count, fail_rate: 0.0, orders_digest: 0 };
        order::take(&stores["order"], &plan, &orders).unwrap();
        let taken = order::all(&stores["order"]).unwrap();
        let taken = taken.iter().map(|(_, row)| &row.order);
        inventory::receive(&stores["inventory"], taken).unwrap();
        Self { dir, stores, log: Vec::new() }
    }

    pub(crate) fn store(&self, service: &Service) -> &Store {
        &self.stores[service.name]
    }

    /// Gives up the stores; the directory stays until the guard is dropped.
    pub(crate) fn close(self) -> TempDir {
        self.dir
    }

    pub(crate) fn order_ids(&self) -> Vec<String> {
        order::all(&self.stores["order"]).unwrap().into_iter().map(|(id, _)| id).collect()
    }

    /// Delivers one event until it is handled.
    pub(crate) fn handle(
        &mut self,
        service: &Service,
        event: Incoming,
        chance: &Chance,
    ) -> Vec<Output> {
        let done = self.handle_all(service, vec![event], chance);
        done.into_iter().flat_map(|(_, outputs)| outputs).collect()
    }

    /// Publishes all orders and lets the services react until nothing happens any more.
    pub(crate) fn run(&mut self, chance: &Chance) {
        let orders = order::all(&self.stores["order"]).unwrap();
        let created =
            |row: OrderRow| Output { ty: EventType::OrderCreated, payload: row.order.into() };
        let mut events: Vec<_> =
            orders.into_iter().map(|(id, row)| self.publish("", &id, created(row))).collect();
        while !events.is_empty() {
            let mut next = Vec::new();
            for service in &SERVICES {
                let wants = |it: &&Incoming| service.consumes.contains(&it.ty);
                let batch = events.iter().filter(wants).cloned().collect();
                for (event, outputs) in self.handle_all(service, batch, chance) {
                    let (id, order_id) = (&event.origin.id, &event.order_id);
                    next.extend(outputs.into_iter().map(|it| self.publish(id, order_id, it)));
                }
            }
            events = next;
        }
    }

    /// Delivers a batch, and again what crashes, until all of it is handled.
    fn handle_all(
        &mut self,
        service: &Service,
        mut batch: Vec<Incoming>,
        chance: &Chance,
    ) -> Vec<(Incoming, Vec<Output>)> {
        let mut done = Vec::new();
        while !batch.is_empty() {
            let verdicts = handle_batch(service, self.store(service), chance, &batch).unwrap();
            let delivered = std::mem::take(&mut batch);
            for (mut event, verdict) in delivered.into_iter().zip(verdicts) {
                let Origin { id, attempt, .. } = &event.origin;
                let crash = chance.crash(service.name, id, *attempt);
                event.origin.attempt += 1;
                match verdict {
                    Verdict::Done(_) if crash == Some(Crash::AfterCommit) => batch.push(event),
                    Verdict::Panicked => batch.push(event),
                    Verdict::Done(outputs) | Verdict::Again(outputs) => done.push((event, outputs)),
                    Verdict::Copy => {}
                }
            }
        }
        done
    }

    fn publish(&mut self, cause: &str, order_id: &str, output: Output) -> Incoming {
        let number = self.log.len() as u64 + 1;
        let mut event = incoming(output.ty, order_id);
        event.origin.id = format!("event-{number}");
        event.origin.offset = number;
        event.payload = output.payload;
        self.log.push(LogEvent {
            at: (number, 0),
            time_ms: number,
            topic: output.ty.topic().to_owned(),
            source: "test".to_owned(),
            id: event.origin.id.clone(),
            ty: output.ty.name().to_owned(),
            order_id: order_id.to_owned(),
            cause: cause.to_owned(),
            payload: Some(event.payload.clone()),
        });
        event
    }
}
