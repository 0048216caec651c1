//! A run as it goes: publishes orders as directed, looks at the log and at the groups, says how it
//! stands, and when a direction is done. Bus and services are open and closed elsewhere.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quadrille::{Bus, Receipt, TypedEvent};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::operator;
use super::options::Plan;
use super::order::{self, OrderCreated};
use super::report::{Act, CountsState, Direction, Done, Report, ServiceState, State, say};
use super::shop::{SERVICES, Shop, Taken};
use super::watch::Watch;
use crate::cli::Failure;

/// How many orders are under way at once, if they come as fast as they go.
const OPEN_ORDERS: usize = 128;

/// How many orders are published in one command at most.
const FEED_BATCH: usize = 64;

/// How often the log is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How often it is said how things stand.
const SAY_EVERY: Duration = Duration::from_millis(25);

/// A run about which the same is said so often is given up: nothing here waits longer by itself.
const STUCK_AFTER: u32 = 30 * 1000 / 25;

/// When a direction is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// Every order before this one has ended, or is parked.
    Until(u64),
    /// Nobody has anything left to do.
    Rest,
}

/// The run as it goes.
pub(crate) struct Stage {
    bus: Bus,
    shop: Shop,
    plan: Plan,
    taken: Taken,
    /// Orders that make trouble.
    cast: Vec<String>,
    /// How commands find the bus.
    place: String,
    watch: Watch,
    /// Gets a permit back when an order ends.
    room: Arc<Semaphore>,
    /// Publishes, and tells how many orders came twice.
    feeding: Option<JoinHandle<Result<u64, Failure>>>,
    /// Orders before this one are published.
    fed: u64,
    duplicates: u64,
    /// What compensations had overtaken before this start.
    overtaken_before: u64,
}

impl Stage {
    pub(crate) fn new(bus: &Bus, shop: Shop, plan: Plan, taken: Taken, place: String) -> Self {
        let cast = plan.cast(&taken.ids());
        Self {
            watch: Watch::new(bus, shop.provider.clone()),
            bus: bus.clone(),
            shop,
            plan,
            taken,
            cast: cast.poison.into_iter().chain(cast.slow).collect(),
            place,
            room: Arc::new(Semaphore::new(OPEN_ORDERS)),
            feeding: None,
            fed: 0,
            duplicates: 0,
            overtaken_before: 0,
        }
    }

    /// Does what it is told until it is told to stop.
    pub(crate) async fn obey(
        &mut self,
        directions: &mut mpsc::Receiver<Direction>,
    ) -> Result<(), Failure> {
        self.all_joined().await;
        self.overtaken_before = self.overtaken().await?;
        self.watch.look().await.map_err(Failure::run)?;
        let (plan, kills) = (self.plan.clone(), self.taken.kills);
        say(io::stdout(), &Report::Ready { plan, kills })?;
        let [mut look, mut tell] = [LOOK_EVERY, SAY_EVERY].map(interval);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tell.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut goal: Option<Goal> = None;
        let (mut last, mut same) = (State::default(), 0);
        loop {
            tokio::select! {
                direction = directions.recv() => match direction {
                    Some(Direction::Close) | None => return Ok(()),
                    Some(direction) => {
                        goal = self.take(direction).await?.or(goal);
                        same = 0;
                    }
                },
                _ = look.tick() => {
                    let ended = self.watch.look().await.map_err(Failure::run)?;
                    self.room.add_permits(usize::try_from(ended).unwrap_or(0));
                    self.check_feed().await?;
                }
                _ = tell.tick() => {
                    let (state, rest) = self.state().await?;
                    say(io::stdout(), &Report::State(state.clone()))?;
                    same = if state == last { same + 1 } else { 0 };
                    let stuck = same > STUCK_AFTER;
                    if goal.is_some_and(|goal| stuck || self.reached(goal, &state, rest)) {
                        goal = None;
                        let (measured, outage) = (self.watch.measured(), self.shop.provider.outage());
                        let late = self.watch.late().await.map_err(Failure::run)?;
                        say(io::stdout(), &Report::Done(Done { measured, outage, late }))?;
                    }
                    last = state;
                }
            }
        }
    }

    /// Until all services have their groups; that one cannot join ends all of it elsewhere.
    async fn all_joined(&self) {
        for name in SERVICES {
            while self.bus.group(name).info().await.is_err() {
                sleep(LOOK_EVERY).await;
            }
        }
    }

    fn reached(&self, goal: Goal, state: &State, rest: bool) -> bool {
        self.feeding.is_none()
            && match goal {
                Goal::Until(until) => state.ended + state.parked() >= until,
                Goal::Rest => rest && state.ended + state.parked() >= state.orders,
            }
    }

