//! The directory of a run: the bus's own data directory, with the services' stores in a folder of
//! it, and a marker that says that all of it is the demo's. So what other commands are told by
//! `--data` is this directory.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use quadrille::{AdminError, Bus};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::options::DEFAULT_DIR;
use super::shop::{SERVICES, TOPICS};
use super::store::StoreError;
use crate::cli::Failure;

const MARKER: &str = "demo.json";
const STORES: &str = "stores";

/// The marker until it is whole.
const NEW_MARKER: &str = "demo.json.new";

/// What a start may leave that was killed before it had marked the directory.
const UNMARKED: [&str; 8] =
    ["index", "log", "blobs", "quarantine", "manifest.tmp", "manifest", "lock", NEW_MARKER];

/// What the marker says.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Marker {
    /// Made without being asked for by name.
    by_default: bool,
    finished: bool,
}

/// Where a run keeps its log and its stores.
#[derive(Debug)]
pub(crate) struct DataDir {
    pub(crate) path: PathBuf,
    marker: Marker,
    /// Removes the directory when dropped, if nobody is to see it.
    temporary: Option<TempDir>,
    /// The directory itself, locked for as long as a run has it.
    held: Option<File>,
    /// A finished run has given way.
    pub(crate) has_replaced: bool,
}

impl DataDir {
    /// The directory of `--data`, made if it is not there; or the default one, where a finished run
    /// gives way; or, if nobody is to see it, one that is gone at the end.
    ///
    /// # Errors
    /// It is a file, holds something else, is in use, or cannot be written.
    pub(crate) async fn prepare(asked: Option<&Path>, hidden: bool) -> Result<Self, Failure> {
        let (path, temporary) = match asked {
            Some(path) => (path.to_owned(), None),
            None if hidden => {
                let dir = TempDir::with_prefix("quadrille-demo-").map_err(|e| {
                    Failure::run(format!("cannot make a temporary directory: {e}; give --data"))
                })?;
                (dir.path().to_owned(), Some(dir))
            }
            None => (PathBuf::from(DEFAULT_DIR), None),
        };
        let marker = Marker { by_default: asked.is_none(), finished: false };
        let mut data = Self { path, marker, temporary, held: None, has_replaced: false };
        data.make().await?;
        Ok(data)
    }

    async fn make(&mut self) -> Result<(), Failure> {
        let name = self.path.display().to_string();
        if self.path.exists() && !self.path.is_dir() {
            return Err(Failure::Input(format!("{name} is not a directory; give one to --data")));
        }
        let unwritable = |e: io::Error| {
            Failure::Input(format!("cannot write to {name}: {e}; give another directory to --data"))
        };
        fs::create_dir_all(&self.path).map_err(unwritable)?;
        self.hold().map_err(|e| match e {
            TryLockError::WouldBlock => Failure::run(format!(
                "another demo runs in {name}; wait until it is done, or give another directory to \
                 --data"
            )),
            TryLockError::Error(e) => unwritable(e),
        })?;
        let foreign = || {
            Failure::Input(format!(
                "{name} holds something that is not a demo; give an empty or a new directory to \
                 --data"
            ))
        };
        let kept = read_marker(&self.path);
        if let Some(kept) =
            kept.filter(|it| !(self.marker.by_default && it.by_default && it.finished))
        {
            self.marker = kept;
            // A start that was killed may not have come so far.
            fs::create_dir_all(self.stores()).map_err(unwritable)?;
            tempfile::tempfile_in(self.stores()).map_err(unwritable)?;
            return Ok(());
        }
        if kept.is_some() {
            // Without a manifest it was being cleared.
            if self.path.join("manifest").exists() && open_bus(&self.path).await? == Holds::Foreign
            {
                return Err(Failure::Input(format!(
                    "the bus in {name} holds topics or groups that are not the demo's, so it is \
                     not replaced; give another directory to --data"
                )));
            }
            clear(&self.path).map_err(unwritable)?;
            self.has_replaced = true;
        } else if !is_unmarked(&self.path).map_err(unwritable)? {
            return Err(foreign());
        }
        tempfile::tempfile_in(&self.path).map_err(unwritable)?;
        // A bus makes itself at home in an empty directory only: so it comes before the marker, and
        // one that holds nothing is what a start left that was killed in between.
        if open_bus(&self.path).await? != Holds::Nothing {
            return Err(foreign());
        }
        self.mark().map_err(unwritable)?;
        fs::create_dir_all(self.stores()).map_err(unwritable)
    }

