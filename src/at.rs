//! Which bus a command is about, and the way in and out of it: opening a directory that must be
//! there, closing it in order. What a command does there is the command's.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use quadrille::{AdminError, Bus, OpenError, OpenOptions, Position, ReadError};
use quadrille_broker::time::{Clock, SystemClock};
use tokio::runtime::Builder;

use crate::cli::Failure;
use crate::out::quoted;

/// Which bus, and how its answer is told.
#[derive(Clone, Debug, Args)]
pub(crate) struct At {
    /// The data directory of the bus, or the directory of a demo, which has one in it
    #[arg(long, value_name = "DIR", env = "QUADRILLE_DATA")]
    data: Option<PathBuf>,
    /// Print one JSON object and nothing else; errors too, on standard error
    #[arg(long)]
    pub(crate) json: bool,
}

/// A bus that is open for one command.
pub(crate) struct Session {
    pub(crate) bus: Bus,
    /// Milliseconds since 1970.
    pub(crate) now: u64,
    /// The directory as it was given.
    dir: PathBuf,
}

impl At {
    /// Opens the bus, has `work` done on it, and closes it, whatever came of that.
    ///
    /// # Errors
    /// No directory, one without a bus, one that is in use; what `work` says; an interrupt.
    pub(crate) fn run(
        &self,
        work: impl AsyncFnOnce(&Session) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let dir = self.data.clone().ok_or_else(|| Failure::Coded {
            code: "no_bus_given",
            exit: 2,
            text: "which bus? Give its data directory: --data DIR, or QUADRILLE_DATA=DIR".into(),
        })?;
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(Failure::run)?;
        let done = runtime.block_on(async {
            // Kept beside the log: what is asked again is found without reading all of it.
            let options = OpenOptions { index: true, ..OpenOptions::default() };
            let bus = Bus::open_with(data_directory(&dir)?, options).await;
            let bus = bus.map_err(|e| unopened(&dir, &e))?;
            let now = SystemClock::new().now().wall;
            let session = Session { bus, now, dir };
            let done = tokio::select! {
                done = async {
                    session.catch_up().await?;
                    work(&session).await
                } => done,
                _ = tokio::signal::ctrl_c() => Err(Failure::Stopped("stopped".to_owned())),
            };
            let closed = session.bus.close(Duration::ZERO).await;
            done?;
            closed.map(drop).map_err(|e| session.failure(e))
        });
        // Somebody who was asked and did not answer may still be listened to.
        runtime.shutdown_background();
        done
    }
}

/// An index that does not catch up in this time is asked as it is.
const CATCHING_UP: Duration = Duration::from_secs(20);

impl Session {
    /// Waits until the index knows all of the log: a command that has just made it anew answers as
    /// the one before.
    async fn catch_up(&self) -> Result<(), Failure> {
        let until = tokio::time::Instant::now() + CATCHING_UP;
        loop {
            let info = self.bus.info().await.map_err(|e| self.failure(e))?;
            let behind = info.index.is_some_and(|it| it.lag > 0);
            if !behind || tokio::time::Instant::now() >= until {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// A command line on this bus, to be typed as it stands.
    pub(crate) fn command(&self, words: &[&str]) -> String {
        let words = [&["quadrille"], words].concat().into_iter().map(quoted);
        words.chain([self.option()]).collect::<Vec<_>>().join(" ")
    }

    /// What a command line says to be on this bus.
    pub(crate) fn option(&self) -> String {
        format!("--data {}", quoted(&self.name()))
    }

    /// What people call this bus.
    pub(crate) fn name(&self) -> String {
        self.dir.display().to_string()
    }

    /// Checks that there is such a group.
    ///
    /// # Errors
    /// There is none; the groups that there are are named.
    pub(crate) async fn check_group(&self, name: &str) -> Result<(), Failure> {
        let groups = self.bus.groups().await.map_err(|e| self.failure(e))?;
        let groups: Vec<_> = groups.into_iter().map(|it| it.name).collect();
        let known = match &groups[..] {
            some if some.iter().any(|it| it == name) => return Ok(()),
            [] => "it has none".to_owned(),
            some => format!("it has {}", some.join(", ")),
        };
        let text = format!("there is no group {name:?} in {}; {known}", self.name());
        Err(Failure::Coded { code: "unknown_group", exit: 1, text })
    }

    /// What the bus answered.
    pub(crate) fn failure(&self, error: impl Into<BusError>) -> Failure {
        let BusError { code, kind, text } = error.into();
        let exit = if kind == quadrille::ErrorKind::Input { 2 } else { 1 };
        Failure::Coded { code, exit, text: format!("{}: {text}", self.name()) }
    }
}

/// What one has to know of an error of the bus.
pub(crate) struct BusError {
    code: &'static str,
    kind: quadrille::ErrorKind,
    text: String,
}

impl From<AdminError> for BusError {
    fn from(it: AdminError) -> Self {
        Self { code: it.code(), kind: it.kind(), text: it.to_string() }
    }
}

impl From<ReadError> for BusError {
    fn from(it: ReadError) -> Self {
        Self { code: it.code(), kind: it.kind(), text: it.to_string() }
    }
}

/// The directory with the log: this one, or the demo's in it. Opening would make one elsewhere.
fn data_directory(dir: &Path) -> Result<PathBuf, Failure> {
    let refused = |why: &str| Failure::Coded {
        code: "not_a_data_directory",
        exit: 2,
        text: format!(
            "{} {why}; give the directory that a bus was opened on, or that `quadrille demo \
             --data DIR` wrote",
            dir.display()
        ),
    };
    fs::read_dir(dir).map_err(|e| match e.kind() {
        ErrorKind::NotFound => refused("does not exist"),
        ErrorKind::NotADirectory => refused("is a file"),
        _ => refused(&format!("cannot be read ({e})")),
    })?;
    let has_log = |dir: &Path| {
        let segments = fs::read_dir(dir.join("log")).into_iter().flatten().flatten();
        let mut segments =
            segments.filter(|it| it.path().extension().is_some_and(|it| it == "seg"));
        dir.join("manifest").is_file() || segments.next().is_some()
    };
    let found = [dir.to_owned(), dir.join("bus")].into_iter().find(|it| has_log(it));
    found.ok_or_else(|| refused("holds no bus"))
}

fn unopened(dir: &Path, error: &OpenError) -> Failure {
    let name = dir.display();
    let (code, text) = match error {
        OpenError::Log(error) if error.code() == "directory_locked" => {
            (error.code(), format!("{name}: {error}; stop it, or wait until it is done"))
        }
        OpenError::Log(error) => (error.code(), format!("{name}: {error}")),
        other => ("not_opened", format!("{name}: {other}")),
    };
    Failure::Coded { code, exit: 1, text }
}

/// A place as it is typed: without the sign that begins a comment in a shell.
pub(crate) fn place(at: Position) -> String {
    at.to_string().trim_start_matches('#').to_owned()
}
