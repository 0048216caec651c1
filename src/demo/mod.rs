//! The demo: a shop of five services on one bus. Here is only how its parts are put together.

mod audit;
mod chance;
mod child;
mod data;
mod director;
mod inventory;
mod live;
mod notification;
mod operator;
mod options;
mod order;
mod orders;
mod payment;
mod report;
mod screen;
mod shipping;
mod shop;
mod stage;
mod store;
mod summary;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod watch;

use std::io::{self, IsTerminal};
use std::path::Path;

use tokio::runtime::Builder;

use self::audit::Report;
use self::data::DataDir;
use self::director::Told;
use self::live::Live;
pub(crate) use self::options::DemoArgs;
use self::options::{DemoCommand, RunArgs};
use self::order::Status;
use self::report::Act;
use self::summary::{Summary, audit_json, audit_text};
use crate::cli::Failure;
use crate::out::say;

/// Runs, or audits, as the arguments say.
pub(crate) fn main(args: DemoArgs) -> Result<(), Failure> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(Failure::run)?;
    match args.command {
        Some(DemoCommand::Audit { dir, json }) => runtime.block_on(examine(&dir, json)),
        Some(DemoCommand::Serve) => runtime.block_on(child::main()),
        None => runtime.block_on(perform(&args.run)),
    }
}

async fn perform(args: &RunArgs) -> Result<(), Failure> {
    // Said before anything is made.
    orders::load(args.orders.as_deref())?;
    let mut data = DataDir::prepare(args.data.as_deref(), args.json).await?;
    let played = play(args, &mut data).await;
    let Err(Failure::Run(text)) = played else { return played };
    let dir = data.keep().display();
    Err(Failure::Run(format!("{text}; log and stores are in {dir}")))
}

async fn play(args: &RunArgs, data: &mut DataDir) -> Result<(), Failure> {
    let mut live = Live::new(args.plain, args.json);
    if data.has_replaced {
        let dir = data.path.display();
        live.say(&format!(
            "The finished run that was in {dir} is gone; --data DIR keeps this one."
        ))?;
    }
    let told = director::direct(args, &data.path, &mut live).await?;
    let report = audit::audit(data).await?;
    let summary = summary(&told, &report);
    if args.json {
        say(serde_json::to_string(&summary).map_err(Failure::run)?)?;
    } else {
        let colour = !args.plain
            && io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
        let dir = data.path.display().to_string();
        say(format!("\n{}", screen::draw(&told, &report, &dir, colour)))?;
    }
    if !summary.good() {
        return Err(Failure::run("the run is not in order"));
    }
    data.finish();
    Ok(())
}

fn summary(told: &Told, report: &Report) -> Summary {
    let Report { events, books, found, .. } = report;
    let speed = told.done.of(Act::Fast);
    Summary {
        orders: books.orders.len() as u64,
        completed: books.count(Status::Completed),
        cancelled: books.count(Status::Cancelled),
        parked: told.state.parked(),
        events: *events,
        retries: told.counts.retries,
        duplicates: told.counts.duplicates,
        superseded: told.counts.superseded,
        kills: told.kills,
        sagas_per_s: tenths(speed.per_s),
        p50_ms: tenths(speed.p50_ms),
        p99_ms: tenths(speed.p99_ms),
        audit: found.clone(),
    }
}

async fn examine(dir: &Path, json: bool) -> Result<(), Failure> {
    let Report { sums, found, .. } = audit::audit(&DataDir::existing(dir)?).await?;
    if json {
        say(serde_json::json!({ "audit": audit_json(&found) }).to_string())?;
    } else {
        let verdict = match found.len() {
            0 => "ok".to_owned(),
            many => format!("{many} violations"),
        };
        say(format!("audit: {verdict}\n{}", audit_text(&sums, &found).trim_end()))?;
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
