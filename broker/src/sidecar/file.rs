//! A sidecar as it is read: its directory in memory, its pages on demand. Every byte is checked
//! before it is believed; what is wrong is a [`Fault`], and then the sidecar is built again.

use std::ops::Range;

use bytes::Bytes;

use super::active::Row;
use super::codec::{Reader, take_hash, take_row};
use super::encode::{EVENTS, HEADER, IDS, KEYS, ROWS, SAGAS, TABLES, TOPIC_BYTES};
use super::header::{Header, Page, SHORT, take_page, take_topic};
use super::store::{Fault, Item, Store, name};
use super::{IdEntry, TopicStats, Wanted, half};
use crate::core::output::LaneQuery;
use crate::core::types::{EventRef, Position, TopicId};

/// The index of a segment that has ended.
pub(super) struct Sidecar {
    first: u64,
    end: u64,
    events: u32,
    topics: Vec<Topic>,
    tables: [Vec<Page>; TABLES],
    /// Where the pages begin in the blob.
    body: u64,
    /// The whole blob, if it could not be written.
    memory: Option<Bytes>,
}

/// A topic, and the number of its first event by topic and offset.
struct Topic {
    stats: TopicStats,
    start: u32,
}

/// Read first: enough for the directory of most segments.
const GUESS: usize = 64 * 1024;

type Result<T> = std::result::Result<T, Fault>;

impl Sidecar {
    /// Reads the directory of the sidecar of this segment.
    pub(super) fn open(store: &Store, log_id: u128, first: u64, end: u64) -> Result<Self> {
        let missing = Fault::Wrong("it is missing");
        let mut head = store.blobs.get_range(&name(first), 0, GUESS)?.ok_or(missing)?;
        let wanted = Header::parse(&head)?.body();
        if wanted > head.len() {
            head = store.blobs.get_range(&name(first), 0, wanted)?.ok_or(SHORT)?;
        }
        Self::parse(&head, log_id, first, end)
    }

    /// A sidecar that stays in memory.
    pub(super) fn in_memory(bytes: Bytes, log_id: u128, first: u64, end: u64) -> Result<Self> {
        let mut sidecar = Self::parse(&bytes, log_id, first, end)?;
        sidecar.memory = Some(bytes);
        Ok(sidecar)
    }

    fn parse(bytes: &[u8], log_id: u128, first: u64, end: u64) -> Result<Self> {
        let header = Header::parse(bytes)?;
        if (header.log_id, header.first, header.end) != (log_id, first, end) {
            return Err(Fault::Wrong("it belongs to other entries"));
        }
        let directory = bytes.get(HEADER..header.body()).ok_or(SHORT)?;
        if crc32fast::hash(directory) != header.directory_crc {
            return Err(Fault::Wrong("its directory is damaged"));
        }
        let mut reader = Reader(directory);
        let mut start = 0;
        let mut topics = Vec::with_capacity(header.topics.min(directory.len() / TOPIC_BYTES));
        for _ in 0..header.topics {
            let stats = take_topic(&mut reader).ok_or(SHORT)?;
            topics.push(Topic { stats, start });
            start += u32::try_from(stats.count).map_err(|_| SHORT)?;
        }
        let mut tables: [Vec<Page>; TABLES] = Default::default();
        for (table, rows) in tables.iter_mut().zip(ROWS) {
            for _ in 0..(header.events as usize).div_ceil(rows) {
                table.push(take_page(&mut reader).ok_or(SHORT)?);
            }
        }
        let body = header.body() as u64;
        Ok(Self { first, end, events: header.events, topics, tables, body, memory: None })
    }

    /// How many bytes of memory this takes.
    pub(super) fn memory(&self) -> usize {
        let pages: usize = self.tables.iter().map(Vec::len).sum();
        let whole = self.memory.as_ref().map_or(0, Bytes::len);
        whole + pages * size_of::<Page>() + self.topics.len() * size_of::<Topic>()
    }

    /// How many events there are.
    pub(super) fn len(&self) -> usize {
        self.events as usize
    }

    /// What there is of each topic, by topic number.
    pub(super) fn stats(&self) -> Vec<TopicStats> {
        self.topics.iter().map(|topic| topic.stats).collect()
    }

    /// What there is of one topic.
    pub(super) fn topic(&self, topic: TopicId) -> Option<TopicStats> {
        self.find_topic(topic).map(|topic| topic.stats)
    }

