//! The inventory service: reserves goods for an order, lets them go when the order fails, and
//! takes them off the shelf when they are shipped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::chance::Chance;
use super::events::{EventType, Incoming, Output};
use super::inbox::Service;
use super::orders::{Item, Order};
use super::store::{Store, StoreError, Tables, What};

pub(crate) const INVENTORY: Service = Service {
    name: "inventory",
    consumes: &[
        EventType::OrderCreated,
        EventType::PaymentFailed,
        EventType::PaymentRefunded,
        EventType::ShipmentScheduled,
    ],
    compensating: &[EventType::PaymentFailed, EventType::PaymentRefunded],
    handle,
};

/// How many of a product are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shelf {
    /// Free to be ordered.
    pub(crate) free: u64,
    /// Held for open orders.
    pub(crate) reserved: u64,
    /// Gone to customers.
    pub(crate) shipped: u64,
}

/// What is held for an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Hold {
    Reserved,
    Released,
    Shipped,
}

fn handle(
    tables: &mut Tables<'_>,
    event: &Incoming,
    chance: &Chance,
) -> Result<Vec<Output>, StoreError> {
    match event.ty {
        EventType::OrderCreated => reserve(tables, event, chance),
        EventType::ShipmentScheduled => {
            close(tables, event, Hold::Shipped)?;
            Ok(Vec::new())
        }
        // A compensation says that it is done also when there was nothing to undo.
        _ => {
            close(tables, event, Hold::Released)?;
            Ok(vec![event.then(EventType::InventoryReleased)])
        }
    }
}

fn reserve(
    tables: &mut Tables<'_>,
    event: &Incoming,
    chance: &Chance,
) -> Result<Vec<Output>, StoreError> {
    let items = merged(&event.payload.order.items);
    let refuse = |why: &str| Ok(vec![event.but(EventType::InventoryRejected, why)]);
    if chance.failure(&event.order_id) == Some(EventType::InventoryRejected) {
        return refuse("the shelf was miscounted");
    }
    for (product, quantity) in &items {
        if shelf(tables, product)?.free < *quantity {
            return refuse(&format!("{product} is out of stock"));
        }
    }
    for (product, quantity) in &items {
        let mut it = shelf(tables, product)?;
        it.free -= quantity;
        it.reserved += quantity;
        tables.put(&shelf_key(product), &it)?;
    }
    tables.put(&hold_key(event), &Hold::Reserved)?;
    tables.effect(&event.order_id, What::StockReserved(event.payload.order.items.clone()))?;
    Ok(vec![event.then(EventType::InventoryReserved)])
}

/// Ends a reservation, if there is an open one.
fn close(tables: &mut Tables<'_>, event: &Incoming, how: Hold) -> Result<(), StoreError> {
    if tables.get(&hold_key(event))? != Some(Hold::Reserved) {
        return Ok(());
    }
    for (product, quantity) in merged(&event.payload.order.items) {
        let mut it = shelf(tables, &product)?;
        it.reserved = it.reserved.saturating_sub(quantity);
        match how {
            Hold::Shipped => it.shipped += quantity,
            _ => it.free += quantity,
        }
        tables.put(&shelf_key(&product), &it)?;
    }
    tables.put(&hold_key(event), &how)?;
    let items = event.payload.order.items.clone();
    tables.effect(
        &event.order_id,
        match how {
            Hold::Shipped => What::StockShipped(items),
            _ => What::StockReleased(items),
        },
    )
}

/// Fills the shelves for all these orders, when the store is new.
pub(crate) fn receive<'o>(
    store: &Store,
    orders: impl Iterator<Item = &'o Order>,
) -> Result<(), StoreError> {
    let mut wanted = BTreeMap::new();
    for item in orders.flat_map(|order| &order.items) {
        *wanted.entry(item.product_id.clone()).or_default() += u64::from(item.quantity);
    }
    store.write(|tables| {
        for (product, quantity) in wanted {
            if tables.get::<Shelf>(&shelf_key(&product))?.is_some() {
                continue;
            }
            tables.put(&shelf_key(&product), &Shelf { free: quantity, ..Shelf::default() })?;
            // An item counts to u32::MAX; more than that comes in several lots.
            let mut left = quantity;
            while left > 0 {
                let lot = u32::try_from(left).unwrap_or(u32::MAX);
                let item = Item { product_id: product.clone(), quantity: lot };
                tables.effect("", What::StockReceived(vec![item]))?;
                left -= u64::from(lot);
            }
        }
        Ok(())
    })
}

