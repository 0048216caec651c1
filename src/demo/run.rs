//! A run: opens bus and stores, publishes what is not done yet, waits until everybody has
//! finished, and closes. Nothing is remembered here: a second start finds in the order store what
//! is open, publishes it under the same ids, and the bus and the inboxes know what they have had.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quadrille::{Bus, Event, Receipt, Retention, TopicOptions};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::chance::Chance;
use super::events::{EventType, Payload, TOPICS};
use super::inbox::Service;
use super::options::{DataDir, RunArgs};
use super::order::{self, OrderRow, Status};
use super::orders::Order;
use super::progress::{Progress, Tally, count};
use super::service::{Worker, subscribe};
use super::store::Store;
use super::{SERVICES, inventory, store_failure};
use crate::cli::Failure;

/// How many orders are under way at once.
const OPEN_ORDERS: usize = 256;

/// How many orders are published in one command at most.
const FEED_BATCH: usize = 64;

/// How often the end of the run is looked for, and progress shown.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A run in which nothing moves for so long is given up: nothing here waits longer by itself.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// How long a service that is stopped may take for what it has in its hands.
const CLOSING: Duration = Duration::from_secs(5);

/// How a run came to its end.
pub(crate) struct Ending {
    /// How many events wait for a human.
    pub(crate) parked: u64,
    /// How many starts before this one were killed.
    pub(crate) kills: u64,
}

/// Runs until every order has ended and nobody has anything left to do.
///
/// # Errors
/// Options that contradict the directory, a store or a bus that fails, or a user who stops it.
pub(crate) async fn run(
    args: &RunArgs,
    orders: &[Order],
    data: &DataDir,
    tally: &Arc<Tally>,
) -> Result<Ending, Failure> {
    let mut stores = Vec::new();
    for service in &SERVICES {
        let store = Store::open(&data.stores(), service.name).map_err(store_failure(data))?;
        stores.push(Arc::new(store));
    }
    let taken = Arc::clone(store_of(&stores, &order::ORDER)?);
    let (plan, kills) = prepare(args, orders, data, &stores)?;
    let served = serve(args, &plan, data, stores, tally).await;
    let left = order::leave(&taken).map_err(store_failure(data));
    let parked = served?;
    left?;
    Ok(Ending { parked, kills })
}

/// Opens the bus, has the services work on it until all is done, and closes it. Tells how many
/// events are parked.
async fn serve(
    args: &RunArgs,
    (chance, orders): &Prepared,
    data: &DataDir,
    stores: Vec<Arc<Store>>,
    tally: &Arc<Tally>,
) -> Result<u64, Failure> {
    let chance = *chance;
    let bus = Bus::open(data.bus()).await.map_err(Failure::run)?;
    // The audit needs every event, also when somebody comes back to it after a month.
    let retention = Retention { settled: None, ..Retention::default() };
    let keep_all = TopicOptions { retention, ..TopicOptions::default() };
    for topic in TOPICS {
        bus.create_topic_with(topic, keep_all).await.map_err(Failure::run)?;
    }
    let open_orders = Arc::new(Semaphore::new(OPEN_ORDERS));
    let mut workers = JoinSet::new();
    for (service, store) in SERVICES.iter().zip(stores) {
        let subscription = subscribe(&bus, service).await?;
        let (tally, open_orders) = (Arc::clone(tally), Arc::clone(&open_orders));
        let worker = Worker { service, store, chance, tally, open_orders };
        workers.spawn(worker.serve(subscription));
    }
    let progress = Progress::new(orders.len() as u64, args.plain, args.json);
    let run = Run { bus: bus.clone(), chance, tally: Arc::clone(tally), open_orders };
    let worked = tokio::select! {
        worked = run.work(orders, progress) => worked,
        Some(ended) = workers.join_next() => {
            Err(ended.map_err(Failure::run)?.err().unwrap_or_else(|| Failure::run("a service left")))
        }
        _ = tokio::signal::ctrl_c() => Err(Failure::Stopped(match &args.data {
            Some(dir) => format!("stopped; `quadrille demo --data {}` goes on", dir.display()),
            None => "stopped; only a run with --data DIR can go on later".to_owned(),
        })),
    };
    let closed = bus.close(CLOSING).await;
    let ended: Result<(), Failure> = workers.join_all().await.into_iter().collect();
    // What went wrong first explains the rest.
    let parked = worked?;
    ended?;
    closed.map_err(Failure::run)?;
    Ok(parked)
}

/// What goes wrong in the run, and all its orders with what is known of them.
type Prepared = (Chance, Vec<(String, OrderRow)>);

