//! The index against a naive model, over random logs, and with every bit of a sidecar flipped.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use quadrille_proto::Event;
use quadrille_proto::hash::Hasher128;
use quadrille_proto::record::{EventAppended, Kind};
use quadrille_proto::record::{body_len, encode_body, number};

use super::*;
use crate::core::types::{EventRef, Head, Stamp};
use crate::log::{Blobs, ChunkBuilder, ENTRY_SYNC, Log, LogError, MemBlobs, MemLog};
use crate::time::Now;

const KEY: u128 = 77;

/// A log in memory, the index over it, and all events in a list.
struct World {
    log: Arc<MemLog>,
    blobs: Arc<TestBlobs>,
    log_id: u128,
    index: Index,
    builder: ChunkBuilder,
    model: Vec<Known>,
    next: BTreeMap<TopicId, u64>,
    full: Options,
}

#[derive(Clone, Debug)]
struct Known {
    head: Head,
    bytes: usize,
    id: IdEntry,
}

/// Blobs that can be full.
#[derive(Default)]
struct TestBlobs {
    inner: MemBlobs,
    full: std::sync::atomic::AtomicBool,
    reads: std::sync::atomic::AtomicUsize,
}

impl TestBlobs {
    fn set_full(&self, full: bool) {
        self.full.store(full, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Blobs for TestBlobs {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), LogError> {
        if self.full.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(LogError::Io {
                what: "writing a blob",
                source: std::io::ErrorKind::StorageFull.into(),
            });
        }
        self.inner.put(name, bytes)
    }
    fn get_range(&self, name: &str, from: u64, len: usize) -> Result<Option<Bytes>, LogError> {
        self.reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.inner.get_range(name, from, len)
    }
    fn list(&self) -> Result<Vec<String>, LogError> {
        self.inner.list()
    }
    fn remove(&self, name: &str) -> Result<(), LogError> {
        self.inner.remove(name)
    }
}

fn hasher() -> Hasher128 {
    Hasher128::new(KEY)
}

/// An event to append: topic, lane number (saga and key), whether it skips an offset.
type Draw = (TopicId, u8, bool);

impl World {
    fn new(full: Options) -> Self {
        let log = Arc::new(MemLog::new(1));
        let blobs = Arc::new(TestBlobs::default());
        let recovered = log.claim(Now { mono: 0, wall: 0 }).unwrap();
        let log_id = recovered.log_id;
        let index = Index::open(log.clone(), blobs.clone(), log_id, hasher(), full).unwrap();
        let builder = ChunkBuilder::new(recovered.epoch, recovered.end);
        Self { log, blobs, log_id, index, builder, model: vec![], next: BTreeMap::new(), full }
    }

    /// One entry with these events, first in a new segment if `roll`.
    fn entry(&mut self, time: u64, draws: &[Draw], roll: bool) {
        let entry = self.builder.next();
        if roll {
            self.index.roll(entry);
        }
        self.builder.begin(ENTRY_SYNC, time);
        // A record of another kind, so that indexes of records and of events differ.
        self.builder.record(999, false, 0, |_| ());
        for (index, (topic, lane, skips)) in (1..).zip(draws) {
            let next = self.next.entry(*topic).or_insert_with(|| u64::from(*topic) * 10);
            let offset = *next + u64::from(*skips);
            *next = offset + 1;
            let event = EventRef { at: Position { entry, index }, topic: *topic, offset };
            let bytes = Event::new("order.created")
                .id(format!("{topic}-{offset}"))
                .source("test")
                .saga(format!("saga-{lane}"))
                .key(format!("key-{}", lane / 2));
            let mut encoded = BytesMut::new();
            bytes.encode(&mut encoded);
            let bytes = encoded.freeze();
            let stamp = Stamp { event, turn: 0, time, sync: true };
            let head = Head::parse(&bytes, &hasher(), stamp).unwrap();
            let id_hash = hasher().id("test", &format!("{topic}-{offset}"), *topic);
            let digest = hasher().digest("order.created", b"");
            self.index.active().push(&head, bytes.len(), id_hash, digest);
            let id = IdEntry { topic: *topic, offset, id_hash, digest };
            self.model.push(Known { head, bytes: bytes.len(), id });
            let appended =
                EventAppended { topic: *topic, offset, event: bytes, ..Default::default() };
            let kind = Kind::EventAppended(appended);
            self.builder
                .record(number(&kind), true, body_len(&kind), |out| encode_body(&kind, out));
        }
        self.builder.end();
        let chunk = self.builder.take().unwrap();
        self.log.append(chunk, roll).unwrap();
    }

    fn write_sidecars(&self) {
        while self.index.step().unwrap() {}
    }

