//! Four stateless services on raw subscriptions, one step each: sagas per second. A saga is an
//! event that starts it, four steps that each settle one event and publish the next, and counts
//! when its last step is durable.
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use quadrille::{Closed, Delivery, Durability, Event, OrderBy, Topic};
use quadrille_benches::{
    Failure, Goal, Goals, Line, Needs, Options, Report, Stage, now, refuse_memory,
};
use quadrille_broker::limits::Limits;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Service i reads topic i and publishes to the next.
const TOPICS: [&str; 5] = ["orders", "stock", "payments", "shipments", "notifications"];
const TYPES: [&str; 5] = [
    "order.created",
    "inventory.reserved",
    "payment.processed",
    "shipment.scheduled",
    "notification.sent",
];
/// Sagas that have begun and not ended.
const IN_FLIGHT: usize = 1_024;
/// Sagas that begin with one publish, at most.
const BATCH: u32 = 64;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Fewer and shorter rounds, to see that it works; no numbers to keep.
    #[arg(long)]
    quick: bool,
}

fn main() -> Result<(), Failure> {
    let Arguments { options, quick } = Arguments::parse();
    refuse_memory(&options.dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (sagas, rounds) = if quick { (10_000, 3) } else { (60_000, options.rounds) };
    let json = options.json;
    let work = async move {
        let (mut rates, mut bytes) = (Vec::new(), 0.0);
        for _ in 0..rounds {
            let stage = Stage::open(&options.dir, Limits::default()).await?;
            let took = round(&stage, sagas).await?;
            rates.push(f64::from(sagas) / took.as_secs_f64());
            bytes = stage.close().await? as f64 / f64::from(sagas);
        }
        Ok::<_, Failure>((rates, bytes))
    };
    let (rates, bytes) = runtime.block_on(async { tokio::spawn(work).await })??;
    let goal = Goal {
        what: "sagas/s, four stateless services, one step each".into(),
        how: "synced, 256 B, starts in batches of up to 64, 1,024 in flight, ordered by saga, \
              dedup on, each step awaited"
            .into(),
        needs: Needs::AtLeast(50_000.0),
    };
    let also = format!("{bytes:.0} file bytes per saga");
    let table = Goals(vec![Line { goal, values: rates, also }]).table();
    println!("{}", Report::new("saga_raw", vec![table]).render(json));
    Ok(())
}

async fn round(stage: &Stage, sagas: u32) -> Result<Duration, Failure> {
    for name in TOPICS {
        stage.topic(name, Durability::Synced).await?;
    }
    let data: Bytes = std::iter::repeat_with(|| fastrand::u8(..)).take(256).collect();
    let room = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut services = JoinSet::new();
    for ((&from, &to), &ty) in TOPICS.iter().zip(TOPICS.iter().skip(1)).zip(TYPES.iter().skip(1)) {
        let ended = (Some(&to) == TOPICS.last()).then(|| Arc::clone(&room));
        services.spawn(service(stage, from, to, ty, data.clone(), ended).await?);
    }
    let start = now();
    begin(&stage.bus.topic("orders"), sagas, &data, &room).await?;
    // All room is back: every saga has ended.
    let all = room.acquire_many(u32::try_from(IN_FLIGHT)?).await?;
    let took = start.elapsed();
    drop(all);
    services.shutdown().await;
    Ok(took)
}

/// Joins as a service: one step for each event.
async fn service(
    stage: &Stage,
    from: &'static str,
    to: &'static str,
    ty: &'static str,
    data: Bytes,
    ended: Option<Arc<Semaphore>>,
) -> Result<impl Future<Output = Closed> + use<>, Failure> {
    let group = stage.bus.group(from).topics([from]).order_by(OrderBy::Saga);
    let member = group.credit(u32::try_from(IN_FLIGHT)?).subscribe().await?;
    let handle = move |delivery: Delivery| {
        let next = Event::new(ty).source(from).data(data.clone());
        let step = delivery.step().publish(to, next).commit();
        let ended = ended.clone();
        async move {
            step.await.expect("a step of a bus that works");
            if let Some(room) = ended {
                room.add_permits(1);
            }
        }
    };
    Ok(member.for_each_concurrent(IN_FLIGHT, handle))
}

async fn begin(orders: &Topic, sagas: u32, data: &Bytes, room: &Semaphore) -> Result<(), Failure> {
    let mut begun = 0;
    while begun < sagas {
        room.acquire().await?.forget();
        let mut batch = 1;
        while batch < BATCH.min(sagas - begun) && room.try_acquire().is_ok_and(forgotten) {
            batch += 1;
        }
        let event = |_| Event::new("order.created").source("shop").data(data.clone());
        drop(orders.publish_all((0..batch).map(event)).send().await?);
        begun += batch;
    }
    Ok(())
}

fn forgotten(permit: tokio::sync::SemaphorePermit<'_>) -> bool {
    permit.forget();
    true
}
