//! The payment provider: somebody else's service, played here. It knows each charge by its
//! idempotency key, so asking twice is asking once; it can be down; and of one charge it says only
//! later what became of it.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quadrille::{Bus, Ctx, Event, TypedEvent};
use serde::Serialize;

use crate::demo::chance::{Chance, Fate};

/// Its webhook, as it writes it.
#[derive(Debug, Event, Serialize)]
#[event(type = "charge.answered", topic = "payments")]
struct ChargeAnswered {
    #[event(saga)]
    order: String,
    cents: u64,
}

/// What it says of a charge.
#[derive(Debug)]
pub(crate) enum Charge {
    Done,
    Declined(String),
    /// It will tell by its webhook.
    Pending,
}

/// It cannot be reached.
#[derive(Debug)]
pub(crate) struct Down;

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection refused")
    }
}

/// One charge that it does not answer at once.
#[derive(Clone, Debug)]
pub(crate) struct Slow {
    pub(crate) order: String,
    pub(crate) answers_after: Duration,
}

/// The way to the provider. Clones lead to the same one.
#[derive(Clone)]
pub(crate) struct Provider(Arc<Inner>);

struct Inner {
    bus: Bus,
    chance: Chance,
    slow: Option<Slow>,
    down: AtomicBool,
    outage: Outage,
}

/// What an outage did to those who asked meanwhile.
#[derive(Debug, Default)]
struct Outage {
    /// Orders that were refused, and on which attempt, until they have got their answer.
    // order: looked up by order; walked only to be counted.
    refused: Mutex<HashMap<String, Option<u32>>>,
    attempts: AtomicU64,
}

impl Provider {
    pub(crate) fn new(bus: &Bus, chance: Chance, slow: Option<Slow>) -> Self {
        let (down, outage) = (AtomicBool::new(false), Outage::default());
        Self(Arc::new(Inner { bus: bus.clone(), chance, slow, down, outage }))
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.0.down.store(down, Ordering::Relaxed);
    }

    /// How many orders an outage has held up that got their answer since, and how many attempts
    /// that has cost them.
    pub(crate) fn outage(&self) -> (u64, u64) {
        let orders = self.refused().values().filter(|it| it.is_none()).count();
        (orders as u64, self.0.outage.attempts.load(Ordering::Relaxed))
    }

    /// Whether an order ever had to wait because of an outage. Nobody else does: each saga is held
    /// by itself.
    pub(crate) fn has_refused(&self, order: &str) -> bool {
        self.refused().contains_key(order)
    }

    /// Charges the card of an order. `reference` comes back with the webhook.
    pub(crate) async fn charge(
        &self,
        ctx: &Ctx,
        reference: &str,
        cents: u64,
    ) -> Result<Charge, Down> {
        self.reach(ctx)?;
        let order = ctx.saga();
        if let Some(slow) = self.0.slow.as_ref().filter(|it| it.order == order) {
            self.promise(ctx, reference, cents, slow.answers_after).await?;
            return Ok(Charge::Pending);
        }
        Ok(match self.0.chance.fate(order) {
            Some(Fate::CardDeclined) => Charge::Declined("the card was declined".to_owned()),
            _ => Charge::Done,
        })
    }

    /// Gives back what was charged.
    pub(crate) async fn refund(&self, ctx: &Ctx) -> Result<(), Down> {
        self.reach(ctx)
    }

    /// Its word outlives our crashes, and the idempotency key makes one of several.
    async fn promise(
        &self,
        ctx: &Ctx,
        reference: &str,
        cents: u64,
        after: Duration,
    ) -> Result<(), Down> {
        let event = ChargeAnswered { order: ctx.saga().to_owned(), cents }.event();
        let event = event.map_err(|_| Down)?.id(ctx.idempotency_key()).source("payments-api");
        let event = event.cause(reference).turn(ctx.turn());
        let topic = self.0.bus.topic(ChargeAnswered::TOPIC);
        topic.publish(event).after(after).await.map_err(|_| Down)?;
        Ok(())
    }

    fn reach(&self, ctx: &Ctx) -> Result<(), Down> {
        let mut refused = self.refused();
        if self.0.down.load(Ordering::Relaxed) {
            refused.entry(ctx.saga().to_owned()).or_default().get_or_insert(ctx.attempt());
            return Err(Down);
        }
        if let Some(first) = refused.get_mut(ctx.saga()).and_then(Option::take) {
            let used = u64::from(ctx.attempt().saturating_sub(first));
            self.0.outage.attempts.fetch_add(used, Ordering::Relaxed);
        }
        Ok(())
    }

    fn refused(&self) -> MutexGuard<'_, HashMap<String, Option<u32>>> {
        self.0.outage.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
