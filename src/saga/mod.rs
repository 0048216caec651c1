//! `quadrille saga`: sagas as they stand. The words of its commands; what each does is in a file of
//! its own, and how an event's state is told to programs in `json`.

pub(crate) mod json;
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
    /// Show the tree of one saga, with what each group still has to do about it
    #[command(after_help = "Examples:
  quadrille saga show order-2077 --data demo-data
  quadrille saga show order-2077 --mermaid --data demo-data")]
    Show(ShowArgs),
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
            SagaCommand::Show(args) => &args.at,
        }
    }
}

/// Does what the arguments say.
pub(crate) fn main(args: SagaArgs) -> Result<(), Failure> {
    let at = args.at().clone();
    at.run(async |session| match args.command {
        SagaCommand::Show(args) => show::show(session, &args).await,
    })
}