    /// What a restart does.
    fn reopen(&mut self) {
        let (log, blobs) = (self.log.clone(), self.blobs.clone());
        self.index = Index::open(log, blobs, self.log_id, hasher(), self.full).unwrap();
    }

    fn expect(&self, wanted: &Wanted<'_>) -> Vec<EventRef> {
        let lane = |head: &Head| match wanted.query {
            LaneQuery::Saga => head.saga == wanted.lane,
            LaneQuery::Key => head.key == wanted.lane,
            LaneQuery::Everything => true,
        };
        self.model
            .iter()
            .map(|known| known.head)
            .filter(|head| lane(head) && wanted.topics.contains(&head.event.topic))
            .filter(|head| wanted.from <= head.event.at && head.event.at < wanted.to)
            .map(|head| head.event)
            .take(wanted.max)
            .collect()
    }

    fn of(&self, topic: TopicId) -> impl Iterator<Item = &Known> {
        self.model.iter().filter(move |known| known.head.event.topic == topic)
    }

    /// Every kind of lookup, against the model.
    fn check(&self, probe: &Probe) {
        let Probe { topics, lane, from, len, max, offset, time } = probe;
        let from = Position { entry: *from, index: u32::try_from(*len).unwrap() % 3 };
        let to = Position { entry: from.entry + len, index: 2 };
        let lanes = [
            (LaneQuery::Saga, hasher().saga(&format!("saga-{lane}"))),
            (LaneQuery::Key, hasher().key(&format!("key-{lane}"))),
            (LaneQuery::Everything, 0),
        ];
        for (query, lane) in lanes {
            let wanted = Wanted { query, lane, topics, from, to, max: *max };
            assert_eq!(self.index.find(&wanted).unwrap(), self.expect(&wanted), "{wanted:?}");
        }
        for topic in topics.iter().copied() {
            let event = |known: &Known| known.head.event;
            let at = self.of(topic).map(event).find(|event| event.offset == *offset);
            assert_eq!(self.index.locate(topic, *offset).unwrap(), at);
            let range: Vec<_> =
                self.of(topic).map(event).filter(|e| e.offset >= *offset).take(*max).collect();
            assert_eq!(self.index.range(topic, *offset, *max).unwrap(), range);
            let not_older = self.of(topic).find(|known| known.head.time >= *time).map(event);
            assert_eq!(self.index.at_time(topic, *time).unwrap(), not_older);
            let first = self.of(topic).next().map(|known| known.head.event.offset);
            assert_eq!(self.index.first_offset(topic).unwrap(), first);
        }
        let mut ids = Vec::new();
        self.index.ids(*max * 3, |id| ids.push(id)).unwrap();
        let skip = self.model.len().saturating_sub(*max * 3);
        let newest: Vec<_> = self.model.iter().skip(skip).map(|known| known.id).collect();
        assert_eq!(ids, newest);
        self.check_stats();
    }

