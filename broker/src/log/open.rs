//! A data directory: whether it is one, whether it is ours, its lock, and its manifest.
//! Nothing here reads the log itself.

use std::io::{self, ErrorKind};

use super::format::{Manifest, segment_number};
use crate::disk::{Disk, Lock, Mode, read_range, replace};

const MANIFEST: &str = "manifest";
const LOCK: &str = "lock";
/// What a directory may hold that was left half made.
const OURS: [&str; 6] = [LOCK, MANIFEST, "manifest.tmp", "log", "blobs", "quarantine"];

/// Why a data directory cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It holds other things.
    #[error(
        "this is not a Quadrille data directory: it holds `{found}`; name an empty or a new directory"
    )]
    NotADataDirectory {
        /// One of the files that do not belong.
        found: String,
    },
    /// Another process, or another bus in this one, has it open.
    #[error("the data directory is open in process {pid} ({program}); only one bus can have it")]
    Locked {
        /// The process that has it.
        pid: u32,
        /// The program that has it.
        program: String,
    },
    /// It cannot be written.
    #[error("the data directory is read-only; a bus must be able to write")]
    ReadOnly,
    /// It belongs to another user.
    #[error("no permission to use the data directory; it belongs to another user")]
    Denied,
    /// Written by a newer version that says that this one must not touch it.
    #[error(
        "the data directory was written by a newer version of Quadrille (feature bits {bits:#x}); use that version"
    )]
    Newer {
        /// The bits this version does not know.
        bits: u32,
    },
    /// There are segments, but no readable manifest.
    #[error("the manifest of the data directory is damaged: {0}; bring it back from a backup")]
    Manifest(&'static str),
    /// The disk is full.
    #[error("the disk is full")]
    Full,
    /// The disk has failed.
    #[error("the data directory cannot be used: {0}")]
    Io(io::Error),
}

impl OpenError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotADataDirectory { .. } => "not_a_data_directory",
            Self::Locked { .. } => "directory_locked",
            Self::ReadOnly => "read_only",
            Self::Denied => "permission_denied",
            Self::Newer { .. } => "newer_format",
            Self::Manifest(_) => "manifest_damaged",
            Self::Full => "disk_full",
            Self::Io(_) => "disk_failed",
        }
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            ErrorKind::PermissionDenied => Self::Denied,
            ErrorKind::NotADirectory => Self::NotADataDirectory { found: "a file".to_owned() },
            _ if crate::disk::is_full(&error) => Self::Full,
            _ => Self::Io(error),
        }
    }
}

/// Whether the directory is a data directory (true), or may become one (false).
pub(crate) fn inspect(disk: &dyn Disk) -> Result<bool, OpenError> {
    let names = disk.list("")?;
    if names.iter().any(|name| name == MANIFEST) {
        return load(disk).map(|_| true);
    }
    if let Some(found) = names.iter().find(|name| !OURS.contains(&name.as_str())) {
        return Err(OpenError::NotADataDirectory { found: found.clone() });
    }
    let segments =
        if names.iter().any(|name| name == "log") { disk.list("log")? } else { Vec::new() };
    if segments.iter().any(|name| segment_number(name).is_some()) {
        return Err(OpenError::Manifest("it is missing"));
    }
    Ok(false)
}

/// Makes an empty directory a data directory.
pub(crate) fn create(disk: &dyn Disk, log_id: u128) -> Result<(), OpenError> {
    disk.create_folder("log")?;
    disk.create_folder("quarantine")?;
    Ok(store(disk, &Manifest { log_id, epoch: 0, oldest: 1, newest: 0, first: 1 })?)
}

/// Takes the lock of the directory.
pub(crate) fn lock(disk: &dyn Disk) -> Result<Box<dyn Send + Sync>, OpenError> {
    let program = std::env::current_exe().ok();
    let program =
        program.as_deref().and_then(|path| path.file_name()?.to_str()).unwrap_or("unknown");
    match disk.lock(LOCK, &format!("{} {program}\n", std::process::id()))? {
        Lock::Held(guard) => Ok(guard),
        Lock::Taken(holder) => {
            let (pid, program) = holder.trim_end().split_once(' ').unwrap_or(("0", "unknown"));
            Err(OpenError::Locked { pid: pid.parse().unwrap_or(0), program: program.to_owned() })
        }
    }
}

/// Reads the manifest; true if one of its two copies is damaged.
pub(crate) fn load(disk: &dyn Disk) -> Result<(Manifest, bool), OpenError> {
    let bytes = read_range(&*disk.open(MANIFEST, Mode::Read)?, 0, 1 << 16)?;
    let manifest =
        Manifest::decode(&bytes).map_err(|unknown| OpenError::Newer { bits: unknown.0 })?;
    match manifest {
        Some(manifest) => Ok(manifest),
        None if Manifest::is_ours(&bytes) => {
            Err(OpenError::Manifest("neither of its copies is whole"))
        }
        None => Err(OpenError::NotADataDirectory { found: MANIFEST.to_owned() }),
    }
}

/// Replaces the manifest.
pub(crate) fn store(disk: &dyn Disk, manifest: &Manifest) -> io::Result<()> {
    replace(disk, "", MANIFEST, &manifest.encode())
}
