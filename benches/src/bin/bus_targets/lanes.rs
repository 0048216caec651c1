//! What order costs: keys by Zipf's law against no order, and a lane that fails for ever beside
//! lanes that do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use quadrille::{Delivery, Durability, Event, OrderBy, RetryPolicy, Subscription, Topic};
use quadrille_benches::{Failure, Goal, Line, Needs, Stage, nanos_histogram, now, record};
use quadrille_broker::limits::Limits;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use crate::Plan;
use crate::load::{self, Load, median, rate, subscribe};

pub(crate) async fn zipf(plan: &Plan) -> Result<Vec<Line>, Failure> {
    const ORDERS: [OrderBy; 2] = [OrderBy::Key, OrderBy::Nothing];
    let load = Load::new(128, 64).with_keys(load::zipf_keys(10_000));
    let events = plan.scaled(6_400) * load.batch;
    let (mut ratios, mut ordered, mut unordered) = (vec![], vec![], vec![]);
    for round in 0..plan.rounds {
        let mut pair = [0.0; 2];
        for turn in 0..2 {
            let at = (turn + round as usize) % 2;
            let Some(order) = ORDERS.get(at) else { continue };
            let stage = Stage::open(&plan.dir, Limits::default()).await?;
            let topic = stage.topic("t", Durability::Written).await?;
            let consumer = subscribe(&stage, &topic, "g", *order, 512).await?;
            let took = load::flow(&topic, consumer, &load, events, 8192).await?;
            if let Some(it) = pair.get_mut(at) {
                *it = rate(events, took);
            }
        }
        let [by_key, free] = pair;
        ratios.push(by_key / free);
        ordered.push(by_key);
        unordered.push(free);
    }
    Ok(vec![Line {
        goal: Goal {
            what: "ordered by 10,000 keys, Zipf s = 1.0 / unordered".into(),
            how: "publish, deliver, ack; written, batches of 64, 128 B, 512 delivered and not \
                  acked, dedup on"
                .into(),
            needs: Needs::AtLeast(0.6),
        },
        values: ratios,
        also: format!("{:.0} / {:.0} events/s", median(&ordered), median(&unordered)),
    }])
}

/// The key of the lane that fails.
const BAD: &str = "bad";
/// Every so many-th event is of that lane.
const BAD_EVERY: u64 = 100;
/// Events in a millisecond.
const AT_ONCE: u64 = 10;

pub(crate) async fn failing(plan: &Plan) -> Result<Vec<Line>, Failure> {
    let pairs = if plan.quick { 3 } else { plan.rounds.max(15) };
    let millis = plan.scaled(1_000);
    let (mut ratios, mut with, mut without) = (vec![], vec![], vec![]);
    for pair in 0..pairs {
        let mut found = [0.0; 2];
        for turn in 0..2 {
            let at = (turn + pair as usize) % 2;
            if let Some(it) = found.get_mut(at) {
                *it = p99_micros(plan, at == 0, millis).await?;
            }
        }
        let [failing, working] = found;
        ratios.push(failing / working);
        with.push(failing);
        without.push(working);
    }
    Ok(vec![Line {
        goal: Goal {
            what: "p99 publish to ack of other lanes, one failing for ever / none".into(),
            how: format!(
                "synced, 10 x 128 B each ms, 1,000 keys, {pairs} pairs; failing: 1 % of events, \
                 its head retried every 10 ms"
            ),
            needs: Needs::AtMost(1.1),
        },
        values: ratios,
        also: format!("{:.0} / {:.0} us", median(&with), median(&without)),
    }])
}

/// One run: an open loop of publishers, and a member that acknowledges what is not bad.
async fn p99_micros(plan: &Plan, fail: bool, millis: u64) -> Result<f64, Failure> {
    let stage = Stage::open(&plan.dir, Limits::default()).await?;
    let topic = stage.topic("t", Durability::Synced).await?;
    let (first, cap) = (Duration::from_millis(10), Duration::from_millis(10));
    let policy = RetryPolicy { max_attempts: u32::MAX, first, factor_percent: 100, cap };
    let group = stage.bus.group("g").topics(["t"]).retry(policy);
    let seen = Arc::new(Seen::new(fail, millis * AT_ONCE));
    let consuming = tokio::spawn(consume(group.subscribe().await?, Arc::clone(&seen)));
    publish(&topic, seen.start, millis).await?;
    seen.all.notified().await;
    consuming.abort();
    let times = seen.times.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(times.value_at_quantile(0.99) as f64 / 1e3)
}

/// What the member has seen of the lanes that work.
struct Seen {
    start: Instant,
    fail: bool,
    times: Mutex<Histogram<u64>>,
    left: AtomicU64,
    all: Notify,
}

impl Seen {
    fn new(fail: bool, events: u64) -> Self {
        let left = AtomicU64::new(events - events.div_ceil(BAD_EVERY));
        let times = Mutex::new(nanos_histogram());
        Self { start: now(), fail, times, left, all: Notify::new() }
    }

    fn handle(&self, delivery: Delivery) {
        let bad = delivery.key() == BAD;
        if bad && self.fail {
            drop(delivery.retry("it fails for ever"));
            return;
        }
        let sent = delivery.data().first_chunk().map_or(0, |it| u64::from_le_bytes(*it));
        drop(delivery.ack());
        if bad {
            return;
        }
        let took = self.start.elapsed().saturating_sub(Duration::from_nanos(sent));
        record(&mut self.times.lock().unwrap_or_else(PoisonError::into_inner), took);
        if self.left.fetch_sub(1, Relaxed) == 1 {
            self.all.notify_one();
        }
    }
}

async fn consume(mut member: Subscription, seen: Arc<Seen>) {
    while let Some(delivery) = member.next().await {
        seen.handle(delivery);
    }
}

async fn publish(topic: &Topic, start: Instant, millis: u64) -> Result<(), Failure> {
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut pending = Vec::new();
    for tick in 0..millis {
        ticks.tick().await;
        let sent = u64::try_from(start.elapsed().as_nanos())?;
        let event = |number: u64| {
            let mut data = vec![b'x'; 128];
            data.splice(..8, sent.to_le_bytes());
            let bad = number.is_multiple_of(BAD_EVERY);
            let key = if bad { BAD.to_owned() } else { format!("key-{}", number % 1_000) };
            Event::new("order.created").source("bench").key(key).data(data)
        };
        let events = (tick * AT_ONCE..(tick + 1) * AT_ONCE).map(event);
        pending.push(topic.publish_all(events).send().await?);
    }
    for answer in pending {
        answer.await?;
    }
    Ok(())
}