/// What to do, orders taken and stocked for if the run is a new one; and how many starts before
/// this one were killed.
fn prepare(
    args: &RunArgs,
    orders: &[Order],
    data: &DataDir,
    stores: &[Arc<Store>],
) -> Result<(Prepared, u64), Failure> {
    let taken = store_of(stores, &order::ORDER)?;
    let kept = order::plan(taken).map_err(store_failure(data))?;
    let plan = args.plan(kept, orders)?;
    let kills = order::take(taken, &plan, orders).map_err(store_failure(data))?;
    let orders = order::all(taken).map_err(store_failure(data))?;
    let wanted = orders.iter().map(|(_, row)| &row.order);
    inventory::receive(store_of(stores, &inventory::INVENTORY)?, wanted)
        .map_err(store_failure(data))?;
    let chance = Chance { seed: plan.seed, fail_rate: plan.fail_rate, crash_rate: args.crash_rate };
    Ok(((chance, orders), kills))
}

fn store_of<'a>(stores: &'a [Arc<Store>], service: &Service) -> Result<&'a Arc<Store>, Failure> {
    let at = SERVICES.iter().position(|it| it.name == service.name);
    at.and_then(|at| stores.get(at)).ok_or_else(|| Failure::run("no such service"))
}

/// One run under way.
struct Run {
    bus: Bus,
    chance: Chance,
    tally: Arc<Tally>,
    open_orders: Arc<Semaphore>,
}

impl Run {
    /// Feeds the open orders and waits for the end of all, showing how far it is. Tells how many
    /// events are parked.
    async fn work(
        &self,
        orders: &[(String, OrderRow)],
        mut progress: Progress,
    ) -> Result<u64, Failure> {
        let open: Vec<_> = orders.iter().filter(|(_, row)| row.status == Status::Open).collect();
        self.tally.ended.store((orders.len() - open.len()) as u64, Ordering::Relaxed);
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut feeding = pin!(self.feed(&open));
        let mut fed = false;
        let mut last = (Load::default(), tokio::time::Instant::now());
        loop {
            tokio::select! {
                done = &mut feeding, if !fed => {
                    done?;
                    fed = true;
                }
                _ = tick.tick() => {
                    progress.show(&self.tally);
                    let load = self.load().await?;
                    if load != last.0 {
                        last = (load, tokio::time::Instant::now());
                    }
                    let done = fed && load.unsettled == 0 && load.ended == orders.len() as u64;
                    if done || last.1.elapsed() > STUCK_AFTER {
                        progress.finish();
                        return Ok(load.parked);
                    }
                }
            }
        }
    }

    /// Publishes orders while fewer than [`OPEN_ORDERS`] are under way.
    async fn feed(&self, orders: &[&(String, OrderRow)]) -> Result<(), Failure> {
        let topic = self.bus.topic(EventType::OrderCreated.topic());
        let mut orders = orders.iter().peekable();
        while orders.peek().is_some() {
            let first = self.open_orders.acquire().await.map_err(Failure::run)?;
            first.forget();
            let mut permits = 1;
            while permits < FEED_BATCH
                && let Ok(more) = self.open_orders.try_acquire()
            {
                more.forget();
                permits += 1;
            }
            let mut batch = Vec::new();
            for (id, row) in orders.by_ref().take(permits) {
                let event = order_created(id, row)?;
                self.tally.started(id);
                if self.chance.twice(id) {
                    batch.push(event.clone());
                }
                batch.push(event);
            }
            let receipts = topic.publish_all(batch).await.map_err(Failure::run)?;
            let repeats = receipts.iter().filter(|it| matches!(it, Receipt::Duplicate { .. }));
            repeats.for_each(|_| count(&self.tally.duplicates));
        }
        Ok(())
    }

    /// What the services still have to do.
    async fn load(&self) -> Result<Load, Failure> {
        let ended = self.tally.ended.load(Ordering::Relaxed);
        let mut load = Load { ended, ..Load::default() };
        for service in &SERVICES {
            let info = self.bus.group(service.name).info().await.map_err(Failure::run)?;
            load.unsettled += info.unsettled;
            load.parked += info.parked as u64;
        }
        Ok(load)
    }
}

/// What is done, and what is left to do in all groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    ended: u64,
    unsettled: u64,
    parked: u64,
}

/// The event that starts an order's saga. Its id is the order's, so it is the same event whenever
/// it is published.
fn order_created(id: &str, row: &OrderRow) -> Result<Event, Failure> {
    let payload = Payload::from(row.order.clone());
    let event = Event::new(EventType::OrderCreated.name()).id(id).source("shop").saga(id);
    event.json(&payload).map_err(Failure::run)
}
