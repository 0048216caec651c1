//! The orders that were taken: their rows, the plan of the run they belong to, and how often it was
//! started. No handling of events.

use serde::{Deserialize, Serialize};

use super::OrderCreated;
use super::events::Item;
use crate::demo::options::Plan;
use crate::demo::orders::{Order, order_id};
use crate::demo::store::{Store, StoreError, StoreTx};

/// An order as the service knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OrderRow {
    /// Its place in the run.
    pub(crate) index: u64,
    pub(crate) order: Order,
    /// In which the customer pays.
    pub(crate) currency: String,
    pub(crate) status: Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Open,
    Completed,
    Cancelled,
}

impl Status {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How often this run was started, and how often it was left in order.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Starts {
    begun: u64,
    ended: u64,
}

/// Takes all orders of a plan when the store has no plan yet, and counts this start, in one
/// transaction. Tells how many starts before were cut off: killed, or gone with their machine.
pub(crate) async fn take(store: &Store, plan: &Plan, orders: &[Order]) -> Result<u64, StoreError> {
    let take = |tx: &mut StoreTx| {
        let Starts { begun, ended } = tx.get("starts/")?.unwrap_or_default();
        tx.put("starts/", &Starts { begun: begun + 1, ended })?;
        let kills = begun - ended;
        if tx.get::<Plan>("plan/")?.is_some() {
            return Ok(kills);
        }
        let ids = ids(plan, orders);
        let cast = plan.cast(&ids);
        for ((index, order), id) in (0..plan.count).zip(orders.iter().cycle()).zip(&ids) {
            let currency = if cast.poison.contains(id) { "XTS" } else { "EUR" }.to_owned();
            let (order, status) = (order.clone(), Status::Open);
            tx.put(&key(id), &OrderRow { index, order, currency, status })?;
        }
        tx.put("plan/", plan)?;
        Ok(kills)
    };
    store.change(take).await
}

fn ids(plan: &Plan, orders: &[Order]) -> Vec<String> {
    let orders = (0..plan.count).zip(orders.iter().cycle());
    orders.map(|(index, order)| order_id(plan.seed, index, order)).collect()
}

/// Counts that a start has come to its end, be it finished, stopped or failed.
pub(crate) async fn leave(store: &Store) -> Result<(), StoreError> {
    let leave = |tx: &mut StoreTx| {
        let starts: Starts = tx.get("starts/")?.unwrap_or_default();
        tx.put("starts/", &Starts { ended: starts.ended + 1, ..starts })
    };
    store.change(leave).await
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

/// The event that starts an order's saga.
pub(crate) fn created(id: &str, row: &OrderRow) -> OrderCreated {
    let item = |it: &crate::demo::orders::Item| Item {
        product: it.product_id.clone(),
        quantity: u64::from(it.quantity),
    };
    OrderCreated {
        order: id.to_owned(),
        customer: row.order.customer_id.clone(),
        items: row.order.items.iter().map(item).collect(),
        cents: row.order.total_amount.cents(),
        currency: row.currency.clone(),
    }
}

pub(super) fn key(id: &str) -> String {
    format!("order/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::orders;

    fn plan_of(seed: u64, count: u64) -> Plan {
        Plan { seed, count, fail_rate: 0.0, orders_digest: 0, story: false }
    }

    #[tokio::test]
    async fn orders_are_taken_once_and_in_order() {
        let store = Store::memory();
        let sample = orders::load(None).unwrap();
        take(&store, &plan_of(1, 700), &sample).await.unwrap();
        take(&store, &plan_of(2, 700), &sample).await.unwrap();
        let rows = all(&store).unwrap();
        assert_eq!(rows.len(), 700);
        assert_eq!(rows[301].1.order, sample[1]);
        assert_eq!(plan(&store).unwrap(), Some(plan_of(1, 700)));
    }

    #[tokio::test]
    async fn a_story_has_three_orders_that_nobody_can_charge() {
        let store = Store::memory();
        let plan = Plan { story: true, ..plan_of(1, 300) };
        take(&store, &plan, &orders::load(None).unwrap()).await.unwrap();
        let odd = all(&store).unwrap().into_iter().filter(|(_, row)| row.currency == "XTS");
        assert_eq!(odd.count(), 3);
    }

    #[tokio::test]
    async fn a_start_that_was_not_left_was_killed() {
        let store = Store::memory();
        let mut kills = Vec::new();
        for left in [true, false, true, true] {
            kills.push(take(&store, &plan_of(1, 0), &[]).await.unwrap());
            if left {
                leave(&store).await.unwrap();
            }
        }
        assert_eq!(kills, [0, 0, 1, 1]);
    }
}