    /// Keeps other runs away from the directory.
    fn hold(&mut self) -> Result<(), TryLockError> {
        if self.held.is_none() {
            let dir = File::open(&self.path).map_err(TryLockError::Error)?;
            dir.try_lock()?;
            self.held = Some(dir);
        }
        Ok(())
    }

    /// The directory of a run that was.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn existing(path: &Path) -> Result<Self, Failure> {
        let marker = read_marker(path).ok_or_else(|| {
            Failure::Input(format!(
                "{} holds no demo; give the directory that `quadrille demo --data DIR` wrote",
                path.display()
            ))
        })?;
        let path = path.to_owned();
        Ok(Self { path, marker, temporary: None, held: None, has_replaced: false })
    }

    pub(crate) fn stores(&self) -> PathBuf {
        self.path.join(STORES)
    }

    /// The run has come to its end.
    pub(crate) fn finish(&mut self) {
        self.marker.finished = true;
        // Without it the next run goes on with this one, and finds nothing to do.
        let _ = self.mark();
    }

    /// Leaves the directory where it is, for somebody to look at; tells where.
    pub(crate) fn keep(&mut self) -> &Path {
        if let Some(dir) = self.temporary.take() {
            self.path = dir.keep();
        }
        &self.path
    }

    /// What to say when a store cannot be used.
    pub(crate) fn failure(&self) -> impl Fn(StoreError) -> Failure {
        let stores = self.stores();
        move |e| Failure::Run(format!("cannot use the stores in {}: {e}", stores.display()))
    }

    /// There is the whole marker, or the one before.
    fn mark(&self) -> io::Result<()> {
        let new = self.path.join(NEW_MARKER);
        let mut file = File::create(&new)?;
        writeln!(file, "{}", serde_json::to_string(&self.marker)?)?;
        file.sync_all()?;
        fs::rename(new, self.path.join(MARKER))?;
        File::open(&self.path)?.sync_all()
    }
}

fn read_marker(path: &Path) -> Option<Marker> {
    serde_json::from_slice(&fs::read(path.join(MARKER)).ok()?).ok()
}

