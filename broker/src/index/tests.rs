//! The index against a model that walks over everything that was recorded, with stores that are
//! opened again, changed behind its back, and put back in time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use proptest::prelude::*;
use quadrille_proto::record::{
    self, EventAppended, EventRef as Event, Kind, OffsetRange, Parked, Resolution, SettleKind,
};
use quadrille_proto::{Event as Payload, Hasher128};

use super::*;
use crate::log::ChunkBuilder;

const LOG: u128 = 7;

/// A store that outlives the index.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<MemStore>>);

impl Store for Shelf {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Damaged> {
        self.0.lock().unwrap().get(key)
    }

    fn write(&mut self, changes: Vec<Change>) -> Result<(), Damaged> {
        self.0.lock().unwrap().write(changes)
    }
}

fn open(shelf: &Shelf, end: u64) -> Result<Index, Damaged> {
    let store = Box::new(shelf.clone());
    Index::open(store, Hasher128::new(LOG), (LOG, 1, end), Known::default())
}

/// Entry `number`, of one record.
fn entry(number: u64, kind: &Kind) -> Entry {
    let mut builder = ChunkBuilder::new(1, number);
    builder.begin(0, number * 10);
    let body = |out: &mut BytesMut| record::encode_body(kind, out);
    builder.record(record::number(kind), true, record::body_len(kind), body);
    builder.end();
    let chunk = builder.take().unwrap();
    let payload = chunk.body.freeze().slice(20..);
    Entry { number, flags: 0, time: number * 10, records: 1, payload }
}

/// What can happen; numbers choose among what there is.
#[derive(Clone, Debug)]
enum Op {
    Event { saga: u8, source: u8, ty: u8, cause: Option<u8> },
    Held { group: u32, event: u8, attempts: u32 },
    Settled { group: u32, from: u8, len: u8, kind: i32 },
    Parked { group: u32, event: u8 },
    Resolved { group: u32, event: u8, how: i32 },
    Superseded { group: u32, event: u8 },
}

fn op() -> impl Strategy<Value = Op> {
    let (group, event) = (1u32..3, any::<u8>());
    prop_oneof![
        5 => (0u8..12, 0u8..4, 0u8..3, any::<Option<u8>>())
            .prop_map(|(saga, source, ty, cause)| Op::Event { saga, source, ty, cause }),
        2 => (group.clone(), event, 0u32..4)
            .prop_map(|(group, event, attempts)| Op::Held { group, event, attempts }),
        2 => (group.clone(), event, 0u8..4, 0i32..6)
            .prop_map(|(group, from, len, kind)| Op::Settled { group, from, len, kind }),
        1 => (group.clone(), event).prop_map(|(group, event)| Op::Parked { group, event }),
        1 => (group.clone(), event, 0i32..3)
            .prop_map(|(group, event, how)| Op::Resolved { group, event, how }),
        1 => (group, event).prop_map(|(group, event)| Op::Superseded { group, event }),
    ]
}

/// Records, and by the way what they come to.
#[derive(Default)]
struct Model {
    records: Vec<Kind>,
    /// Places of events, by offset in the one topic; their types.
    events: Vec<(u64, u8)>,
    sagas: BTreeMap<u8, (u64, u64, u64, Vec<String>)>,
    attempts: BTreeMap<(u32, u64), u32>,
    odd: BTreeMap<(u32, u64), (u32, bool, bool)>,
    dead: BTreeMap<(u32, u64), (u32, Option<i32>, u64)>,
    edges: BTreeMap<(String, String), u64>,
}

impl Model {
    fn of(ops: &[Op]) -> Self {
        let mut it = Self::default();
        it.records.push(Kind::TopicCreated(record::TopicCreated {
            topic: 1,
            name: "orders".into(),
            config: None,
        }));
        for op in ops {
            it.op(op);
        }
        it
    }

    fn pick(&self, number: u8) -> Option<(u64, Event)> {
        let index = usize::from(number).checked_rem(self.events.len())?;
        let (offset, (entry, _)) = (index as u64, self.events[index]);
        let at = Some(record::Position { entry, index: 0 });
        Some((offset, Event { topic: 1, offset, at }))
    }

