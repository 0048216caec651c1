//! Values by key in a folder, kept by sled: the one file that knows it. It is trusted with nothing:
//! whatever it says is checked by whoever asked, what it throws is caught, and opening it has a
//! deadline. A folder that is no good is left behind; the next one has the next number.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::{Change, Damaged, Store};

/// It has so long to open.
const OPENING: Duration = Duration::from_secs(10);
/// Bytes of its cache. It takes a multiple of that.
const CACHE: u64 = 8 << 20;

/// A store in a folder.
pub(crate) struct TreeStore {
    db: sled::Db,
}

impl TreeStore {
    /// Opens the newest folder below `root`; a new one after it if `anew` or if that one is no good,
    /// and then why.
    pub(crate) fn open(root: &Path, anew: bool) -> Result<(Self, Option<Damaged>), Damaged> {
        let newest = numbers(root).into_iter().max();
        let one = |number: u64| {
            let config = sled::Config::new().path(root.join(number.to_string()));
            let config = config.cache_capacity(CACHE).flush_every_ms(None);
            let db = within(OPENING, move || guarded(|| config.open()))?;
            remove_others(root, number);
            Ok(Self { db })
        };
        let why = match newest.filter(|_| !anew).map(one) {
            Some(Ok(store)) => return Ok((store, None)),
            opened => opened.and_then(Result::err),
        };
        Ok((one(newest.map_or(1, |newest| newest + 1))?, why))
    }
}

/// Does this on a thread of its own: one that does not come back in time is left to itself.
fn within<T: Send + 'static>(
    deadline: Duration,
    work: impl FnOnce() -> Result<T, Damaged> + Send + 'static,
) -> Result<T, Damaged> {
    let (sender, receiver) = mpsc::channel();
    let done = move || {
        // Who has given up does not hear it.
        let _ = sender.send(work());
    };
    let started = thread::Builder::new().name("quadrille-index-open".to_owned()).spawn(done);
    started.map_err(|error| Damaged(format!("no thread can be started: {error}")))?;
    let late = |_| Damaged(format!("it did not open within {} ms", deadline.as_millis()));
    receiver.recv_timeout(deadline).map_err(late)?
}

impl Store for TreeStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Damaged> {
        guarded(|| self.db.get(key)).map(|value| value.map(|value| value.to_vec()))
    }

    fn write(&mut self, changes: Vec<Change>) -> Result<(), Damaged> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        guarded(|| self.db.apply_batch(batch))?;
        guarded(|| self.db.flush()).map(drop)
    }
}

fn guarded<T>(work: impl FnOnce() -> sled::Result<T>) -> Result<T, Damaged> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| Damaged(error.to_string())),
        Err(panic) => Err(Damaged(format!("it panicked: {}", crate::engine::message(&*panic)))),
    }
}

/// The numbers of the folders below `root`.
fn numbers(root: &Path) -> Vec<u64> {
    let names = fs::read_dir(root).into_iter().flatten().flatten();
    names.filter_map(|it| it.file_name().to_str()?.parse().ok()).collect()
}

/// What cannot be removed now goes another time.
fn remove_others(root: &Path, keep: u64) {
    for number in numbers(root).into_iter().filter(|number| *number != keep) {
        if let Err(error) = fs::remove_dir_all(root.join(number.to_string())) {
            tracing::warn!(%error, number, "an index that is not used cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_opens_is_given_up_and_what_panics_is_an_error() {
        let (_never, wait) = mpsc::channel::<()>();
        let hangs = within(Duration::from_millis(5), move || {
            let _ = wait.recv();
            Ok(())
        });
        assert!(hangs.unwrap_err().0.contains("did not open within"));
        let panics = || guarded(|| -> sled::Result<()> { panic!("on purpose") });
        let panics = within(OPENING, panics).unwrap_err();
        assert_eq!(panics.0, "it panicked: on purpose");
    }
}
