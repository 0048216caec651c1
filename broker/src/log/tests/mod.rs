//! Tests of the log on a simulated disk: threadless, by steps, without sleeping.

mod crash;
mod damage;
mod directory;
mod faults;
mod model;
mod normal;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BufMut;

use super::*;
use crate::disk::SimDisk;

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 4096,
        first_segment_bytes: 1024,
        max_chunk_bytes: 512,
        tail_cache_bytes: 1024,
        verify_bytes: 3000,
        seed: 7,
        ..LogOptions::default()
    }
}

/// A log, what was appended to it, and what it had said to be durable.
struct Rig {
    disk: Arc<SimDisk>,
    log: FileLog,
    builder: ChunkBuilder,
    recovered: Recovered,
    entries: Entries,
    durable: u64,
    /// Entries below this may be gone.
    trimmed_to: u64,
    now: Now,
}

fn open(disk: &SimDisk) -> Result<FileLog, OpenError> {
    FileLog::open(Arc::new(disk.clone()), options())
}

/// What an entry holds: nothing that another one holds.
fn content(epoch: u32, number: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(u64::from(epoch) << 32 | number);
    (0..len).map(|_| random.u8(..)).collect()
}

impl Rig {
    fn new() -> Self {
        Self::on(&SimDisk::new()).unwrap()
    }

    fn on(disk: &SimDisk) -> Result<Self, ClaimError> {
        let log = open(disk).map_err(|e| ClaimError::Manifest(e.to_string()))?;
        let recovered = log.claim(Now::default())?;
        let builder = ChunkBuilder::new(recovered.epoch, recovered.end);
        Ok(Self {
            disk: Arc::new(disk.clone()),
            log,
            builder,
            durable: recovered.end - 1,
            trimmed_to: recovered.first,
            recovered,
            entries: BTreeMap::new(),
            now: Now { mono: 10, wall: 1_000_000 },
        })
    }

    /// Appends one chunk of entries of these lengths. Rolls if the log wants to.
    fn append(&mut self, flags: u16, lens: &[usize]) -> Result<(), AppendError> {
        let roll = self.log.watermarks().want_roll;
        self.append_as(flags, lens, roll)
    }

    fn append_as(&mut self, flags: u16, lens: &[usize], starts: bool) -> Result<(), AppendError> {
        let mut builder = ChunkBuilder::new(self.recovered.epoch, self.builder.next());
        for len in lens {
            builder.begin(flags, self.now.wall);
            let bytes = content(self.recovered.epoch, builder.next(), *len);
            builder.record(1, true, *len, |out| out.put_slice(&bytes));
            builder.end();
        }
        let chunk = builder.take().unwrap();
        self.log.append(chunk.clone(), starts)?;
        self.builder = builder;
        for (number, len) in (chunk.first..).zip(lens) {
            self.entries.insert(number, content(self.recovered.epoch, number, *len));
        }
        Ok(())
    }

    fn step(&mut self, work: Work) -> bool {
        let did = self.log.step(work, self.now);
        self.durable = self.durable.max(self.log.watermarks().durable);
        did
    }

    /// Runs what can run now.
    fn settle(&mut self) {
        while self.step(Work::Append) | self.step(Work::Sync) | self.step(Work::Prepare) {}
    }

    /// Lets the log get idle, so that it writes a mark.
    fn idle(&mut self) {
        self.settle();
        self.now.mono += 5;
        self.now.wall += 5;
        self.settle();
    }

    fn put(&mut self, flags: u16, lens: &[usize]) {
        self.append(flags, lens).unwrap();
        self.settle();
    }

    /// All that can be read, and where it cannot.
    fn read_all(&self) -> (Entries, Vec<(u64, u64)>) {
        read_all(&self.log, self.recovered.first, self.builder.next())
    }
}

/// Contents by number.
type Entries = BTreeMap<u64, Vec<u8>>;

fn payload(entry: &Entry) -> Vec<u8> {
    let record = entry.records().next().unwrap().unwrap();
    record.body.to_vec()
}

fn read_all(log: &dyn Log, first: u64, end: u64) -> (Entries, Vec<(u64, u64)>) {
    let (mut found, mut gaps, mut at) = (BTreeMap::new(), Vec::new(), first);
    while at < end {
        match log.read(at, 300).unwrap() {
            Read::Entries(entries) => {
                assert_eq!(entries[0].number, at);
                for entry in entries {
                    assert_eq!(entry.number, at, "entries are consecutive");
                    found.insert(at, payload(&entry));
                    at += 1;
                }
            }
            Read::Gap { from, to } => {
                assert!(from == at && to > at);
                gaps.push((from, to));
                at = to;
            }
            Read::Retired { first } => {
                assert!(first > at);
                at = first;
            }
            Read::NotYet => break,
        }
    }
    (found, gaps)
}
