//! The order service: takes orders, and brings each to exactly one end. Its store also holds what
//! a run is about, so that a second start goes on with it.

use serde::{Deserialize, Serialize};

use super::chance::Chance;
use super::events::{EventType, Incoming, Kind, Output};
use super::inbox::Service;
use super::options::Plan;
use super::orders::{Order, order_id};
use super::store::{Store, StoreError, Tables, What};

pub(crate) const ORDER: Service = Service {
    name: "order",
    consumes: &[
        EventType::NotificationSent,
        EventType::InventoryRejected,
        EventType::InventoryReleased,
    ],
    compensating: &[EventType::InventoryRejected, EventType::InventoryReleased],
    handle,
};

/// An order as the service knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OrderRow {
    /// Its place in the run.
    pub(crate) index: u64,
    pub(crate) order: Order,
    pub(crate) status: Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Open,
    Completed,
    Cancelled,
}

fn handle(
    tables: &mut Tables<'_>,
    event: &Incoming,
    _: &Chance,
) -> Result<Vec<Output>, StoreError> {
    let (status, what, ty) = match (event.ty, event.payload.kind) {
        (EventType::NotificationSent, Some(Kind::Confirmation)) => {
            (Status::Completed, What::OrderCompleted, EventType::OrderCompleted)
        }
        (EventType::InventoryRejected | EventType::InventoryReleased, _) => {
            (Status::Cancelled, What::OrderCancelled, EventType::OrderCancelled)
        }
        // The customer knows that the order is cancelled: that was the last word.
        _ => return Ok(Vec::new()),
    };
    let key = key(&event.order_id);
    let Some(row) = tables.get::<OrderRow>(&key)? else {
        return Ok(Vec::new());
    };
    if row.status != Status::Open {
        return Ok(Vec::new());
    }
    tables.put(&key, &OrderRow { status, ..row })?;
    tables.effect(&event.order_id, what)?;
    Ok(vec![event.then(ty)])
}

/// How often this run was started, and how often it was left in order.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Starts {
    begun: u64,
    ended: u64,
}

/// Takes all orders of a plan when the store has no plan yet, and counts this start, in one
/// transaction. Tells how many starts before were cut off: killed, or gone with their machine.
pub(crate) fn take(store: &Store, plan: &Plan, orders: &[Order]) -> Result<u64, StoreError> {
    store.write(|tables| {
        let Starts { begun, ended } = tables.get("starts/")?.unwrap_or_default();
        tables.put("starts/", &Starts { begun: begun + 1, ended })?;
        let kills = begun - ended;
        if tables.get::<Plan>("plan/")?.is_some() {
            return Ok(kills);
        }
        for (index, order) in (0..plan.count).zip(orders.iter().cycle()) {
            let id = order_id(plan.seed, index, order);
            let row = OrderRow { index, order: order.clone(), status: Status::Open };
            tables.put(&key(&id), &row)?;
        }
        tables.put("plan/", plan)?;
        Ok(kills)
    })
}

/// Counts that a start has come to its end, be it finished, stopped or failed.
pub(crate) fn leave(store: &Store) -> Result<(), StoreError> {
    store.write(|tables| {
        let starts: Starts = tables.get("starts/")?.unwrap_or_default();
        tables.put("starts/", &Starts { ended: starts.ended + 1, ..starts })
    })
}

/// The plan of the run that this store belongs to.
pub(crate) fn plan(store: &Store) -> Result<Option<Plan>, StoreError> {
    Ok(store.rows("plan/")?.pop().map(|(_, plan)| plan))
}

/// All orders with their ids, in the order of the run.
pub(crate) fn all(store: &Store) -> Result<Vec<(String, OrderRow)>, StoreError> {
    let mut rows: Vec<(String, OrderRow)> = store.rows("order/")?;
    rows.sort_by_key(|(_, row)| row.index);
    Ok(rows)
}

fn key(id: &str) -> String {
    format!("order/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::orders;
    use crate::demo::shop::{Shop, incoming, no_trouble};

    #[test]
    fn orders_are_taken_once_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), ORDER.name).unwrap();
        let sample = orders::load(None).unwrap();
        let plan = Plan { seed: 1, count: 700, fail_rate: 0.0, orders_digest: 0 };
        take(&store, &plan, &sample).unwrap();
        let other = Plan { seed: 2, ..plan.clone() };
        take(&store, &other, &sample).unwrap();
        let rows = all(&store).unwrap();
        assert_eq!(rows.len(), 700);
        assert_eq!(rows[301].1.order, sample[1]);
        assert_eq!(super::plan(&store).unwrap(), Some(plan));
    }

    #[test]
    fn a_start_that_was_not_left_was_killed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), ORDER.name).unwrap();
        let plan = Plan { seed: 1, count: 0, fail_rate: 0.0, orders_digest: 0 };
        let start = || take(&store, &plan, &[]).unwrap();
        assert_eq!(start(), 0);
        leave(&store).unwrap();
        assert_eq!(start(), 0);
        assert_eq!(start(), 1);
        leave(&store).unwrap();
        assert_eq!(start(), 1);
    }

    #[test]
    fn an_order_that_has_ended_does_not_end_again() {
        let mut shop = Shop::new(1);
        let id = shop.order_ids().remove(0);
        let mut told = incoming(EventType::NotificationSent, &id);
        told.payload.kind = Some(Kind::Confirmation);
        let outputs = shop.handle(&ORDER, told.clone(), &no_trouble());
        assert_eq!(outputs.iter().map(|it| it.ty).collect::<Vec<_>>(), [EventType::OrderCompleted]);
        told.origin.id = "another".into();
        assert_eq!(shop.handle(&ORDER, told, &no_trouble()), []);
        let released = incoming(EventType::InventoryReleased, &id);
        assert_eq!(shop.handle(&ORDER, released, &no_trouble()), []);
    }
}
