//! The `quadrille` command. Only the way in: what it understands is in `cli`.

mod at;
mod cli;
mod demo;
mod dlq;
mod out;
mod saga;
mod why;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
