//! The log when nothing breaks.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::time::SystemClock;

#[test]
fn what_was_appended_is_read_from_memory_and_from_disk_and_after_a_clean_restart() {
    let mut rig = Rig::new();
    assert!(rig.recovered.clean && rig.recovered.epoch == 1 && rig.recovered.end == 1);
    for i in 0..120 {
        rig.put(ENTRY_SYNC, &[i % 40, 30, 0]);
    }
    assert_eq!(rig.log.watermarks().durable, 360);
    assert!(rig.log.segments().len() > 3, "it has rolled: {:?}", rig.log.segments());
    assert_eq!(rig.read_all(), (rig.entries.clone(), vec![]));
    rig.log.close_epoch().unwrap();
    assert!(matches!(rig.append(0, &[1]), Err(AppendError::Fenced(_))));
    let next = Rig::on(&rig.disk).unwrap();
    assert!(
        next.recovered.clean && next.recovered.gaps.is_empty() && next.recovered.dropped.is_none()
    );
    assert_eq!((next.recovered.epoch, next.recovered.end, next.recovered.first), (2, 361, 1));
    assert_eq!(next.recovered.last_time, rig.now.wall);
    assert_eq!(next.recovered.log_id, rig.recovered.log_id);
    let (found, gaps) = next.read_all();
    assert_eq!((found, gaps), (rig.entries, vec![]));
}

#[test]
fn a_killed_process_loses_nothing_that_was_written() {
    let mut rig = Rig::new();
    for i in 0..50 {
        rig.append(0, &[i, 17]).unwrap();
        rig.step(Work::Append);
        rig.step(Work::Prepare);
    }
    let next = Rig::on(&rig.disk.killed()).unwrap();
    assert!(!next.recovered.clean);
    assert_eq!((next.recovered.end, next.recovered.dropped.clone()), (101, None));
    assert_eq!(next.read_all(), (rig.entries, vec![]));
}

#[test]
fn only_what_waits_is_synced_at_once() {
    let mut rig = Rig::new();
    rig.put(0, &[5]);
    let marks = rig.log.watermarks();
    assert_eq!((marks.written, marks.durable), (1, 0));
    rig.put(ENTRY_SYNC, &[5]);
    assert_eq!(rig.log.watermarks().durable, 2);
    rig.append(0, &[5]).unwrap();
    rig.log.sync_now();
    rig.settle();
    assert_eq!(rig.log.watermarks().durable, 3, "asked for while it was queued");
    for _ in 0..30 {
        rig.put(0, &[1]);
        rig.now.mono += 4;
    }
    assert!(rig.log.watermarks().durable >= 3 + 25, "never idle, but 100 ms have passed");
    rig.idle();
    assert_eq!(rig.log.watermarks().durable, 33, "idle");
}

#[test]
fn an_idle_log_writes_one_mark_and_no_mark_for_a_mark() {
    let mut rig = Rig::new();
    rig.put(ENTRY_SYNC, &[5]);
    let before = rig.disk.trace().len();
    rig.idle();
    let trace = rig.disk.trace().split_off(before);
    assert_eq!(
        trace,
        ["write log/next.tmp", "sync log/next.tmp"],
        "the open segment still has its first handle"
    );
    rig.idle();
    rig.idle();
    assert_eq!(rig.disk.trace().len(), before + 2);
    let next = Rig::on(&rig.disk.killed()).unwrap();
    let bytes = next.log.segments().last().unwrap().bytes;
    assert_eq!(bytes, 64 * 3, "the mark says all is durable: nothing was rewritten");
}

#[test]
fn trimming_drops_whole_segments_and_says_so_to_late_readers() {
    let mut rig = Rig::new();
    for _ in 0..100 {
        rig.put(ENTRY_SYNC, &[100]);
    }
    let segments = rig.log.segments();
    let third = segments[2].first;
    assert_eq!(rig.log.trim(third - 1).unwrap(), segments[1].first);
    assert_eq!(rig.log.trim(third).unwrap(), third);
    assert_eq!(rig.log.trim(third).unwrap(), third);
    assert_eq!(rig.log.read(1, 10).unwrap(), Read::Retired { first: third });
    assert_eq!(
        rig.log.trim(u64::MAX).unwrap(),
        rig.log.segments()[0].first,
        "the active one stays"
    );
    rig.settle();
    let next = Rig::on(&rig.disk.killed()).unwrap();
    assert_eq!(next.recovered.first, rig.log.segments()[0].first);
    let (found, gaps) = next.read_all();
    assert!(gaps.is_empty());
    assert_eq!(found, rig.entries.split_off(&next.recovered.first));
}

#[test]
fn closed_segments_are_cut_and_the_next_one_always_stands_ready() {
    let mut rig = Rig::new();
    for _ in 0..60 {
        rig.put(ENTRY_SYNC, &[100]);
    }
    rig.idle();
    let segments = rig.log.segments();
    for segment in &segments[1..segments.len() - 1] {
        let len = rig.disk.bytes(&format!("log/{:010}.seg", segment.number)).len();
        assert_eq!(len as u64, segment.bytes);
        assert!(segment.bytes >= 4096 && segment.bytes < 4096 + 600, "{segment:?}");
    }
    let next = segments.last().unwrap().number + 1;
    assert_eq!(rig.disk.bytes(&format!("log/{next:010}.seg")).len(), 4096 + 6 * 512);
}

