//! A process that works on a bus and says on standard output what the bus has told it, a fact a
//! line, so that whoever kills it knows what must still be true. It judges nothing.

mod crash;
mod load;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (what, dir) = (args.next().unwrap_or_default(), args.next().unwrap_or_default());
    let round = args.next().and_then(|it| it.parse().ok()).unwrap_or_default();
    let dir = PathBuf::from(dir);
    let Ok(runtime) =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()
    else {
        return ExitCode::from(3);
    };
    let ended = match what.as_str() {
        "load" => runtime.block_on(load::run(dir, round, true)),
        // Dead letters are kept for a week, and what lies behind them in the log with them.
        "calm" => runtime.block_on(load::run(dir, round, false)),
        "crash" => runtime.block_on(crash::run(dir)),
        _ => Err("say load, calm or crash, a directory, and a number".into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error {error}"));
            ExitCode::from(2)
        }
    }
}

/// Writes one fact in one piece: a pipe takes it as a whole or not at all.
fn say(fact: &str) {
    let said = std::io::stdout().lock().write_all(format!("{fact}\n").as_bytes());
    if said.is_err() {
        // Nobody who listens is left.
        std::process::exit(0);
    }
}
