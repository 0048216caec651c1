//! The notification service: tells the customer how the order ended.

mod events;

use quadrille::{Ctx, Failure, Participant, Tx};

use self::events::{NotificationSent, OrderCancelled, ShipmentScheduled};
use super::store::{StoreError, StoreTx};

pub(crate) fn participant() -> Participant {
    Participant::new("notification", ()).on(confirm).compensate(regret)
}

async fn confirm(
    event: ShipmentScheduled,
    ctx: Ctx,
    tx: Tx<StoreTx>,
) -> Result<NotificationSent, Failure> {
    Ok(mail(tx, &ctx, "confirmation", format!("The {} is on its way.", event.parcel))?)
}

async fn regret(
    event: OrderCancelled,
    ctx: Ctx,
    tx: Tx<StoreTx>,
) -> Result<NotificationSent, Failure> {
    Ok(mail(tx, &ctx, "cancellation", format!("We are sorry: {}.", event.reason))?)
}

fn mail(
    mut tx: Tx<StoreTx>,
    ctx: &Ctx,
    kind: &str,
    text: String,
) -> Result<NotificationSent, StoreError> {
    tx.effect(ctx.saga(), &format!("{kind} mailed"), [("mail", 1)])?;
    Ok(NotificationSent { kind: kind.to_owned(), text })
}
