//! The command line: its words, its exit codes, and who does what it asks. No work is done here.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::demo::{self, DemoArgs};
use crate::dlq::{self, DlqArgs};
use crate::saga::{self, SagaArgs};
use crate::why::{self, WhyArgs};

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
    Dlq(DlqArgs),
    Saga(SagaArgs),
    Why(WhyArgs),
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
    /// Likewise, with a word for programs, which does not change.
    Coded {
        /// The word.
        code: &'static str,
        /// The exit code.
        exit: u8,
        /// The sentence.
        text: String,
    },
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
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) if error.use_stderr() && std::env::args_os().any(|it| it == "--json") => {
            return report("bad_arguments", 2, &sentence(&error.to_string()), true);
        }
        Err(error) => error.exit(),
    };
    let json = match &command {
        Command::Demo(_) => false,
        Command::Dlq(args) => args.at().json,
        Command::Saga(args) => args.at().json,
        Command::Why(args) => args.at.json,
    };
    let done = match command {
        Command::Demo(args) => demo::main(args),
        Command::Dlq(args) => dlq::main(args),
        Command::Saga(args) => saga::main(args),
        Command::Why(args) => why::main(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Input(text)) => report("bad_input", 2, &text, json),
        Err(Failure::Run(text)) => report("failed", 1, &text, json),
        Err(Failure::Stopped(text)) => report("stopped", 130, &text, json),
        Err(Failure::Coded { code, exit, text }) => report(code, exit, &text, json),
    }
}

/// What is wrong with the arguments, in one line: all that comes before the usage.
fn sentence(text: &str) -> String {
    let lines = text.trim_start_matches("error: ").lines().map(str::trim);
    let lines = lines.take_while(|it| !it.starts_with("Usage:") && !it.starts_with("For more"));
    lines.filter(|it| !it.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Says what went wrong, to people or to programs.
fn report(code: &str, exit: u8, text: &str, json: bool) -> ExitCode {
    let line = match json {
        true => serde_json::json!({ "error": { "code": code, "message": text } }).to_string(),
        false => format!("quadrille: {text}"),
    };
    // Nobody is left to be told if stderr is gone.
    let _ = writeln!(io::stderr(), "{line}");
    ExitCode::from(exit)
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
    fn a_sentence_for_programs_names_what_is_missing() {
        let words = ["quadrille", "dlq", "replace", "payment", "1", "--json"];
        let error = Cli::try_parse_from(words).unwrap_err().to_string();
        let missing = "the following required arguments were not provided: --json-data <JSON>";
        assert_eq!(sentence(&error), missing);
    }

    #[test]
    fn an_audit_takes_a_directory_and_no_options_of_a_run() {
        assert!(Cli::try_parse_from(["quadrille", "demo", "audit", "d", "--json"]).is_ok());
        assert!(Cli::try_parse_from(["quadrille", "demo", "audit"]).is_err());
        assert!(Cli::try_parse_from(["quadrille", "demo", "--seed", "1", "audit", "d"]).is_err());
    }
}
