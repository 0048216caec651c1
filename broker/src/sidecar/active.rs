//! The index of the segment that is being written: columns in memory, one row per event in the
//! order of the log. No I/O here.

use std::collections::HashMap;
use std::ops::Range;

use super::encode::SAGAS;
use super::{IdEntry, TopicStats, Wanted, half};
use crate::core::output::LaneQuery;
use crate::core::types::{EventRef, Head, Position, TopicId};

/// The events of one segment so far, in the order of the log. About 60 bytes each.
#[derive(Debug, Default)]
pub struct Active {
    first: u64,
    /// Entry (less `first`) << 32 | index of the record.
    at: Vec<u64>,
    /// Slot of the topic << 32 | offset (less the topic's first).
    place: Vec<u64>,
    saga: Vec<u64>,
    key: Vec<u64>,
    /// Low and high half of the id's hash, digest.
    ids: Vec<[u64; 3]>,
    /// From this row on, this broker time.
    times: Vec<(u32, u64)>,
    slots: HashMap<TopicId, u32>,
    topics: Vec<Column>,
}

/// The rows of one topic.
#[derive(Debug, Default)]
pub(super) struct Column {
    pub(super) stats: TopicStats,
    pub(super) rows: Vec<u32>,
}

/// One row, whole but for its topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) at: Position,
    pub(super) offset: u64,
    pub(super) time: u64,
}

impl Row {
    pub(super) fn event(self, topic: TopicId) -> EventRef {
        EventRef { at: self.at, topic, offset: self.offset }
    }
}

const ROW_BYTES: usize = 8 + 8 + 8 + 8 + 24 + 4;

impl Active {
    /// The index of an empty segment whose first entry is `first`.
    #[must_use]
    pub fn new(first: u64) -> Self {
        Self { first, ..Self::default() }
    }

    /// The index of the next segment; expects as many events as this one has.
    pub(super) fn next(&self, first: u64) -> Self {
        let rows = self.len();
        Self {
            first,
            at: Vec::with_capacity(rows),
            place: Vec::with_capacity(rows),
            saga: Vec::with_capacity(rows),
            key: Vec::with_capacity(rows),
            ids: Vec::with_capacity(rows),
            ..Self::default()
        }
    }

    /// Adds the next event; `bytes` is the length of its encoding.
    ///
    /// # Panics
    /// If the event's entry lies before this segment, or 2^32 entries or offsets behind its start.
    pub fn push(&mut self, head: &Head, bytes: usize, id_hash: u128, digest: u64) {
        let EventRef { at, topic, offset } = head.event;
        let row = narrow(self.at.len() as u64);
        let slot = match self.slots.get(&topic) {
            Some(slot) => *slot,
            None => self.add_topic(head),
        };
        let Some(column) = self.topics.get_mut(slot as usize) else {
            return;
        };
        let stats = &mut column.stats;
        let place = u64::from(slot) << 32 | u64::from(narrow(offset - stats.first));
        let at = u64::from(narrow(at.entry - self.first)) << 32 | u64::from(at.index);
        debug_assert!(self.at.last().is_none_or(|last| *last < at), "events come in order");
        stats.next = offset + 1;
        stats.count += 1;
        stats.bytes += bytes as u64;
        stats.last_time = head.time;
        column.rows.push(row);
        self.place.push(place);
        self.at.push(at);
        self.saga.push(half(head.saga));
        self.key.push(half(head.key));
        self.ids.push([half(id_hash), half(id_hash >> 64), digest]);
        if self.times.last().is_none_or(|(_, time)| *time != head.time) {
            self.times.push((row, head.time));
        }
    }

    fn add_topic(&mut self, head: &Head) -> u32 {
        let EventRef { topic, offset, .. } = head.event;
        let slot = narrow(self.topics.len() as u64);
        let stats =
            TopicStats { topic, first: offset, first_time: head.time, ..TopicStats::default() };
        self.topics.push(Column { stats, rows: Vec::new() });
        self.slots.insert(topic, slot);
        slot
    }

