//! The inventory service: reserves goods for an order, lets them go when the order fails, and
//! takes them off the shelf when they are shipped.

mod events;

use std::collections::BTreeMap;

use quadrille::{Ctx, Failure, Outputs, Participant, State, Tx};
use serde::{Deserialize, Serialize};

use self::events::{
    InventoryRejected, InventoryReleased, InventoryReserved, OrderCreated, PaymentFailed,
    PaymentRefunded, ShipmentScheduled,
};
use super::chance::{Chance, Fate};
use super::store::{Store, StoreError, StoreTx};

pub(crate) fn participant(chance: Chance) -> Participant<Chance> {
    Participant::new("inventory", chance)
        .on(reserve)
        .on(ship)
        .compensate(unpaid)
        .compensate(refunded)
}

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

/// What is held for an order: so much of each product.
type Hold = BTreeMap<String, u64>;

/// A business "no" is an event like a "yes".
#[derive(Debug, Outputs)]
enum Answer {
    Reserved(InventoryReserved),
    Rejected(InventoryRejected),
}

async fn reserve(
    order: OrderCreated,
    ctx: Ctx,
    State(chance): State<Chance>,
    mut tx: Tx<StoreTx>,
) -> Result<Answer, Failure> {
    let no = |reason: String| Ok(Answer::Rejected(InventoryRejected { reason }));
    if chance.fate(ctx.saga()) == Some(Fate::OutOfStock) {
        return no("the shelf was miscounted".to_owned());
    }
    let mut hold = Hold::new();
    for item in order.items {
        *hold.entry(item.product).or_default() += item.quantity;
    }
    for (product, quantity) in &hold {
        if shelf(&tx, product)?.free < *quantity {
            return no(format!("{product} is out of stock"));
        }
    }
    for (product, quantity) in &hold {
        let mut it = shelf(&tx, product)?;
        it.free -= quantity;
        it.reserved += quantity;
        tx.put(&shelf_key(product), &it)?;
    }
    tx.put(&hold_key(&ctx), &hold)?;
    tx.effect(ctx.saga(), "goods reserved", hold)?;
    let (cents, currency) = (order.cents, order.currency);
    Ok(Answer::Reserved(InventoryReserved { cents, currency }))
}

async fn ship(_: ShipmentScheduled, ctx: Ctx, mut tx: Tx<StoreTx>) -> Result<(), Failure> {
    end_hold(&mut tx, &ctx, "goods shipped", |it, quantity| it.shipped += quantity)?;
    Ok(())
}

async fn unpaid(
    event: PaymentFailed,
    ctx: Ctx,
    tx: Tx<StoreTx>,
) -> Result<InventoryReleased, Failure> {
    release(event.reason, &ctx, tx)
}

async fn refunded(
    event: PaymentRefunded,
    ctx: Ctx,
    tx: Tx<StoreTx>,
) -> Result<InventoryReleased, Failure> {
    release(event.reason, &ctx, tx)
}

/// A compensation says that it is done also when there was nothing to undo.
fn release(reason: String, ctx: &Ctx, mut tx: Tx<StoreTx>) -> Result<InventoryReleased, Failure> {
    end_hold(&mut tx, ctx, "goods released", |it, quantity| it.free += quantity)?;
    Ok(InventoryReleased { reason })
}

/// Ends a reservation, if there is one.
fn end_hold(
    tx: &mut StoreTx,
    ctx: &Ctx,
    deed: &str,
    moved: impl Fn(&mut Shelf, u64),
) -> Result<(), StoreError> {
    let hold: Hold = tx.get(&hold_key(ctx))?.unwrap_or_default();
    if hold.is_empty() {
        return Ok(());
    }
    for (product, quantity) in &hold {
        let mut it = shelf(tx, product)?;
        it.reserved = it.reserved.saturating_sub(*quantity);
        moved(&mut it, *quantity);
        tx.put(&shelf_key(product), &it)?;
    }
    tx.put(&hold_key(ctx), &Hold::new())?;
    tx.effect(ctx.saga(), deed, hold)
}

/// Fills the shelves with what will be wanted, when the store is new.
pub(crate) async fn receive(
    store: &Store,
    wanted: BTreeMap<String, u64>,
) -> Result<(), StoreError> {
    let receive = |tx: &mut StoreTx| {
        for (product, quantity) in wanted {
            if tx.get::<Shelf>(&shelf_key(&product))?.is_none() {
                tx.put(&shelf_key(&product), &Shelf { free: quantity, ..Shelf::default() })?;
                tx.effect("", "goods received", [(product, quantity)])?;
            }
        }
        Ok(())
    };
    store.change(receive).await
}

/// Every product's shelf.
pub(crate) fn shelves(store: &Store) -> Result<Vec<(String, Shelf)>, StoreError> {
    store.rows("shelf/")
}

fn shelf(tx: &StoreTx, product: &str) -> Result<Shelf, StoreError> {
    Ok(tx.get(&shelf_key(product))?.unwrap_or_default())
}

fn shelf_key(product: &str) -> String {
    format!("shelf/{product}")
}

fn hold_key(ctx: &Ctx) -> String {
    format!("hold/{}", ctx.saga())
}

#[cfg(test)]
mod tests {
    use super::events::Item;
    use super::*;

    const FINE: Chance = Chance { seed: 1, fail_rate: 0.0, crash_rate: 0.0 };

    async fn order(store: &Store, mugs: [u64; 2]) -> Answer {
        let item = |quantity| Item { product: "mug".to_owned(), quantity };
        let items = mugs.map(item).into();
        let order = OrderCreated { items, cents: 100, currency: "EUR".to_owned() };
        reserve(order, Ctx::test("order-1"), State::new(FINE), store.tx().await).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_not_on_the_shelf_is_refused_with_the_reason() {
        let store = Store::memory();
        receive(&store, [("mug".to_owned(), 3)].into()).await.unwrap();
        let reserved = order(&store, [1, 2]).await;
        assert!(matches!(reserved, Answer::Reserved(it) if it.cents == 100));
        let Answer::Rejected(refused) = order(&store, [1, 3]).await else { panic!("reserved") };
        assert_eq!(refused.reason, "mug is out of stock");
    }

    #[tokio::test]
    async fn shelves_are_filled_once_and_to_release_nothing_is_fine() {
        let store = Store::memory();
        for _ in 0..2 {
            receive(&store, [("mug".to_owned(), 3)].into()).await.unwrap();
        }
        let failed = PaymentFailed { reason: "no".to_owned() };
        let released = unpaid(failed, Ctx::test("order-1"), store.tx().await).await.unwrap();
        assert_eq!(released.reason, "no");
        let shelf = Shelf { free: 3, ..Shelf::default() };
        assert_eq!(shelves(&store).unwrap(), [("mug".to_owned(), shelf)]);
    }
}
