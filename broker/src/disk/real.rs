//! The real disk: a directory of the operating system. No buffering, no retries.

use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::{Disk, File, Lock, Mode};

/// A directory of the operating system.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// The directory at `root`; it is made, with its parents, if it is missing.
    pub fn open(root: impl AsRef<Path>) -> io::Result<Self> {
        let root = root.as_ref();
        if !root.is_dir() {
            if root.exists() {
                return Err(Errno::NOTDIR.into());
            }
            fs::create_dir_all(root)?;
            let parent = root.parent().filter(|p| !p.as_os_str().is_empty());
            fs::File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
        }
        Ok(Self { root: root.canonicalize()? })
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(mode != Mode::Read).mode(0o640);
        options.create(mode == Mode::Create).truncate(mode == Mode::Create);
        Ok(Arc::new(RealFile(options.open(self.root.join(path))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.root.join(path))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for item in fs::read_dir(self.root.join(folder))? {
            names.push(item?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_folder(&self, folder: &str) -> io::Result<()> {
        match fs::create_dir(self.root.join(folder)) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(e),
            Ok(()) => self.sync_dir(""),
        }
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        fs::File::open(self.root.join(folder))?.sync_all()
    }

    fn space(&self) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::statvfs(&self.root)?;
        let block = stat.f_frsize.max(1);
        Ok((stat.f_bavail.saturating_mul(block), stat.f_blocks.saturating_mul(block)))
    }

    fn lock(&self, path: &str, owner: &str) -> io::Result<Lock> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o640);
        let mut file = options.open(self.root.join(path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                Read::by_ref(&mut file).take(1024).read_to_string(&mut holder)?;
                return Ok(Lock::Taken(holder));
            }
            Err(fs::TryLockError::Error(e)) => return Err(e),
        }
        file.set_len(0)?;
        file.write_all(owner.as_bytes())?;
        Ok(Lock::Held(Box::new(file)))
    }
}

#[derive(Debug)]
struct RealFile(fs::File);

impl File for RealFile {
    fn write_at(&self, mut offset: u64, mut bufs: &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(&mut bufs, 0);
        while !bufs.is_empty() {
            // The kernel takes 1,024 buffers at most and answers a short write.
            let some = bufs.get(..1024).unwrap_or(bufs);
            match rustix::io::pwritev(&self.0, some, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    offset += n as u64;
                    IoSlice::advance_slices(&mut bufs, n);
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, mut buf: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while !buf.is_empty() {
            match self.0.read_at(buf, offset + done as u64) {
                Ok(0) => break,
                Ok(n) => {
                    done += n;
                    buf = buf.get_mut(n..).unwrap_or_default();
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeros(len),
            other => Ok(other?),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

impl RealFile {
    /// Where the file system cannot reserve: zeros from the present end on.
    fn write_zeros(&self, len: u64) -> io::Result<()> {
        let zeros = vec![0; 1 << 20];
        let mut at = self.size()?;
        while at < len {
            let n = usize::try_from(len - at).map_or(zeros.len(), |rest| rest.min(zeros.len()));
            self.write_at(at, &mut [IoSlice::new(zeros.get(..n).unwrap_or_default())])?;
            at += n as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_what_was_written_in_more_pieces_than_the_kernel_takes_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(dir.path().join("a/b")).unwrap();
        disk.create_folder("log").unwrap();
        disk.create_folder("log").unwrap();
        let file = disk.open("log/x", Mode::Create).unwrap();
        let pieces: Vec<Vec<u8>> =
            (0..3000u32).map(|i| vec![(i % 251) as u8; (i % 5) as usize]).collect();
        let mut bufs: Vec<_> = pieces.iter().map(|p| IoSlice::new(p)).collect();
        file.write_at(10, &mut bufs).unwrap();
        file.allocate(20_000).unwrap();
        file.sync().unwrap();
        let all = super::super::read_range(&*file, 0, usize::MAX).unwrap();
        let expected: Vec<u8> = [vec![0; 10], pieces.concat()].concat();
        assert_eq!(all[..expected.len()], expected);
        assert_eq!(all.len(), 20_000);
        assert!(all[expected.len()..].iter().all(|b| *b == 0));
        RealFile(fs::File::create(dir.path().join("z")).unwrap()).write_zeros(3 << 19).unwrap();
        assert_eq!(fs::metadata(dir.path().join("z")).unwrap().len(), 3 << 19);
        disk.rename("log/x", "log/y").unwrap();
        disk.sync_dir("log").unwrap();
        assert_eq!(disk.list("log").unwrap(), ["y"]);
        assert!(disk.space().unwrap().0 > 0);
    }

    #[test]
    fn the_second_one_who_locks_is_told_who_was_first() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(dir.path()).unwrap();
        let held = disk.lock("lock", "12 me").unwrap();
        assert!(matches!(disk.lock("lock", "13 you").unwrap(), Lock::Taken(who) if who == "12 me"));
        drop(held);
        assert!(matches!(disk.lock("lock", "13 you").unwrap(), Lock::Held(_)));
    }
}
