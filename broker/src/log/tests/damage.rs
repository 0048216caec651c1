//! Cut files, flipped bits, zeroed, stale and misdirected blocks, lost segments.

use super::*;
use crate::disk::Disk;

const LAST: &str = "log/0000000002.seg";

type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);

fn used(rig: &Rig, segment: usize) -> usize {
    usize::try_from(rig.log.segments()[segment].bytes).unwrap()
}

/// Two segments, the second small, with entries before and behind the last known-durable position.
fn damaged_rig() -> Rig {
    let mut rig = Rig::new();
    rig.put(ENTRY_SYNC, &[30, 0]);
    rig.log.close_epoch().unwrap();
    let mut next = Rig::on(&rig.disk).unwrap();
    next.entries = rig.entries;
    next.put(ENTRY_SYNC, &[10, 20, 15]);
    next.put(ENTRY_SYNC, &[25]);
    next.put(0, &[5, 6]);
    next
}

/// Everything that was appended is there, or reported; nothing is there that was not appended.
fn account(rig: &Rig, next: &Rig, what: &str) {
    let recovered = &next.recovered;
    let (found, unreadable) = next.read_all();
    let gaps: Vec<_> =
        recovered.gaps.iter().map(|g| (g.from, g.to)).filter(|(a, b)| a < b).collect();
    assert_eq!(unreadable, gaps, "{what}: gaps are what cannot be read");
    for (number, bytes) in &found {
        assert_eq!(rig.entries.get(number), Some(bytes), "{what}: entry {number}");
    }
    let lost = rig.entries.keys().filter(|n| !found.contains_key(n));
    for number in lost {
        let in_gap = gaps.iter().any(|(a, b)| (*a..*b).contains(number));
        let dropped = recovered.dropped.as_ref();
        let in_tail = *number >= recovered.end && dropped.is_some_and(|d| d.from == recovered.end);
        assert!(in_gap || in_tail, "{what}: entry {number} is lost without a word: {recovered:?}");
        if in_tail && *number <= rig.durable {
            assert!(dropped.is_some_and(|d| d.may_contain_acknowledged), "{what}");
        }
    }
    if let Some(dropped) = &recovered.dropped {
        assert_eq!(next.disk.bytes(&dropped.quarantine).len() as u64, dropped.bytes, "{what}");
    }
}

#[test]
fn the_last_segment_cut_at_every_length_is_reported_exactly() {
    let rig = damaged_rig();
    let used = used(&rig, 1);
    let whole = rig.disk.bytes(LAST);
    // Where the chunks are, and where their entries end.
    let mut ends = Vec::new();
    let mut at = 64;
    while at < used {
        let len = u32::from_le_bytes(whole[at + 48..at + 52].try_into().unwrap()) as usize;
        let (mut entry, end) = (at + 64, at + 64 + len);
        let mut entries = vec![at];
        while entry < end {
            entry += 20 + u32::from_le_bytes(whole[entry..entry + 4].try_into().unwrap()) as usize;
            entries.push(entry);
        }
        ends.push((at, entries));
        at = end;
    }
    for len in 0..used {
        let disk = rig.disk.killed();
        disk.damage(LAST, |bytes| bytes.truncate(len));
        let next = Rig::on(&disk).unwrap();
        account(&rig, &next, &format!("cut at {len}"));
        let rewritten = ends[1].0 + 64;
        let kept = ends
            .iter()
            .flat_map(|(_, entries)| entries[1..].iter())
            .filter(|end| **end <= len)
            .count();
        let kept = if len < rewritten { 0 } else { kept as u64 };
        assert_eq!(next.recovered.end, 3 + kept, "cut at {len}");
        // The beginning of what was not whole, and what is dropped of it.
        let chunk = ends.iter().rev().find(|(start, _)| *start < len);
        let from = chunk.map_or_else(
            || len.min(64),
            |(_, entries)| {
                let whole = entries.iter().rev().find(|end| **end <= len).copied().unwrap_or(len);
                if whole == entries[0] && entries.len() == 1 && len >= whole + 64 {
                    len
                } else {
                    whole
                }
            },
        );
        let from = if len < rewritten { 64.min(len) } else { from };
        let bytes = next.recovered.dropped.as_ref().map_or(0, |d| d.bytes);
        assert_eq!(bytes, (len - from) as u64, "cut at {len}: {:?}", next.recovered);
    }
}