#[test]
fn a_log_whose_engine_never_rolls_grows() {
    let mut rig = Rig::new();
    for _ in 0..100 {
        rig.append_as(ENTRY_SYNC, &[200], false).unwrap();
        rig.settle();
    }
    assert!(rig.log.watermarks().want_roll);
    assert_eq!(rig.log.segments().len(), 1);
    assert_eq!(rig.read_all(), (rig.entries.clone(), vec![]));
}

#[test]
fn old_segments_are_read_without_having_been_looked_through_at_the_start() {
    let mut rig = Rig::new();
    for _ in 0..100 {
        rig.put(ENTRY_SYNC, &[100, 1, 2]);
    }
    rig.put(ENTRY_SYNC, &[5000]);
    rig.put(ENTRY_SYNC, &[5]);
    let next = Rig::on(&rig.disk.killed()).unwrap();
    for number in [301, 150, 1, 302, 7] {
        let Read::Entries(entries) = next.log.read(number, 1).unwrap() else { panic!("{number}") };
        assert_eq!((entries.len(), payload(&entries[0])), (1, rig.entries[&number].clone()));
    }
    assert_eq!(next.read_all(), (rig.entries, vec![]));
    assert_eq!(next.log.read(303, 10).unwrap(), Read::NotYet);
}

#[test]
fn a_chunk_of_another_epoch_is_refused() {
    let mut rig = Rig::new();
    rig.put(ENTRY_SYNC, &[1]);
    let again = rig.log.claim(rig.now).unwrap();
    assert_eq!((again.epoch, again.end), (2, 2));
    assert!(matches!(rig.append(0, &[1]), Err(AppendError::Fenced(_))));
    rig.recovered = again;
    rig.put(ENTRY_SYNC, &[1]);
    assert_eq!(rig.log.watermarks().durable, 2);
}

#[test]
fn threads_write_sync_roll_and_stop() {
    let dir = tempfile::tempdir().unwrap();
    let log = FileLog::open_path(dir.path(), options()).unwrap();
    let recovered = log.claim(Now::default()).unwrap();
    log.spawn(Arc::new(SystemClock::new())).unwrap();
    let (told, tell) = std::sync::mpsc::channel();
    let woken = Arc::new(AtomicU64::new(0));
    let counter = woken.clone();
    log.set_waker(Arc::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        told.send(()).unwrap_or_default();
    }));
    let mut builder = ChunkBuilder::new(recovered.epoch, 1);
    for number in 1..=300u64 {
        builder.begin(ENTRY_SYNC, 5);
        let bytes = content(1, number, 100);
        builder.record(1, true, 100, |out| out.put_slice(&bytes));
        builder.end();
        log.append(builder.take().unwrap(), log.watermarks().want_roll).unwrap();
        while number % 10 == 0 && log.watermarks().durable < number {
            tell.recv().unwrap();
        }
    }
    assert!(woken.load(Ordering::SeqCst) >= 30);
    log.close_epoch().unwrap();
    let again = FileLog::open_path(dir.path(), options()).unwrap();
    let recovered = again.claim(Now::default()).unwrap();
    assert!(recovered.clean && recovered.end == 301);
    let (found, gaps) = read_all(&again, 1, 301);
    assert!(gaps.is_empty() && (1..=300).all(|n| found[&n] == content(1, n, 100)));
}

#[test]
fn the_log_in_memory_keeps_the_same_contract() {
    let log = MemLog::new(1);
    let recovered = log.claim(Now::default()).unwrap();
    let mut builder = ChunkBuilder::new(recovered.epoch, 1);
    for number in 1..=100u64 {
        builder.begin(0, 5);
        let bytes = content(1, number, 100);
        builder.record(1, true, 100, |out| out.put_slice(&bytes));
        builder.end();
        log.append(builder.take().unwrap(), number % 10 == 1).unwrap();
    }
    let marks = log.watermarks();
    assert_eq!((marks.written, marks.durable, marks.fenced), (100, 100, None));
    let (found, _) = read_all(&log, 1, 101);
    assert!((1..=100).all(|n| found[&n] == content(1, n, 100)));
    assert_eq!(log.trim(55).unwrap(), 51);
    assert_eq!(log.read(50, 1).unwrap(), Read::Retired { first: 51 });
    assert_eq!(log.read(101, 1).unwrap(), Read::NotYet);
    let again = log.claim(Now::default()).unwrap();
    assert_eq!((again.epoch, again.first, again.end, again.clean), (2, 51, 101, false));
}

#[test]
fn blobs_are_whole_or_not_there() {
    let disk = Arc::new(SimDisk::new());
    let blobs = FileBlobs::new(disk.clone());
    assert_eq!(blobs.list().unwrap(), [""; 0]);
    blobs.put("checkpoints/7", b"seven").unwrap();
    blobs.put("b", b"x").unwrap();
    blobs.put("checkpoints/7", b"SEVEN").unwrap();
    assert_eq!(blobs.list().unwrap(), ["b", "checkpoints/7"]);
    let bad = ["", "..", "a/../b", "a/b/c", "/a", "a b", "x.tmp", ".x"];
    assert!(bad.iter().all(|name| matches!(blobs.put(name, b""), Err(LogError::BadName(_)))));
    for seed in 0..20 {
        let after = FileBlobs::new(Arc::new(disk.crashed(seed)));
        assert_eq!(after.get("checkpoints/7").unwrap().unwrap(), "SEVEN");
    }
    blobs.remove("b").unwrap();
    blobs.remove("b").unwrap();
    assert_eq!(blobs.get("b").unwrap(), None);
}