/// Whether there is nothing but what a start may leave that was killed before it had a marker.
fn is_unmarked(path: &Path) -> io::Result<bool> {
    for it in fs::read_dir(path)? {
        let name = it?.file_name();
        if !UNMARKED.iter().any(|it| name == *it) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whose the topics and groups of a bus are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Nothing,
    Demo,
    Foreign,
}

/// Makes the bus's part, or looks at it and finds out that nobody has it open.
async fn open_bus(path: &Path) -> Result<Holds, Failure> {
    let failed = |e: quadrille::OpenError| Failure::Run(format!("{}: {e}", path.display()));
    let bus = Bus::open(path).await.map_err(failed)?;
    let holds = holds(&bus).await;
    bus.close(Duration::ZERO).await.map_err(Failure::run)?;
    holds.map_err(Failure::run)
}

async fn holds(bus: &Bus) -> Result<Holds, AdminError> {
    let (groups, limits) = (bus.groups().await?, bus.info().await?.limits);
    let topics = limits.iter().find(|it| it.name == "topics").map_or(0, |it| it.used);
    // The bus makes a topic of its own when the first event is parked.
    let own = matches!(bus.read("quadrille.dead_letters").next().await, Some(Ok(_)));
    Ok(match () {
        () if groups.is_empty() && topics == 0 => Holds::Nothing,
        () if topics > TOPICS.len() as u64 + u64::from(own) => Holds::Foreign,
        () if groups.iter().any(|it| !SERVICES.contains(&it.name.as_str())) => Holds::Foreign,
        () => Holds::Demo,
    })
}

/// Removes what a finished run leaves, and nothing else; the marker last, so that a kill in between
/// leaves something that can be cleared.
fn clear(path: &Path) -> io::Result<()> {
    for name in [STORES].into_iter().chain(UNMARKED).chain([MARKER]) {
        let it = path.join(name);
        if it.is_dir() {
            fs::remove_dir_all(it)?;
        } else if it.exists() {
            fs::remove_file(it)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(result: Result<DataDir, Failure>) -> String {
        match result {
            Err(Failure::Input(text)) => text,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_one_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        let text = refused(DataDir::prepare(Some(&file), false).await);
        assert!(text.ends_with("is not a directory; give one to --data"), "{text}");
        let text = refused(DataDir::prepare(Some(&file.join("below")), false).await);
        assert!(text.contains("cannot write to"), "{text}");
        let text = refused(DataDir::prepare(Some(dir.path()), false).await);
        assert!(text.contains("not a demo"), "{text}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(refused(DataDir::existing(dir.path())).contains("holds no demo"));
    }

    #[tokio::test]
    async fn a_start_that_was_killed_at_any_moment_can_be_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        fs::create_dir(path.join("log")).unwrap();
        drop(DataDir::prepare(Some(path), false).await.unwrap());
        fs::rename(path.join(MARKER), path.join(NEW_MARKER)).unwrap();
        fs::remove_dir(path.join(STORES)).unwrap();
        drop(DataDir::prepare(Some(path), false).await.unwrap());
        fs::remove_dir(path.join(STORES)).unwrap();
        drop(DataDir::prepare(Some(path), false).await.unwrap());
        // Killed while it was being cleared.
        let mut data = DataDir::existing(path).unwrap();
        data.marker = Marker { by_default: true, finished: true };
        data.mark().unwrap();
        fs::remove_file(path.join("manifest")).unwrap();
        data.marker.finished = false;
        data.make().await.unwrap();
        assert!(data.has_replaced && path.join(STORES).is_dir());
    }

    #[tokio::test]
    async fn a_bus_with_topics_or_groups_of_others_is_neither_taken_nor_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        drop(DataDir::prepare(Some(path), false).await.unwrap());
        let bus = Bus::open(path).await.unwrap();
        crate::demo::shop::create_topics(&bus).await.unwrap();
        assert_eq!(holds(&bus).await.unwrap(), Holds::Demo);
        bus.create_topic("mine").await.unwrap();
        bus.close(Duration::ZERO).await.unwrap();
        let mut data = DataDir::existing(path).unwrap();
        data.marker = Marker { by_default: true, finished: true };
        data.mark().unwrap();
        let text = data.make().await.unwrap_err();
        assert!(matches!(&text, Failure::Input(it) if it.contains("not the demo's")), "{text:?}");
        fs::remove_file(path.join(MARKER)).unwrap();
        fs::remove_dir(path.join(STORES)).unwrap();
        drop(data);
        let text = refused(DataDir::prepare(Some(path), false).await);
        assert!(text.contains("not a demo"), "{text}");
    }

    #[tokio::test]
    async fn a_directory_has_one_run_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::prepare(Some(dir.path()), false).await.unwrap();
        let second = DataDir::prepare(Some(dir.path()), false).await.unwrap_err();
        assert!(matches!(&second, Failure::Run(it) if it.contains("another demo runs in")));
        drop(first);
        DataDir::prepare(Some(dir.path()), false).await.unwrap();
    }

    #[tokio::test]
    async fn a_temporary_directory_goes_unless_it_is_kept() {
        for kept in [true, false] {
            let mut data = DataDir::prepare(None, true).await.unwrap();
            let path = data.path.clone();
            if kept {
                data.keep();
            }
            drop(data);
            assert_eq!(path.join(STORES).is_dir(), kept);
            if kept {
                fs::remove_dir_all(&path).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn a_finished_run_gives_way_only_to_a_run_by_default_and_only_what_is_ours_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        for (by_default, finished, gives_way) in
            [(false, true, false), (true, false, false), (true, true, true)]
        {
            let mut data = DataDir::prepare(Some(path), false).await.unwrap();
            data.marker = Marker { by_default, finished };
            data.mark().unwrap();
            let row = path.join(STORES).join("order.redb");
            fs::write(&row, "x").unwrap();
            data.marker = Marker { by_default: true, finished: false };
            data.make().await.unwrap();
            assert_eq!(!row.exists(), gives_way, "{by_default} {finished}");
        }
        let mut data = DataDir::existing(path).unwrap();
        data.finish();
        fs::write(path.join("notes.txt"), "mine").unwrap();
        clear(path).unwrap();
        let left: Vec<_> = fs::read_dir(path).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(left, ["notes.txt"]);
    }
}
