//! The `quadrille` command. Only the way in: what it understands is in `cli`.

mod cli;
mod demo;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