#[test]
fn every_flipped_bit_of_a_small_segment_is_detected_and_the_rest_served() {
    for behind in [false, true] {
        let mut rig = damaged_rig();
        if behind {
            // The same segment in the middle of the log.
            rig.idle();
            let mut next = Rig::on(&rig.disk.killed()).unwrap();
            next.entries = rig.entries;
            next.put(ENTRY_SYNC, &[44]);
            rig = next;
        }
        let used = used(&rig, 1);
        let marker = used - 64;
        for bit in 0..used * 8 {
            let disk = rig.disk.killed();
            disk.flip(LAST, bit);
            let next = Rig::on(&disk).unwrap();
            let what = format!("bit {bit} of {used} bytes, behind: {behind}");
            account(&rig, &next, &what);
            let Recovered { gaps, dropped, .. } = &next.recovered;
            // A marker at the end of a segment that has a successor says nothing any more.
            let silent = behind && bit / 8 >= marker;
            assert!(silent || !gaps.is_empty() || dropped.is_some(), "{what}: not detected");
            let lost = rig.entries.len() - next.read_all().0.len();
            if behind {
                assert!(dropped.is_none() && lost <= 3, "{what}: only the hit chunk");
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_an_entry_costs_that_entry_alone() {
    let mut rig = Rig::new();
    rig.put(ENTRY_SYNC, &[50, 50, 50, 50]);
    rig.put(ENTRY_SYNC, &[50]);
    let start = 64 + 64 + 64 + 64;
    let disk = rig.disk.killed();
    disk.flip("log/0000000001.seg", (start + 72 + 40) * 8);
    let next = Rig::on(&disk).unwrap();
    let [gap] = &next.recovered.gaps[..] else { panic!("{:?}", next.recovered) };
    assert_eq!((gap.from, gap.to, gap.bytes), (2, 3, 72));
    account(&rig, &next, "one entry");
}

#[test]
fn damage_in_a_segment_that_was_not_looked_through_shows_when_it_is_read() {
    let mut rig = Rig::new();
    for _ in 0..100 {
        rig.put(ENTRY_SYNC, &[100, 10]);
    }
    let path = "log/0000000002.seg";
    let disk = rig.disk.killed();
    let bytes = disk.bytes(path);
    disk.flip(path, bytes.len() * 4);
    let next = Rig::on(&disk).unwrap();
    assert_eq!(next.recovered.gaps, []);
    let (found, gaps) = next.read_all();
    assert_eq!(gaps.len(), 1);
    assert_eq!(found.len() as u64 + gaps[0].1 - gaps[0].0, 200);
    // Damaged under the eyes of readers: what is in memory goes on being served, the rest is a gap.
    let first = next.log.segments()[3].first;
    next.disk.damage("log/0000000004.seg", |bytes| bytes[64..].fill(0));
    assert!(matches!(next.log.read(first, 1).unwrap(), Read::Gap { from, .. } if from == first));
}

#[test]
fn zeroed_stale_and_misdirected_blocks_do_not_parse() {
    let mut rig = Rig::new();
    for _ in 0..12 {
        rig.put(ENTRY_SYNC, &[100]);
    }
    rig.idle();
    let path = "log/0000000001.seg";
    let used = used(&rig, 0);
    let bytes = rig.disk.bytes(path);
    for sector in (0..used).step_by(512) {
        let end = (sector + 512).min(used);
        let zero = |b: &mut Vec<u8>| b[sector..end].fill(0);
        let misdirected = |b: &mut Vec<u8>| b.copy_within(512..512 + end - sector, sector);
        let stale = |b: &mut Vec<u8>| b[sector..end].copy_from_slice(&[0x51; 512][..end - sector]);
        let damages: [Damage<'_>; 3] = [&zero, &misdirected, &stale];
        for (i, damage) in damages.into_iter().enumerate() {
            let disk = rig.disk.killed();
            disk.damage(path, damage);
            let next = Rig::on(&disk).unwrap();
            account(&rig, &next, &format!("sector {sector}, damage {i}"));
            let same = disk.bytes(path) == bytes[..used];
            let noticed = !next.recovered.gaps.is_empty() || next.recovered.dropped.is_some();
            assert!(same || noticed, "sector {sector}, damage {i}");
        }
    }
}

#[test]
fn the_bytes_of_an_older_segment_do_not_parse_in_a_newer_one() {
    let mut rig = Rig::new();
    for _ in 0..40 {
        rig.put(ENTRY_SYNC, &[200]);
    }
    let old = rig.disk.bytes("log/0000000002.seg");
    let next = rig.log.segments().last().unwrap().number + 1;
    let path = format!("log/{next:010}.seg");
    let disk = rig.disk.killed();
    disk.damage(&path, |bytes| bytes[64..old.len()].copy_from_slice(&old[64..]));
    let again = Rig::on(&disk).unwrap();
    account(&rig, &again, "stale");
    assert_eq!(again.recovered.end, 41);
    assert_eq!(again.recovered.dropped.as_ref().unwrap().bytes, old.len() as u64 - 64);
}

#[test]
fn a_missing_segment_is_an_error_with_its_name_until_it_is_accepted() {
    let mut rig = Rig::new();
    for _ in 0..100 {
        rig.put(ENTRY_SYNC, &[100]);
    }
    let segments = rig.log.segments();
    for lost in &segments[..segments.len()] {
        let disk = rig.disk.killed();
        let name = format!("log/{:010}.seg", lost.number);
        disk.lose(&name);
        let error = Rig::on(&disk).err().unwrap();
        assert!(error.to_string().contains(&name), "{error}");
        assert!(
            matches!(error, ClaimError::SegmentMissing { number, .. } if number == lost.number)
        );
        let accept = LogOptions { accept_missing_segments: true, ..options() };
        let log = FileLog::open(Arc::new(disk), accept).unwrap();
        let recovered = log.claim(Now::default()).unwrap();
        let (found, gaps) = read_all(&log, 1, recovered.end);
        let end = lost.end.unwrap_or(101);
        assert!(
            gaps == [(lost.first, end)] || recovered.end == lost.first,
            "{gaps:?} {recovered:?}"
        );
        assert!(found.iter().all(|(number, bytes)| rig.entries[number] == *bytes));
        assert_eq!(found.len() as u64, 100 - (end - lost.first));
    }
    let disk = rig.disk.killed();
    rig = Rig::on(&disk).unwrap();
    rig.log.close_epoch().unwrap();
    let last = rig.log.segments().last().unwrap().number;
    disk.lose(&format!("log/{last:010}.seg"));
    assert!(matches!(Rig::on(&disk), Err(ClaimError::SegmentMissing { .. })), "also the last one");
}

#[test]
fn garbage_behind_a_clean_shutdown_was_never_acknowledged() {
    let mut rig = Rig::new();
    rig.put(ENTRY_SYNC, &[30]);
    rig.log.close_epoch().unwrap();
    rig.disk.damage("log/0000000001.seg", |bytes| bytes.extend([1, 2, 3]));
    let next = Rig::on(&rig.disk).unwrap();
    let dropped = next.recovered.dropped.clone().unwrap();
    assert_eq!((dropped.from, dropped.bytes, dropped.may_contain_acknowledged), (2, 3, false));
    assert!(next.recovered.clean && next.disk.list("quarantine").unwrap().len() == 1);
}

#[test]
fn two_entries_that_have_changed_places_do_not_parse() {
    let mut rig = Rig::new();
    rig.put(ENTRY_SYNC, &[50, 50]);
    rig.put(ENTRY_SYNC, &[50]);
    let disk = rig.disk.killed();
    disk.damage("log/0000000001.seg", |bytes| bytes[256..400].rotate_left(72));
    let next = Rig::on(&disk).unwrap();
    account(&rig, &next, "swapped");
    assert_eq!(next.recovered.gaps.first().map(|g| (g.from, g.to)), Some((1, 3)));
}
