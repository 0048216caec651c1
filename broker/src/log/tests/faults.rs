//! Failed writes, failed syncs, and disks that are full.

use super::crash::life;
use super::*;
use crate::disk::Fault;

#[test]
fn after_a_failed_operation_no_watermark_moves_and_nothing_durable_is_lost() {
    let fresh = SimDisk::new();
    drop(Rig::on(&fresh).unwrap());
    let mut probe = Rig::on(&fresh.killed()).unwrap();
    let claimed = probe.disk.trace().len() as u64;
    life(&mut probe).unwrap();
    let trace = probe.disk.trace();
    for (at, what) in (0..).zip(&trace).skip_while(|(at, _)| *at < claimed) {
        for fault in [Fault::Io, Fault::IoForever, Fault::Full] {
            let disk = fresh.killed();
            let mut rig = Rig::on(&disk).unwrap();
            disk.fail_at(at, fault);
            let what = format!("{fault:?} at {at}: {what}");
            let lived = life(&mut rig);
            let fenced = rig.log.watermarks().fenced.is_some();
            assert!(fenced || fault == Fault::Full, "{what}");
            if fenced {
                let before = rig.log.watermarks();
                assert!(
                    matches!(rig.append(ENTRY_SYNC, &[1]), Err(AppendError::Fenced(_))),
                    "{what}"
                );
                rig.idle();
                assert_eq!(rig.log.watermarks(), before, "{what}: final");
            } else {
                let refused = lived.err().map(|e| e.to_string());
                assert!(
                    refused.is_none_or(|e| e.contains("disk is full") || e.contains("space")),
                    "{what}"
                );
            }
            let written = rig.log.watermarks().written;
            // The same process claims again, over a disk whose cache may lie about what a failed sync has dropped.
            if fault != Fault::IoForever && fenced {
                let recovered = rig.log.claim(rig.now).unwrap_or_else(|e| panic!("{what}: {e}"));
                assert!(recovered.end > written, "{what}: the cache still has it");
                let (found, gaps) = read_all(&rig.log, recovered.first, recovered.end);
                assert_eq!(gaps, [], "{what}");
                assert!(found.iter().all(|(n, bytes)| rig.entries.get(n) == Some(bytes)), "{what}");
                rig.durable = recovered.end - 1;
                rig.recovered.epoch = recovered.epoch;
            }
            for seed in [0, 1, 5, 6] {
                Rig::on(&disk.crashed(seed)).unwrap().check(&rig);
            }
        }
    }
}

#[test]
fn a_second_sync_is_not_believed() {
    let mut rig = Rig::new();
    rig.put(ENTRY_SYNC, &[10]);
    rig.append(ENTRY_SYNC, &[20]).unwrap();
    rig.step(Work::Append);
    rig.disk.fail_next(Fault::Io);
    rig.settle();
    let marks = rig.log.watermarks();
    assert_eq!((marks.written, marks.durable), (2, 1));
    assert!(marks.fenced.unwrap().contains("syncing the log"));
    let after = Rig::on(&rig.disk.crashed(1)).unwrap();
    assert_eq!(
        after.recovered.end, 2,
        "the failed sync has lost it, whatever a second one would have said"
    );
    let kept = Rig::on(&rig.disk.killed()).unwrap();
    assert_eq!(kept.recovered.end, 3, "found in the cache");
    assert_eq!(
        Rig::on(&kept.disk.crashed(0)).unwrap().recovered.end,
        3,
        "and rewritten before it was shown"
    );
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    for quota in (6_000..34_000).step_by(512) {
        let disk = SimDisk::new();
        let mut rig = Rig::on(&disk).unwrap();
        disk.set_quota(Some(quota));
        let mut refused = 0;
        for i in 0..200 {
            match rig.append(ENTRY_SYNC, &[50 + i % 100]) {
                Ok(()) => {}
                Err(AppendError::Full(_)) => refused += 1,
                Err(e) => panic!("{quota}: {e}"),
            }
            rig.settle();
        }
        assert!(refused > 0 && rig.log.watermarks().fenced.is_none(), "{quota}");
        let stuck = rig.log.watermarks();
        assert!(
            !stuck.want_roll || stuck.backlog > 0,
            "{quota}: a roll that would be refused is not asked for"
        );
        assert_eq!(rig.read_all().0.len() as u64, stuck.written, "{quota}: reading goes on");
        let active = rig.log.segments().last().unwrap().first;
        if active > 1 && quota > 17_000 {
            rig.log.trim(active).unwrap();
        } else {
            disk.set_quota(None);
        }
        rig.trimmed_to = active;
        rig.now.mono += 100;
        rig.settle();
        rig.append(ENTRY_SYNC, &[60]).unwrap_or_else(|e| panic!("{quota}: {e}"));
        disk.set_quota(None);
        rig.now.mono += 100;
        rig.settle();
        let marks = rig.log.watermarks();
        assert_eq!((marks.durable, marks.backlog), (rig.builder.next() - 1, 0), "{quota}");
        Rig::on(&disk.crashed(0)).unwrap().check(&rig);
    }
}

#[test]
fn a_claim_on_a_full_disk_changes_nothing_and_can_be_repeated() {
    let mut rig = Rig::new();
    rig.put(ENTRY_SYNC, &[300]);
    let disk = rig.disk.killed();
    disk.set_quota(Some(1));
    assert!(matches!(Rig::on(&disk), Err(ClaimError::Full)));
    disk.set_quota(None);
    Rig::on(&disk).unwrap().check(&rig);
}

#[test]
fn the_hostile_log_answers_late_fails_as_unknown_and_is_usurped() {
    let log = HostileLog::new(3);
    let build = |recovered: &Recovered| {
        let mut builder = ChunkBuilder::new(recovered.epoch, recovered.end);
        builder.begin(ENTRY_SYNC, 1);
        builder.end();
        builder.take().unwrap()
    };
    let first = log.claim(Now::default()).unwrap();
    log.hold(true);
    log.append(build(&first), false).unwrap();
    assert!(!log.step(Work::Append, Now::default()));
    assert_eq!(log.read(1, 1).unwrap(), Read::NotYet);
    log.hold(false);
    assert!(log.step(Work::Append, Now::default()));
    assert_eq!((log.watermarks().written, log.watermarks().durable), (1, 0));
    assert!(log.step(Work::Sync, Now::default()));
    assert_eq!(log.watermarks().durable, 1);
    let mut ends = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let log = HostileLog::new(seed);
        let first = log.claim(Now::default()).unwrap();
        log.append(build(&first), false).unwrap();
        log.fail("the network is gone");
        assert!(matches!(log.append(build(&first), false), Err(AppendError::Fenced(_))));
        log.fail_claims(1);
        assert!(log.claim(Now::default()).is_err());
        ends.insert(log.claim(Now::default()).unwrap().end);
    }
    assert_eq!(ends.len(), 2, "sometimes it survives, sometimes not");
    log.usurp();
    assert!(log.watermarks().fenced.unwrap().contains("epoch 2"));
    let again = log.claim(Now::default()).unwrap();
    assert_eq!((again.epoch, again.end), (3, 2));
}
