//! What a survey of the segments means: how far the log goes, what is missing, what is dropped. Pure.

use super::Gap;
use super::file::{Facts, Segment};
use super::format::{ChunkHeader, Manifest, Place, SEGMENT_HEADER, SegmentHeader, segment_path};
use super::scan::{Bad, Index, Scan};

/// One segment as the survey has found it.
pub(super) struct Found {
    pub(super) number: u32,
    /// All that is in it, if it was looked through.
    pub(super) scan: Option<Scan>,
    head: Option<(SegmentHeader, ChunkHeader, u64)>,
    first: u64,
}

/// What the log is.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) clean: bool,
    /// The last known-durable entry.
    pub(super) durable: u64,
    /// The number of the next entry.
    pub(super) end: u64,
    pub(super) gaps: Vec<Gap>,
    pub(super) cut: Option<Cut>,
    /// Segment and offset from which on all is dropped or rewritten.
    pub(super) old_tails: Vec<(u32, u64)>,
}

/// Bytes of a segment: its number, from, to.
type Range = (u32, u64, u64);

/// A torn tail.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) ranges: Vec<Range>,
    pub(super) may_contain_acknowledged: bool,
}

impl Found {
    pub(super) fn missing(number: u32) -> Self {
        Self { number, scan: None, head: None, first: 0 }
    }

    pub(super) fn head(number: u32, header: SegmentHeader, chunk: ChunkHeader, size: u64) -> Self {
        Self { number, scan: None, first: chunk.first, head: Some((header, chunk, size)) }
    }

    pub(super) fn scanned(number: u32, mut scan: Scan) -> Self {
        // A rewrite that was not completed, or that is not complete any more, does not count.
        if !scan.counts {
            scan.forget();
        }
        let base = scan.header.map_or(0, |header| header.base);
        let first = if base > 0 && scan.first > 0 { base } else { scan.first };
        Self { number, scan: Some(scan), head: None, first }
    }

    /// Its first entry; 0 if it has none.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn durable(&self) -> u64 {
        self.scan.as_ref().map_or(0, |scan| scan.durable)
    }

    pub(super) fn epoch(&self) -> u32 {
        let scanned = self.scan.as_ref().map(|s| s.epoch.max(s.header.map_or(0, |h| h.epoch)));
        scanned.or_else(|| self.head.map(|(_, chunk, _)| chunk.epoch)).unwrap_or(0)
    }

    pub(super) fn last_time(&self) -> u64 {
        self.scan.as_ref().map_or(0, |scan| scan.last_time)
    }

    fn is_clean(&self) -> bool {
        self.scan.as_ref().is_some_and(Scan::is_clean)
    }

    /// True if it stands ready and nothing was ever written into it.
    pub(super) fn is_empty(&self) -> bool {
        self.scan.as_ref().is_some_and(|s| {
            s.header.is_some_and(|h| h.base == 0) && s.end <= SEGMENT_HEADER as u64
        })
    }

    pub(super) fn is_missing(&self) -> bool {
        self.scan.is_none() && self.head.is_none()
    }

    /// As readers see it; it begins at `at_most`, or before.
    pub(super) fn segment(&self, log_id: u128, at_most: u64) -> Segment {
        let (nonce, facts) = match (&self.scan, &self.head) {
            (Some(scan), _) => {
                let Scan { first_time, last_time, end: bytes, .. } = *scan;
                (scan.nonce, Facts { bytes, first_time, last_time })
            }
            (None, Some((header, chunk, size))) => {
                (header.nonce, Facts { bytes: *size, first_time: chunk.time, last_time: 0 })
            }
            (None, None) => (0, Facts::default()),
        };
        let place = Place { log_id, segment: self.number, nonce };
        let mut index = self.scan.as_ref().map(|scan| scan.index.clone());
        if self.is_missing() {
            index = Some(Index::all_lost());
        }
        Segment { place, first: self.first.min(at_most), facts: facts.into(), index: index.into() }
    }
}

/// Decides. Afterwards every segment has a first entry, and those never go down.
pub(super) fn judge(found: &mut [Found], manifest: &Manifest) -> Verdict {
    let durable = found.iter().map(Found::durable).max().unwrap_or(0);
    let durable = durable.max(manifest.first - 1);
    let newest = found.iter().rposition(|f| f.first > 0);
    settle_firsts(found, manifest.first);
    let limits: Vec<u64> = found.iter().skip(1).map(|f| f.first).chain([u64::MAX]).collect();
    let mut walk = Walk {
        durable,
        next: manifest.first,
        gaps: Vec::new(),
        cut: None,
        damage: None,
        entered: Vec::new(),
    };
    for (i, (one, limit)) in found.iter().zip(&limits).enumerate() {
        walk.segment(i, one, *limit);
    }
    let mut verdict = Verdict { durable, end: walk.next.max(durable + 1), ..Verdict::default() };
    walk.gap(durable + 1);
    verdict.gaps = walk.gaps;
    let cut = walk.cut.or(walk.damage);
    let mut ranges = Vec::new();
    for (i, (one, limit)) in found.iter_mut().zip(limits).enumerate() {
        let behind = newest.is_none_or(|newest| newest < i);
        let cut_at = match cut {
            _ if behind => Some(SEGMENT_HEADER as u64),
            Some((at, offset)) if at == i => Some(offset),
            Some((at, _)) if at < i => Some(SEGMENT_HEADER as u64),
            _ => None,
        };
        let in_use = if behind { one.number <= manifest.newest } else { newest == Some(i) };
        ranges.extend(one.dropped(cut_at, behind, in_use));
        one.conclude(walk.entered.get(i).copied(), limit, cut_at, &mut verdict);
    }
    verdict.gaps.sort_by_key(|gap| gap.from);
    let last = newest.and_then(|i| found.get(i));
    let clean = last.map_or(found.is_empty(), Found::is_clean);
    // Nobody writes behind a clean shutdown in the same segment.
    let after_clean = |range: &Range| clean && last.is_some_and(|last| last.number == range.0);
    let may_contain_acknowledged = !ranges.iter().all(after_clean);
    verdict.clean = clean && !may_contain_acknowledged;
    verdict.cut = (!ranges.is_empty()).then_some(Cut { ranges, may_contain_acknowledged });
    verdict
}

