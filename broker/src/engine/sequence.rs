//! From decided records to entries: numbers, times and chunks. What core decides comes in as
//! [`Sequencer`]; chunks go out, in order. Nothing here waits, and nothing reads the log.

use std::collections::VecDeque;
use std::sync::Arc;

use quadrille_proto::record::{self, Kind};

use crate::core::{Appended, Sequencer};
use crate::log::{Chunk, ChunkBuilder, ENTRY_SYNC};
use crate::sidecar::Index;

/// Bytes of an entry and of a record beside its body, at most.
const ENTRY_OVERHEAD: usize = 32;
const RECORD_OVERHEAD: usize = 15;

/// Builds entries, under the engine's lock.
pub(crate) struct Sequence {
    builder: ChunkBuilder,
    /// The chunk being built opens a segment.
    starts_segment: bool,
    full: VecDeque<(Chunk, bool)>,
    max_chunk: usize,
    last_time: u64,
    index: Arc<Index>,
    /// Lengths of the records of the entry being written, to not compute them twice.
    lengths: Vec<usize>,
    /// What the command at hand writes beside sync entries is waited for.
    pub(crate) prompt: bool,
    /// The chunk being built holds something that somebody waits for.
    pub(crate) urgent: bool,
    /// The newest entry of each kind: sync, waited for when written, waited for by nobody.
    pub(crate) newest: Newest,
}

/// The newest entry of each class; 0 = none in this epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Newest {
    /// Answers and reveals wait for `durable`.
    pub(crate) sync: u64,
    /// They wait for `written`.
    pub(crate) prompt: u64,
    /// Nobody waits.
    pub(crate) lazy: u64,
}

impl Sequence {
    pub(crate) fn new(
        epoch: u32,
        next: u64,
        last_time: u64,
        max_chunk: usize,
        index: Arc<Index>,
    ) -> Self {
        Self {
            builder: ChunkBuilder::new(epoch, next),
            starts_segment: false,
            full: VecDeque::new(),
            max_chunk,
            last_time,
            index,
            lengths: Vec::new(),
            prompt: false,
            urgent: false,
            newest: Newest::default(),
        }
    }

    /// Opens a segment with this catalog. Only between chunks.
    pub(crate) fn open_segment(&mut self, time: u64, catalog: Kind) {
        self.index.roll(self.builder.next());
        self.begin_segment(time, catalog);
    }

    /// Begins the segment that the log has opened by itself with this catalog. Only between chunks.
    pub(crate) fn begin_segment(&mut self, time: u64, catalog: Kind) {
        debug_assert!(self.is_empty(), "a segment begins with a chunk");
        self.starts_segment = true;
        self.entry(time, false, &[catalog]);
    }

    /// Whether nothing has been written since the last [`Sequence::take`].
    pub(crate) fn is_empty(&self) -> bool {
        self.builder.is_empty() && self.full.is_empty()
    }

    /// The index of the newest segment takes much memory: time for another one.
    pub(crate) fn index_is_large(&self) -> bool {
        self.index.want_roll()
    }

    /// The number of the newest entry.
    pub(crate) fn end(&self) -> u64 {
        self.builder.next() - 1
    }

    /// The next full chunk, and whether it opens a segment.
    pub(crate) fn take_full(&mut self) -> Option<(Chunk, bool)> {
        self.full.pop_front()
    }

    /// The chunk being built, likewise.
    pub(crate) fn take(&mut self) -> Option<(Chunk, bool)> {
        self.urgent = false;
        let starts_segment = std::mem::take(&mut self.starts_segment);
        self.builder.take().map(|chunk| (chunk, starts_segment))
    }
}

impl Sequencer for Sequence {
    fn entry(&mut self, time: u64, sync: bool, records: &[Kind]) -> u64 {
        self.last_time = self.last_time.max(time);
        self.lengths.clear();
        self.lengths.extend(records.iter().map(record::body_len));
        let size = self.lengths.iter().map(|len| len + RECORD_OVERHEAD).sum::<usize>();
        if !self.builder.is_empty() && self.builder.len() + size + ENTRY_OVERHEAD > self.max_chunk {
            let full = self.take();
            self.full.extend(full);
        }
        self.builder.begin(if sync { ENTRY_SYNC } else { 0 }, self.last_time);
        for (kind, len) in records.iter().zip(&self.lengths) {
            let number = record::number(kind);
            let must_understand = record::must_understand(number);
            self.builder.record(number, must_understand, *len, |out| {
                record::encode_body(kind, out);
            });
        }
        let entry = self.builder.end();
        match (sync, self.prompt) {
            (true, _) => self.newest.sync = entry,
            (false, true) => self.newest.prompt = entry,
            (false, false) => self.newest.lazy = entry,
        }
        self.urgent |= sync || self.prompt;
        entry
    }

    fn appended(&mut self, events: &[Appended]) {
        let mut active = self.index.active();
        for it in events {
            active.push(&it.head, it.len, it.id, it.digest);
        }
    }
}