    /// Events of a topic from `offset` on, at most `max`.
    pub(super) fn range(
        &self,
        store: &Store,
        topic: TopicId,
        offset: u64,
        max: usize,
    ) -> Result<Vec<EventRef>> {
        let Some(found) = self.find_topic(topic) else {
            return Ok(Vec::new());
        };
        let (stats, rows) = (&found.stats, found.rows());
        let start = if stats.count == stats.next - stats.first {
            let skip = offset.saturating_sub(stats.first).min(stats.count);
            rows.start + usize::try_from(skip).unwrap_or(usize::MAX)
        } else {
            self.search(store, rows.clone(), |row| row.offset < offset)?
        };
        self.events(store, topic, start..rows.end.min(start.saturating_add(max)))
    }

    /// The first event of a topic that is not older than `time`.
    pub(super) fn at_time(
        &self,
        store: &Store,
        topic: TopicId,
        time: u64,
    ) -> Result<Option<EventRef>> {
        let Some(found) = self.find_topic(topic) else {
            return Ok(None);
        };
        let rows = found.rows();
        let start = self.search(store, rows.clone(), |row| row.time < time)?;
        Ok(self.events(store, topic, start..rows.end.min(start + 1))?.pop())
    }

    /// The wanted events, in order.
    pub(super) fn find(&self, store: &Store, wanted: &Wanted<'_>) -> Result<Vec<EventRef>> {
        let mut found = Vec::new();
        for topic in wanted.topics.iter().filter_map(|topic| self.find_topic(*topic)) {
            let rows = topic.rows();
            let table = match wanted.query {
                LaneQuery::Saga => SAGAS,
                LaneQuery::Key => KEYS,
                LaneQuery::Everything => {
                    let rows = self.between(store, rows, wanted)?;
                    let stop = rows.end.min(rows.start.saturating_add(wanted.max));
                    found.extend(self.events(store, topic.stats.topic, rows.start..stop)?);
                    continue;
                }
            };
            let hash = half(wanted.lane);
            if self.postings(store, table, hash, rows.clone(), 1)?.is_empty() {
                continue;
            }
            let rows = self.between(store, rows, wanted)?;
            let numbers = self.postings(store, table, hash, rows, wanted.max)?;
            found.extend(self.pick(store, topic.stats.topic, &numbers)?);
        }
        found.sort_unstable();
        found.dedup();
        found.truncate(wanted.max);
        Ok(found)
    }

    /// Ids from the `skip`-th event on, in the order of the log.
    pub(super) fn ids(
        &self,
        store: &Store,
        skip: usize,
        visit: &mut impl FnMut(IdEntry),
    ) -> Result<()> {
        let mut page = skip / ROWS[IDS];
        let mut skip = skip % ROWS[IDS];
        while let Some(bytes) = self.page(store, IDS, page)? {
            let mut reader = Reader(&bytes);
            for _ in 0..self.page_rows(IDS, page).len() {
                let id = self.take_id(&mut reader).ok_or(SHORT)?;
                if skip == 0 {
                    visit(id);
                }
                skip = skip.saturating_sub(1);
            }
            page += 1;
        }
        Ok(())
    }

    fn take_id(&self, reader: &mut Reader<'_>) -> Option<IdEntry> {
        let (id_hash, digest) = (reader.u128()?, reader.u64()?);
        let stats = &self.topics.get(usize::try_from(reader.varint()?).ok()?)?.stats;
        let offset = stats.first.checked_add(reader.varint()?)?;
        Some(IdEntry { topic: stats.topic, offset, id_hash, digest })
    }

    fn find_topic(&self, topic: TopicId) -> Option<&Topic> {
        let at = self.topics.binary_search_by_key(&topic, |topic| topic.stats.topic).ok()?;
        self.topics.get(at)
    }

    /// Those of a topic's rows whose positions are wanted.
    fn between(
        &self,
        store: &Store,
        rows: Range<usize>,
        wanted: &Wanted<'_>,
    ) -> Result<Range<usize>> {
        let before = |at: Position| move |row: &Row| row.at < at;
        let start = if wanted.from.entry < self.first {
            rows.start
        } else {
            self.search(store, rows.clone(), before(wanted.from))?
        };
        let end = if wanted.to.entry >= self.end {
            rows.end
        } else {
            self.search(store, start..rows.end, before(wanted.to))?
        };
        Ok(start..end)
    }

