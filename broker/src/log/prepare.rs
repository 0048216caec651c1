//! Which files there are: the next segment, cutting closed ones, trimming. Never on the way of an append.

use std::io::{self, ErrorKind, IoSlice};
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use super::LogError;
use super::file::{Files, Inner, locked};
use super::format::{Manifest, SegmentHeader, segment_path};
use super::open;
use super::write::Prepared;
use crate::disk::{Mode, is_full};
use crate::time::Now;

/// The one name under which a segment is made.
pub(super) const NEXT: &str = "log/next.tmp";
/// How long to wait before asking a full disk again.
const RETRY_MS: u64 = 100;

impl Inner {
    pub(super) fn prepare_step(&self, now: Now) -> bool {
        let mut files = locked(&self.files);
        if self.is_fenced() {
            return false;
        }
        let cut = locked(&self.pending).to_cut.pop();
        let result = if let Some((file, len)) = cut {
            file.set_len(len).and_then(|()| file.sync()).map(|()| true)
        } else {
            self.prepare_next(&mut files, now)
        };
        drop(files);
        match result {
            Ok(done) => done,
            Err(e) => {
                self.fence(&format!("preparing a segment: {e}"));
                false
            }
        }
    }

    fn prepare_next(&self, files: &mut MutexGuard<'_, Files>, now: Now) -> io::Result<bool> {
        let header = match locked(&self.writer).as_ref() {
            Some(writer) if writer.next.is_none() => SegmentHeader {
                log_id: writer.segment.place.log_id,
                number: writer.segment.place.segment + 1,
                epoch: writer.epoch,
                nonce: self.nonce(writer.epoch, writer.segment.place.segment + 1),
                base: 0,
                // Room for the chunk that is appended when the segment is all but full.
                allocated: self.allocation(),
            },
            _ => return Ok(false),
        };
        if now.mono < files.retry_at {
            return Ok(false);
        }
        match self.make_segment(header) {
            Ok(next) => {
                self.install(next);
                Ok(true)
            }
            Err(e) if is_full(&e) => {
                files.retry_at = now.mono + RETRY_MS;
                self.set_full(true);
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    /// Makes an empty segment that stands ready: allocated, its header synced, its name durable.
    fn make_segment(&self, header: SegmentHeader) -> io::Result<Prepared> {
        let path = segment_path(header.number);
        let file = self.disk.open(NEXT, Mode::Create)?;
        let allocated = u64::from(header.allocated);
        if let Err(e) = file.allocate(allocated) {
            self.disk.remove(NEXT)?;
            return Err(e);
        }
        file.write_at(0, &mut [IoSlice::new(&header.encode())])?;
        file.sync()?;
        self.disk.rename(NEXT, &path)?;
        self.disk.sync_dir("log")?;
        Ok(Prepared { header, file, allocated })
    }

    fn allocation(&self) -> u32 {
        let bytes = self.options.segment_bytes + 6 * self.options.max_chunk_bytes as u64;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    fn install(&self, next: Prepared) {
        let mut writer = locked(&self.writer);
        let Some(writer) = writer.as_mut() else {
            return;
        };
        let mut queue = locked(&self.queue);
        if queue.room == u64::MAX {
            // A chunk that starts this segment is queued already.
            queue.room = next.allocated;
        } else {
            queue.next_room = Some(next.allocated);
        }
        writer.next = Some(next);
        drop(queue);
        self.set_full(false);
        self.need_append.notify_all();
    }

    pub(super) fn trim(&self, before: u64) -> Result<u64, LogError> {
        let mut files = locked(&self.files);
        if let Some(reason) = self.fenced() {
            return Err(LogError::Fenced(reason));
        }
        // What is not durable yet might come back under the same numbers.
        let before = before.min(self.marks.durable.load(Ordering::SeqCst) + 1);
        let (first, oldest) = {
            let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
            let keep = map.iter().skip(1).take_while(|next| next.first <= before).count();
            map.get(keep).map_or((1, 1), |segment| (segment.first, segment.place.segment))
        };
        if oldest == files.manifest.oldest {
            return Ok(first);
        }
        self.retire(&mut files, oldest, first).map_err(|e| self.failed("trimming the log", e))?;
        self.need_prepare.notify_all();
        Ok(first)
    }

    /// First the manifest, then the readers, then the files: whatever is cut short is finished by the next claim.
    fn retire(&self, files: &mut Files, oldest: u32, first: u64) -> io::Result<()> {
        let manifest = Manifest { oldest, first, ..files.manifest };
        let store = || open::store(&*self.disk, &manifest);
        let full = |stored: &io::Result<()>| stored.as_ref().is_err_and(is_full);
        let mut stored = store();
        if full(&stored) {
            // Not even room for the manifest: give up the segment that stands ready.
            self.give_up_next()?;
            stored = store();
        }
        if full(&stored) {
            // There was none: empty the first that goes. If that is all that happens, it is a gap.
            self.disk.open(&segment_path(files.manifest.oldest), Mode::Write)?.set_len(0)?;
            stored = store();
        }
        stored?;
        files.manifest = manifest;
        files.old_tails.retain(|(number, _)| *number >= oldest);
        files.retry_at = 0;
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let keep = map.partition_point(|segment| segment.place.segment < oldest);
        let retired: Vec<_> = map.drain(..keep).collect();
        drop(map);
        for segment in retired {
            match self.disk.remove(&segment.path()) {
                // A missing segment that was accepted.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                other => other?,
            }
        }
        self.disk.sync_dir("log")
    }

    /// A full disk changes nothing; anything else ends the epoch.
    fn failed(&self, what: &'static str, source: io::Error) -> LogError {
        if !is_full(&source) {
            self.fence(&format!("{what}: {source}"));
        }
        LogError::Io { what, source }
    }

    fn give_up_next(&self) -> io::Result<()> {
        let mut writer = locked(&self.writer);
        let Some(next) = writer.as_mut().and_then(|writer| writer.next.take()) else {
            return Ok(());
        };
        locked(&self.queue).next_room = None;
        self.set_full(true);
        self.disk.remove(&segment_path(next.header.number))
    }

    pub(super) fn release_old_tail(&self) -> Result<(), LogError> {
        let io = |source| LogError::Io { what: "cutting the old tail", source };
        let mut files = locked(&self.files);
        if let Some(reason) = self.fenced() {
            return Err(LogError::Fenced(reason));
        }
        while let Some((number, keep)) = files.old_tails.last().copied() {
            match self.disk.open(&segment_path(number), Mode::Write) {
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                file => {
                    let file = file.map_err(io)?;
                    file.set_len(keep).and_then(|()| file.sync()).map_err(io)?;
                }
            }
            files.old_tails.pop();
        }
        Ok(())
    }

    /// Random, and another one for every epoch and segment also if the seed is fixed.
    pub(super) fn nonce(&self, epoch: u32, number: u32) -> u64 {
        let mix = (u64::from(epoch) << 32 | u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        fastrand::Rng::with_seed(self.options.seed ^ mix).u64(1..)
    }
}
