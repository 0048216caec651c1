//! The shipping service: sends a parcel, or says why it cannot.

mod events;

use quadrille::{Ctx, Failure, Outputs, Participant, State, Tx};

use self::events::{PaymentProcessed, ShipmentRefused, ShipmentScheduled};
use super::chance::{Chance, Fate};
use super::store::StoreTx;

pub(crate) fn participant(chance: Chance) -> Participant<Chance> {
    Participant::new("shipping", chance).on(send)
}

#[derive(Debug, Outputs)]
enum Answer {
    Scheduled(ShipmentScheduled),
    Refused(ShipmentRefused),
}

async fn send(
    _: PaymentProcessed,
    ctx: Ctx,
    State(chance): State<Chance>,
    mut tx: Tx<StoreTx>,
) -> Result<Answer, Failure> {
    if chance.fate(ctx.saga()) == Some(Fate::NoCarrier) {
        let reason = "no carrier goes to that address".to_owned();
        return Ok(Answer::Refused(ShipmentRefused { reason }));
    }
    tx.effect(ctx.saga(), "parcel sent", [("parcel", 1)])?;
    Ok(Answer::Scheduled(ShipmentScheduled { parcel: format!("parcel of {}", ctx.saga()) }))
}
