//! `quadrille dlq`: events that a group could not process. The words of its commands, and how one
//! is told to programs; what each does is in a file of its own.

mod find;
mod list;
mod replace;
mod resolve;
mod show;

use std::time::Duration;

use clap::{Args, Subcommand};
use quadrille::Position;
use serde::Serialize;

use self::find::{Behind, Letter};
use crate::at::{At, place};
use crate::cli::Failure;

/// Look at the events that a group could not process, and say what becomes of them
///
/// A dead letter waits for somebody: retry hands it out again, skip gives it up, replace hands out
/// other data in its place. Its lane waits with it, where the group keeps an order.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  quadrille dlq list --data demo-data")]
pub(crate) struct DlqArgs {
    #[command(subcommand)]
    command: DlqCommand,
}

#[derive(Debug, Subcommand)]
enum DlqCommand {
    /// List dead letters, the oldest first
    #[command(after_help = "Example:
  quadrille dlq list --group payment --older 10m --data demo-data")]
    List(ListArgs),
    /// Show one, with its event, its story and what can be done about it
    #[command(after_help = "Example:
  quadrille dlq show payment 3310 --data demo-data")]
    Show(ShowArgs),
    /// Hand out again, with all attempts: some that are named, or all that a filter finds
    #[command(override_usage = "quadrille dlq retry <GROUP> <PLACE>... [OPTIONS]
       quadrille dlq retry <FILTER>... [OPTIONS]")]
    #[command(after_help = "Examples:
  quadrille dlq retry payment 3310 --data demo-data
  quadrille dlq retry --group payment --reason timeout --yes --data demo-data")]
    Retry(ResolveArgs),
    /// Give up: the group never handles it, and its lane goes on without it
    #[command(override_usage = "quadrille dlq skip <GROUP> <PLACE>... [OPTIONS]
       quadrille dlq skip <FILTER>... [OPTIONS]")]
    #[command(after_help = "Examples:
  quadrille dlq skip payment 3310 --comment 'a test order' --data demo-data
  quadrille dlq skip --group payment --older 30d --yes --data demo-data")]
    Skip(ResolveArgs),
    /// Hand out other data in its place, to this group only; the rest of the event stays
    #[command(after_help = "Examples:
  quadrille dlq replace payment 3310 --json-data '{}' --data demo-data
  quadrille dlq replace payment 3310 --data-file fixed.json --data demo-data")]
    Replace(ReplaceArgs),
}

/// Which dead letters.
#[derive(Debug, Default, Args)]
struct Filter {
    /// Only of this group
    #[arg(help_heading = "Filter", long, value_name = "GROUP")]
    group: Option<String>,
    /// Only events of this type
    #[arg(help_heading = "Filter", long = "type", value_name = "TYPE")]
    ty: Option<String>,
    /// Only events of this saga
    #[arg(help_heading = "Filter", long, value_name = "SAGA")]
    saga: Option<String>,
    /// Only with this text in the reason
    #[arg(help_heading = "Filter", long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only those that have waited longer than this, such as 10m or 2h30m
    #[arg(help_heading = "Filter", long, value_name = "TIME", value_parser = humantime::parse_duration)]
    older: Option<Duration>,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    filter: Filter,
    /// Also those that a compensation has overtaken, for which nothing is left to do
    #[arg(long)]
    all: bool,
    /// Show so many at most [default: 50; with --json all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The group that could not process it
    group: String,
    /// Its place in the log, such as 3310 or 3310.1
    place: Position,
    /// Print the event's data as it is, and nothing else
    #[arg(long, conflicts_with = "json")]
    payload: bool,
    #[command(flatten)]
    at: At,
}

/// For the record.
#[derive(Debug, Args)]
struct Record {
    /// Why, for the record
    #[arg(long, value_name = "WHY", default_value = "", hide_default_value = true)]
    comment: String,
    /// Who decides, for the record
    #[arg(long, value_name = "WHO", env = "USER", default_value = "")]
    #[arg(hide_default_value = true)]
    by: String,
    /// Also what a compensation has overtaken: its effects may be undone already
    #[arg(long = "override")]
    overtaken: bool,
}

#[derive(Debug, Args)]
struct ResolveArgs {
    /// The group that could not process it
    #[arg(value_name = "GROUP", requires = "places")]
    of: Option<String>,
    /// Its place in the log, such as 3310 or 3310.1
    #[arg(value_name = "PLACE")]
    #[arg(conflicts_with_all = ["group", "ty", "saga", "reason", "older"])]
    places: Vec<Position>,
    #[command(flatten)]
    filter: Filter,
    /// Only say what the filter finds
    #[arg(long)]
    dry_run: bool,
    /// Do not ask about what the filter finds
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    record: Record,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
struct ReplaceArgs {
    /// The group that could not process it
    group: String,
    /// Its place in the log, such as 3310 or 3310.1
    place: Position,
    /// The data that takes its place, as JSON
    #[arg(long, value_name = "JSON", required_unless_present = "data_file")]
    json_data: Option<String>,
    /// A file with that data; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "json_data")]
    data_file: Option<String>,
    #[command(flatten)]
    record: Record,
    #[command(flatten)]
    at: At,
}

/// A dead letter, as programs read it.
#[derive(Serialize)]
struct Row<'a> {
    group: &'a str,
    place: String,
    topic: &'a str,
    offset: u64,
    #[serde(rename = "type")]
    ty: &'a str,
    id: &'a str,
    saga: &'a str,
    attempts: u32,
    reason: &'a str,
    member: &'a str,
    /// Milliseconds since 1970.
    parked_at: u64,
    /// How many events of its lane wait behind it; null if the lane has gone on.
    behind: Option<Behind>,
    superseded_by: Option<String>,
}

impl<'a> From<&'a Letter> for Row<'a> {
    fn from(it: &'a Letter) -> Self {
        let dead = &it.dead;
        Self {
            group: &it.group,
            place: it.place(),
            topic: &dead.topic,
            offset: dead.offset,
            ty: &dead.ty,
            id: &dead.id,
            saga: &dead.saga,
            attempts: dead.attempts,
            reason: &dead.reason,
            member: &dead.member,
            parked_at: dead.time,
            behind: it.behind,
            superseded_by: dead.superseded_by.map(place),
        }
    }
}

impl DlqArgs {
    pub(crate) fn at(&self) -> &At {
        match &self.command {
            DlqCommand::List(args) => &args.at,
            DlqCommand::Show(args) => &args.at,
            DlqCommand::Retry(args) | DlqCommand::Skip(args) => &args.at,
            DlqCommand::Replace(args) => &args.at,
        }
    }
}

/// Does what the arguments say.
pub(crate) fn main(args: DlqArgs) -> Result<(), Failure> {
    let at = args.at().clone();
    let data = match &args.command {
        DlqCommand::Replace(args) => replace::data(args)?,
        _ => Vec::new(),
    };
    at.run(async |session| match args.command {
        DlqCommand::List(args) => list::list(session, &args).await,
        DlqCommand::Show(args) => show::show(session, &args).await,
        DlqCommand::Retry(args) => resolve::resolve(session, &args, resolve::How::Retry).await,
        DlqCommand::Skip(args) => resolve::resolve(session, &args, resolve::How::Skip).await,
        DlqCommand::Replace(args) => replace::replace(session, &args, data).await,
    })
}
