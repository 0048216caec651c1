//! The directory of a run: the bus's own data directory, with the services' stores in a folder of
//! it, and a marker that says that all of it is the demo's. So what other commands are told by
//! `--data` is this directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quadrille::Bus;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::options::DEFAULT_DIR;
use super::store::StoreError;
use crate::cli::Failure;

const MARKER: &str = "demo.json";
const STORES: &str = "stores";

/// Everything that a finished run may leave. Nothing else is ever removed.
const OURS: [&str; 8] = [MARKER, STORES, "index", "log", "blobs", "quarantine", "manifest", "lock"];

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
        let mut data = Self { path, marker, temporary };
        data.make().await?;
        Ok(data)
    }

    async fn make(&mut self) -> Result<(), Failure> {
        let name = self.path.display();
        if self.path.exists() && !self.path.is_dir() {
            return Err(Failure::Input(format!("{name} is not a directory; give one to --data")));
        }
        let unwritable = |e: io::Error| {
            Failure::Input(format!("cannot write to {name}: {e}; give another directory to --data"))
        };
        fs::create_dir_all(&self.path).map_err(unwritable)?;
        if let Some(kept) = read_marker(&self.path) {
            if !(self.marker.by_default && kept.by_default && kept.finished) {
                self.marker = kept;
                tempfile::tempfile_in(self.stores()).map_err(unwritable)?;
                return Ok(());
            }
            open_bus(&self.path).await?;
            clear(&self.path).map_err(unwritable)?;
        } else if fs::read_dir(&self.path).map_err(unwritable)?.next().is_some() {
            return Err(Failure::Input(format!(
                "{name} holds something that is not a demo; give an empty or a new directory to \
                 --data"
            )));
        }
        tempfile::tempfile_in(&self.path).map_err(unwritable)?;
        // A bus makes itself at home in an empty directory only.
        open_bus(&self.path).await?;
        fs::create_dir_all(self.stores()).map_err(unwritable)?;
        self.mark().map_err(unwritable)
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
        Ok(Self { path: path.to_owned(), marker, temporary: None })
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

    /// Leaves the directory where it is, for somebody to look at.
    pub(crate) fn keep(&mut self) {
        if let Some(dir) = self.temporary.take() {
            self.path = dir.keep();
        }
    }

    /// What to say when a store cannot be used.
    pub(crate) fn failure(&self) -> impl Fn(StoreError) -> Failure {
        let stores = self.stores();
        move |e| Failure::Run(format!("cannot use the stores in {}: {e}", stores.display()))
    }

    fn mark(&self) -> io::Result<()> {
        let text = serde_json::to_string(&self.marker)?;
        fs::write(self.path.join(MARKER), text + "\n")
    }
}

fn read_marker(path: &Path) -> Option<Marker> {
    serde_json::from_slice(&fs::read(path.join(MARKER)).ok()?).ok()
}

/// Makes the bus's part, or finds out that nobody has it open.
async fn open_bus(path: &Path) -> Result<(), Failure> {
    let failed = |e: quadrille::OpenError| Failure::Run(format!("{}: {e}", path.display()));
    let bus = Bus::open(path).await.map_err(failed)?;
    bus.close(Duration::ZERO).await.map_err(Failure::run)?;
    Ok(())
}

fn clear(path: &Path) -> io::Result<()> {
    for name in OURS {
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
