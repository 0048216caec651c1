//! What a run can be told, and what it is about. A directory remembers the latter, so that a
//! second start goes on with the same run, whether the options are repeated or left out.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::chance::Chance;
use super::orders::{Order, fnv};
use crate::cli::Failure;

/// Where a run is kept if nothing else is said.
pub(crate) const DEFAULT_DIR: &str = "demo-data";

const DEFAULT_SEED: u64 = 1;
const DEFAULT_FAIL_RATE: f64 = 0.1;

/// Run a shop of five services on one bus, make trouble, kill it, and audit what it did.
///
/// Orders go through inventory, payment, shipping and notification, each with a database of its
/// own. Some fail and are undone in the order of causes, some handlings crash and are repeated,
/// some orders are sent twice. Then the payment provider goes down, some orders cannot be
/// processed, a charge answers too late, and the process that runs it all is killed in the middle.
/// At the end the books must balance. Stop or kill it at any moment: with the same --data it goes
/// on where it was.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DemoArgs {
    #[command(subcommand)]
    pub(crate) command: Option<DemoCommand>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DemoCommand {
    /// Check what a run left: does everything in the log and in the stores add up?
    ///
    /// Reads the log and the services' databases, and trusts nothing that the services say of
    /// themselves. Exit code 1 if anything does not add up, 2 if DIR holds no run.
    Audit {
        /// The directory that `quadrille demo --data DIR` wrote
        dir: PathBuf,
        /// Print one JSON object: {"audit": "ok"} or {"audit": [violations]}
        #[arg(long)]
        json: bool,
    },
    /// Run bus and services for another process, which directs
    #[command(hide = true)]
    Serve,
}

#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
pub(crate) struct RunArgs {
    /// Orders as JSON lines {customerId, items: [{productId, quantity}], totalAmount}
    /// [default: a sample of 300]
    #[arg(long, value_name = "FILE")]
    pub(crate) orders: Option<PathBuf>,
    /// How many orders; more than the file has start over at its top [default: all of the file;
    /// of the sample ten times as many, but with --json]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) count: Option<u64>,
    /// Keep log and stores here, or go on with the run that is here
    /// [default: ./demo-data, where a finished run of before gives way to this one; with --json a
    /// temporary directory, gone at the end]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Share of orders that fail for a business reason [default: 0.1]
    #[arg(long, value_name = "P", value_parser = rate)]
    pub(crate) fail_rate: Option<f64>,
    /// Share of handlings that panic in the middle
    #[arg(long, value_name = "P", value_parser = rate, default_value = "0.02")]
    pub(crate) crash_rate: f64,
    /// Decides which orders fail, which handlings crash and what is sent twice [default: 1]
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// Kill nothing
    #[arg(long)]
    pub(crate) no_kill: bool,
    /// No live lines and no colours
    #[arg(long)]
    pub(crate) plain: bool,
    /// Print one JSON object and nothing else: the orders as fast as they go, no story and no kill
    ///
    /// kills is how many earlier starts on the same --data were cut off. retries, duplicates,
    /// superseded, sagas_per_s, p50_ms and p99_ms are of this start, the other numbers of all.
    #[arg(long)]
    pub(crate) json: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.0..=1.0).contains(rate));
    rate.ok_or_else(|| "give a share from 0 to 1, such as 0.1".to_owned())
}

/// How many times the sample makes a story.
const STORY_TIMES: u64 = 10;

/// What a run is about. Which handlings crash is not part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) count: u64,
    pub(crate) fail_rate: f64,
    /// Tells one file of orders from another.
    pub(crate) orders_digest: u64,
    /// Whether it has orders that make trouble.
    pub(crate) story: bool,
}

/// The orders that make trouble.
#[derive(Debug, Default)]
pub(crate) struct Cast {
    /// Paid in what nobody takes.
    pub(crate) poison: Vec<String>,
    /// Charged after its time limit.
    pub(crate) slow: Option<String>,
}

impl Plan {
    /// The dice of the run.
    pub(crate) fn chance(&self, crash_rate: f64) -> Chance {
        Chance { seed: self.seed, fail_rate: self.fail_rate, crash_rate }
    }

