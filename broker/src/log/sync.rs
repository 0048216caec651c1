//! The sync step: decides whether a sync is due, syncs, moves `durable`; writes marks when the log is idle.
//! Waiting for more to come (gathering) is up to the threads.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::LogError;
use super::file::{Inner, locked};
use super::format::{CHUNK_HEADER, Kind};
use crate::disk::File;
use crate::time::Now;

/// What is written and not yet synced.
#[derive(Default)]
pub(super) struct Pending {
    /// The file that is written now.
    pub(super) file: Option<Arc<dyn File>>,
    /// Files that are closed but not yet synced, and how long they are.
    closed: Vec<(Arc<dyn File>, u64)>,
    /// Files that are synced and may be cut to their length.
    pub(super) to_cut: Vec<(Arc<dyn File>, u64)>,
    /// The last entry that is written.
    pub(super) written: u64,
    bytes: u64,
    /// When the oldest unsynced byte was written, in ms of `mono`.
    since: Option<u64>,
    /// Entries that answer only at `durable`, since the last sync has begun.
    pub(super) waiting: u64,
    /// How many such the last sync has released.
    pub(super) released: u64,
    /// Somebody wants this entry to be durable, although nobody waits.
    pub(super) asked: u64,
    /// The last entry that is durable.
    pub(super) synced: u64,
    urgent: bool,
    last_traffic: u64,
    /// The mark of what was written last is still to come.
    unmarked: bool,
}

impl Pending {
    /// Everything up to `last` is durable.
    pub(super) fn at(last: u64, file: Arc<dyn File>) -> Self {
        Self { file: Some(file), written: last, synced: last, ..Self::default() }
    }

    pub(super) fn wrote(&mut self, last: u64, bytes: u64, waiting: u64, now: Now, limit: u64) {
        self.written = last;
        self.bytes += bytes;
        self.urgent |= self.bytes >= limit;
        self.waiting += waiting;
        self.since.get_or_insert(now.mono);
        self.last_traffic = now.mono;
        self.unmarked = true;
    }

    pub(super) fn rolled(&mut self, old: Arc<dyn File>, new: Arc<dyn File>, len: u64) {
        self.closed.push((old, len));
        self.file = Some(new);
    }

    /// What is due at `now`, or else the time in `mono` at which something will be.
    pub(super) fn due(&self, now: Now, sync_after: u64, mark_after: u64) -> Due {
        let Some(since) = self.since else {
            let mark = self.last_traffic + mark_after;
            return match self.unmarked {
                true if mark <= now.mono => Due::Mark,
                true => Due::At(mark),
                false => Due::Never,
            };
        };
        let quiet = self.last_traffic + mark_after;
        if self.waiting > 0
            || self.asked > self.synced
            || self.urgent
            || now.mono >= since + sync_after
        {
            Due::Sync
        } else if now.mono >= quiet {
            Due::Mark
        } else {
            Due::At(quiet.min(since + sync_after))
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Sync,
    Mark,
    At(u64),
    Never,
}

impl Inner {
    pub(super) fn sync_step(&self, now: Now) -> bool {
        let gate = locked(&self.gate);
        if self.is_fenced() {
            return false;
        }
        let due = self.due(&locked(&self.pending), now);
        let before = self.marks.durable.load(Ordering::SeqCst);
        let result = match due {
            Due::Sync => self.sync_all(),
            Due::Mark => self.sync_all().and_then(|()| self.mark()),
            Due::At(_) | Due::Never => return false,
        };
        drop(gate);
        match result {
            Err(e) => self.fence(&format!("syncing the log: {e}")),
            Ok(()) if self.marks.durable.load(Ordering::SeqCst) > before => self.wake(),
            Ok(()) => {}
        }
        true
    }

    pub(super) fn due(&self, pending: &Pending, now: Now) -> Due {
        pending.due(now, self.options.sync_after_ms, self.options.mark_after_ms)
    }

    /// Makes all that is written durable. The caller has the gate.
    pub(super) fn sync_all(&self) -> io::Result<()> {
        let mut pending = locked(&self.pending);
        if pending.since.take().is_none() {
            return Ok(());
        }
        let target = pending.written;
        let files: Vec<_> = pending
            .closed
            .iter()
            .map(|(file, _)| file.clone())
            .chain(pending.file.clone())
            .collect();
        pending.released = std::mem::take(&mut pending.waiting);
        pending.urgent = false;
        pending.bytes = 0;
        drop(pending);
        for file in &files {
            file.sync()?;
        }
        let mut pending = locked(&self.pending);
        let synced: Vec<_> = pending.closed.drain(..files.len() - 1).collect();
        let rolled = !synced.is_empty();
        pending.to_cut.extend(synced);
        pending.synced = target;
        drop(pending);
        if rolled {
            self.need_prepare.notify_all();
        }
        self.marks.durable.store(target, Ordering::SeqCst);
        Ok(())
    }

    /// Says in the log that all of it is durable, unless something has come in between. The caller has the gate.
    fn mark(&self) -> io::Result<()> {
        let mut guard = locked(&self.writer);
        let Some(writer) = guard.as_mut() else {
            return Ok(());
        };
        let mut pending = locked(&self.pending);
        if pending.since.is_some() {
            return Ok(());
        }
        pending.unmarked = false;
        drop(pending);
        if writer.pos + CHUNK_HEADER as u64 > writer.allocated {
            return Ok(());
        }
        let durable = self.marks.durable.load(Ordering::SeqCst);
        self.write_marker(writer, Kind::Mark, durable + 1, durable)?;
        let file = writer.file.clone();
        drop(guard);
        file.sync()
    }

    /// The orderly end of an epoch.
    pub(super) fn close(&self) -> Result<(), LogError> {
        let io = |source| LogError::Io { what: "closing the log", source };
        while self.append_step(Now::default()) {}
        let mut files = locked(&self.files);
        let _gate = locked(&self.gate);
        if let Some(reason) = self.fenced() {
            *locked(&self.held) = None;
            return Err(LogError::Fenced(reason));
        }
        self.sync_all().map_err(io)?;
        let mut guard = locked(&self.writer);
        let Some(mut writer) = guard.take() else {
            return Ok(());
        };
        if !writer.taken.is_empty() {
            *locked(&self.held) = None;
            return Err(LogError::Fenced(
                "the disk is full; not everything could be written".into(),
            ));
        }
        let durable = self.marks.durable.load(Ordering::SeqCst);
        self.write_marker(&mut writer, Kind::CleanShutdown, durable + 1, durable).map_err(io)?;
        writer.file.sync().map_err(io)?;
        let to_cut = std::mem::take(&mut locked(&self.pending).to_cut);
        for (file, len) in to_cut.into_iter().chain([(writer.file.clone(), writer.pos)]) {
            file.set_len(len).and_then(|()| file.sync()).map_err(io)?;
        }
        files.manifest.newest = writer.segment.place.segment;
        super::open::store(&*self.disk, &files.manifest).map_err(io)?;
        if let Some(next) = writer.next {
            self.disk.remove(&super::format::segment_path(next.header.number)).map_err(io)?;
            self.disk.sync_dir("log").map_err(io)?;
        }
        *locked(&self.held) = None;
        Ok(())
    }
}
