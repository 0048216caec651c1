//! A disk in memory that can lose power, fail, fill up and rot. Knows nothing of the log.
//!
//! It keeps apart what the page cache shows and what would survive. A crash keeps, for every 512-byte sector with
//! unsynced writes, the content after any one of those writes or before all of them, and any subset of the unsynced
//! names.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::{Disk, File, Lock, Mode};

const SECTOR: usize = 512;

/// What happens at an operation that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails with EIO. A failed write leaves half of its bytes in the cache; a failed sync marks what was
    /// unsynced as clean without writing it, so that the next sync "succeeds".
    Io,
    /// It, and all that follow, fail with EIO.
    IoForever,
    /// It fails with ENOSPC.
    Full,
    /// The process dies: it, and every later operation through the same handles, fail.
    Death,
}

/// The simulated disk. Clones of the `Arc` share it.
#[derive(Debug, Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    life: u64,
}

#[derive(Debug, Clone, Default)]
struct State {
    life: u64,
    files: HashMap<u64, Inode>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    unsynced_names: Vec<NameOp>,
    folders: Vec<String>,
    locks: BTreeMap<String, String>,
    next_inode: u64,
    operations: u64,
    faults: BTreeMap<u64, Fault>,
    quota: Option<u64>,
    read_only: bool,
    trace: Vec<String>,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    cache: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Debug, Clone)]
enum NameOp {
    Put(String, u64),
    Remove(String),
    Rename(String, String, u64),
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self { state: Arc::default(), life: 0 }
    }

    /// The disk as a power loss now would leave it, in one of the ways that `seed` names. This one is unchanged.
    pub fn crashed(&self, seed: u64) -> Self {
        let mut state = self.state().clone();
        let mut rng = fastrand::Rng::with_seed(seed);
        for op in std::mem::take(&mut state.unsynced_names) {
            if seed != 0 && (seed == 1 || rng.bool()) {
                state.durable_names.apply(op);
            }
        }
        let names = state.durable_names.clone();
        state.files.retain(|inode, _| names.values().any(|i| i == inode));
        let mut inodes: Vec<_> = state.files.keys().copied().collect();
        inodes.sort_unstable();
        for inode in inodes {
            if let Some(file) = state.files.get_mut(&inode) {
                file.lose_power(seed, &mut rng);
            }
        }
        state.names = names;
        Self::restarted(state)
    }

    /// The disk as the death of the process now would leave it: nothing is lost. This one is unchanged.
    pub fn killed(&self) -> Self {
        Self::restarted(self.state().clone())
    }

    fn restarted(mut state: State) -> Self {
        state.life += 1;
        state.locks.clear();
        state.faults.clear();
        state.operations = 0;
        state.trace.clear();
        let life = state.life;
        Self { state: Arc::new(Mutex::new(state)), life }
    }

    /// Plans a fault at the changing operation number `operation`, counted from 0.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.state().faults.insert(operation, fault);
    }

    /// Plans a fault at the next operation that changes something.
    pub fn fail_next(&self, fault: Fault) {
        let mut state = self.state();
        let at = state.operations;
        state.faults.insert(at, fault);
    }

    /// How many changing operations there were (also failed ones), and what they were.
    pub fn trace(&self) -> Vec<String> {
        self.state().trace.clone()
    }

    /// Limits the sum of the lengths of all files; `None` = no limit.
    pub fn set_quota(&self, bytes: Option<u64>) {
        self.state().quota = bytes;
    }

    /// Makes every change fail with EROFS.
    pub fn set_read_only(&self, read_only: bool) {
        self.state().read_only = read_only;
    }

    /// A file's bytes as the page cache shows them.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn bytes(&self, path: &str) -> Vec<u8> {
        let mut state = self.state();
        state.file(path).expect("no such file").cache.clone()
    }

    /// Puts a whole file in place, durably, whatever was there.
    pub fn put(&self, path: &str, bytes: Vec<u8>) {
        let mut state = self.state();
        let inode = state.next_inode();
        state
            .files
            .insert(inode, Inode { cache: bytes.clone(), durable: bytes, unsynced: Vec::new() });
        state.names.insert(path.to_owned(), inode);
        state.durable_names.insert(path.to_owned(), inode);
    }

    /// Loses a file, durably.
    pub fn lose(&self, path: &str) {
        let mut state = self.state();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    /// Flips one bit of a file, durably.
    pub fn flip(&self, path: &str, bit: usize) {
        self.damage(path, |bytes| {
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        });
    }

    /// Changes a file's bytes, durably and in the cache.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn damage(&self, path: &str, change: impl Fn(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.file(path).expect("no such file");
        change(&mut file.cache);
        file.durable = file.cache.clone();
        file.unsynced.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a changing operation, and lets its fault happen.
    fn change(&self, what: &str) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.alive()?;
        if state.read_only {
            return Err(Errno::ROFS.into());
        }
        let at = state.operations;
        state.operations += 1;
        state.trace.push(what.to_owned());
        match state.faults.get(&at).copied() {
            None => return Ok(state),
            Some(Fault::Full) => return Err(Errno::NOSPC.into()),
            Some(Fault::Io) => {}
            Some(Fault::IoForever) => {
                state.faults.insert(at + 1, Fault::IoForever);
            }
            Some(Fault::Death) => state.life += 1,
        }
        Err(Errno::IO.into())
    }

    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.life == self.life {
            Ok(state)
        } else {
            Err(io::Error::other("the process is dead"))
        }
    }
}