    fn op(&mut self, op: &Op) {
        let number = self.records.len() as u64 + 1;
        let kind = match *op {
            Op::Event { saga, source, ty, cause } => self.event(number, (saga, source, ty), cause),
            Op::Held { group, event, attempts } => {
                let Some((offset, event)) = self.pick(event) else { return };
                if attempts > 0 {
                    self.attempts.insert((group, offset), attempts);
                    self.odd.remove(&(group, offset));
                }
                let event = Some(event);
                Kind::Held(record::Held { group, event, attempts, ..Default::default() })
            }
            Op::Settled { group, from, len, kind } => {
                let Some((from, _)) = self.pick(from) else { return };
                let to = from + u64::from(len);
                let how = SettleKind::try_from(kind).unwrap();
                for offset in from..to {
                    let pending = self.attempts.remove(&(group, offset));
                    match (how, pending) {
                        (SettleKind::Late, _) => {
                            self.odd.insert((group, offset), (0, true, false));
                        }
                        (SettleKind::Ack | SettleKind::Step, Some(attempts)) => {
                            self.odd.insert((group, offset), (attempts + 1, false, false));
                        }
                        _ => {}
                    }
                }
                let ranges = vec![OffsetRange { topic: 1, from, to }];
                Kind::Settled(record::Settled { group, kind, ranges, ..Default::default() })
            }
            Op::Parked { group, event } => {
                let Some((offset, event)) = self.pick(event) else { return };
                if self.attempts.remove(&(group, offset)).is_some() {
                    self.odd.remove(&(group, offset));
                }
                let times = self.dead.get(&(group, offset)).map_or(0, |it| it.0);
                self.dead.insert((group, offset), (times + 1, None, 0));
                Kind::Parked(Parked { group, event: Some(event), ..Default::default() })
            }
            Op::Resolved { group, event, how } => {
                let Some((offset, event)) = self.pick(event) else { return };
                if how == i32::from(Resolution::ResolveSkip) {
                    self.attempts.remove(&(group, offset));
                    self.odd.insert((group, offset), (0, false, true));
                }
                if let Some(dead) = self.dead.get_mut(&(group, offset)) {
                    dead.1 = Some(how);
                }
                let event = Some(event);
                Kind::Resolved(record::Resolved { group, event, how, ..Default::default() })
            }
            Op::Superseded { group, event } => {
                let Some((offset, event)) = self.pick(event) else { return };
                if self.attempts.remove(&(group, offset)).is_some() {
                    self.odd.remove(&(group, offset));
                }
                let by = Event { at: Some(record::Position { entry: 3, index: 0 }), ..event };
                if let Some(dead) = self.dead.get_mut(&(group, offset)) {
                    dead.2 = 3;
                }
                let one = record::SupersededEvent { event: Some(event), ..Default::default() };
                let (by, events) = (Some(by), vec![one]);
                Kind::Superseded(record::Superseded { group, by, events, ..Default::default() })
            }
        };
        self.records.push(kind);
    }

    fn event(&mut self, number: u64, (saga, source, ty): (u8, u8, u8), cause: Option<u8>) -> Kind {
        let offset = self.events.len() as u64;
        let emitted_by = cause.and_then(|cause| self.pick(cause));
        if let Some((cause, _)) = &emitted_by {
            let from = self.events[usize::try_from(*cause).unwrap()].1;
            *self.edges.entry((format!("t{from}"), format!("t{ty}"))).or_default() += 1;
        }
        self.events.push((number, ty));
        let source = format!("source-{source}");
        let it = self.sagas.entry(saga).or_insert((number, number, 0, Vec::new()));
        (it.1, it.2) = (number, it.2 + 1);
        if !it.3.contains(&source) {
            it.3.push(source.clone());
        }
        let payload = Payload::new(format!("t{ty}")).id("e").saga(format!("s{saga}"));
        let mut event = BytesMut::new();
        payload.source(source).encode(&mut event);
        let emitted_by = emitted_by.map(|(_, event)| event);
        let event = event.freeze();
        Kind::EventAppended(EventAppended {
            topic: 1,
            offset,
            emitted_by,
            event,
            ..Default::default()
        })
    }

    fn agrees_with(&self, index: &Index) {
        let hasher = Hasher128::new(LOG);
        for saga in 0..12 {
            let row = index.saga(hasher.saga(&format!("s{saga}"))).unwrap();
            let is = row.map(|row| {
                let mut services = index.services(&row);
                services.sort();
                (row.first_entry, row.last_entry, row.count, services)
            });
            let expected = self.sagas.get(&saga).cloned().map(|mut it| {
                it.3.sort();
                it
            });
            assert_eq!(is, expected, "saga {saga}");
        }
        for group in 1..3 {
            for (offset, (entry, _)) in (0..).zip(&self.events) {
                let at = Position { entry: *entry, index: 0 };
                let odd = index.odd(group, EventRef { at, topic: 1, offset }).unwrap();
                let odd = odd.unwrap_or_default();
                let pending = self.attempts.get(&(group, offset)).copied().unwrap_or(0);
                assert_eq!(odd.pending, pending, "attempts of {offset} in {group}");
                if pending == 0 {
                    let is = (odd.done_at, odd.late, odd.skipped);
                    let expected = self.odd.get(&(group, offset)).copied().unwrap_or_default();
                    assert_eq!(is, expected, "the end of {offset} in {group}");
                }
                let dead = index.dead_letter(group, at).unwrap();
                let dead =
                    dead.map(|it| (it.times, it.resolved.map(|it| it.how), it.superseded_by));
                assert_eq!(dead, self.dead.get(&(group, offset)).copied(), "dead letter {offset}");
            }
        }
        assert_eq!(index.dead_letters().unwrap().len(), self.dead.len());
        let edges = index.edges().into_iter().map(|it| ((it.from, it.to), it.count));
        assert_eq!(edges.collect::<BTreeMap<_, _>>(), self.edges);
    }

