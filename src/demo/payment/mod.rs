//! The payment service: charges a card, and gives the money back when the order fails later.
//!
//! Most charges are answered at once. One that is not has a time limit: asking and arming the limit
//! are one step, and then the provider's answer and the limit race in the log. Whichever comes
//! first decides, whichever comes second finds that in this service's own store: a limit finds the
//! card charged and does nothing; a charge finds the order failed and is refunded on the spot.

mod events;
pub(crate) mod provider;

use std::time::Duration;

use quadrille::{Ctx, Envelope, Failure, OrFail, Outputs, Participant, State, Step, Tx};
use serde::{Deserialize, Serialize};

use self::events::{
    ChargeAnswered, InventoryReserved, OrderWithdrawn, PaymentExpired, PaymentFailed,
    PaymentProcessed, PaymentRefunded, PaymentReversed, ShipmentRefused,
};
use self::provider::{Charge, Provider};
use super::store::{Store, StoreError, StoreTx};

/// So long a charge may take.
pub(crate) const CHARGE_LIMIT: Duration = Duration::from_secs(1);

const CHARGED: &str = "card charged";
const REFUNDED: &str = "card refunded";

pub(crate) fn participant(provider: Provider) -> Participant<Provider> {
    Participant::new("payment", provider)
        .on(charge)
        .on_late(answered)
        .on(expired)
        .compensate(refused)
        .compensate(withdrawn)
}

/// Where an order's payment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Payment {
    Asked,
    Charged {
        cents: u64,
    },
    /// Not paid, and never to be.
    Over,
}

#[derive(Debug, Outputs)]
enum Answer {
    Processed(PaymentProcessed),
    Failed(PaymentFailed),
    /// The provider will say.
    NotYet,
}

async fn charge(
    event: InventoryReserved,
    ctx: Ctx,
    envelope: Envelope,
    State(provider): State<Provider>,
    mut tx: Tx<StoreTx>,
) -> Result<Step<Answer>, Failure> {
    let InventoryReserved { cents, currency } = event;
    let known: Option<String> = tx.get(&currency_key(&currency))?;
    known.or_park(format!("unexpected currency {currency:?}"))?;
    let answer =
        provider.charge(&ctx, envelope.id(), cents).await.or_unavailable("payments-api")?;
    Ok(match answer {
        Charge::Done => {
            charged(&mut tx, &ctx, cents)?;
            Answer::Processed(PaymentProcessed { cents }).into_step()
        }
        Charge::Declined(reason) => {
            set(&mut tx, &ctx, Payment::Over)?;
            Answer::Failed(PaymentFailed { reason }).into_step()
        }
        Charge::Pending => {
            set(&mut tx, &ctx, Payment::Asked)?;
            Answer::NotYet.into_step().after(CHARGE_LIMIT, &PaymentExpired {})
        }
    })
}

#[derive(Debug, Outputs)]
enum Answered {
    Processed(PaymentProcessed),
    Reversed(PaymentReversed),
    /// A webhook that came twice.
    Known,
}

/// Also of an order that is cancelled meanwhile: money that was taken must go back.
async fn answered(
    event: ChargeAnswered,
    ctx: Ctx,
    State(provider): State<Provider>,
    mut tx: Tx<StoreTx>,
) -> Result<Answered, Failure> {
    let cents = event.cents;
    Ok(match get(&tx, &ctx)? {
        Some(Payment::Asked) => {
            charged(&mut tx, &ctx, cents)?;
            Answered::Processed(PaymentProcessed { cents })
        }
        Some(Payment::Charged { .. }) => Answered::Known,
        Some(Payment::Over) | None => {
            charged(&mut tx, &ctx, cents)?;
            refund(&mut tx, &ctx, &provider, cents).await?;
            Answered::Reversed(PaymentReversed { cents })
        }
    })
}

async fn expired(
    _: PaymentExpired,
    ctx: Ctx,
    mut tx: Tx<StoreTx>,
) -> Result<Option<PaymentFailed>, Failure> {
    if get(&tx, &ctx)? != Some(Payment::Asked) {
        return Ok(None);
    }
    set(&mut tx, &ctx, Payment::Over)?;
    let reason = format!("the provider has not answered within {CHARGE_LIMIT:?}");
    Ok(Some(PaymentFailed { reason }))
}

