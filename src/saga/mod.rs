//! `quadrille saga`: sagas as they stand. The words of its commands; what each does is in a file of
//! its own, and how an event's state is told to programs in `json`.

pub(crate) mod json;
mod ls;
mod show;

use clap::{Args, Subcommand};

use crate::at::At;
use crate::cli::Failure;

/// Look at sagas: what has happened, what caused what, and what each waits for now
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  quadrille saga show order-2077 --data demo-data")]
pub(crate) struct SagaArgs {
    #[command(subcommand)]
    command: SagaCommand,
}

#[derive(Debug, Subcommand)]
enum SagaCommand {
    /// List sagas, those with the newest event first
    #[command(after_help = "Examples:
  quadrille saga ls --needs-attention --data demo-data
  quadrille saga ls --open --stalest --limit 5 --data demo-data")]
    Ls(LsArgs),
    /// Show the tree of one saga, with what each group still has to do about it
    #[command(after_help = "Examples:
  quadrille saga show order-2077 --data demo-data
  quadrille saga show order-2077 --mermaid --data demo-data")]
    Show(ShowArgs),
}

#[derive(Debug, Args)]
struct LsArgs {
    /// Only those with something parked
    #[arg(long)]
    needs_attention: bool,
    /// Only those that some group has still to do something about
    #[arg(long, conflicts_with = "needs_attention")]
    open: bool,
    /// Those that have waited longest first: by their oldest event that is not settled
    #[arg(long)]
    stalest: bool,
    /// Show so many at most
    #[arg(long, value_name = "N", default_value = "20")]
    limit: usize,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The saga's id
    saga: String,
    /// Print a flowchart for Mermaid
    #[arg(long, conflicts_with = "json")]
    mermaid: bool,
    #[command(flatten)]
    at: At,
}

impl SagaArgs {
    pub(crate) fn at(&self) -> &At {
        match &self.command {
            SagaCommand::Ls(args) => &args.at,
            SagaCommand::Show(args) => &args.at,
        }
    }
}

/// Does what the arguments say.
pub(crate) fn main(args: SagaArgs) -> Result<(), Failure> {
    let at = args.at().clone();
    at.run(async |session| match args.command {
        SagaCommand::Ls(args) => ls::ls(session, &args).await,
        SagaCommand::Show(args) => show::show(session, &args).await,
    })
}