/// Every product's shelf.
pub(crate) fn shelves(store: &Store) -> Result<Vec<(String, Shelf)>, StoreError> {
    store.rows("shelf/")
}

/// Quantities per product: an order may name one twice.
fn merged(items: &[Item]) -> BTreeMap<String, u64> {
    let mut merged = BTreeMap::new();
    for item in items {
        *merged.entry(item.product_id.clone()).or_default() += u64::from(item.quantity);
    }
    merged
}

fn shelf(tables: &Tables<'_>, product: &str) -> Result<Shelf, StoreError> {
    Ok(tables.get(&shelf_key(product))?.unwrap_or_default())
}

fn shelf_key(product: &str) -> String {
    format!("shelf/{product}")
}

fn hold_key(event: &Incoming) -> String {
    format!("hold/{}", event.order_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::shop::{Shop, incoming, no_trouble};

    fn totals(shop: &Shop) -> (u64, u64, u64) {
        let shelves = shelves(shop.store(&INVENTORY)).unwrap();
        shelves.iter().fold((0, 0, 0), |(free, reserved, shipped), (_, it)| {
            (free + it.free, reserved + it.reserved, shipped + it.shipped)
        })
    }

    fn types(outputs: &[Output]) -> Vec<EventType> {
        outputs.iter().map(|it| it.ty).collect()
    }

    #[test]
    fn goods_are_reserved_then_shipped() {
        let mut shop = Shop::new(1);
        let wanted = totals(&shop).0;
        let done = shop.handle(&INVENTORY, incoming(EventType::OrderCreated, "a"), &no_trouble());
        assert_eq!(types(&done), [EventType::InventoryReserved]);
        assert_eq!(totals(&shop), (0, wanted, 0));
        let shipped = incoming(EventType::ShipmentScheduled, "a");
        assert_eq!(shop.handle(&INVENTORY, shipped, &no_trouble()), []);
        assert_eq!(totals(&shop), (0, 0, wanted));
    }

    #[test]
    fn goods_are_released_once_and_releasing_nothing_is_fine() {
        let mut shop = Shop::new(1);
        let before = totals(&shop);
        shop.handle(&INVENTORY, incoming(EventType::OrderCreated, "a"), &no_trouble());
        for ty in [EventType::PaymentRefunded, EventType::PaymentFailed] {
            let done = shop.handle(&INVENTORY, incoming(ty, "a"), &no_trouble());
            assert_eq!(types(&done), [EventType::InventoryReleased]);
            assert_eq!(totals(&shop), before);
        }
    }

    #[test]
    fn what_is_not_on_the_shelf_is_refused_with_the_reason() {
        let mut shop = Shop::new(1);
        shop.handle(&INVENTORY, incoming(EventType::OrderCreated, "a"), &no_trouble());
        let done = shop.handle(&INVENTORY, incoming(EventType::OrderCreated, "b"), &no_trouble());
        assert_eq!(types(&done), [EventType::InventoryRejected]);
        assert!(done[0].payload.reason.as_deref().unwrap().ends_with("is out of stock"));
    }

    #[test]
    fn shelves_are_filled_once() {
        let mut shop = Shop::new(1);
        shop.handle(&INVENTORY, incoming(EventType::OrderCreated, "a"), &no_trouble());
        let order = incoming(EventType::OrderCreated, "a").payload.order;
        receive(shop.store(&INVENTORY), [&order].into_iter()).unwrap();
        assert_eq!(totals(&shop).0, 0);
    }
}
