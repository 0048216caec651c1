//! What is done to a bus: events, publishers, consumers. Nothing is measured here but time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quadrille::{Event, OrderBy, Pending, Receipts, Subscription, Topic};
use quadrille_benches::{Failure, Stage, now};
use tokio::sync::Semaphore;

/// What events look like and how they are published.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) data: Bytes,
    pub(crate) batch: u64,
    /// Taken in turns; none: events without a key.
    pub(crate) keys: Arc<[Box<str>]>,
}

impl Load {
    /// Batches of so many events with so many bytes of payload.
    pub(crate) fn new(payload: usize, batch: u64) -> Self {
        let data = std::iter::repeat_with(|| fastrand::u8(..)).take(payload).collect();
        Self { data, batch, keys: [].into() }
    }

    /// The same with keys.
    pub(crate) fn with_keys(self, keys: Arc<[Box<str>]>) -> Self {
        Self { keys, ..self }
    }

    pub(crate) fn event(&self, number: u64) -> Event {
        let event = Event::new("order.created").source("bench").data(self.data.clone());
        let count = self.keys.len().max(1) as u64;
        match usize::try_from(number % count).ok().and_then(|at| self.keys.get(at)) {
            Some(key) => event.key(&**key),
            None => event,
        }
    }

    /// The batch that begins with event `first`.
    pub(crate) fn events(&self, first: u64) -> impl Iterator<Item = Event> + '_ {
        (first..first + self.batch).map(|number| self.event(number))
    }
}

/// Publishes batches, so many of them unanswered at a time.
pub(crate) async fn publish(
    topic: &Topic,
    load: &Load,
    batches: u64,
    in_flight: usize,
) -> Result<(), Failure> {
    let mut pending: VecDeque<Pending<Receipts>> = VecDeque::with_capacity(in_flight);
    for batch in 0..batches {
        if pending.len() == in_flight
            && let Some(oldest) = pending.pop_front()
        {
            oldest.await?;
        }
        let events = load.events(batch * load.batch);
        pending.push_back(topic.publish_all(events).send().await?);
    }
    for answer in pending {
        answer.await?;
    }
    Ok(())
}

/// `publish` by several tasks at once, to these topics in turns; the time it took.
pub(crate) async fn publish_by(
    tasks: u64,
    topics: &[Topic],
    load: &Load,
    batches: u64,
    in_flight: usize,
) -> Result<Duration, Failure> {
    let start = now();
    let mut running = tokio::task::JoinSet::new();
    for (_, topic) in (0..tasks).zip(topics.iter().cycle()) {
        let (topic, load) = (topic.clone(), load.clone());
        running.spawn(
            async move { publish(&topic, &load, (batches / tasks).max(1), in_flight).await },
        );
    }
    for done in running.join_all().await {
        done?;
    }
    Ok(start.elapsed())
}

/// Publishes, delivers and acknowledges `events`, of which `window` are published and not yet
/// acknowledged; the time it took.
pub(crate) async fn flow(
    topic: &Topic,
    consumer: Subscription,
    load: &Load,
    events: u64,
    window: usize,
) -> Result<Duration, Failure> {
    let room = Arc::new(Semaphore::new(window));
    let start = now();
    let consuming = tokio::spawn(consume(consumer, events, Arc::clone(&room)));
    let mut pending = VecDeque::new();
    let batch = u32::try_from(load.batch)?;
    for number in 0..events / load.batch {
        room.acquire_many(batch).await?.forget();
        let batch = topic.publish_all(load.events(number * load.batch));
        pending.push_back(batch.send().await?);
        // What is acknowledged was published; the answers only have to be looked at.
        if pending.len() > window
            && let Some(oldest) = pending.pop_front()
        {
            oldest.await?;
        }
    }
    for answer in pending {
        answer.await?;
    }
    consuming.await??;
    Ok(start.elapsed())
}

async fn consume(
    mut consumer: Subscription,
    events: u64,
    room: Arc<Semaphore>,
) -> Result<(), Failure> {
    const GIVEN_BACK: u32 = 32;
    for number in 1..events {
        let delivery = consumer.next().await.ok_or("the subscription has ended")?;
        drop(delivery.ack());
        if number.is_multiple_of(u64::from(GIVEN_BACK)) {
            room.add_permits(usize::try_from(GIVEN_BACK)?);
        }
    }
    let last = consumer.next().await.ok_or("the subscription has ended")?;
    last.ack().await?;
    Ok(())
}

/// Joins a new group on `topic` that may hold `credit` events.
pub(crate) async fn subscribe(
    stage: &Stage,
    topic: &Topic,
    group: &str,
    order: OrderBy,
    credit: u32,
) -> Result<Subscription, Failure> {
    let group = stage.bus.group(group).topics([topic.name()]).order_by(order);
    Ok(group.start(quadrille::StartAt::End).concurrency(1).credit(credit).subscribe().await?)
}

/// 65,536 keys out of `count`, by Zipf's law with s = 1.
pub(crate) fn zipf_keys(count: u32) -> Arc<[Box<str>]> {
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=count)
        .map(|rank| {
            sum += 1.0 / f64::from(rank);
            sum
        })
        .collect();
    let mut random = fastrand::Rng::with_seed(1);
    let key = |at: f64| format!("key-{}", sums.partition_point(|it| *it < at)).into();
    (0..1 << 16).map(|_| key(random.f64() * sum)).collect()
}

/// Events per second.
pub(crate) fn rate(events: u64, took: Duration) -> f64 {
    events as f64 / took.as_secs_f64()
}

/// Median of these, for the column of other numbers.
pub(crate) fn median(values: &[f64]) -> f64 {
    quadrille_benches::Spread::of(values.to_vec()).median
}
