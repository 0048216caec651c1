//! What a run can be told, and what it is about. A directory remembers the latter, so that a
//! second start goes on with the same run, whether the options are repeated or left out.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::orders::{Order, fnv};
use crate::cli::Failure;

const DEFAULT_SEED: u64 = 1;
const DEFAULT_FAIL_RATE: f64 = 0.1;

/// Run a shop of five services on one bus, with failures and crashes, and audit what it did.
///
/// Orders go through inventory, payment, shipping and notification, each with a database of its
/// own. Some fail and are undone in the order of causes, some handlings crash and are repeated,
/// some orders are sent twice. At the end the books must balance. Kill it at any moment: with the
/// same --data it goes on where it was.
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
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RunArgs {
    /// Orders as JSON lines {customerId, items: [{productId, quantity}], totalAmount}
    /// [default: a sample of 300]
    #[arg(long, value_name = "FILE")]
    pub(crate) orders: Option<PathBuf>,
    /// How many orders; more than the file has start over at its top [default: all of the file]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) count: Option<u64>,
    /// Keep log and stores here, or go on with the run that is here
    /// [default: a temporary directory, gone at the end]
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
    /// No progress bar and no colours
    #[arg(long)]
    pub(crate) plain: bool,
    /// Print one JSON object and nothing else
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

/// What a run is about. Which handlings crash is not part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) count: u64,
    pub(crate) fail_rate: f64,
    /// Tells one file of orders from another.
    pub(crate) orders_digest: u64,
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
                count: self.count.unwrap_or(orders.len() as u64),
                fail_rate: self.fail_rate.unwrap_or(DEFAULT_FAIL_RATE),
                orders_digest: digest(orders),
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
            dir.unwrap_or_else(|| Path::new("")).display(),
        )))
    }
}

fn digest(orders: &[Order]) -> u64 {
    let texts: Vec<String> = orders.iter().map(|order| format!("{order:?}")).collect();
    fnv(&texts.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Where a run keeps its log and its stores.
#[derive(Debug)]
pub(crate) struct DataDir {
    pub(crate) path: PathBuf,
    /// Removes the directory when dropped, if the user did not ask for one.
    temporary: Option<TempDir>,
}

impl DataDir {
    /// The directory of `--data`, made if it is not there, or a fresh temporary one.
    ///
    /// # Errors
    /// It is a file, holds something else, or cannot be written.
    pub(crate) fn prepare(asked: Option<&Path>) -> Result<Self, Failure> {
        let data = match asked {
            Some(path) => Self { path: path.to_owned(), temporary: None },
            None => {
                let dir = TempDir::with_prefix("quadrille-demo-").map_err(|e| {
                    Failure::run(format!("cannot make a temporary directory: {e}; give --data"))
                })?;
                Self { path: dir.path().to_owned(), temporary: Some(dir) }
            }
        };
        let name = data.path.display();
        if data.path.exists() && !data.path.is_dir() {
            return Err(Failure::Input(format!("{name} is not a directory; give one to --data")));
        }
        let unwritable = |e: std::io::Error| {
            Failure::Input(format!("cannot write to {name}: {e}; give another directory to --data"))
        };
        std::fs::create_dir_all(&data.path).map_err(unwritable)?;
        let empty = std::fs::read_dir(&data.path).map_err(unwritable)?.next().is_none();
        if !empty && !data.stores().is_dir() {
            return Err(Failure::Input(format!(
                "{name} holds something that is not a demo; give an empty or a new directory to \
                 --data"
            )));
        }
        std::fs::create_dir_all(data.stores()).map_err(unwritable)?;
        tempfile::tempfile_in(data.stores()).map_err(unwritable)?;
        Ok(data)
    }

    /// The directory of a run that was.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn existing(path: &Path) -> Result<Self, Failure> {
        let data = Self { path: path.to_owned(), temporary: None };
        if data.stores().is_dir() && data.bus().is_dir() {
            return Ok(data);
        }
        Err(Failure::Input(format!(
            "{} holds no demo; give the directory that `quadrille demo --data DIR` wrote",
            path.display()
        )))
    }

    pub(crate) fn bus(&self) -> PathBuf {
        self.path.join("bus")
    }

    pub(crate) fn stores(&self) -> PathBuf {
        self.path.join("stores")
    }

    /// Leaves the directory where it is, for somebody to look at.
    pub(crate) fn keep(&mut self) {
        if let Some(dir) = self.temporary.take() {
            self.path = dir.keep();
        }
    }
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
        assert_eq!((plan.seed, plan.count), (4, 300));
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

    #[test]
    fn a_directory_that_cannot_be_one_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let text = refused(DataDir::prepare(Some(&file)));
        assert!(text.ends_with("is not a directory; give one to --data"), "{text}");
        let text = refused(DataDir::prepare(Some(&file.join("below"))));
        assert!(text.contains("cannot write to"), "{text}");
        let text = refused(DataDir::prepare(Some(dir.path())));
        assert!(text.contains("not a demo"), "{text}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let text = refused(DataDir::existing(dir.path()));
        assert!(text.contains("holds no demo"), "{text}");
    }

    #[test]
    fn a_temporary_directory_goes_unless_it_is_kept() {
        let mut data = DataDir::prepare(None).unwrap();
        let path = data.path.clone();
        data.keep();
        drop(data);
        assert!(path.join("stores").is_dir());
        std::fs::remove_dir_all(&path).unwrap();
        let data = DataDir::prepare(None).unwrap();
        let path = data.path.clone();
        drop(data);
        assert!(!path.exists());
    }
}