    fn feed_to(&self, index: &mut Index, end: u64) {
        let from = usize::try_from(index.position()).unwrap();
        for (number, kind) in (1..=end).zip(&self.records).skip(from) {
            index.feed(&entry(number, kind)).unwrap();
        }
    }

    fn feed(&self, index: &mut Index) {
        self.feed_to(index, self.records.len() as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn rows_are_what_the_records_come_to_however_often_it_is_stored_and_opened(
        ops in prop::collection::vec(op(), 1..120),
        breaks in prop::collection::vec((any::<u8>(), any::<bool>()), 0..6),
    ) {
        let model = Model::of(&ops);
        let mut shelf = Shelf::default();
        let mut index = open(&shelf, 0).unwrap();
        let end = model.records.len() as u64;
        let mut ends: Vec<_> = breaks.iter().map(|(at, again)| (u64::from(*at) % end, *again)).collect();
        ends.sort_unstable();
        for (at, again) in ends {
            model.feed_to(&mut index, at);
            index.flush(1).unwrap();
            // Edges look for their causes among what was read since the opening.
            if again && model.edges.is_empty() {
                index = open(&shelf, end).unwrap();
                prop_assert_eq!(index.position(), at);
            }
        }
        model.feed(&mut index);
        model.agrees_with(&index);
        index.flush(1).unwrap();
        model.agrees_with(&index);
        let again = open(&shelf, end).unwrap();
        prop_assert_eq!(again.position(), end);
        model.agrees_with(&again);
        // What is missing, changed or of another time is noticed, or does not matter.
        let keys: Vec<_> = shelf.0.lock().unwrap().0.keys().cloned().collect();
        for key in keys {
            let value = shelf.get(&key).unwrap();
            shelf.write(vec![(key.clone(), None)]).unwrap();
            is_noticed(&shelf, &key, end);
            let mut other = value.clone().unwrap_or_default();
            match other.last_mut() {
                Some(byte) => *byte ^= 1,
                None => other.push(1),
            }
            shelf.write(vec![(key.clone(), Some(other))]).unwrap();
            is_noticed(&shelf, &key, end);
            shelf.write(vec![(key, value)]).unwrap();
        }
    }
}

fn is_noticed(shelf: &Shelf, key: &[u8], end: u64) {
    let read = || -> Result<bool, Damaged> {
        let index = open(shelf, end)?;
        index.dead_letters()?;
        index.sagas.all(&*index.store)?;
        Ok(index.position() == end)
    };
    assert_ne!(read(), Ok(true), "{}", String::from_utf8_lossy(key));
}

#[test]
fn a_store_of_another_log_or_ahead_of_this_one_is_not_used() {
    let model = Model::of(&[Op::Event { saga: 1, source: 1, ty: 1, cause: None }]);
    let shelf = Shelf::default();
    let mut index = open(&shelf, 0).unwrap();
    model.feed(&mut index);
    index.flush(1).unwrap();
    assert_eq!(open(&shelf, 2).unwrap().position(), 2);
    assert_eq!(open(&shelf, 1).unwrap().position(), 0, "ahead");
    let store = Box::new(shelf.clone());
    let other = Index::open(store, Hasher128::new(8), (8, 5, 100), Known::default()).unwrap();
    assert_eq!((other.position(), other.from()), (4, 5));
}

#[test]
fn many_rows_make_many_runs_and_old_ones_go_with_the_log() {
    let shelf = Shelf::default();
    let mut index = open(&shelf, 0).unwrap();
    let event = |n: u64| {
        let payload = Payload::new("t").id("e").saga(format!("s{n}")).source("x");
        let mut event = BytesMut::new();
        payload.encode(&mut event);
        let event = event.freeze();
        Kind::EventAppended(EventAppended { topic: 1, offset: n, event, ..Default::default() })
    };
    let rows = 3 * FLUSH_ROWS as u64;
    for n in 1..=rows {
        index.feed(&entry(n, &event(n))).unwrap();
        if index.is_full() {
            index.flush(1).unwrap();
        }
    }
    let hasher = Hasher128::new(LOG);
    for n in (1..=rows).step_by(997) {
        let row = index.saga(hasher.saga(&format!("s{n}"))).unwrap().unwrap();
        assert_eq!((row.first_entry, row.last_entry, row.count), (n, n, 1));
    }
    assert_eq!(index.saga(hasher.saga("none")).unwrap(), None);
    let stored = shelf.0.lock().unwrap().0.len();
    index.flush(FLUSH_ROWS as u64 * 2 + 1).unwrap();
    assert!(shelf.0.lock().unwrap().0.len() < stored / 2);
    assert_eq!(index.saga(hasher.saga("s1")).unwrap(), None, "it is retired");
    assert!(index.saga(hasher.saga(&format!("s{rows}"))).unwrap().is_some());
    assert_eq!(open(&shelf, rows).unwrap().position(), rows);
}
