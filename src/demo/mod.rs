//! The demo: a shop of five services on one bus. Here is only how its parts are put together.

pub(crate) mod audit;
mod chance;
mod events;
mod inbox;
mod inventory;
mod notification;
mod options;
mod order;
mod orders;
mod payment;
mod progress;
mod run;
mod service;
mod shipping;
#[cfg(test)]
mod shop;
mod store;
mod summary;
#[cfg(test)]
mod tests;
mod tree;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Builder;

use self::audit::Report;
use self::audit::log::LogEvent;
use self::inbox::Service;
pub(crate) use self::options::DemoArgs;
use self::options::{DataDir, DemoCommand, RunArgs};
use self::order::Status;
use self::orders::Order;
use self::progress::Tally;
use self::run::Ending;
use self::store::StoreError;
use self::summary::{Summary, audit_json, audit_text};
use crate::cli::Failure;

/// Everybody in the shop.
static SERVICES: [Service; 5] = [
    order::ORDER,
    inventory::INVENTORY,
    payment::PAYMENT,
    shipping::SHIPPING,
    notification::NOTIFICATION,
];

/// What to say when a store cannot be used.
fn store_failure(data: &DataDir) -> impl Fn(StoreError) -> Failure {
    move |e| Failure::Run(format!("cannot use the stores in {}: {e}", data.stores().display()))
}

/// Runs, or audits, as the arguments say.
pub(crate) fn main(args: DemoArgs) -> Result<(), Failure> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(Failure::run)?;
    match args.command {
        Some(DemoCommand::Audit { dir, json }) => runtime.block_on(examine(&dir, json)),
        None => runtime.block_on(perform(&args.run)),
    }
}

async fn perform(args: &RunArgs) -> Result<(), Failure> {
    let orders = orders::load(args.orders.as_deref())?;
    let mut data = DataDir::prepare(args.data.as_deref())?;
    let (summary, cancelled) = play(args, &orders, &data, &Arc::default()).await?;
    if args.json {
        say(&serde_json::to_string(&summary).map_err(Failure::run)?)?;
    } else {
        let colour = !args.plain
            && io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
        say(&summary.text())?;
        if let Some(first) = cancelled.first() {
            say(&format!("\n{}, which was cancelled:", first.order_id))?;
            say(&tree::draw(&cancelled, colour))?;
        }
    }
    if summary.good() {
        return Ok(());
    }
    data.keep();
    let dir = data.path.display();
    Err(Failure::Run(format!("the run is not in order; log and stores are in {dir}")))
}

/// A run and the audit of what it left; also the events of one cancelled order.
async fn play(
    args: &RunArgs,
    orders: &[Order],
    data: &DataDir,
    tally: &Arc<Tally>,
) -> Result<(Summary, Vec<LogEvent>), Failure> {
    let Ending { parked, kills } = run::run(args, orders, data, tally).await?;
    let Report { events, books, found, cancelled } = audit::audit(data).await?;
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let summary = Summary {
        orders: books.orders.len() as u64,
        completed: books.count(Status::Completed),
        cancelled: books.count(Status::Cancelled),
        parked,
        events,
        retries: read(&tally.retries),
        duplicates: read(&tally.duplicates),
        superseded: read(&tally.superseded),
        kills,
        sagas_per_s: tenths(tally.rate()),
        p50_ms: tenths(tally.latency_ms(0.5)),
        p99_ms: tenths(tally.latency_ms(0.99)),
        audit: found,
    };
    Ok((summary, cancelled))
}

async fn examine(dir: &Path, json: bool) -> Result<(), Failure> {
    let found = audit::audit(&DataDir::existing(dir)?).await?.found;
    if json {
        say(&serde_json::json!({ "audit": audit_json(&found) }).to_string())?;
    } else {
        say(&audit_text(&found))?;
    }
    match found.len() {
        0 => Ok(()),
        1 => Err(Failure::run("the audit found a violation")),
        many => Err(Failure::Run(format!("the audit found {many} violations"))),
    }
}

/// One digit after the point: more would be noise.
fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn say(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text}").map_err(Failure::run)
}
