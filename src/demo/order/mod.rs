//! The order service: takes orders, and brings each to exactly one end. Its store also holds what
//! a run is about, so that a second start goes on with it.

mod events;
mod taken;

use quadrille::{Ctx, Failure, Participant, Tx};

pub(crate) use self::events::OrderCreated;
use self::events::{
    InventoryRejected, InventoryReleased, NotificationSent, OrderCancelled, OrderCompleted,
};
pub(crate) use self::taken::{OrderRow, Status, all, created, leave, plan, take};
use super::store::{StoreError, StoreTx};

pub(crate) fn participant() -> Participant {
    Participant::new("order", ()).on(told).compensate(rejected).compensate(released)
}

/// The confirmation is the last step of an order that went well.
async fn told(
    event: NotificationSent,
    ctx: Ctx,
    mut tx: Tx<StoreTx>,
) -> Result<Option<OrderCompleted>, Failure> {
    let confirmed = event.kind == "confirmation";
    let ended = confirmed && end(&mut tx, ctx.saga(), Status::Completed, "order completed")?;
    Ok(ended.then_some(OrderCompleted {}))
}

/// Nothing was reserved, so there is nothing to undo.
async fn rejected(
    event: InventoryRejected,
    ctx: Ctx,
    mut tx: Tx<StoreTx>,
) -> Result<Option<OrderCancelled>, Failure> {
    let ended = end(&mut tx, ctx.saga(), Status::Cancelled, "order cancelled")?;
    Ok(ended.then_some(OrderCancelled { reason: event.reason }))
}

/// All is undone.
async fn released(
    event: InventoryReleased,
    ctx: Ctx,
    mut tx: Tx<StoreTx>,
) -> Result<Option<OrderCancelled>, Failure> {
    let ended = end(&mut tx, ctx.saga(), Status::Cancelled, "order cancelled")?;
    Ok(ended.then_some(OrderCancelled { reason: event.reason }))
}

/// Ends an order that is open; tells whether it was.
fn end(tx: &mut StoreTx, id: &str, status: Status, deed: &str) -> Result<bool, StoreError> {
    let key = taken::key(id);
    let Some(row) = tx.get::<OrderRow>(&key)?.filter(|it| it.status == Status::Open) else {
        return Ok(false);
    };
    tx.put(&key, &OrderRow { status, ..row })?;
    tx.effect(id, deed, [("order", 1)])?;
    Ok(true)
}
