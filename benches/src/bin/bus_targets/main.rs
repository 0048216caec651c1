//! Everything that issue 2 wants the bus to reach, one subcommand per row, each against a limit
//! that is measured in the same round. Here: the command line and the order; rows are beside it.
#![expect(clippy::print_stdout, reason = "a program for people")]

mod backlog;
mod dedup;
mod flow;
mod lanes;
mod load;
mod reopen;
mod synced;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Parser, Subcommand};
use quadrille_benches::{Failure, Goals, Line, Options, Report, refuse_memory};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Fewer and shorter rounds, to see that it works; no numbers to keep.
    #[arg(long)]
    quick: bool,
    /// MiB of log for `reopen`; 4,096 if this is not said, 256 if quick.
    #[arg(long)]
    mib: Option<u64>,
    #[command(subcommand)]
    row: Row,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Row {
    /// All of them.
    All,
    /// Synced 1 MiB batches against raw write and fdatasync.
    Bulk,
    /// Synced single events of 64 tasks against raw fdatasync.
    Singles,
    /// Written batches, events per second.
    Written,
    /// Publish, deliver, ack.
    Flow,
    /// 100 topics against 1.
    Topics,
    /// A full id window against none.
    Dedup,
    /// Ordered against unordered.
    Zipf,
    /// A lane that fails for ever.
    Failing,
    /// 10,000,000 events behind: memory.
    Backlog,
    /// After kill -9: time to the first delivery.
    Reopen,
    /// Not for people: a process of `backlog` or `reopen`.
    #[command(hide = true, subcommand)]
    Child(Child),
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Child {
    /// Fills a topic that its group does not read.
    Fill { events: u64 },
    /// Drains a part of it.
    Drain { events: u64 },
    /// Publishes and consumes until it is killed.
    Work { mib: u64 },
}

/// How long and how often everything is measured.
#[derive(Debug, Clone)]
struct Plan {
    dir: PathBuf,
    rounds: u32,
    quick: bool,
    mib: u64,
}

impl Plan {
    fn new(arguments: &Arguments) -> Self {
        let Arguments { options, quick, mib, .. } = arguments;
        Self {
            dir: options.dir.clone(),
            rounds: if *quick { options.rounds.min(3) } else { options.rounds },
            quick: *quick,
            mib: mib.unwrap_or(if *quick { 256 } else { 4096 }),
        }
    }

    /// So much, or a fifth of it if this is quick.
    fn scaled(&self, full: u64) -> u64 {
        if self.quick { full / 5 } else { full }
    }
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    refuse_memory(&arguments.options.dir)?;
    let plan = Arc::new(Plan::new(&arguments));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // On a task of its own, so that it runs on the same threads as what it waits for.
    let work = async move { run(&plan, arguments.row).await };
    let lines = runtime.block_on(async { tokio::spawn(work).await })??;
    if !lines.is_empty() {
        let report = Report::new("bus_targets", vec![Goals(lines).table()]);
        println!("{}", report.render(arguments.options.json));
    }
    Ok(())
}

async fn run(plan: &Plan, row: Row) -> Result<Vec<Line>, Failure> {
    const ALL: [Row; 10] = [
        Row::Bulk,
        Row::Singles,
        Row::Written,
        Row::Flow,
        Row::Topics,
        Row::Dedup,
        Row::Zipf,
        Row::Failing,
        Row::Backlog,
        Row::Reopen,
    ];
    let mut lines = Vec::new();
    match row {
        Row::All => {
            for row in ALL {
                lines.extend(one(plan, row).await?);
            }
        }
        Row::Child(child) => run_child(&plan.dir, child).await?,
        row => lines = one(plan, row).await?,
    }
    Ok(lines)
}

async fn one(plan: &Plan, row: Row) -> Result<Vec<Line>, Failure> {
    match row {
        Row::Bulk => synced::bulk(plan).await,
        Row::Singles => synced::singles(plan).await,
        Row::Written => flow::written(plan).await,
        Row::Flow => flow::flow(plan).await,
        Row::Topics => synced::topics(plan).await,
        Row::Dedup => dedup::dedup(plan).await,
        Row::Zipf => lanes::zipf(plan).await,
        Row::Failing => lanes::failing(plan).await,
        Row::Backlog => backlog::backlog(plan).await,
        Row::Reopen => reopen::reopen(plan).await,
        Row::All | Row::Child(_) => Ok(Vec::new()),
    }
}

async fn run_child(dir: &Path, child: Child) -> Result<(), Failure> {
    match child {
        Child::Fill { events } => backlog::fill(dir, events).await,
        Child::Drain { events } => backlog::drain(dir, events).await,
        Child::Work { mib } => reopen::work(dir, mib).await,
    }
}