    /// The first of these rows of one topic for which `before` no longer holds.
    fn search(
        &self,
        store: &Store,
        rows: Range<usize>,
        before: impl Fn(&Row) -> bool,
    ) -> Result<usize> {
        if rows.is_empty() {
            return Ok(rows.start);
        }
        // The page of the answer is the last one that begins with a row for which it holds.
        let (mut low, mut high) = (rows.start / ROWS[EVENTS], (rows.end - 1) / ROWS[EVENTS]);
        while low < high {
            let middle = (low + high).div_ceil(2);
            let bytes = self.page(store, EVENTS, middle)?.ok_or(SHORT)?;
            let row = take_row(&mut Reader(&bytes), &Row::default()).ok_or(SHORT)?;
            if before(&row) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        let mut answer = rows.start;
        self.rows(store, low, |number, row| {
            if rows.contains(&number) && before(row) {
                answer = number + 1;
            }
        })?;
        Ok(answer)
    }

    /// These rows of one topic as events.
    fn events(&self, store: &Store, topic: TopicId, rows: Range<usize>) -> Result<Vec<EventRef>> {
        let mut out = Vec::with_capacity(rows.len());
        if rows.is_empty() {
            return Ok(out);
        }
        for page in rows.start / ROWS[EVENTS]..=(rows.end - 1) / ROWS[EVENTS] {
            self.rows(store, page, |number, row| {
                if rows.contains(&number) {
                    out.push(row.event(topic));
                }
            })?;
        }
        Ok(out)
    }

    /// These rising rows of one topic as events.
    fn pick(&self, store: &Store, topic: TopicId, rows: &[usize]) -> Result<Vec<EventRef>> {
        let mut out = Vec::with_capacity(rows.len());
        for group in rows.chunk_by(|a, b| a / ROWS[EVENTS] == b / ROWS[EVENTS]) {
            let mut next = group.iter().peekable();
            self.rows(store, group.first().map_or(0, |row| row / ROWS[EVENTS]), |number, row| {
                if next.next_if_eq(&&number).is_some() {
                    out.push(row.event(topic));
                }
            })?;
        }
        Ok(out)
    }

    /// Every row of a page of events.
    fn rows(&self, store: &Store, page: usize, mut visit: impl FnMut(usize, &Row)) -> Result<()> {
        let bytes = self.page(store, EVENTS, page)?.ok_or(SHORT)?;
        let mut reader = Reader(&bytes);
        let mut row = Row::default();
        for number in self.page_rows(EVENTS, page) {
            row = take_row(&mut reader, &row).ok_or(SHORT)?;
            visit(number, &row);
        }
        Ok(())
    }

    /// At most `max` numbers in `rows` of events with this hash.
    fn postings(
        &self,
        store: &Store,
        table: usize,
        hash: u64,
        rows: Range<usize>,
        max: usize,
    ) -> Result<Vec<usize>> {
        let mut out = Vec::new();
        let pages = self.tables.get(table).map_or(&[][..], Vec::as_slice);
        let before = |page: &Page| (page.hash, page.row as usize) <= (hash, rows.start);
        let mut page = pages.partition_point(before).saturating_sub(1);
        while pages.get(page).is_some_and(|p| (p.hash, p.row as usize) < (hash, rows.end)) {
            let bytes = self.page(store, table, page)?.ok_or(SHORT)?;
            let mut reader = Reader(&bytes);
            let mut last = (0, 0);
            for _ in self.page_rows(table, page) {
                last = take_hash(&mut reader, last).ok_or(SHORT)?;
                let number = last.1 as usize;
                if last.0 > hash || (last.0 == hash && number >= rows.end) || out.len() == max {
                    return Ok(out);
                }
                if last.0 == hash && number >= rows.start {
                    out.push(number);
                }
            }
            page += 1;
        }
        Ok(out)
    }

    fn page_rows(&self, table: usize, page: usize) -> Range<usize> {
        let rows = ROWS.get(table).copied().unwrap_or_default();
        page * rows..self.len().min((page + 1) * rows)
    }

    /// The bytes of a page, checked; `None` behind the last one.
    fn page(&self, store: &Store, table: usize, page: usize) -> Result<Option<Bytes>> {
        let Some(page) = self.tables.get(table).and_then(|table| table.get(page)) else {
            return Ok(None);
        };
        let key = (self.first, page.at.saturating_add(1));
        if let Some(Item::Page(bytes)) = store.get(key) {
            return Ok(Some(bytes));
        }
        let (at, len) = (self.body + u64::from(page.at), page.len as usize);
        let bytes = match &self.memory {
            Some(all) => usize::try_from(at)
                .ok()
                .filter(|at| at.checked_add(len).is_some_and(|end| end <= all.len()))
                .map(|at| all.slice(at..at + len)),
            None => store.blobs.get_range(&name(self.first), at, len)?,
        };
        let bytes = bytes.ok_or(SHORT)?;
        if bytes.len() != len || crc32fast::hash(&bytes) != page.crc {
            return Err(Fault::Wrong("a page is damaged"));
        }
        if self.memory.is_none() {
            // A copy: what a blob answers may be a slice of all of it.
            let bytes = Bytes::copy_from_slice(&bytes);
            store.keep(key, len, Item::Page(bytes));
        }
        Ok(Some(bytes))
    }
}

impl Topic {
    fn rows(&self) -> Range<usize> {
        let start = self.start as usize;
        start..start + usize::try_from(self.stats.count).unwrap_or_default()
    }
}
