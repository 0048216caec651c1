//! Power loss and death of the process at every operation, also during recovery, also during the recovery of that.

use super::*;
use crate::disk::Fault;

/// What a log's life is made of. Ends early if something is refused.
pub(super) fn life(rig: &mut Rig) -> Result<(), Box<dyn std::error::Error>> {
    rig.try_put(ENTRY_SYNC, &[30, 40])?;
    rig.try_put(0, &[700])?;
    rig.try_put(0, &[10])?;
    rig.idle();
    for _ in 0..4 {
        rig.try_put(ENTRY_SYNC, &[200, 300])?;
    }
    rig.append(0, &[1500])?;
    rig.append_as(0, &[90], true)?;
    rig.append(ENTRY_SYNC, &[20])?;
    rig.settle();
    rig.log.release_old_tail()?;
    rig.trimmed_to = rig.recovered.first + 3;
    rig.log.trim(rig.trimmed_to)?;
    rig.try_put(0, &[7])?;
    rig.idle();
    Ok(())
}

/// A life that a planned fault may cut short.
fn lived(disk: &SimDisk) -> Option<Rig> {
    let mut rig = Rig::on(disk).ok()?;
    if let Err(e) = life(&mut rig) {
        assert!(rig.log.watermarks().fenced.is_some(), "only a fault may stop it: {e}");
    }
    Some(rig)
}

impl Rig {
    fn try_put(&mut self, flags: u16, lens: &[usize]) -> Result<(), AppendError> {
        self.append(flags, lens)?;
        self.settle();
        Ok(())
    }

    /// This log was recovered from what is left of `before`.
    pub(super) fn check(&self, before: &Self) {
        let recovered = &self.recovered;
        assert!(recovered.end > before.durable, "{recovered:?} but {} was durable", before.durable);
        assert!(recovered.end <= before.builder.next(), "{recovered:?} has more than was appended");
        assert_eq!(recovered.gaps, []);
        assert!(
            recovered.epoch > before.recovered.epoch
                || before.recovered.epoch == recovered.epoch - 1
        );
        let (found, gaps) = self.read_all();
        assert_eq!(gaps, []);
        for number in recovered.first..recovered.end {
            assert_eq!(found.get(&number), before.entries.get(&number), "entry {number}");
        }
        assert!(
            before.durable == 0
                || recovered.first <= before.log.segments().last().map_or(u64::MAX, |s| s.first)
        );
        if let Some(dropped) = &recovered.dropped {
            assert_eq!(dropped.from, recovered.end);
            assert_eq!(self.disk.bytes(&dropped.quarantine).len() as u64, dropped.bytes);
        }
    }
}

#[test]
fn a_crash_at_any_point_loses_nothing_that_was_durable() {
    let fresh = SimDisk::new();
    drop(Rig::on(&fresh).unwrap());
    let whole = lived(&fresh.killed()).unwrap();
    assert_eq!(whole.log.watermarks().fenced, None);
    let total = whole.disk.trace().len() as u64;
    assert!(total > 60, "{total}");
    for at in 0..total {
        let disk = fresh.killed();
        disk.fail_at(at, Fault::Death);
        let rig = lived(&disk);
        for seed in 0..12 {
            let after = disk.crashed(seed);
            let next =
                Rig::on(&after).unwrap_or_else(|e| panic!("crash at {at}, seed {seed}: {e}"));
            if let Some(rig) = &rig {
                next.check(rig);
            }
        }
        let next = Rig::on(&disk.killed()).unwrap();
        assert!(
            rig.is_none_or(|rig| next.recovered.end > rig.log.watermarks().written),
            "only a process died"
        );
    }
}

#[test]
fn a_crash_at_any_point_of_recovery_loses_nothing_nor_does_one_in_the_recovery_of_that() {
    for seed in [1, 3, 5, 9] {
        let disk = SimDisk::new();
        let mut rig = Rig::on(&disk).unwrap();
        life(&mut rig).unwrap();
        // A tail that nothing says to be durable, over two segments.
        for len in [300, 500, 700] {
            rig.append(0, &[len]).unwrap();
            rig.step(Work::Append);
        }
        rig.append_as(0, &[90, 80], true).unwrap();
        rig.step(Work::Append);
        let left = disk.crashed(seed);
        let probe = left.killed();
        drop(Rig::on(&probe).unwrap());
        let recovery = probe.trace().len() as u64;
        assert!(recovery > 8);
        for first in 0..recovery {
            let one = left.killed();
            one.fail_at(first, Fault::Death);
            assert!(Rig::on(&one).is_err());
            for again in 0..4 {
                let two = one.crashed(again);
                for second in (0..recovery).step_by(2) {
                    let disk = two.killed();
                    disk.fail_at(second, Fault::Death);
                    if let Ok(next) = Rig::on(&disk) {
                        next.check(&rig);
                    }
                    Rig::on(&disk.crashed(again + second)).unwrap().check(&rig);
                }
            }
        }
    }
}

#[test]
fn what_was_found_only_in_the_page_cache_is_durable_before_it_is_shown() {
    let mut rig = Rig::new();
    rig.put(ENTRY_SYNC, &[30]);
    rig.idle();
    rig.put(0, &[40]);
    assert_eq!(rig.log.watermarks().durable, 1);
    let next = Rig::on(&rig.disk.killed()).unwrap();
    assert_eq!(next.recovered.end, 3);
    // The cache is lost now; the old segment alone would not have the entry any more.
    let after = Rig::on(&next.disk.crashed(0)).unwrap();
    after.check(&rig);
    assert_eq!(after.recovered.end, 3);
    assert_eq!(after.read_all().0, rig.entries);
}

#[test]
fn the_old_tail_is_kept_until_it_is_released() {
    let mut rig = Rig::new();
    rig.put(ENTRY_SYNC, &[30]);
    rig.put(0, &[400]);
    let disk = rig.disk.killed();
    let path = "log/0000000001.seg";
    let before = disk.bytes(path);
    let next = Rig::on(&disk).unwrap();
    let used = before.iter().rposition(|b| *b != 0).unwrap() + 1;
    assert_eq!(disk.bytes(path), before[..used], "only the room behind it is given back");
    next.log.release_old_tail().unwrap();
    assert!(disk.bytes(path).len() < 400, "{}", disk.bytes(path).len());
    assert_eq!(next.read_all().0, rig.entries);
    assert_eq!(Rig::on(&disk.crashed(0)).unwrap().read_all().0, rig.entries);
}

#[test]
fn many_deaths_in_a_row_do_not_fill_the_disk() {
    let disk = SimDisk::new();
    let mut disk = disk.killed();
    for _ in 0..50 {
        let mut rig = Rig::on(&disk).unwrap();
        rig.put(0, &[300]);
        disk = rig.disk.killed();
    }
    let rig = Rig::on(&disk).unwrap();
    let segments: usize = rig
        .log
        .segments()
        .iter()
        .map(|s| disk.bytes(&format!("log/{:010}.seg", s.number)).len())
        .sum();
    assert!(segments < 50 * 20_000, "{segments}");
    rig.log.release_old_tail().unwrap();
}
