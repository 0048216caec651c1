//! The log of a bus in memory: what is appended is written and durable at once, as far as memory goes.
//! No files and no threads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::chunk::{Chunk, Entry, EntryHeader};
use super::{
    AppendError, Blobs, ClaimError, Durability, Limits, Log, LogError, Read, ReadError, Recovered,
    SegmentInfo, Space, Watermarks, Work,
};
use crate::time::Now;

/// A log in memory, bounded by `trim`. It calls its waker inside `append`.
#[derive(Default)]
pub struct MemLog {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    id: u128,
    epoch: u32,
    open: bool,
    clean: bool,
    end: u64,
    last_time: u64,
    segments: VecDeque<Segment>,
    wake: Option<Arc<dyn Fn() + Send + Sync>>,
}

struct Segment {
    number: u64,
    bytes: u64,
    chunks: Vec<(u64, Bytes)>,
    first: u64,
    first_time: u64,
    last_time: u64,
}

const SEGMENT_BYTES: u64 = 4 << 20;

impl MemLog {
    /// An empty log, not yet claimed. `seed` makes its log id.
    pub fn new(seed: u64) -> Self {
        let id = fastrand::Rng::with_seed(seed).u128(1..);
        Self { state: Mutex::new(State { id, end: 1, clean: true, ..State::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn first(&self) -> u64 {
        self.segments.front().map_or(self.end, |s| s.first)
    }

    fn open_segment(&mut self, first: u64) {
        let number = self.segments.back().map_or(1, |s| s.number + 1);
        self.segments.push_back(Segment {
            number,
            bytes: 0,
            chunks: Vec::new(),
            first,
            first_time: 0,
            last_time: 0,
        });
    }

    fn full(&self) -> bool {
        self.segments.back().is_some_and(|s| s.bytes >= SEGMENT_BYTES)
    }

    /// Entries from `from` on, which exists.
    fn collect(&self, from: u64, max_bytes: usize) -> Vec<Entry> {
        let mut out = Vec::new();
        let mut bytes = 0;
        let start = self.segments.partition_point(|s| s.first <= from).saturating_sub(1);
        for segment in self.segments.iter().skip(start) {
            let start =
                segment.chunks.partition_point(|(first, _)| *first <= from).saturating_sub(1);
            for (first, body) in segment.chunks.iter().skip(start) {
                let (mut number, mut at) = (*first, 0);
                while let Some(header) = body.get(at..).and_then(EntryHeader::parse) {
                    if number >= from {
                        if bytes >= max_bytes && !out.is_empty() {
                            return out;
                        }
                        out.push(header.entry(number, body, at));
                        bytes += header.size();
                    }
                    number += 1;
                    at += header.size();
                }
            }
        }
        out
    }
}

impl Log for MemLog {
    fn claim(&self, _now: Now) -> Result<Recovered, ClaimError> {
        let mut state = self.state();
        state.epoch += 1;
        let clean = std::mem::replace(&mut state.clean, false);
        state.open = true;
        let end = state.end;
        state.open_segment(end);
        Ok(Recovered {
            log_id: state.id,
            epoch: state.epoch,
            first: state.first(),
            end,
            clean,
            gaps: Vec::new(),
            dropped: None,
            last_time: state.last_time,
        })
    }

    fn append(&self, chunk: Chunk, starts_segment: bool) -> Result<(), AppendError> {
        let mut state = self.state();
        if !state.open || chunk.epoch != state.epoch {
            return Err(AppendError::Fenced("not the current epoch".into()));
        }
        assert_eq!(chunk.first, state.end, "a chunk must start at the end of the log");
        if starts_segment && state.segments.back().is_some_and(|s| s.bytes > 0) {
            state.open_segment(chunk.first);
        }
        state.end += u64::from(chunk.entries);
        state.last_time = state.last_time.max(chunk.time);
        if let Some(segment) = state.segments.back_mut() {
            if segment.bytes == 0 {
                segment.first_time = chunk.time;
            }
            segment.last_time = chunk.time;
            segment.bytes += chunk.body.len() as u64;
            segment.chunks.push((chunk.first, chunk.body.freeze()));
        }
        let wake = state.wake.clone();
        drop(state);
        if let Some(wake) = wake {
            wake();
        }
        Ok(())
    }

    fn watermarks(&self) -> Watermarks {
        let state = self.state();
        let fenced = (!state.open).then(|| "closed".into());
        Watermarks {
            written: state.end - 1,
            durable: state.end - 1,
            fenced,
            backlog: 0,
            want_roll: state.full(),
        }
    }

    fn set_waker(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.state().wake = Some(wake);
    }

    fn read(&self, from: u64, max_bytes: usize) -> Result<Read, ReadError> {
        let state = self.state();
        if from >= state.end {
            return Ok(Read::NotYet);
        }
        if from < state.first() {
            return Ok(Read::Retired { first: state.first() });
        }
        Ok(Read::Entries(state.collect(from, max_bytes)))
    }

    fn trim(&self, before: u64) -> Result<u64, LogError> {
        let mut state = self.state();
        while state.segments.get(1).is_some_and(|next| next.first <= before) {
            state.segments.pop_front();
        }
        Ok(state.first())
    }

    fn release_old_tail(&self) -> Result<(), LogError> {
        Ok(())
    }

    fn segments(&self) -> Vec<SegmentInfo> {
        let state = self.state();
        let ends = state.segments.iter().skip(1).map(|s| Some(s.first)).chain([None]);
        let info = |(s, end): (&Segment, Option<u64>)| SegmentInfo {
            number: s.number,
            first: s.first,
            end,
            bytes: s.bytes,
            first_time: s.first_time,
            last_time: s.last_time,
        };
        state.segments.iter().zip(ends).map(info).collect()
    }

    fn space(&self) -> Space {
        let log_bytes = self.state().segments.iter().map(|s| s.bytes).sum();
        Space { free: u64::MAX, total: u64::MAX, log_bytes }
    }

    fn limits(&self) -> Limits {
        Limits { max_chunk_bytes: 1 << 20, durability: Durability::Process }
    }

    fn sync_now(&self) {}

    fn close_epoch(&self) -> Result<(), LogError> {
        let mut state = self.state();
        state.open = false;
        state.clean = true;
        Ok(())
    }

    fn step(&self, _work: Work, _now: Now) -> bool {
        false
    }
}

/// Blobs in memory.
#[derive(Debug, Default)]
pub struct MemBlobs(Mutex<BTreeMap<String, Bytes>>);

impl MemBlobs {
    fn map(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blobs for MemBlobs {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), LogError> {
        self.map().insert(name.to_owned(), Bytes::copy_from_slice(bytes));
        Ok(())
    }

    fn get_range(&self, name: &str, from: u64, len: usize) -> Result<Option<Bytes>, LogError> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        Ok(self.map().get(name).map(|all| {
            let from = from.min(all.len());
            all.slice(from..all.len().min(from.saturating_add(len)))
        }))
    }

    fn list(&self) -> Result<Vec<String>, LogError> {
        Ok(self.map().keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> Result<(), LogError> {
        self.map().remove(name);
        Ok(())
    }
}
