//! A saga of four stateless services, one step each, as the two programs that measure it share it:
//! who begins sagas, how many are under way, when a round is over.

use std::sync::Arc;
use std::time::Duration;

use quadrille::{Durability, Event, Topic};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::{Failure, Stage, now};

/// Service i reads topic i and publishes to the next.
pub const TOPICS: [&str; 5] = ["orders", "stock", "payments", "shipments", "notifications"];
/// What is published to each.
pub const TYPES: [&str; 5] = [
    "order.created",
    "inventory.reserved",
    "payment.processed",
    "shipment.scheduled",
    "notification.sent",
];
/// Sagas that have begun and not ended.
pub const IN_FLIGHT: usize = 1_024;
/// Steps of a saga.
pub const STEPS: u32 = 4;
/// Sagas that begin with one publish, at most.
const BATCH: u32 = 64;

/// What a round took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// From the first publish to the last durable step.
    pub wall: Duration,
    /// Processor time of this process in it, user and system.
    pub cpu: Duration,
}

/// Runs so many sagas: `serve` adds the services, which give back a permit for each saga that has
/// ended; `first` makes its first event.
///
/// # Errors
/// The bus, or what the system says about this process.
pub async fn round(
    stage: &Stage,
    sagas: u32,
    serve: impl AsyncFnOnce(&mut JoinSet<()>, Arc<Semaphore>) -> Result<(), Failure>,
    first: impl Fn() -> Event,
) -> Result<Took, Failure> {
    for name in TOPICS {
        stage.topic(name, Durability::Synced).await?;
    }
    let room = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut services = JoinSet::new();
    serve(&mut services, Arc::clone(&room)).await?;
    let (start, cpu) = (now(), processor_time()?);
    begin(&stage.bus.topic("orders"), sagas, &first, &room).await?;
    // All room is back: every saga has ended.
    let all = room.acquire_many(u32::try_from(IN_FLIGHT)?).await?;
    let took = Took { wall: start.elapsed(), cpu: processor_time()?.saturating_sub(cpu) };
    drop(all);
    services.shutdown().await;
    Ok(took)
}

async fn begin(
    orders: &Topic,
    sagas: u32,
    first: &impl Fn() -> Event,
    room: &Semaphore,
) -> Result<(), Failure> {
    let mut begun = 0;
    while begun < sagas {
        room.acquire().await?.forget();
        let mut batch = 1;
        while batch < BATCH.min(sagas - begun) && room.try_acquire().is_ok_and(forgotten) {
            batch += 1;
        }
        drop(orders.publish_all((0..batch).map(|_| first())).send().await?);
        begun += batch;
    }
    Ok(())
}

fn forgotten(permit: tokio::sync::SemaphorePermit<'_>) -> bool {
    permit.forget();
    true
}

/// Processor time that this process has used, user and system, in steps of 10 ms.
///
/// # Errors
/// The system does not say.
pub fn processor_time() -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name before it may hold spaces; fields 14 and 15 of proc(5), of which 3 is the first here.
    let fields = stat.rsplit_once(") ").ok_or("no fields")?.1;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u64>);
    let ticks: u64 = ticks.sum::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}