/// A compensation says that it is done also when there was nothing to undo.
async fn refused(
    event: ShipmentRefused,
    ctx: Ctx,
    State(provider): State<Provider>,
    mut tx: Tx<StoreTx>,
) -> Result<PaymentRefunded, Failure> {
    if let Some(Payment::Charged { cents }) = get(&tx, &ctx)? {
        refund(&mut tx, &ctx, &provider, cents).await?;
    }
    set(&mut tx, &ctx, Payment::Over)?;
    Ok(PaymentRefunded { reason: event.reason })
}

/// An order that is paid is on its way, and not to be stopped here.
async fn withdrawn(
    event: OrderWithdrawn,
    ctx: Ctx,
    mut tx: Tx<StoreTx>,
) -> Result<Option<PaymentFailed>, Failure> {
    if matches!(get(&tx, &ctx)?, Some(Payment::Charged { .. } | Payment::Over)) {
        return Ok(None);
    }
    set(&mut tx, &ctx, Payment::Over)?;
    Ok(Some(PaymentFailed { reason: event.reason }))
}

/// From now on this currency is charged.
pub(crate) async fn accept(store: &Store, currency: &str) -> Result<(), StoreError> {
    store.change(|tx| tx.put(&currency_key(currency), &"EUR")).await
}

fn charged(tx: &mut StoreTx, ctx: &Ctx, cents: u64) -> Result<(), StoreError> {
    set(tx, ctx, Payment::Charged { cents })?;
    tx.effect(ctx.saga(), CHARGED, [("cents", cents)])
}

async fn refund(
    tx: &mut StoreTx,
    ctx: &Ctx,
    provider: &Provider,
    cents: u64,
) -> Result<(), Failure> {
    provider.refund(ctx).await.or_unavailable("payments-api")?;
    set(tx, ctx, Payment::Over)?;
    Ok(tx.effect(ctx.saga(), REFUNDED, [("cents", cents)])?)
}

fn get(tx: &StoreTx, ctx: &Ctx) -> Result<Option<Payment>, StoreError> {
    tx.get(&format!("payment/{}", ctx.saga()))
}

fn set(tx: &mut StoreTx, ctx: &Ctx, to: Payment) -> Result<(), StoreError> {
    tx.put(&format!("payment/{}", ctx.saga()), &to)
}

fn currency_key(currency: &str) -> String {
    format!("currency/{currency}")
}

#[cfg(test)]
mod tests {
    use quadrille::{Bus, Emitter};

    use super::*;
    use crate::demo::chance::{Chance, Fate};

    /// What comes of the charge of an order with this fate: the types that are emitted.
    async fn asked(fate: Option<Fate>, currency: &str, down: bool) -> Result<Vec<String>, Failure> {
        let chance = Chance { seed: 3, fail_rate: 0.5, crash_rate: 0.0 };
        let order = (0..).map(|n| format!("order-{n}")).find(|id| chance.fate(id) == fate).unwrap();
        let provider = Provider::new(&Bus::memory().await.unwrap(), chance, None);
        provider.set_down(down);
        let store = Store::memory();
        accept(&store, "EUR").await.unwrap();
        let event = InventoryReserved { cents: 100, currency: currency.to_owned() };
        let (ctx, state) = (Ctx::test(&order), State::new(provider));
        let step = charge(event, ctx.clone(), Envelope::of(&ctx), state, store.tx().await).await?;
        let mut emitter = Emitter::default();
        step.emit(&mut emitter)?;
        Ok(emitter.events().map(|(ty, ..)| ty.to_owned()).collect())
    }

    #[tokio::test]
    async fn a_no_is_an_event_and_what_cannot_be_decided_is_a_failure_of_its_class() {
        assert_eq!(asked(None, "EUR", false).await.unwrap(), ["payment.processed"]);
        let declined = Some(Fate::CardDeclined);
        assert_eq!(asked(declined, "EUR", false).await.unwrap(), ["payment.failed"]);
        let parked = asked(None, "XTS", false).await.unwrap_err();
        assert_eq!(parked.to_string(), r#"parked: unexpected currency "XTS""#);
        let held = asked(None, "EUR", true).await.unwrap_err();
        assert_eq!(held.to_string(), "unavailable: payments-api: connection refused");
    }
}
