//! Claiming: what is there, what may be trusted, and rewriting the rest before anybody sees it.
//!
//! Reads from top to bottom: survey (read only), verdict (pure), then the new segment, and only then the log is open.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::file::{Facts, Files, Inner, Queue, Segment, claim_io, locked};
use super::format::{
    CHUNK_HEADER, ChunkHeader, Place, SEGMENT_HEADER, SegmentHeader, segment_number, segment_path,
};
use super::open::{self, OpenError};
use super::prepare::NEXT;
use super::read::{Tail, read_entries};
use super::rewrite::Rewrite;
use super::scan::{Scan, scan};
use super::sync::Pending;
use super::verdict::{Found, Verdict, judge};
use super::write::Writer;
use super::{ClaimError, Entry, Recovered, TailDropped};
use crate::disk::{File, Mode, read_range};
use crate::time::Now;

impl Inner {
    pub(super) fn claim(&self, now: Now) -> Result<Recovered, ClaimError> {
        self.take_lock()?;
        let mut files = locked(&self.files);
        let _gate = locked(&self.gate);
        let mut writer_place = locked(&self.writer);
        *locked(&self.fence) = Some("being claimed".into());
        self.marks.fenced.store(true, Ordering::SeqCst);
        *writer_place = None;
        let (manifest, damaged) = open::load(&*self.disk).map_err(claim_open)?;
        if damaged {
            tracing::warn!("one of the two copies of the manifest was damaged; it is rewritten");
        }
        files.manifest = manifest;
        let found = self.survey(&files)?;
        let (writer, recovered) = self.take_over(&mut files, found)?;
        *writer_place = Some(writer);
        drop(writer_place);
        let Recovered { epoch, end, .. } = recovered;
        tracing::info!(epoch, end, mono = now.mono, "claimed the log");
        self.notify_all();
        Ok(recovered)
    }

    fn take_over(
        &self,
        files: &mut Files,
        mut found: Vec<Found>,
    ) -> Result<(Writer, Recovered), ClaimError> {
        let verdict = judge(&mut found, &files.manifest);
        let (log_id, end) = (files.manifest.log_id, verdict.end);
        let epochs = found.iter().map(Found::epoch);
        let epoch = epochs.fold(files.manifest.epoch, u32::max) + 1;
        let dropped = self.quarantine(&found, &verdict, epoch)?;
        // A segment that stood ready gives its number to the one that is made now.
        found.pop_if(|last| last.is_empty());
        let segment = found.last().map_or(files.manifest.oldest, |last| last.number + 1);
        let map = |at_most| -> Vec<_> {
            found.iter().map(|f| Arc::new(f.segment(log_id, at_most))).collect()
        };
        let last_time = found.iter().map(Found::last_time).max().unwrap_or(0);
        let place = Place { log_id, segment, nonce: self.nonce(epoch, segment) };
        let rewrite = self.rewrite(&map(u64::MAX), &verdict, place, epoch, last_time)?;
        let map = map(verdict.durable + 1);
        files.manifest.epoch = epoch;
        files.manifest.newest = segment;
        open::store(&*self.disk, &files.manifest).map_err(claim_io("writing the manifest"))?;
        self.cut_zeros(&found)?;
        files.old_tails = verdict.old_tails;
        files.retry_at = 0;
        let first = map.first().map_or(end, |segment| segment.first.min(end));
        let (clean, gaps, last_time) = (verdict.clean, verdict.gaps, rewrite.last_time);
        let recovered = Recovered { log_id, epoch, first, end, clean, gaps, dropped, last_time };
        Ok((self.start(map, rewrite, epoch, &recovered), recovered))
    }

    fn take_lock(&self) -> Result<(), ClaimError> {
        let mut held = locked(&self.held);
        if held.is_none() {
            *held = Some(open::lock(&*self.disk).map_err(claim_open)?);
        }
        Ok(())
    }