    fn check_stats(&self) {
        for segment in self.index.segments().unwrap() {
            let end = segment.end.unwrap_or(u64::MAX);
            let mut stats: BTreeMap<TopicId, TopicStats> = BTreeMap::new();
            let inside = |known: &&Known| (segment.first..end).contains(&known.head.event.at.entry);
            for known in self.model.iter().filter(inside) {
                let EventRef { topic, offset, .. } = known.head.event;
                let stats = stats.entry(topic).or_insert_with(|| TopicStats {
                    topic,
                    first: offset,
                    first_time: known.head.time,
                    ..TopicStats::default()
                });
                stats.next = offset + 1;
                stats.count += 1;
                stats.bytes += known.bytes as u64;
                stats.last_time = known.head.time;
            }
            assert_eq!(segment.topics, stats.into_values().collect::<Vec<_>>());
        }
    }
}

#[derive(Clone, Debug)]
struct Probe {
    topics: Vec<TopicId>,
    lane: u8,
    from: u64,
    len: u64,
    max: usize,
    offset: u64,
    time: u64,
}

fn probe() -> impl Strategy<Value = Probe> {
    let topics = prop::sample::subsequence(vec![0, 1, 2, 3], 1..4);
    (topics, 0u8..8, 0u64..50, 0u64..60, 1usize..12, 0u64..90, 0u64..70).prop_map(
        |(topics, lane, from, len, max, offset, time)| Probe {
            topics,
            lane,
            from,
            len,
            max,
            offset,
            time,
        },
    )
}

#[derive(Clone, Debug)]
enum Act {
    Entry { later: u64, draws: Vec<Draw>, roll: bool },
    Step,
    Reopen,
    Lose(usize),
    Probe(Probe),
}

fn act() -> impl Strategy<Value = Act> {
    let draw = (0u32..4, 0u8..8, prop::bool::weighted(0.1));
    prop_oneof![
        8 => (0u64..3, prop::collection::vec(draw, 0..6), prop::bool::weighted(0.15))
            .prop_map(|(later, draws, roll)| Act::Entry { later, draws, roll }),
        2 => Just(Act::Step),
        1 => Just(Act::Reopen),
        1 => any::<usize>().prop_map(Act::Lose),
        4 => probe().prop_map(Act::Probe),
    ]
}

proptest! {
    #[test]
    fn lookups_equal_a_naive_model(
        acts in prop::collection::vec(act(), 1..80),
        cache_bytes in prop::sample::select(vec![0, 3_000, 1 << 20]),
    ) {
        let mut world = World::new(Options { cache_bytes, ..Options::default() });
        let mut time = 5;
        for act in acts {
            match act {
                Act::Entry { later, draws, roll } => {
                    time += later;
                    world.entry(time, &draws, roll);
                }
                Act::Step => drop(world.index.step().unwrap()),
                Act::Reopen => world.reopen(),
                Act::Lose(number) => {
                    let names = world.blobs.list().unwrap();
                    if let Some(name) = names.get(number % names.len().max(1)) {
                        world.blobs.remove(name).unwrap();
                    }
                }
                Act::Probe(probe) => world.check(&probe),
            }
            prop_assert!(world.index.cached_bytes() <= cache_bytes);
        }
    }
}

/// Three topics, many events of few lanes: more than one page of every table.
fn big() -> World {
    let mut world = World::new(Options::default());
    for entry in 0..120u64 {
        let draws: Vec<Draw> = (0..20)
            .map(|i| (i % 3, u8::try_from(entry % 7).unwrap() + u8::try_from(i).unwrap(), i == 7))
            .collect();
        world.entry(1000 + entry * 3, &draws, entry == 60);
    }
    world.entry(5000, &[], true);
    world
}

fn probes(count: usize) -> Vec<Probe> {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = (probe(), 0u64..130, 0u64..130, 0u64..900, 900u64..1500);
    (0..count)
        .map(|_| {
            let tree = strategy.new_tree(&mut runner).unwrap();
            let (probe, from, len, offset, time) = proptest::strategy::ValueTree::current(&tree);
            Probe { from, len, offset, time, max: probe.max * 40, ..probe }
        })
        .collect()
}

#[test]
fn lookups_across_many_pages_equal_the_model_from_memory_and_from_files() {
    let mut world = big();
    let probes = probes(60);
    probes.iter().for_each(|probe| world.check(probe));
    world.write_sidecars();
    assert_eq!(world.blobs.list().unwrap().len(), 2);
    probes.iter().for_each(|probe| world.check(probe));
    world.reopen();
    probes.iter().for_each(|probe| world.check(probe));
    assert_eq!(world.index.rebuilt(), 0, "files were read, the log was not");
}

#[test]
fn what_is_built_from_the_log_is_what_was_built_from_memory() {
    let mut world = big();
    world.write_sidecars();
    let names = world.blobs.list().unwrap();
    let before: Vec<_> = names.iter().map(|name| world.blobs.get(name).unwrap()).collect();
    names.iter().for_each(|name| world.blobs.remove(name).unwrap());
    world.reopen();
    world.write_sidecars();
    assert_eq!(world.index.rebuilt(), 2);
    let after: Vec<_> = names.iter().map(|name| world.blobs.get(name).unwrap()).collect();
    assert_eq!(before, after);
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed_and_leads_to_a_rebuild() {
    let mut world = World::new(Options::default());
    for entry in 0..6 {
        let draws = [(1, 2, false), (2, u8::try_from(entry).unwrap(), false), (1, 4, false)];
        world.entry(10 + entry, &draws, false);
    }
    world.entry(20, &[], true);
    world.write_sidecars();
    let name = world.blobs.list().unwrap().remove(0);
    let good = world.blobs.get(&name).unwrap().unwrap();
    let probe =
        Probe { topics: vec![1, 2], lane: 2, from: 0, len: 99, max: 50, offset: 10, time: 12 };
    let check = |world: &mut World, bytes: &[u8], what: String| {
        world.blobs.put(&name, bytes).unwrap();
        world.reopen();
        world.check(&probe);
        assert_eq!(world.index.rebuilt(), 1, "{what}");
        assert_eq!(world.blobs.get(&name).unwrap().unwrap(), good, "{what}");
    };
    for bit in 0..good.len() * 8 {
        let mut bad = good.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        check(&mut world, &bad, format!("bit {bit}"));
    }
    for len in 0..good.len() {
        check(&mut world, &good[..len], format!("cut at {len}"));
    }
}

#[test]
fn a_sidecar_of_another_log_or_of_other_entries_is_not_used() {
    let mut world = big();
    world.write_sidecars();
    let names = world.blobs.list().unwrap();
    let first = world.blobs.get(&names[0]).unwrap().unwrap();
    world.blobs.put(&names[1], &first).unwrap();
    world.reopen();
    probes(3).iter().for_each(|probe| world.check(probe));
    assert_eq!(world.index.rebuilt(), 1);
    world.log_id += 1;
    world.reopen();
    world.check_stats();
    assert_eq!(world.index.rebuilt(), 2);
}

#[test]
fn a_full_disk_fails_the_writing_and_not_the_lookups() {
    let mut world = big();
    world.blobs.set_full(true);
    world.index.step().unwrap_err();
    world.reopen();
    world.index.step().unwrap_err();
    probes(20).iter().for_each(|probe| world.check(probe));
    assert_eq!(world.index.rebuilt(), 2, "each segment once; then it is kept in memory");
    world.blobs.set_full(false);
    world.write_sidecars();
    assert_eq!(world.blobs.list().unwrap().len(), 2);
    world.check_stats();
}

#[test]
fn trimming_forgets_segments_and_their_files() {
    let mut world = big();
    world.write_sidecars();
    let first = world.log.trim(62).unwrap();
    world.index.drop_before(first).unwrap();
    world.model.retain(|known| known.head.event.at.entry >= first);
    probes(20).iter().for_each(|probe| world.check(probe));
    assert_eq!(world.blobs.list().unwrap().len(), 1);
    assert_eq!(world.index.rebuilt(), 0);
    world.blobs.put("sidecars/0000000000000001", b"left behind by a crash").unwrap();
    world.blobs.put("sidecars/notes", b"not ours").unwrap();
    world.reopen();
    let names = world.blobs.list().unwrap();
    assert!(names.contains(&"sidecars/notes".to_owned()) && names.len() == 2, "{names:?}");
}

#[test]
fn segments_that_wait_too_long_for_their_file_are_read_again() {
    let mut world = World::new(Options { active_bytes: 200, ..Options::default() });
    for entry in 0..12 {
        assert!(!world.index.want_roll());
        world.entry(entry, &[(1, 1, false); 5], false);
        assert!(world.index.want_roll(), "five rows take more than 200 bytes");
        world.entry(entry, &[], true);
    }
    world.write_sidecars();
    assert_eq!(world.index.rebuilt(), 10, "two were still in memory");
    world.check_stats();
}

#[test]
fn a_lane_without_events_reads_one_page_of_a_segment_at_most() {
    let mut world = big();
    world.write_sidecars();
    world.reopen();
    let lane = hasher().saga("nobody");
    let to = Position { entry: 1000, index: 0 };
    let wanted = Wanted {
        query: LaneQuery::Saga,
        lane,
        topics: &[0, 1, 2],
        from: Position::default(),
        to,
        max: 10,
    };
    assert_eq!(world.index.find(&wanted).unwrap(), []);
    let reads = || world.blobs.reads.load(std::sync::atomic::Ordering::SeqCst);
    assert!(reads() <= 2 * 2, "a directory and a page of each of two segments: {}", reads());
    let before = reads();
    assert_eq!(world.index.find(&wanted).unwrap(), []);
    assert_eq!(reads(), before, "then nothing");
}

#[test]
fn nothing_is_written_of_entries_that_are_not_durable() {
    let world = World::new(Options::default());
    let at = Position { entry: 3, index: 0 };
    let event = EventRef { at, topic: 1, offset: 0 };
    let head = Head { event, saga: 1, key: 2, ty: 3, turn: 0, time: 4, sync: true };
    world.index.active().push(&head, 5, 6, 7);
    world.index.roll(4);
    assert!(!world.index.step().unwrap(), "the log ends before entry 1");
    assert_eq!(world.index.locate(1, 0).unwrap(), Some(event));
    assert_eq!(world.blobs.list().unwrap(), Vec::<String>::new());
}

#[test]
fn what_was_retired_or_lost_is_not_found_and_nothing_else_is_missing() {
    let mut world = big();
    world.write_sidecars();
    let first = world.log.trim(62).unwrap();
    world.model.retain(|known| known.head.event.at.entry >= first);
    for name in world.blobs.list().unwrap() {
        world.blobs.remove(&name).unwrap();
    }
    probes(20).iter().for_each(|probe| world.check(probe));
    assert_eq!(world.index.rebuilt(), 2);
}