    async fn take(&mut self, direction: Direction) -> Result<Option<Goal>, Failure> {
        match direction {
            Direction::Feed { act, until, per_second } => {
                self.feed(act, until, per_second);
                return Ok(Some(Goal::Until(until)));
            }
            Direction::Settle => return Ok(Some(Goal::Rest)),
            Direction::Provider { down } => self.shop.provider.set_down(down),
            Direction::Resolve => {
                let parked = operator::parked(&self.bus, &self.place).await?;
                say(io::stdout(), &Report::Parked(parked))?;
                let resolved = operator::resolve(&self.bus, &self.shop.stores).await?;
                say(io::stdout(), &Report::Resolved(resolved))?;
            }
            Direction::Start { .. } | Direction::Close => {}
        }
        Ok(None)
    }

    /// Begins to publish what is open of the orders before this one.
    fn feed(&mut self, act: Act, until: u64, per_second: Option<u64>) {
        let from = std::mem::replace(&mut self.fed, until);
        let mut orders = Vec::new();
        for (id, row) in self.taken.open().filter(|(_, row)| (from..until).contains(&row.index)) {
            let act = if self.cast.contains(id) { Act::Cast } else { act };
            self.watch.expect(id, act);
            orders.push(order::created(id, row));
        }
        let (bus, plan, room) = (self.bus.clone(), self.plan.clone(), Arc::clone(&self.room));
        self.feeding = Some(tokio::spawn(feed(bus, plan, orders, room, per_second)));
    }

    async fn check_feed(&mut self) -> Result<(), Failure> {
        if let Some(feeding) = self.feeding.take_if(|it| it.is_finished()) {
            self.duplicates += feeding.await.map_err(Failure::run)??;
        }
        Ok(())
    }

    /// How it stands, and whether nobody has anything left to do but what is parked.
    async fn state(&self) -> Result<(State, bool), Failure> {
        let (mut services, mut rest) = (Vec::new(), true);
        for (name, store) in SERVICES.iter().zip(self.shop.stores.all()) {
            let info = self.bus.group(name).info().await.map_err(Failure::run)?;
            rest &= info.unsettled == 0;
            services.push(ServiceState {
                name: (*name).to_owned(),
                done: store.handled(),
                in_flight: info.out.into(),
                held: info.held as u64,
                parked: info.parked as u64,
            });
        }
        if rest {
            let info = self.bus.info().await.map_err(Failure::run)?;
            rest = info.limits.iter().all(|it| it.name != "timers" || it.used == 0);
        }
        let count = |it: &AtomicU64| it.load(Ordering::Relaxed);
        let counts = CountsState {
            retries: count(&self.shop.counts.panics),
            duplicates: self.duplicates,
            superseded: self.overtaken().await?.saturating_sub(self.overtaken_before),
            resent: count(&self.shop.counts.resent),
        };
        let (ended, orders) = (self.watch.ended(), self.taken.orders.len() as u64);
        let busy = self.shop.stores.all().iter().map(|it| it.busy()).sum();
        Ok((State { ended, orders, busy, services, counts }, rest))
    }

    /// How many events were overtaken by compensations.
    async fn overtaken(&self) -> Result<u64, Failure> {
        let mut overtaken = 0;
        for name in SERVICES {
            let letters = self.bus.dead_letters(name).await.map_err(Failure::run)?;
            overtaken += letters.iter().filter(|it| it.superseded_by.is_some()).count() as u64;
        }
        Ok(overtaken)
    }
}

/// Publishes orders: while there is room, or at a steady pace. Tells how many came twice.
async fn feed(
    bus: Bus,
    plan: Plan,
    orders: Vec<OrderCreated>,
    room: Arc<Semaphore>,
    per_second: Option<u64>,
) -> Result<u64, Failure> {
    let topic = bus.topic(OrderCreated::TOPIC);
    let chance = plan.chance(0.0);
    let mut pace = interval(Duration::from_micros(1_000_000 / per_second.unwrap_or(1).max(1)));
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut orders, mut duplicates) = (orders.into_iter().peekable(), 0);
    while orders.peek().is_some() {
        let mut many = 1;
        if per_second.is_some() {
            pace.tick().await;
        } else {
            room.acquire().await.map_err(Failure::run)?.forget();
            while many < FEED_BATCH
                && let Ok(more) = room.try_acquire()
            {
                more.forget();
                many += 1;
            }
        }
        let mut batch = Vec::new();
        for order in orders.by_ref().take(many) {
            // The id is the order's, so it is the same event whenever it is published.
            let event = order.event().map_err(Failure::run)?.id(&*order.order).source("shop");
            if chance.twice(&order.order) {
                batch.push(event.clone());
            }
            batch.push(event);
        }
        let receipts = topic.publish_all(batch).await.map_err(Failure::run)?;
        let twice = receipts.iter().filter(|it| matches!(it, Receipt::Duplicate { .. })).count();
        duplicates += twice as u64;
    }
    Ok(duplicates)
}
