//! Publishers and consumers of every kind, all at once, for ever. The facts:
//! `P topic id offset` published, `D group saga offset id attempt wall` delivered,
//! `C id` its step is done, `R id attempt due` its retry is, `K id` it is parked, `T id due` a timer
//! is armed, `L id` a dead letter is listed, `E` the list is whole, `v id` / `V id` about to be /
//! has been skipped.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quadrille::{
    Bus, Delivery, Durability, Event, OrderBy, Receipt, Retention, RetryPolicy, Topic, TopicOptions,
};
use quadrille_broker::disk::RealDisk;
use quadrille_broker::engine::{Engine, Options};
use quadrille_broker::log::{FileBlobs, FileLog, LogOptions};
use quadrille_broker::time::Clock;

use crate::say;

type Ended = Result<(), Box<dyn Error>>;

/// With `poison`, some events are dead letters.
pub(crate) async fn run(dir: PathBuf, round: u64, poison: bool) -> Ended {
    say("opening");
    let engine = open(&dir, round)?;
    say("opened");
    let clock = Arc::clone(&engine.options().clock);
    let bus = Bus::on(engine);
    topics(&bus).await?;
    let retry = RetryPolicy {
        max_attempts: 1_000_000,
        first: Duration::from_millis(4),
        ..RetryPolicy::default()
    };
    let group = |name, topic| bus.group(name).topics([topic]).retry(retry);
    let work = group("work", "orders").order_by(OrderBy::Saga).credit(64).subscribe().await?;
    let audit = group("audit", "journal").order_by(OrderBy::Nothing).subscribe().await?;
    let keep = group("keep", "out").order_by(OrderBy::Everything).subscribe().await?;
    let clock_too = Arc::clone(&clock);
    tokio::spawn(work.for_each_concurrent(12, move |delivery| {
        let clock = Arc::clone(&clock_too);
        async move { handle(delivery, &*clock).await }
    }));
    for events in [audit, keep] {
        let clock = Arc::clone(&clock);
        tokio::spawn(events.for_each_concurrent(64, move |delivery| {
            seen(&delivery, &*clock);
            async move { drop(delivery.ack().await) }
        }));
    }
    tokio::spawn(resolve(bus.clone(), round));
    for publisher in 0..3 {
        tokio::spawn(publish(bus.clone(), round, publisher, poison));
    }
    std::future::pending().await
}

/// Small segments and frequent checkpoints: a short life sees all of it.
fn open(dir: &PathBuf, round: u64) -> Result<Engine, Box<dyn Error>> {
    let disk = Arc::new(RealDisk::open(dir)?);
    let options = LogOptions {
        segment_bytes: 192 << 10,
        first_segment_bytes: 64 << 10,
        max_chunk_bytes: 64 << 10,
        seed: round,
        ..LogOptions::default()
    };
    let log = FileLog::open(Arc::clone(&disk) as _, options)?;
    let mut options = Options { seed: round, ..Options::default() };
    options.limits.checkpoint_bytes = 100 << 10;
    log.spawn(Arc::clone(&options.clock))?;
    Ok(Engine::start(Arc::new(log), Arc::new(FileBlobs::new(disk)), options)?)
}

async fn topics(bus: &Bus) -> Ended {
    let retention = Retention { settled: Some(Duration::from_millis(1)), ..Retention::default() };
    for name in ["orders", "out"] {
        let options = TopicOptions { durability: Durability::Synced, retention };
        bus.create_topic_with(name, options).await?;
    }
    let options = TopicOptions { durability: Durability::Written, retention };
    bus.create_topic_with("journal", options).await?;
    Ok(())
}

async fn publish(bus: Bus, round: u64, publisher: u64, poison: bool) {
    let mut rng = fastrand::Rng::with_seed(round * 10 + publisher);
    let (orders, journal) = (bus.topic("orders"), bus.topic("journal"));
    for n in 0.. {
        let count = if publisher == 1 { rng.usize(1..6) } else { 1 };
        let ids: Vec<_> = (0..count).map(|i| format!("{round}.{publisher}.{n}.{i}")).collect();
        let topic = if publisher == 2 { &journal } else { &orders };
        let events: Vec<_> = ids.iter().map(|id| event(&mut rng, id, poison)).collect();
        publish_some(topic, ids, events).await;
        while n % 4 == 3 && is_behind(&bus).await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Nobody publishes faster than is consumed: what is on the disk then has a bound.
async fn is_behind(bus: &Bus) -> bool {
    let (work, audit) = (bus.group("work"), bus.group("audit"));
    let (work, audit) = (work.info().await, audit.info().await);
    work.is_ok_and(|it| it.unsettled > 60) || audit.is_ok_and(|it| it.unsettled > 100)
}

async fn publish_some(topic: &Topic, ids: Vec<String>, events: Vec<Event>) {
    // The bus is going down; so are we.
    let Ok(receipts) = topic.publish_all(events).await else {
        return std::future::pending().await;
    };
    for (id, receipt) in ids.iter().zip(receipts.iter()) {
        if let Receipt::Appended { offset, .. } = receipt {
            say(&format!("P {} {id} {offset}", topic.name()));
        }
    }
}

fn event(rng: &mut fastrand::Rng, id: &str, poison: bool) -> Event {
    let ty = match rng.u8(..100) {
        0..60 => "plain",
        60..75 => "ack",
        75..90 => "fail",
        97.. if poison => "poison",
        _ => "timer",
    };
    let data = vec![b'x'; rng.usize(10..1500)];
    Event::new(ty).id(id).source("victim").saga(format!("s{}", rng.u8(..24))).data(data)
}

fn seen(it: &Delivery, clock: &dyn Clock) {
    let (group, saga, id) = (it.group(), it.saga(), it.id());
    let wall = clock.now().wall;
    say(&format!("D {group} {saga} {} {id} {} {wall}", it.offset(), it.attempt()));
}

async fn handle(delivery: Delivery, clock: &dyn Clock) {
    seen(&delivery, clock);
    let (id, attempt) = (delivery.id().to_owned(), delivery.attempt());
    match delivery.ty() {
        "ack" => drop(delivery.ack().await),
        "fail" if attempt < 3 => {
            let due = clock.now().wall + 6;
            if delivery.retry_after(Duration::from_millis(6), "fails").await.is_ok() {
                say(&format!("R {id} {attempt} {due}"));
            }
        }
        "poison" => {
            if delivery.dead_letter("poison").await.is_ok() {
                say(&format!("K {id}"));
            }
        }
        ty => {
            let timer = ty == "timer";
            let due = clock.now().wall + 25;
            let output = |n: u8| Event::new("output").id(format!("{id}/{n}")).source("victim");
            let step = delivery.step().publish("out", output(0)).publish("journal", output(1));
            let step = if timer {
                step.publish("out", output(2)).after(Duration::from_millis(25))
            } else {
                step
            };
            if step.commit().await.is_ok() {
                say(&format!("C {id}"));
                if timer {
                    say(&format!("T {id}/2 {due}"));
                }
            }
        }
    }
}

/// Lists what is parked, and skips some of it.
async fn resolve(bus: Bus, round: u64) {
    let mut rng = fastrand::Rng::with_seed(round);
    let Ok(dead) = bus.dead_letters("work").await else { return };
    for it in &dead {
        say(&format!("L {}", it.id));
    }
    say("E");
    for it in dead {
        if rng.u8(..4) > 0 {
            say(&format!("v {}", it.id));
            if bus.resolve("work", it.position).skip().await.is_ok() {
                say(&format!("V {}", it.id));
            }
        }
    }
}