    /// Looks at every segment: at all of it for the newest ones, at the beginning for the others.
    fn survey(&self, files: &Files) -> Result<Vec<Found>, ClaimError> {
        let io = |e| claim_io("reading the log")(e);
        let log_id = files.manifest.log_id;
        let mut numbers = Vec::new();
        for name in self.disk.list("log").map_err(io)? {
            match segment_number(&name) {
                // Retired, as the manifest says: the last trim was cut short.
                Some(n) if n < files.manifest.oldest => {
                    self.disk.remove(&segment_path(n)).map_err(io)?
                }
                Some(n) => numbers.push(n),
                None if format!("log/{name}") == NEXT => self.disk.remove(NEXT).map_err(io)?,
                None => {}
            }
        }
        numbers.sort_unstable();
        let newest = numbers.last().copied().unwrap_or(0).max(files.manifest.newest);
        let mut found = Vec::new();
        let mut verified = 0;
        let mut known = false;
        for number in (files.manifest.oldest..=newest).rev() {
            if numbers.binary_search(&number).is_err() {
                if !self.options.accept_missing_segments {
                    return Err(ClaimError::SegmentMissing {
                        number: number.into(),
                        name: segment_path(number),
                    });
                }
                found.push(Found::missing(number));
                continue;
            }
            let file = self.disk.open(&segment_path(number), Mode::Read).map_err(io)?;
            let next: u64 =
                found.iter().map(Found::first).find(|first| *first > 0).unwrap_or(u64::MAX);
            let beside_a_hole = found.last().is_some_and(Found::is_missing);
            let deep = verified < self.options.verify_bytes || !known || beside_a_hole;
            let one = match if deep { None } else { head(&*file, log_id, number)? } {
                Some(head) => head,
                None => deep_look(&*file, log_id, number)?,
            };
            verified += one.scan.as_ref().map_or(0, |scan| scan.end);
            // The tail that nothing says to be durable must be known as a whole.
            let durable = found.iter().chain([&one]).map(Found::durable).max().unwrap_or(0);
            known = one.first() > 0 && one.first().min(next) <= durable + 1;
            found.push(one);
        }
        found.reverse();
        Ok(found)
    }

    /// Keeps the bytes that are dropped, and says what they were.
    fn quarantine(
        &self,
        found: &[Found],
        verdict: &Verdict,
        epoch: u32,
    ) -> Result<Option<TailDropped>, ClaimError> {
        let Some(cut) = &verdict.cut else {
            return Ok(None);
        };
        let io = |e| claim_io("putting dropped bytes into quarantine")(e);
        let mut kept = Vec::new();
        for (number, from, to) in &cut.ranges {
            if found.iter().any(|f| f.number == *number && f.scan.is_some()) {
                let file = self.disk.open(&segment_path(*number), Mode::Read).map_err(io)?;
                let len = usize::try_from(to - from).unwrap_or(usize::MAX);
                kept.extend(read_range(&*file, *from, len).map_err(io)?);
            }
        }
        let path = format!("quarantine/epoch-{epoch:010}.tail");
        crate::disk::replace(&*self.disk, "quarantine", &path, &kept).map_err(io)?;
        Ok(Some(TailDropped {
            from: verdict.end,
            bytes: kept.len() as u64,
            may_contain_acknowledged: cut.may_contain_acknowledged,
            quarantine: path,
        }))
    }

    /// Writes the claim and the tail into a segment of their own, and puts it into the log as a whole.
    fn rewrite(
        &self,
        map: &[Arc<Segment>],
        verdict: &Verdict,
        place: Place,
        epoch: u32,
        last_time: u64,
    ) -> Result<Rewrite, ClaimError> {
        let io = |e| claim_io("rewriting the tail of the log")(e);
        let file = self.disk.open(NEXT, Mode::Create).map_err(io)?;
        let mut rewrite = Rewrite::new(file, place, epoch, verdict.durable);
        rewrite.last_time = last_time;
        rewrite
            .reserve(self.options.first_segment_bytes + self.options.max_chunk_bytes as u64)
            .map_err(io)?;
        rewrite.begin().map_err(io)?;
        let mut next = verdict.durable + 1;
        while next < verdict.end {
            let entries = self.tail_entries(map, next, verdict.end)?;
            next += entries.len() as u64;
            rewrite.entries(&entries, self.options.first_segment_bytes).map_err(io)?;
        }
        rewrite.complete(verdict.end).map_err(io)?;
        self.disk.rename(NEXT, &segment_path(place.segment)).map_err(io)?;
        self.disk.sync_dir("log").map_err(io)?;
        Ok(rewrite)
    }

    fn tail_entries(
        &self,
        map: &[Arc<Segment>],
        from: u64,
        to: u64,
    ) -> Result<Vec<Entry>, ClaimError> {
        let at = map.partition_point(|segment| segment.first <= from);
        let end = map.get(at).map_or(to, |next| next.first.min(to));
        let segment = at.checked_sub(1).and_then(|i| map.get(i));
        let entries = segment.map(|segment| {
            let index = locked(&segment.index).clone().unwrap_or_default();
            read_entries(&*self.disk, segment, &index, from, end, self.options.max_chunk_bytes)
        });
        let entries = entries
            .transpose()
            .map_err(claim_io("reading the tail of the log"))?
            .unwrap_or_default();
        if entries.is_empty() {
            let gone = std::io::Error::other(format!("entry {from} was there a moment ago"));
            return Err(claim_io("reading the tail of the log")(gone));
        }
        Ok(entries)
    }

