//! A bus in a directory of its own on the disk that is measured, and what the system says about
//! its files and its memory. What is done with the bus is up to the programs.

use std::error::Error;
use std::io;
use std::path::Path;
use std::time::Duration;

use quadrille::{Bus, Durability, Topic, TopicOptions};
use quadrille_broker::engine::{Engine, Options};
use quadrille_broker::limits::Limits;
use tempfile::TempDir;

/// Why a measurement has no result.
pub type Failure = Box<dyn Error + Send + Sync>;

/// `TMPFS_MAGIC` and `RAMFS_MAGIC`.
const MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// A bus whose directory is removed with it.
#[derive(Debug)]
pub struct Stage {
    /// The bus.
    pub bus: Bus,
    dir: TempDir,
}

impl Stage {
    /// An empty bus in a new directory under `dir`.
    ///
    /// # Errors
    /// The directory cannot be made, or the bus does not open.
    pub async fn open(dir: &Path, limits: Limits) -> Result<Self, Failure> {
        Self::open_with(dir, Options { limits, ..Options::default() }).await
    }

    /// Likewise, with these options.
    ///
    /// # Errors
    /// As of [`Stage::open`].
    pub async fn open_with(dir: &Path, options: Options) -> Result<Self, Failure> {
        let dir = TempDir::with_prefix_in("quadrille-bench-", dir)?;
        let path = dir.path().to_owned();
        let opening = tokio::task::spawn_blocking(move || Engine::open(&path, options));
        Ok(Self { bus: Bus::on(opening.await??), dir })
    }

    /// A topic of this durability, made if it is missing.
    ///
    /// # Errors
    /// It cannot be made.
    pub async fn topic(&self, name: &str, durability: Durability) -> Result<Topic, Failure> {
        let options = TopicOptions { durability, ..TopicOptions::default() };
        self.bus.create_topic_with(name, options).await?;
        Ok(self.bus.topic(name))
    }

    /// Closes the bus in order. Bytes of its log, without room that was only reserved.
    ///
    /// # Errors
    /// It does not close; its files cannot be looked at.
    pub async fn close(self) -> Result<u64, Failure> {
        self.bus.close(Duration::from_secs(10)).await?;
        Ok(file_bytes(&self.dir.path().join("log"))?)
    }
}

/// Bytes of the files in a directory.
///
/// # Errors
/// It cannot be read.
pub fn file_bytes(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

/// Numbers from a file system in memory say nothing about a disk.
///
/// # Errors
/// `dir` lies in memory, or cannot be looked at.
pub fn refuse_memory(dir: &Path) -> Result<(), Failure> {
    let kind = rustix::fs::statfs(dir)?.f_type;
    match MEMORY.iter().any(|it| u64::try_from(kind) == Ok(*it)) {
        true => Err(format!("{} is in memory; name a directory on a disk", dir.display()).into()),
        false => Ok(()),
    }
}

/// MiB of this process in memory: the most so far, and now.
///
/// # Errors
/// The system does not say.
pub fn resident() -> Result<(f64, f64), Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = |name: &str| -> Result<f64, Failure> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or(name)?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    };
    Ok((kib("VmHWM:")?, kib("VmRSS:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_refused_and_resident_memory_is_known() {
        assert!(refuse_memory(Path::new("/dev/shm")).is_err());
        assert!(refuse_memory(Path::new("/proc/self")).is_ok());
        let (most, now) = resident().unwrap();
        assert!(most >= now && now > 0.5);
    }
}