trait Names {
    fn apply(&mut self, op: NameOp);
}

impl Names for BTreeMap<String, u64> {
    fn apply(&mut self, op: NameOp) {
        match op {
            NameOp::Put(name, inode) => {
                self.insert(name, inode);
            }
            NameOp::Remove(name) => {
                self.remove(&name);
            }
            NameOp::Rename(from, to, inode) => {
                self.remove(&from);
                self.insert(to, inode);
            }
        }
    }
}

impl NameOp {
    fn path(&self) -> &str {
        match self {
            Self::Put(path, _) | Self::Remove(path) | Self::Rename(_, path, _) => path,
        }
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

impl State {
    fn next_inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.next_inode
    }

    fn file(&mut self, path: &str) -> Option<&mut Inode> {
        let inode = self.names.get(path)?;
        self.files.get_mut(inode)
    }

    fn change_name(&mut self, op: NameOp) {
        self.names.apply(op.clone());
        self.unsynced_names.push(op);
    }

    fn inode(&mut self, inode: u64) -> io::Result<&mut Inode> {
        self.files.get_mut(&inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used(&self) -> u64 {
        let live = |inode: &u64| self.files.get(inode).map_or(0, |f| f.cache.len() as u64);
        self.names.values().map(live).sum()
    }

    /// Refuses if `inode` cannot grow to `len`.
    fn room(&mut self, inode: u64, len: usize) -> io::Result<()> {
        let grows = len.saturating_sub(self.inode(inode)?.cache.len()) as u64;
        match self.quota {
            Some(quota) if grows > 0 && self.used() + grows > quota => Err(Errno::NOSPC.into()),
            _ => Ok(()),
        }
    }
}

impl Inode {
    fn apply(bytes: &mut Vec<u8>, change: &Change) {
        match change {
            Change::Length(len) => bytes.resize(*len, 0),
            Change::Write(at, data) => {
                bytes.resize(bytes.len().max(at + data.len()), 0);
                if let Some(place) = bytes.get_mut(*at..at + data.len()) {
                    place.copy_from_slice(data);
                }
            }
        }
    }

    fn change(&mut self, change: Change) {
        Self::apply(&mut self.cache, &change);
        self.unsynced.push(change);
    }

    /// Seed 0: nothing unsynced survives; seed 1: everything does.
    fn lose_power(&mut self, seed: u64, rng: &mut fastrand::Rng) {
        let changes = std::mem::take(&mut self.unsynced);
        if seed == 1 {
            changes.iter().for_each(|change| Self::apply(&mut self.durable, change));
        } else if seed != 0 && !changes.is_empty() {
            let mut versions = vec![self.durable.clone()];
            // All versions of the whole file would be much; the writes that matter are the last few.
            for change in &changes {
                let mut next = versions.last().cloned().unwrap_or_default();
                Self::apply(&mut next, change);
                if versions.len() >= 16 {
                    versions.remove(1);
                }
                versions.push(next);
            }
            let pick = |rng: &mut fastrand::Rng| rng.usize(..versions.len());
            let len = versions.get(pick(rng)).map_or(0, Vec::len);
            let mut image = vec![0; len];
            let steady = rng.bool().then(|| pick(rng));
            for (i, sector) in image.chunks_mut(SECTOR).enumerate() {
                // Half of the crashes are one version with some sectors torn, the others any mixture.
                let version = match steady {
                    Some(v) if rng.u8(..8) > 0 => v,
                    _ => pick(rng),
                };
                let from =
                    versions.get(version).and_then(|v| v.get(i * SECTOR..)).unwrap_or_default();
                for (to, byte) in sector.iter_mut().zip(from) {
                    *to = *byte;
                }
            }
            self.durable = image;
        }
        self.cache = self.durable.clone();
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &str, mode: Mode) -> io::Result<Arc<dyn File>> {
        let inode = if mode == Mode::Create {
            let mut state = self.change(&format!("create {path}"))?;
            let inode = state.next_inode();
            state.files.insert(inode, Inode::default());
            state.change_name(NameOp::Put(path.to_owned(), inode));
            inode
        } else {
            let state = self.alive()?;
            state.names.get(path).copied().ok_or(io::ErrorKind::NotFound)?
        };
        Ok(Arc::new(SimFile { disk: self.clone(), inode, path: path.to_owned() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.change(&format!("rename {from} {to}"))?;
        let inode = state.names.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
        state.change_name(NameOp::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.change(&format!("remove {path}"))?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameOp::Remove(path.to_owned()));
        Ok(())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let state = self.alive()?;
        if !folder.is_empty() && !state.folders.iter().any(|f| f == folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let files = state.names.keys().filter(|path| folder_of(path) == folder);
        let folders = state.folders.iter().filter(|_| folder.is_empty());
        let name = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
        let mut names: Vec<_> = files.chain(folders).map(name).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn create_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.alive()?;
        if state.read_only {
            return Err(Errno::ROFS.into());
        }
        if !state.folders.iter().any(|f| f == folder) {
            state.folders.push(folder.to_owned());
        }
        Ok(())
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        let mut state = self.change(&format!("sync_dir {folder}"))?;
        let (synced, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut state.unsynced_names)
            .into_iter()
            .partition(|op| folder_of(op.path()) == folder);
        state.unsynced_names = rest;
        for op in synced {
            state.durable_names.apply(op);
        }
        Ok(())
    }

    fn space(&self) -> io::Result<(u64, u64)> {
        let state = self.alive()?;
        let total = state.quota.unwrap_or(1 << 40);
        Ok((total.saturating_sub(state.used()), total))
    }

    fn lock(&self, path: &str, owner: &str) -> io::Result<Lock> {
        let mut state = self.alive()?;
        if state.read_only {
            return Err(Errno::ROFS.into());
        }
        if let Some(holder) = state.locks.get(path) {
            return Ok(Lock::Taken(holder.clone()));
        }
        state.locks.insert(path.to_owned(), owner.to_owned());
        Ok(Lock::Held(Box::new(SimLock { disk: self.clone(), path: path.to_owned() })))
    }
}

struct SimLock {
    disk: SimDisk,
    path: String,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        if let Ok(mut state) = self.disk.alive() {
            state.locks.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: u64,
    path: String,
}

impl SimFile {
    fn change(&self, what: &str) -> io::Result<MutexGuard<'_, State>> {
        self.disk.change(&format!("{what} {}", self.path))
    }
}

impl File for SimFile {
    fn write_at(&self, offset: u64, bufs: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut data: Vec<u8> = bufs.iter().flat_map(|b| b.iter().copied()).collect();
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        drop(self.disk.alive()?);
        let result = match self.change("write") {
            Ok(mut state) => {
                state.room(self.inode, at + data.len())?;
                state.inode(self.inode)?.change(Change::Write(at, data));
                return Ok(());
            }
            Err(e) => Err(e),
        };
        // Half of a failed write has reached the cache (also of one that was cut short by death).
        data.truncate(data.len() / 2);
        if let Ok(file) = self.disk.state().inode(self.inode) {
            file.change(Change::Write(at, data));
        }
        result
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.disk.alive()?;
        let file = state.inode(self.inode)?;
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let from = file.cache.get(at..).unwrap_or_default();
        let n = from.len().min(buf.len());
        buf.iter_mut().zip(from).for_each(|(to, byte)| *to = *byte);
        Ok(n)
    }

    fn sync(&self) -> io::Result<()> {
        let result = match self.change("sync") {
            Ok(mut state) => {
                let file = state.inode(self.inode)?;
                // Replayed, not copied: what an earlier failed sync has marked clean stays lost.
                for change in std::mem::take(&mut file.unsynced) {
                    Inode::apply(&mut file.durable, &change);
                }
                return Ok(());
            }
            Err(e) => Err(e),
        };
        let mut state = self.disk.state();
        if state.life == self.disk.life {
            state.inode(self.inode)?.unsynced.clear();
        }
        result
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.change("allocate")?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        state.room(self.inode, len)?;
        let file = state.inode(self.inode)?;
        if len > file.cache.len() {
            file.change(Change::Length(len));
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.change("set_len")?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        state.room(self.inode, len)?;
        state.inode(self.inode)?.change(Change::Length(len));
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        let mut state = self.disk.alive()?;
        Ok(state.inode(self.inode)?.cache.len() as u64)
    }
}
