//! Blobs as files: checkpoints and side files, each whole or not there. Knows nothing of what is in them.

use std::io::ErrorKind;
use std::sync::Arc;

use bytes::Bytes;

use super::{Blobs, LogError};
use crate::disk::{Disk, Mode, read_range, replace};

/// Blobs in the folder `blobs/` of a data directory, flattened: `folder/name` is the file `folder+name`.
///
/// Only for whoever holds the directory: it is the claimed log that has the lock.
#[derive(Debug)]
pub struct FileBlobs {
    disk: Arc<dyn Disk>,
}

const FOLDER: &str = "blobs";

impl FileBlobs {
    /// The blobs of the data directory on `disk`.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk }
    }
}

fn path(name: &str) -> Result<String, LogError> {
    let good = |part: &str| {
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        !part.is_empty() && part.len() <= 100 && !part.starts_with('.') && part.bytes().all(known)
    };
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() > 2 || !parts.iter().all(|part| good(part)) || name.ends_with(".tmp") {
        return Err(LogError::BadName(name.to_owned()));
    }
    Ok(format!("{FOLDER}/{}", parts.join("+")))
}

fn io(what: &'static str) -> impl Fn(std::io::Error) -> LogError {
    move |source| LogError::Io { what, source }
}

impl Blobs for FileBlobs {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), LogError> {
        let path = path(name)?;
        self.disk.create_folder(FOLDER).map_err(io("making the folder of blobs"))?;
        replace(&*self.disk, FOLDER, &path, bytes).map_err(io("writing a blob"))
    }

    fn get_range(&self, name: &str, from: u64, len: usize) -> Result<Option<Bytes>, LogError> {
        let file = match self.disk.open(&path(name)?, Mode::Read) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(io("opening a blob"))?,
        };
        let bytes = read_range(&*file, from, len).map_err(io("reading a blob"))?;
        Ok(Some(bytes.into()))
    }

    fn list(&self) -> Result<Vec<String>, LogError> {
        let names = match self.disk.list(FOLDER) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(io("listing blobs"))?,
        };
        let names = names.into_iter().map(|name| name.replacen('+', "/", 1));
        Ok(names.filter(|name| path(name).is_ok()).collect())
    }

    fn remove(&self, name: &str) -> Result<(), LogError> {
        match self.disk.remove(&path(name)?) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            other => {
                other.map_err(io("removing a blob"))?;
                self.disk.sync_dir(FOLDER).map_err(io("removing a blob"))
            }
        }
    }
}
