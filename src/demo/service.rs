//! A service on the bus: takes what is ready, handles it in one local transaction, and then
//! settles each event in a step that publishes its outputs. What the handling means is not here.
//!
//! The order of things is the whole point: the transaction is committed before the bus hears of
//! any of its events. A crash before the commit leaves nothing; a crash after it leaves outputs in
//! the inbox, which the redelivery finds and publishes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use quadrille::{
    Bus, Closed, Committing, Delivery, ErrorKind, Event, OrderBy, RetryPolicy, StartAt,
    Subscription,
};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};

use super::chance::{Chance, Crash};
use super::events::{EventType, Incoming, Origin, Output, TOPICS};
use super::inbox::{Service, Verdict, crash, handle_batch};
use super::progress::{Tally, count};
use super::store::Store;
use crate::cli::Failure;

/// How many events share one local transaction at most.
const BATCH: usize = 128;

/// How many batches may wait for the bus while the next is handled.
const UNANSWERED: usize = 4;

/// How many events a service may hold.
const CREDIT: u32 = 512;

/// More attempts than `--crash-rate` takes, and room for a process that is killed again and again;
/// pauses that fit services which are back at once.
const RETRY: RetryPolicy = RetryPolicy {
    max_attempts: 100,
    first: Duration::from_millis(20),
    factor_percent: 200,
    cap: Duration::from_secs(1),
};

/// Joins the group of a service.
pub(crate) async fn subscribe(bus: &Bus, service: &Service) -> Result<Subscription, Failure> {
    let topics = TOPICS.iter().filter(|it| service.consumes.iter().any(|ty| ty.topic() == **it));
    bus.group(service.name)
        .topics(topics.copied())
        .types(service.consumes.iter().map(|it| it.name()))
        .superseding(service.compensating.iter().map(|it| it.name()))
        .order_by(OrderBy::Saga)
        .retry(RETRY)
        .credit(CREDIT)
        .start(StartAt::Beginning)
        .subscribe()
        .await
        .map_err(Failure::run)
}

/// One service at work.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) service: &'static Service,
    pub(crate) store: Arc<Store>,
    pub(crate) chance: Chance,
    pub(crate) tally: Arc<Tally>,
    /// Gets a permit back when an order ends.
    pub(crate) open_orders: Arc<Semaphore>,
}

impl Worker {
    /// Serves until the bus closes.
    ///
    /// # Errors
    /// The store failed, or the bus closed for another reason than being asked to.
    pub(crate) async fn serve(self, subscription: Subscription) -> Result<(), Failure> {
        let mut batches = subscription.ready_chunks(BATCH);
        let mut unanswered = JoinSet::new();
        while let Some(deliveries) = batches.next().await {
            let steps = self.handle(deliveries).await?;
            unanswered.spawn(self.clone().answered(steps));
            if unanswered.len() > UNANSWERED {
                unanswered.join_next().await;
            }
        }
        unanswered.join_all().await;
        match batches.get_ref().closed() {
            None | Some(Closed::ShuttingDown | Closed::Left) => Ok(()),
            Some(why) => {
                Err(Failure::Run(format!("the bus has closed the {}: {why}", self.service.name)))
            }
        }
    }

    /// Handles a batch, commits it, and records its steps.
    async fn handle(
        &self,
        deliveries: Vec<Delivery>,
    ) -> Result<Vec<(Committing, Option<String>)>, Failure> {
        let mut open = Vec::with_capacity(deliveries.len());
        let mut batch = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            match incoming(&delivery) {
                Ok(event) => {
                    batch.push(event);
                    open.push(delivery);
                }
                Err(why) => drop(delivery.dead_letter(why)),
            }
        }
        let (service, store, chance) = (self.service, Arc::clone(&self.store), self.chance);
        let handled = spawn_blocking(move || {
            let verdicts = handle_batch(service, &store, &chance, &batch)?;
            Ok::<_, super::StoreError>(batch.into_iter().zip(verdicts).collect::<Vec<_>>())
        });
        let failed = |e| Failure::Run(format!("the store of the {} service: {e}", service.name));
        let handled = handled.await.map_err(Failure::run)?.map_err(failed)?;
        let settle = |(delivery, (event, verdict))| self.settle(delivery, &event, verdict);
        Ok(open.into_iter().zip(handled).filter_map(settle).collect())
    }

    fn settle(
        &self,
        delivery: Delivery,
        event: &Incoming,
        verdict: Verdict,
    ) -> Option<(Committing, Option<String>)> {
        if delivery.attempt() > 1 {
            count(&self.tally.retries);
        }
        let Origin { id, attempt, .. } = &event.origin;
        let outputs = match verdict {
            // Dropping a delivery is what a panic of its handler does.
            Verdict::Panicked => return None,
            Verdict::Copy => {
                count(&self.tally.duplicates);
                drop(delivery.ack());
                return None;
            }
            Verdict::Done(outputs) => {
                delivery.superseded().for_each(|_| count(&self.tally.superseded));
                if self.chance.crash(self.service.name, id, *attempt) == Some(Crash::AfterCommit) {
                    let unwound = catch_unwind(AssertUnwindSafe(move || {
                        let _in_hand = delivery;
                        crash()
                    }));
                    return unwound.ok();
                }
                outputs
            }
            Verdict::Again(outputs) => outputs,
        };
        if outputs.is_empty() {
            drop(delivery.ack());
            return None;
        }
        let ends = outputs
            .iter()
            .any(|it| matches!(it.ty, EventType::OrderCompleted | EventType::OrderCancelled));
        let step = self.step(delivery, outputs)?;
        Some((step, ends.then(|| event.order_id.clone())))
    }

    fn step(&self, delivery: Delivery, outputs: Vec<Output>) -> Option<Committing> {
        let mut step = delivery.step();
        for Output { ty, payload } in outputs {
            let event = Event::new(ty.name()).source(self.service.name).json(&payload).ok()?;
            step = step.publish(ty.topic(), event);
        }
        Some(step.commit())
    }

    /// Waits until the bus has the steps.
    async fn answered(self, steps: Vec<(Committing, Option<String>)>) {
        for (step, end) in steps {
            match step.await {
                Ok(_) => {
                    if end.is_some_and(|order_id| self.tally.ended(&order_id)) {
                        self.open_orders.add_permits(1);
                    }
                }
                // Somebody else has it, or has done it.
                Err(refused) if refused.why.kind() == ErrorKind::LeaseLost => {}
                Err(refused) => drop(refused.delivery.unavailable(refused.why.to_string())),
            }
        }
    }
}

fn incoming(delivery: &Delivery) -> Result<Incoming, String> {
    let view = delivery.event();
    let ty = EventType::parse(view.ty).ok_or_else(|| format!("{} is not known here", view.ty))?;
    let payload = delivery.json().map_err(|e| format!("it carries no order: {e}"))?;
    let origin = Origin {
        topic: delivery.topic().to_owned(),
        offset: delivery.offset(),
        source: view.source.to_owned(),
        id: view.id.to_owned(),
        generation: 0,
        attempt: delivery.attempt(),
    };
    Ok(Incoming { origin, ty, order_id: delivery.saga().to_owned(), payload })
}