    /// The room that an unclean end has left behind the last byte of a segment.
    fn cut_zeros(&self, found: &[Found]) -> Result<(), ClaimError> {
        let io = |e| claim_io("cutting an old segment")(e);
        for scan in found {
            let Some((scan, number)) = scan.scan.as_ref().map(|s| (s, scan.number)) else {
                continue;
            };
            if scan.size > scan.end {
                let file = self.disk.open(&segment_path(number), Mode::Write).map_err(io)?;
                file.set_len(scan.end).map_err(io)?;
            }
        }
        Ok(())
    }

    /// Opens the log for everybody.
    fn start(
        &self,
        mut map: Vec<Arc<Segment>>,
        rewrite: Rewrite,
        epoch: u32,
        recovered: &Recovered,
    ) -> Writer {
        let facts = Facts {
            bytes: rewrite.pos,
            first_time: rewrite.first_time,
            last_time: rewrite.last_time,
        };
        let segment = Arc::new(Segment {
            place: rewrite.place,
            first: rewrite.first,
            facts: facts.into(),
            index: Some(rewrite.index).into(),
        });
        map.push(segment.clone());
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = map;
        let last = recovered.end - 1;
        *locked(&self.pending) = Pending::at(last, rewrite.file.clone());
        *locked(&self.tail) = Tail::default();
        *locked(&self.queue) = Queue {
            end: recovered.end,
            room: rewrite.allocated - rewrite.pos,
            roll_at: self.options.first_segment_bytes,
            ..Queue::default()
        };
        let marks = &self.marks;
        marks.epoch.store(epoch, Ordering::SeqCst);
        marks.written.store(last, Ordering::SeqCst);
        marks.durable.store(last, Ordering::SeqCst);
        marks.backlog.store(0, Ordering::SeqCst);
        marks.full.store(false, Ordering::SeqCst);
        marks.want_roll.store(false, Ordering::SeqCst);
        *locked(&self.fence) = None;
        marks.fenced.store(false, Ordering::SeqCst);
        Writer {
            epoch,
            segment,
            file: rewrite.file,
            pos: rewrite.pos,
            allocated: rewrite.allocated,
            last_time: recovered.last_time,
            next: None,
            used: false,
            taken: VecDeque::new(),
        }
    }
}

/// The beginning of a segment, if it is whole.
fn head(file: &dyn File, log_id: u128, number: u32) -> Result<Option<Found>, ClaimError> {
    let mut bytes = [0; SEGMENT_HEADER + CHUNK_HEADER];
    file.read_at(0, &mut bytes).map_err(claim_io("reading the log"))?;
    let newer = |unknown: super::format::Unknown| ClaimError::Newer {
        what: segment_path(number),
        bits: unknown.0,
    };
    let Some(header) = SegmentHeader::decode(&bytes).map_err(newer)? else {
        return Ok(None);
    };
    let rest = bytes.get(SEGMENT_HEADER..).unwrap_or_default();
    let chunk = ChunkHeader::decode(rest, log_id, number, SEGMENT_HEADER as u64).map_err(newer)?;
    let size = file.size().map_err(claim_io("reading the log"))?;
    Ok(chunk
        .filter(|c| c.nonce == header.nonce && header.log_id == log_id)
        .map(|c| Found::head(number, header, c, size)))
}

fn deep_look(file: &dyn File, log_id: u128, number: u32) -> Result<Found, ClaimError> {
    let bytes = read_range(file, 0, usize::MAX).map_err(claim_io("reading the log"))?;
    let scan: Scan = scan(&bytes, log_id, number)
        .map_err(|unknown| ClaimError::Newer { what: segment_path(number), bits: unknown.0 })?;
    Ok(Found::scanned(number, scan))
}

fn claim_open(error: OpenError) -> ClaimError {
    match error {
        OpenError::Newer { bits } => ClaimError::Newer { what: "the manifest".to_owned(), bits },
        OpenError::Full => ClaimError::Full,
        OpenError::Io(source) => {
            ClaimError::Io { what: "opening the data directory".to_owned(), source }
        }
        OpenError::Manifest(_) | OpenError::NotADataDirectory { .. } => {
            ClaimError::Manifest(error.to_string())
        }
        OpenError::Locked { .. } | OpenError::ReadOnly | OpenError::Denied => {
            ClaimError::Taken(error.to_string())
        }
    }
}
