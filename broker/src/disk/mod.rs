//! What the log needs of a disk: files, names, directory syncs, a lock, and room.
//! No layout and no policy: which files there are is the log's business. Paths are relative to one directory,
//! with `/` between folder and name.

mod real;
#[cfg(any(test, feature = "sim"))]
mod sim;

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;

pub use real::RealDisk;
#[cfg(any(test, feature = "sim"))]
pub use sim::{Fault, SimDisk};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// An existing one, for reading.
    Read,
    /// An existing one, for reading and writing.
    Write,
    /// A new and empty one; an older one of that name is emptied.
    Create,
}

/// One directory on a disk.
pub trait Disk: Send + Sync + fmt::Debug + 'static {
    /// Opens a file.
    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn File>>;
    /// Renames a file, in place of an older one of the new name. Durable after `sync_dir`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Durable after `sync_dir`.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// The names in a folder (`""` is the directory itself), sorted.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
    /// Makes a folder, durably; fine if it is there.
    fn create_folder(&self, folder: &str) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, folder: &str) -> io::Result<()>;
    /// Free bytes for this process, and the size of the file system.
    fn space(&self) -> io::Result<(u64, u64)>;
    /// Takes the exclusive lock on a file and writes `owner` into it; held until the guard is dropped.
    fn lock(&self, path: &str, owner: &str) -> io::Result<Lock>;
}

/// An open file. Writes at different places may run at the same time.
pub trait File: Send + Sync + fmt::Debug {
    /// Writes all of `bufs`, one behind the other.
    fn write_at(&self, offset: u64, bufs: &mut [IoSlice<'_>]) -> io::Result<()>;
    /// Reads until `buf` is full or the file ends; answers how many bytes.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Makes data and length durable.
    fn sync(&self) -> io::Result<()>;
    /// Reserves real space up to `len` bytes, reading as zeros, and makes the file that long if it is shorter.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Its length in bytes.
    fn size(&self) -> io::Result<u64>;
}

/// The result of trying to lock.
pub enum Lock {
    /// Held until this is dropped.
    Held(Box<dyn Send + Sync>),
    /// Somebody else has it, who wrote this.
    Taken(String),
}

/// True if an error means "no room", and not "broken".
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// All of a file, from `offset` on, at most `max` bytes.
pub(crate) fn read_range(file: &dyn File, offset: u64, max: usize) -> io::Result<Vec<u8>> {
    let rest = file.size()?.saturating_sub(offset);
    let mut bytes = vec![0; usize::try_from(rest).unwrap_or(usize::MAX).min(max)];
    let n = file.read_at(offset, &mut bytes)?;
    bytes.truncate(n);
    Ok(bytes)
}

/// Puts a whole file in place of an older one, atomically and durably.
pub(crate) fn replace(disk: &dyn Disk, folder: &str, path: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{path}.tmp");
    let file = disk.open(&temporary, Mode::Create)?;
    file.write_at(0, &mut [IoSlice::new(bytes)])?;
    file.sync()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(folder)
}