    /// Up to which order each act goes: as fast as it goes, at a steady pace, in trouble, and under
    /// fire.
    pub(crate) fn acts(&self) -> [u64; 4] {
        let of = |eighths| self.count * eighths / 8;
        [of(3), of(4), of(6), self.count]
    }

    /// Who makes trouble: the first in that act who would have had none.
    pub(crate) fn cast(&self, ids: &[String]) -> Cast {
        if !self.story {
            return Cast::default();
        }
        let [_, from, to, _] = self.acts().map(|it| usize::try_from(it).unwrap_or(usize::MAX));
        let chance = self.chance(0.0);
        let act = ids.iter().take(to).skip(from);
        let mut fine = act.filter(|id| chance.fate(id).is_none()).cloned();
        let slow = fine.next();
        Cast { poison: fine.take(3).collect(), slow }
    }
}

impl RunArgs {
    /// The plan of a new run of these orders, or `kept` if there is a run to go on with.
    ///
    /// # Errors
    /// An option contradicts the run that is kept.
    pub(crate) fn plan(&self, kept: Option<Plan>, orders: &[Order]) -> Result<Plan, Failure> {
        let Some(kept) = kept else {
            return Ok(Plan {
                seed: self.seed.unwrap_or(DEFAULT_SEED),
                count: self.count.unwrap_or_else(|| orders.len() as u64 * self.times()),
                fail_rate: self.fail_rate.unwrap_or(DEFAULT_FAIL_RATE),
                orders_digest: digest(orders),
                story: !self.json,
            });
        };
        let differs = [
            ("--seed", self.seed.is_some_and(|it| it != kept.seed)),
            ("--count", self.count.is_some_and(|it| it != kept.count)),
            ("--fail-rate", self.fail_rate.is_some_and(|it| (it - kept.fail_rate).abs() > 1e-9)),
            ("--orders", self.orders.is_some() && digest(orders) != kept.orders_digest),
        ];
        let Some((option, _)) = differs.into_iter().find(|(_, differs)| *differs) else {
            return Ok(kept);
        };
        let (dir, Plan { seed, count, fail_rate, .. }) = (self.data.as_deref(), kept);
        Err(Failure::Input(format!(
            "{} holds a run with another {option} (--seed {seed} --count {count} --fail-rate \
             {fail_rate}); leave out {option} to go on with it, or give another directory to --data",
            dir.unwrap_or_else(|| Path::new(DEFAULT_DIR)).display(),
        )))
    }

    fn times(&self) -> u64 {
        if self.json || self.orders.is_some() { 1 } else { STORY_TIMES }
    }
}

fn digest(orders: &[Order]) -> u64 {
    let texts: Vec<String> = orders.iter().map(|order| format!("{order:?}")).collect();
    fnv(&texts.iter().map(String::as_str).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::orders::load;

    fn refused<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
        match result {
            Err(Failure::Input(text)) => text,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn a_second_start_takes_the_kept_plan_with_and_without_options() {
        let sample = load(None).unwrap();
        let first = RunArgs { seed: Some(4), fail_rate: Some(0.3), ..RunArgs::default() };
        let plan = first.plan(None, &sample).unwrap();
        assert_eq!((plan.seed, plan.count), (4, 3000));
        for again in [first, RunArgs::default()] {
            assert_eq!(again.plan(Some(plan.clone()), &sample).unwrap(), plan);
        }
    }

    #[test]
    fn an_option_that_contradicts_the_kept_plan_is_named() {
        let sample = load(None).unwrap();
        let plan = RunArgs::default().plan(None, &sample).unwrap();
        let base = || RunArgs { data: Some("d".into()), ..RunArgs::default() };
        for (args, option) in [
            (RunArgs { seed: Some(2), ..base() }, "--seed"),
            (RunArgs { count: Some(2), ..base() }, "--count"),
            (RunArgs { fail_rate: Some(0.2), ..base() }, "--fail-rate"),
            (RunArgs { orders: Some("other".into()), ..base() }, "--orders"),
        ] {
            let text = refused(args.plan(Some(plan.clone()), &sample[1..]));
            assert!(text.starts_with(&format!("d holds a run with another {option} ")), "{text}");
            assert!(text.contains(&format!("leave out {option} ")), "{text}");
        }
    }
}
