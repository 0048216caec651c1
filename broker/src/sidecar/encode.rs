//! Writes a segment's index as the bytes of a sidecar; the layout is in FORMAT.md. No I/O here.

use super::active::{Active, Column, Row, narrow};
use super::codec::{put_hash, put_row, put_varint};

pub(super) const MAGIC: [u8; 8] = *b"QUADSIDE";
pub(super) const HEADER: usize = 72;
pub(super) const TOPIC_BYTES: usize = 48;
pub(super) const PAGE_BYTES: usize = 24;
/// Rows of a page of each table; the last page of a table has fewer.
pub(super) const ROWS: [usize; TABLES] = [1024, 256, 256, 256];
pub(super) const TABLES: usize = 4;
pub(super) const EVENTS: usize = 0;
pub(super) const SAGAS: usize = 1;
pub(super) const KEYS: usize = 2;
pub(super) const IDS: usize = 3;

/// The sidecar as far as it is written: first the pages, behind room for what is known last.
struct Pages {
    out: Vec<u8>,
    body: usize,
    /// What the directory says of each page.
    table: Vec<u8>,
}

impl Pages {
    /// Ends the page that began at `start`; its first row is (`hash`, `row`).
    fn end(&mut self, start: usize, hash: u64, row: u32) {
        let page = self.out.get(start..).unwrap_or_default();
        let crc = crc32fast::hash(page);
        let at = narrow((start - self.body) as u64);
        for number in [at, narrow(page.len() as u64), crc, row] {
            self.table.extend_from_slice(&number.to_le_bytes());
        }
        self.table.extend_from_slice(&hash.to_le_bytes());
    }
}

/// The sidecar of the segment `active.first()..end` of this log.
pub(super) fn encode(active: &Active, log_id: u128, end: u64) -> Vec<u8> {
    let columns = active.columns();
    let page_count: usize = ROWS.iter().map(|rows| active.len().div_ceil(*rows)).sum();
    let directory_len = columns.len() * TOPIC_BYTES + page_count * PAGE_BYTES;
    let body = HEADER + directory_len;
    let mut out = Vec::with_capacity(body + active.len() * 56);
    out.resize(body, 0);
    let mut pages = Pages { out, body, table: Vec::new() };
    events(active, &columns, &mut pages);
    for which in [SAGAS, KEYS] {
        hash_table(&hashes(active, &columns, which), &mut pages);
    }
    ids(active, &columns, &mut pages);

    let mut directory = Vec::with_capacity(directory_len);
    for column in &columns {
        let stats = &column.stats;
        directory.extend_from_slice(&stats.topic.to_le_bytes());
        directory.extend_from_slice(&narrow(stats.count).to_le_bytes());
        for number in [stats.first, stats.next, stats.bytes, stats.first_time, stats.last_time] {
            directory.extend_from_slice(&number.to_le_bytes());
        }
    }
    directory.extend_from_slice(&pages.table);
    let head = [header(active, log_id, end, &directory), directory].concat();
    let mut out = pages.out;
    assert_eq!(head.len(), body, "the directory is as long as was foreseen");
    out.splice(..body, head);
    out
}

fn header(active: &Active, log_id: u128, end: u64, directory: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 12]); // compat, read-compat, incompat
    out.extend_from_slice(&crc32fast::hash(directory).to_le_bytes());
    out.extend_from_slice(&log_id.to_le_bytes());
    out.extend_from_slice(&active.first().to_le_bytes());
    out.extend_from_slice(&end.to_le_bytes());
    for number in [active.len(), active.columns().len(), directory.len()] {
        out.extend_from_slice(&narrow(number as u64).to_le_bytes());
    }
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

fn events(active: &Active, columns: &[&Column], pages: &mut Pages) {
    let mut rows = columns.iter().flat_map(|column| active.rows_of(column)).peekable();
    let mut number = 0;
    while rows.peek().is_some() {
        let start = pages.out.len();
        let mut last = Row::default();
        let first = number;
        for row in rows.by_ref().take(ROWS[EVENTS]) {
            put_row(&mut pages.out, &last, &row);
            last = row;
            number += 1;
        }
        pages.end(start, 0, first);
    }
}

/// (hash, number of the event by topic and offset) of every event, sorted.
fn hashes(active: &Active, columns: &[&Column], which: usize) -> Vec<(u64, u32)> {
    let hashes = active.hashes(which);
    let rows = || columns.iter().flat_map(|column| column.rows.iter());
    let hash = |row: &u32| hashes.get(*row as usize).copied().unwrap_or_default();
    sorted(active.len(), || rows().map(hash).zip(0..))
}

/// Sorts by hash: spreads the rows over buckets by their highest bits, then sorts each bucket.
fn sorted<I: Iterator<Item = (u64, u32)>>(len: usize, rows: impl Fn() -> I) -> Vec<(u64, u32)> {
    let bits = (len / 8 + 1).ilog2().clamp(1, 16);
    let bucket = |hash: u64| usize::try_from(hash >> (64 - bits)).unwrap_or_default();
    let mut next = vec![0usize; (1 << bits) + 1];
    for (hash, _) in rows() {
        if let Some(count) = next.get_mut(bucket(hash) + 1) {
            *count += 1;
        }
    }
    let mut sum = 0;
    for next in &mut next {
        sum += *next;
        *next = sum;
    }
    let mut out = vec![(0, 0); len];
    for row in rows() {
        if let Some(next) = next.get_mut(bucket(row.0)) {
            if let Some(place) = out.get_mut(*next) {
                *place = row;
            }
            *next += 1;
        }
    }
    let mut start = 0;
    for end in next {
        if let Some(bucket) = out.get_mut(start..end) {
            bucket.sort_unstable();
        }
        start = start.max(end);
    }
    out
}

fn hash_table(rows: &[(u64, u32)], pages: &mut Pages) {
    for page in rows.chunks(ROWS[SAGAS]) {
        let start = pages.out.len();
        let mut last = (0, 0);
        for row in page {
            put_hash(&mut pages.out, last, *row);
            last = *row;
        }
        let (hash, row) = page.first().copied().unwrap_or_default();
        pages.end(start, hash, row);
    }
}

fn ids(active: &Active, columns: &[&Column], pages: &mut Pages) {
    // From the slot of a topic to its place in the directory.
    let mut numbers = vec![0; columns.len()];
    for (number, column) in (0..).zip(columns) {
        if let Some(slot) = active.slot(column.stats.topic).and_then(|slot| numbers.get_mut(slot)) {
            *slot = number;
        }
    }
    let mut number = 0;
    let mut ids = active.raw_ids().peekable();
    while ids.peek().is_some() {
        let start = pages.out.len();
        let first = number;
        for ([low, high, digest], slot, offset) in ids.by_ref().take(ROWS[IDS]) {
            for half in [low, high, digest] {
                pages.out.extend_from_slice(&half.to_le_bytes());
            }
            put_varint(&mut pages.out, numbers.get(slot).copied().unwrap_or_default());
            put_varint(&mut pages.out, offset.into());
            number += 1;
        }
        pages.end(start, 0, first);
    }
}