impl Found {
    /// What is dropped of it; also if no byte is left of what was there.
    fn dropped(&self, cut_at: Option<u64>, behind: bool, in_use: bool) -> Option<Range> {
        let scan = self.scan.as_ref()?;
        let used = scan.used();
        let gone = in_use && (behind || scan.is_cut());
        let from = cut_at.map(|offset| offset.min(used)).filter(|offset| *offset < used || gone);
        from.or_else(|| gone.then_some(used)).map(|from| (self.number, from, used))
    }

    /// What else is damaged, what readers will miss, and what is kept until the old tail is released.
    fn conclude(
        &mut self,
        entered: Option<u64>,
        limit: u64,
        cut_at: Option<u64>,
        verdict: &mut Verdict,
    ) {
        let Some(scan) = self.scan.as_mut() else {
            return;
        };
        let whole = cut_at.unwrap_or(u64::MAX);
        for bad in scan.bad.iter().filter(|bad| bad.offset < whole) {
            let next = if bad.next == 0 { entered.unwrap_or(self.first) } else { bad.next };
            // Behind the limit: rewritten by a later claim.
            if next < limit || bad.offset == 0 {
                charge(&mut verdict.gaps, self.number, next, bad);
            }
        }
        let limit = limit.min(verdict.durable + 1);
        scan.index.lost = scan.missing(self.first, limit);
        let keep = scan.end_of(limit);
        if keep < scan.end {
            verdict.old_tails.push((self.number, keep));
        }
    }
}

/// Segments without a whole chunk begin where their successor does; and what a later claim has rewritten is read there.
fn settle_firsts(found: &mut [Found], first: u64) {
    let mut next = u64::MAX;
    for one in found.iter_mut().rev() {
        if one.first > 0 {
            next = next.min(one.first);
        }
        one.first = next;
    }
    if let Some(oldest) = found.first_mut() {
        oldest.first = first;
    }
}

/// Goes through the entries that are there, and finds the first that should be there and is not.
struct Walk {
    durable: u64,
    next: u64,
    gaps: Vec<Gap>,
    /// Index of a segment, and the offset in it.
    cut: Option<(usize, u64)>,
    /// The same for the damage at which the entries end so far.
    damage: Option<(usize, u64)>,
    /// Per segment: the entry that should come first in it.
    entered: Vec<u64>,
}

impl Walk {
    fn segment(&mut self, i: usize, one: &Found, limit: u64) {
        self.entered.push(self.next);
        if self.cut.is_some() {
            return;
        }
        let entered = self.next;
        let Some(scan) = &one.scan else {
            if one.head.is_some() {
                // Not looked through: whole until somebody reads it.
                self.gap(one.first);
                self.next = self.next.max(limit);
            }
            return;
        };
        for (from, to) in scan.runs.iter().map(|(from, to)| (*from, (*to).min(limit))) {
            if from >= to || to <= self.next {
                continue;
            }
            if from > self.next {
                let lost = self.next;
                self.gap(from.min(self.durable + 1));
                if from > self.durable + 1 {
                    let here = (i, scan.offset_of(lost, self.durable));
                    self.cut = Some(self.damage.filter(|_| lost > self.durable).unwrap_or(here));
                    return;
                }
            }
            self.next = to;
            self.damage = None;
        }
        let open = self.next.max(self.durable + 1)..limit;
        let is_open = |bad: &&Bad| bad.offset > 0 && open.contains(&bad.next.max(entered));
        let bad = scan.bad.iter().find(is_open);
        self.damage = self.damage.or_else(|| bad.map(|bad| (i, bad.offset)));
    }

    /// Nothing is there until `to`, although it was durable.
    fn gap(&mut self, to: u64) {
        if to > self.next {
            self.gaps.push(Gap {
                from: self.next,
                to,
                bytes: 0,
                reason: "entries are missing".to_owned(),
            });
            self.next = to;
        }
    }
}

/// Adds damaged bytes to the gap that they are; those that held no entry are a gap without entries.
fn charge(gaps: &mut Vec<Gap>, number: u32, next: u64, bad: &Bad) {
    let reason = format!("damaged bytes in {} at {}", segment_path(number), bad.offset);
    match gaps.iter_mut().find(|gap| (gap.from..gap.to).contains(&next)) {
        Some(gap) if bad.offset > 0 => {
            gap.bytes += bad.len;
            gap.reason = reason;
        }
        _ => gaps.push(Gap { from: next, to: next, bytes: bad.len, reason }),
    }
}