    /// Where an event is.
    #[must_use]
    pub fn locate(&self, topic: TopicId, offset: u64) -> Option<EventRef> {
        self.range(topic, offset, 1).pop().filter(|found| found.offset == offset)
    }

    /// Events of a topic from `offset` on, at most `max`.
    #[must_use]
    pub fn range(&self, topic: TopicId, offset: u64, max: usize) -> Vec<EventRef> {
        let rows = self.column(topic).map_or(&[][..], |column| &column.rows);
        let start = rows.partition_point(|row| self.row(*row).offset < offset);
        rows.iter().skip(start).take(max).map(|row| self.row(*row).event(topic)).collect()
    }

    /// The first event of a topic that is not older than `time` (broker time, ms since 1970).
    #[must_use]
    pub fn at_time(&self, topic: TopicId, time: u64) -> Option<EventRef> {
        let rows = &self.column(topic)?.rows;
        let start = rows.partition_point(|row| self.time(*row) < time);
        rows.get(start).map(|row| self.row(*row).event(topic))
    }

    /// The wanted events, in order.
    #[must_use]
    pub fn find(&self, wanted: &Wanted<'_>) -> Vec<EventRef> {
        self.scan(wanted, usize::MAX).0
    }

    /// The wanted events among the next `rows` rows, and where to go on if these were not all.
    pub(super) fn scan(
        &self,
        wanted: &Wanted<'_>,
        rows: usize,
    ) -> (Vec<EventRef>, Option<Position>) {
        let slots: Vec<u32> =
            wanted.topics.iter().filter_map(|topic| self.slots.get(topic).copied()).collect();
        if slots.is_empty() {
            return (Vec::new(), None);
        }
        let mut here = vec![false; self.topics.len()];
        for slot in slots {
            if let Some(here) = here.get_mut(slot as usize) {
                *here = true;
            }
        }
        let (from, to) = (self.rank(wanted.from), self.rank(wanted.to));
        let stop = to.min(from.saturating_add(rows));
        let of_topics = |row: &u32| {
            let slot = self.place.get(*row as usize).map_or(u64::MAX, |place| place >> 32);
            usize::try_from(slot).is_ok_and(|slot| here.get(slot) == Some(&true))
        };
        let event = |row| self.event(row);
        let found: Vec<_> = match wanted.query {
            LaneQuery::Everything => {
                index(from..stop).filter(of_topics).take(wanted.max).map(event).collect()
            }
            LaneQuery::Saga | LaneQuery::Key => {
                let column = if wanted.query == LaneQuery::Saga { &self.saga } else { &self.key };
                equal(column, from..stop, half(wanted.lane))
                    .filter(of_topics)
                    .take(wanted.max)
                    .map(event)
                    .collect()
            }
        };
        let more = stop < to && found.len() < wanted.max;
        let next = more.then(|| self.row(narrow(stop as u64)).at);
        (found, next)
    }

    /// What there is of each topic, by topic number.
    #[must_use]
    pub fn stats(&self) -> Vec<TopicStats> {
        self.columns().into_iter().map(|column| column.stats).collect()
    }

    /// What there is of one topic.
    #[must_use]
    pub fn topic(&self, topic: TopicId) -> Option<TopicStats> {
        self.column(topic).map(|column| column.stats)
    }

    /// Ids from the `skip`-th event on, in the order of the log.
    pub fn ids(&self, skip: usize) -> impl Iterator<Item = IdEntry> {
        self.ids.iter().enumerate().skip(skip).map(|(row, [low, high, digest])| {
            let event = self.event(narrow(row as u64));
            IdEntry {
                topic: event.topic,
                offset: event.offset,
                id_hash: u128::from(*high) << 64 | u128::from(*low),
                digest: *digest,
            }
        })
    }

