//! The same saga on typed participants and on raw subscriptions, one after the other in each round:
//! what the typed layer costs, beside what JSON costs by itself.
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::sync::Arc;

use clap::Parser;
use quadrille::{Event, Failure as Undecided, Participant, TypedEvent};
use quadrille_benches::saga::{IN_FLIGHT, STEPS, Took, processor_time, round};
use quadrille_benches::{
    Ends, Failure, Goal, Goals, Line, Needs, Options, Report, Spread, Stage, observe, raw_round,
    refuse_memory,
};
use quadrille_broker::limits::Limits;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Fewer and shorter rounds, to see that it works; no numbers to keep.
    #[arg(long)]
    quick: bool,
    /// Only the typed saga, this many times: to be profiled.
    #[arg(long, value_name = "TIMES")]
    profile: Option<u32>,
}

macro_rules! events {
    ($($name:ident = $ty:literal on $topic:literal,)+) => {
        $(
            /// About 256 bytes as JSON.
            #[derive(Event, Serialize, Deserialize)]
            #[event(type = $ty, topic = $topic)]
            struct $name {
                cents: u64,
                items: Vec<String>,
                note: String,
            }
        )+
    };
}

events! {
    OrderCreated = "order.created" on "orders",
    InventoryReserved = "inventory.reserved" on "stock",
    PaymentProcessed = "payment.processed" on "payments",
    ShipmentScheduled = "shipment.scheduled" on "shipments",
    NotificationSent = "notification.sent" on "notifications",
}

macro_rules! handlers {
    ($($name:ident: $from:ident => $to:ident,)+) => {
        $(
            async fn $name(it: $from) -> Result<$to, Undecided> {
                Ok($to { cents: it.cents, items: it.items, note: it.note })
            }
        )+
    };
}

handlers! {
    reserve: OrderCreated => InventoryReserved,
    charge: InventoryReserved => PaymentProcessed,
    ship: PaymentProcessed => ShipmentScheduled,
    notify: ShipmentScheduled => NotificationSent,
}

fn order() -> OrderCreated {
    let items = (0..4).map(|i| format!("product-{i:04}")).collect();
    OrderCreated { cents: 4_999, items, note: "n".repeat(150) }
}

fn main() -> Result<(), Failure> {
    let Arguments { options, quick, profile } = Arguments::parse();
    refuse_memory(&options.dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(times) = profile {
        for _ in 0..times {
            println!("{:?}", runtime.block_on(typed(&options, 60_000))?);
        }
        return Ok(());
    }
    let (sagas, rounds) = if quick { (10_000, 3) } else { (60_000, options.rounds) };
    let json = options.json;
    let work = async move {
        let mut pairs = Vec::new();
        for at in 0..rounds {
            // Whoever goes second finds another disk.
            let (raw, typed) = if at % 2 == 0 {
                let raw = raw(&options, sagas).await?;
                (raw, typed(&options, sagas).await?)
            } else {
                let typed = typed(&options, sagas).await?;
                (raw(&options, sagas).await?, typed)
            };
            pairs.push((raw, typed));
        }
        Ok::<_, Failure>(pairs)
    };
    let pairs = runtime.block_on(async { tokio::spawn(work).await })??;
    println!("{}", Report::new("saga", vec![table(sagas, &pairs)?]).render(json));
    Ok(())
}

fn table(sagas: u32, pairs: &[(Took, Took)]) -> Result<quadrille_benches::Table, Failure> {
    let rate = |took: &Took| f64::from(sagas) / took.wall.as_secs_f64();
    let events = f64::from(sagas) * f64::from(STEPS);
    let micros = |took: &Took| took.cpu.as_secs_f64() * 1e6 / events;
    let serde = serde_micros()?;
    let median = |values: Vec<f64>| Spread::of(values).median;
    let (raw_rate, typed_rate) = (
        median(pairs.iter().map(|(raw, _)| rate(raw)).collect()),
        median(pairs.iter().map(|(_, typed)| rate(typed)).collect()),
    );
    let (raw_cpu, typed_cpu) = (
        median(pairs.iter().map(|(raw, _)| micros(raw)).collect()),
        median(pairs.iter().map(|(_, typed)| micros(typed)).collect()),
    );
    let how = "synced, about 256 B, starts in batches of up to 64, 1,024 in flight, ordered by \
               saga, dedup on, each step awaited";
    Ok(Goals(vec![
        Line {
            goal: Goal {
                what: "sagas/s on typed participants / on raw subscriptions".into(),
                how: format!("{how}; a raw fifth subscription counts the ends of both"),
                needs: Needs::AtLeast(0.8),
            },
            values: pairs.iter().map(|(raw, typed)| rate(typed) / rate(raw)).collect(),
            also: format!("{typed_rate:.0} / {raw_rate:.0} sagas/s"),
        },
        Line {
            goal: Goal {
                what: "CPU per event above raw and above serde, µs".into(),
                how: "the same rounds; processor time of the whole process, per step".into(),
                needs: Needs::AtMost(2.0),
            },
            values: pairs.iter().map(|(raw, typed)| micros(typed) - micros(raw) - serde).collect(),
            also: format!("{typed_cpu:.2} typed, {raw_cpu:.2} raw, {serde:.2} serde"),
        },
    ])
    .table())
}

async fn raw(options: &Options, sagas: u32) -> Result<Took, Failure> {
    let stage = Stage::open(&options.dir, Limits::default()).await?;
    let took = raw_round(&stage, sagas, Ends::Observer).await?;
    stage.close().await?;
    Ok(took)
}

async fn typed(options: &Options, sagas: u32) -> Result<Took, Failure> {
    let stage = Stage::open(&options.dir, Limits::default()).await?;
    let serve = async |services: &mut JoinSet<()>, room: Arc<Semaphore>| {
        let many = u32::try_from(IN_FLIGHT)?;
        let service = |name| Participant::new(name, ()).concurrency(many);
        let four = [
            service("inventory").on(reserve),
            service("payment").on(charge),
            service("shipping").on(ship),
            service("notification").on(notify),
        ];
        let running = quadrille::run(&stage.bus, four).into_future();
        services.spawn(async move { drop(running.await) });
        // They have joined when their groups are there; without a start, later is too late.
        for group in ["inventory", "payment", "shipping", "notification"] {
            while !stage.bus.group(group).info().await.is_ok_and(|it| !it.members.is_empty()) {
                tokio::task::yield_now().await;
            }
        }
        observe(&stage, services, room).await
    };
    let first = || order().event().unwrap_or_default().source("shop");
    let took = round(&stage, sagas, serve, first).await?;
    stage.close().await?;
    Ok(took)
}

/// What reading and writing such an event costs by itself, µs of processor time.
fn serde_micros() -> Result<f64, Failure> {
    const TIMES: u32 = 300_000;
    let (text, start) = (serde_json::to_vec(&order())?, processor_time()?);
    for _ in 0..TIMES {
        let read: OrderCreated = serde_json::from_slice(std::hint::black_box(&text))?;
        std::hint::black_box(serde_json::to_vec(&read)?);
    }
    let took = processor_time()?.saturating_sub(start);
    Ok(took.as_secs_f64() * 1e6 / f64::from(TIMES))
}
