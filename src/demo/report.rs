//! The words between the process that directs and the one that runs bus and services: JSON lines,
//! directions on its standard input, reports on its standard output. Only the words.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::options::{Plan, RunArgs};
use crate::cli::Failure;

/// What is to be done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Direction {
    /// First of all: what is run, and where.
    Start { args: Box<RunArgs>, data: PathBuf },
    /// Publish the orders before this one, as fast as they go or so many per second.
    Feed { act: Act, until: u64, per_second: Option<u64> },
    /// The payment provider goes down, or comes back.
    Provider { down: bool },
    /// The operator says what becomes of what is parked.
    Resolve,
    /// Wait until nobody has anything left to do.
    Settle,
    /// Stop in order.
    Close,
}

/// What orders are counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Act {
    Fast,
    Steady,
    Trouble,
    Fire,
    /// Had to wait because the provider was down, whenever they were published.
    Outage,
    /// Make trouble themselves.
    Cast,
}

/// What has happened.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The services run. How many starts before this one were cut off.
    Ready { plan: Plan, kills: u64 },
    /// How it stands, again and again.
    State(State),
    /// The last direction to feed or settle is done.
    Done(Done),
    /// What is parked, before anything is done about it.
    Parked(Vec<Parked>),
    /// What the operator has done.
    Resolved(Vec<Resolved>),
    /// Stopped in order.
    Closed,
    /// Given up.
    Failed { input: bool, text: String },
}

/// How it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) ended: u64,
    pub(crate) orders: u64,
    /// Handlers in the middle of their local transaction.
    pub(crate) busy: u64,
    pub(crate) services: Vec<ServiceState>,
    pub(crate) counts: CountsState,
}

impl State {
    pub(crate) fn parked(&self) -> u64 {
        self.services.iter().map(|it| it.parked).sum()
    }
}

/// One service: events that it has done, that it was handed, and sagas that wait.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServiceState {
    pub(crate) name: String,
    pub(crate) done: u64,
    pub(crate) in_flight: u64,
    pub(crate) held: u64,
    pub(crate) parked: u64,
}

/// What this process has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CountsState {
    /// Handlings that panicked, and so came again.
    pub(crate) retries: u64,
    /// Copies of an order that the bus recognised.
    pub(crate) duplicates: u64,
    /// Events that a compensation overtook.
    pub(crate) superseded: u64,
    /// Handlings that an earlier process had committed, and whose events only had to go out.
    pub(crate) resent: u64,
}

/// The end of an act.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) measured: Vec<(Act, Measured)>,
    /// How many orders waited for the provider, and how many attempts that has cost them.
    pub(crate) outage: (u64, u64),
    /// Charges that came after their order had failed; of all processes.
    pub(crate) late: u64,
}

impl Done {
    pub(crate) fn of(&self, act: Act) -> Measured {
        let found = self.measured.iter().find(|(it, _)| *it == act);
        found.map(|(_, measured)| *measured).unwrap_or_default()
    }
}

/// Orders from their publish to their end, by the log's own times.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) orders: u64,
    pub(crate) per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

/// An event that waits for somebody.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Parked {
    pub(crate) order: String,
    /// Its order's timeline, with the commands that resolve it.
    pub(crate) timeline: String,
}

/// What was done about one of these.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Resolved {
    pub(crate) order: String,
    /// As commands would say it, and what was done besides.
    pub(crate) how: String,
    pub(crate) why: String,
}

/// Writes a line of JSON.
///
/// # Errors
/// Nobody reads any more.
pub(crate) fn say(mut to: impl Write, what: &impl Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(what).map_err(Failure::run)?;
    let gone = |e: io::Error| Failure::run(format!("the other process is gone: {e}"));
    writeln!(to, "{line}").and_then(|()| to.flush()).map_err(gone)
}