    /// How many events there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// True if there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// How many bytes of memory this takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.at.len() * ROW_BYTES + self.times.len() * 16 + self.topics.len() * 128
    }

    /// The first entry of the segment.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// All topics by number.
    pub(super) fn columns(&self) -> Vec<&Column> {
        let mut columns: Vec<_> = self.topics.iter().collect();
        columns.sort_unstable_by_key(|column| column.stats.topic);
        columns
    }

    /// The rows of one of the topics, in order.
    pub(super) fn rows_of(&self, column: &Column) -> impl Iterator<Item = Row> {
        let mut runs = self.times.iter().peekable();
        let mut time = 0;
        column.rows.iter().map(move |row| {
            while let Some((_, next)) = runs.next_if(|(from, _)| from <= row) {
                time = *next;
            }
            let EventRef { at, offset, .. } = self.event(*row);
            Row { at, offset, time }
        })
    }

    /// The hashes of sagas or of keys, by row.
    pub(super) fn hashes(&self, which: usize) -> &[u64] {
        if which == SAGAS { &self.saga } else { &self.key }
    }

    /// Of every event in order: halves of the id's hash and digest, slot, offset in the slot.
    pub(super) fn raw_ids(&self) -> impl Iterator<Item = ([u64; 3], usize, u32)> {
        let places = self.place.iter().map(|place| ((place >> 32) as usize, low(*place)));
        self.ids.iter().zip(places).map(|(id, (slot, offset))| (*id, slot, offset))
    }

    pub(super) fn slot(&self, topic: TopicId) -> Option<usize> {
        self.slots.get(&topic).map(|slot| *slot as usize)
    }

    pub(super) fn row(&self, row: u32) -> Row {
        let at = self.at.get(row as usize).copied().unwrap_or_default();
        Row {
            at: Position { entry: self.first + (at >> 32), index: low(at) },
            offset: self.event(row).offset,
            time: self.time(row),
        }
    }

    fn event(&self, row: u32) -> EventRef {
        let at = self.at.get(row as usize).copied().unwrap_or_default();
        let place = self.place.get(row as usize).copied().unwrap_or_default();
        let slot = usize::try_from(place >> 32).unwrap_or(usize::MAX);
        let stats = self.topics.get(slot).map(|column| column.stats).unwrap_or_default();
        EventRef {
            at: Position { entry: self.first + (at >> 32), index: low(at) },
            topic: stats.topic,
            offset: stats.first + u64::from(low(place)),
        }
    }

    fn time(&self, row: u32) -> u64 {
        let run = self.times.partition_point(|(from, _)| *from <= row);
        run.checked_sub(1).and_then(|run| self.times.get(run)).map_or(0, |(_, time)| *time)
    }

    fn column(&self, topic: TopicId) -> Option<&Column> {
        self.slots.get(&topic).and_then(|slot| self.topics.get(*slot as usize))
    }

    /// How many rows lie before `at`.
    fn rank(&self, at: Position) -> usize {
        let Some(entry) = at.entry.checked_sub(self.first) else {
            return 0;
        };
        match u32::try_from(entry) {
            Ok(entry) => {
                let at = u64::from(entry) << 32 | u64::from(at.index);
                self.at.partition_point(|row| *row < at)
            }
            Err(_) => self.at.len(),
        }
    }
}

/// The rows in `range` whose hash is `hash`. Looks at 64 at a time, which the compiler vectorises.
fn equal(column: &[u64], range: Range<usize>, hash: u64) -> impl Iterator<Item = u32> {
    let rows = column.get(range.clone()).unwrap_or_default();
    rows.chunks(64)
        .enumerate()
        .filter(move |(_, chunk)| chunk.iter().fold(false, |any, row| any | (*row == hash)))
        .flat_map(move |(number, chunk)| {
            let start = range.start + number * 64;
            chunk
                .iter()
                .enumerate()
                .filter(move |(_, row)| **row == hash)
                .map(move |(i, _)| narrow((start + i) as u64))
        })
}

fn index(range: Range<usize>) -> impl Iterator<Item = u32> {
    range.map(|row| narrow(row as u64))
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
fn low(value: u64) -> u32 {
    value as u32
}

/// A segment has fewer than 2^32 of everything.
#[inline]
pub(super) fn narrow(value: u64) -> u32 {
    u32::try_from(value).expect("a segment has fewer than 2^32 entries, events and offsets")
}
