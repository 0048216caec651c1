//! The README's service, and its test: `cargo test --example payment`.

#![expect(clippy::print_stdout, reason = "a program for people")]

use std::sync::Arc;

use quadrille::{Bus, Ctx, Event, Failure, OrFail, Participant, StartAt, State};
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[event(type = "order.created", topic = "orders")]
struct OrderCreated {
    #[event(saga)]
    order: String,
    cents: u64,
}

#[derive(Event, Serialize, Deserialize)]
#[event(type = "payment.processed", topic = "payments")]
struct PaymentProcessed {
    order: String,
}

async fn charge(
    event: OrderCreated,
    ctx: Ctx,
    api: State<Api>,
) -> Result<PaymentProcessed, Failure> {
    api.charge(event.cents, ctx.idempotency_key()).await.or_unavailable("payments-api")?;
    Ok(PaymentProcessed { order: event.order }) // settled and published in one atomic step
}

fn payment(api: Api) -> Participant<Api> {
    Participant::new("payment", api).on(charge)
}

/// A payment provider that knows idempotency keys.
#[derive(Clone, Default)]
struct Api(Arc<std::sync::Mutex<std::collections::BTreeMap<String, u64>>>);

impl Api {
    async fn charge(&self, cents: u64, key: String) -> Result<(), std::io::Error> {
        let mut charges = self.0.lock().map_err(|_| std::io::Error::other("down"))?;
        charges.insert(key, cents);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = Bus::memory().await?; // or Bus::open("./data")
    bus.publish(&OrderCreated { order: "order-1".into(), cents: 4999 }).await?;
    // It is new, and there is an event already.
    let payment = payment(Api::default()).start(StartAt::Beginning);
    payment.run(&bus).with_graceful_shutdown(ctrl_c()).await?;
    for event in bus.read("payments").all().await? {
        println!("{} of {}", event.event().ty, event.event().saga_or_id());
    }
    Ok(())
}

/// An example ends by itself; a service waits for `tokio::signal::ctrl_c()`.
async fn ctrl_c() {
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
}

#[cfg(test)]
mod tests {
    use quadrille::every_fault;

    use super::*;

    #[tokio::test]
    async fn an_order_is_charged_once_whatever_goes_wrong() {
        every_fault(async |t| {
            t.run(payment(Api::default()));
            t.publish(&OrderCreated { order: "order-1".into(), cents: 4999 }).await;
            t.run_to_end().await; // time is virtual
            assert_eq!(t.published::<PaymentProcessed>().len(), 1);
        })
        .await;
    }
}
