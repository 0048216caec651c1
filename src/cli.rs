//! The command line: its words, its exit codes, and who does what it asks. No work is done here.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::demo::{self, DemoArgs};

/// An event bus for choreographed sagas.
///
/// Services react to each other's events, with no conductor; everything durable is one log.
#[derive(Debug, Parser)]
#[command(name = "quadrille", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(DemoArgs),
}

/// Why a command did not do what it was asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The input cannot be used; nothing was done. Exit code 2.
    Input(String),
    /// It was tried and did not work, or what was checked is not in order. Exit code 1.
    Run(String),
    /// Stopped by the user, who can go on later. Exit code 130.
    Stopped(String),
}

impl Failure {
    pub(crate) fn input(what: impl Into<String>) -> Self {
        Self::Input(what.into())
    }

    pub(crate) fn run(what: impl std::fmt::Display) -> Self {
        Self::Run(what.to_string())
    }
}

/// Parses the arguments and runs. Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped.
pub(crate) fn main() -> ExitCode {
    let Command::Demo(args) = Cli::parse().command;
    let (text, code) = match demo::main(args) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Input(text)) => (text, 2),
        Err(Failure::Run(text)) => (text, 1),
        Err(Failure::Stopped(text)) => (text, 130),
    };
    // Nobody is left to be told if stderr is gone.
    let _ = writeln!(io::stderr(), "quadrille: {text}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn rates_outside_zero_to_one_are_refused_with_a_sentence() {
        for bad in ["1.5", "-0.1", "NaN", "many"] {
            let error = Cli::try_parse_from(["quadrille", "demo", &format!("--fail-rate={bad}")])
                .unwrap_err()
                .to_string();
            assert!(error.contains("a share from 0 to 1, such as 0.1"), "{error}");
            assert!(error.contains(bad), "{error}");
        }
    }

    #[test]
    fn an_audit_takes_a_directory_and_no_options_of_a_run() {
        assert!(Cli::try_parse_from(["quadrille", "demo", "audit", "d", "--json"]).is_ok());
        assert!(Cli::try_parse_from(["quadrille", "demo", "audit"]).is_err());
        assert!(Cli::try_parse_from(["quadrille", "demo", "--seed", "1", "audit", "d"]).is_err());
    }
}
