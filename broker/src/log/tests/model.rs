//! Random lives against a list of entries.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    Append { sync: bool, lens: Vec<usize>, roll: bool },
    Step(Work),
    Settle,
    Idle,
    Trim(u64),
    Release,
    Close,
    Kill,
    Crash(u64),
    Reclaim,
}

fn act() -> impl Strategy<Value = Act> {
    let work = prop_oneof![Just(Work::Append), Just(Work::Sync), Just(Work::Prepare)];
    prop_oneof![
        6 => (any::<bool>(), proptest::collection::vec(0..600usize, 1..4), proptest::bool::weighted(0.1))
            .prop_map(|(sync, lens, roll)| Act::Append { sync, lens, roll }),
        4 => work.prop_map(Act::Step),
        2 => Just(Act::Settle),
        1 => Just(Act::Idle),
        1 => (0..100u64).prop_map(Act::Trim),
        1 => Just(Act::Release),
        1 => Just(Act::Close),
        1 => Just(Act::Kill),
        2 => any::<u64>().prop_map(Act::Crash),
        1 => Just(Act::Reclaim),
    ]
}

/// The log on `disk`, which holds what is left of `before`.
fn succeed(before: &Rig, disk: &SimDisk) -> Rig {
    let mut next = Rig::on(disk).unwrap();
    next.check(before);
    next.entries = before.entries.clone();
    next.entries.split_off(&next.recovered.end);
    next.trimmed_to = before.trimmed_to;
    next
}

fn play(acts: &[Act]) {
    let mut rig = Rig::new();
    for act in acts {
        match act {
            Act::Append { sync, lens, roll } => {
                let roll = *roll || rig.log.watermarks().want_roll;
                rig.append_as(u16::from(*sync), lens, roll).unwrap();
            }
            Act::Step(work) => {
                rig.step(*work);
            }
            Act::Settle => rig.settle(),
            Act::Idle => rig.idle(),
            Act::Trim(percent) => {
                let before = rig.log.watermarks().durable * percent / 100;
                let first = rig.log.trim(before).unwrap();
                assert!(first <= before.max(rig.trimmed_to).max(1));
                rig.trimmed_to = rig.trimmed_to.max(before);
            }
            Act::Release => rig.log.release_old_tail().unwrap(),
            Act::Close => {
                // A queued roll waits for its segment.
                rig.settle();
                rig.log.close_epoch().unwrap();
                rig.durable = rig.builder.next() - 1;
                let next = succeed(&rig, &rig.disk);
                assert!(next.recovered.clean, "{:?}", next.recovered);
                rig = next;
            }
            Act::Kill => {
                let next = succeed(&rig, &rig.disk.killed());
                assert!(next.recovered.end > rig.log.watermarks().written);
                rig = next;
            }
            Act::Crash(seed) => rig = succeed(&rig, &rig.disk.crashed(*seed)),
            Act::Reclaim => {
                let recovered = rig.log.claim(rig.now).unwrap();
                assert!(recovered.epoch == rig.recovered.epoch + 1 && recovered.gaps.is_empty());
                assert_eq!(recovered.end, rig.durable.max(recovered.end - 1) + 1);
                rig.builder = ChunkBuilder::new(recovered.epoch, recovered.end);
                rig.entries.split_off(&recovered.end);
                rig.durable = recovered.end - 1;
                rig.recovered = recovered;
            }
        }
        let (found, gaps) = read_all(&rig.log, rig.log.segments()[0].first, rig.builder.next());
        assert_eq!(gaps, []);
        let marks = rig.log.watermarks();
        assert_eq!(found.last_key_value().map_or(marks.written, |(n, _)| *n), marks.written);
        assert!(found.iter().all(|(number, bytes)| rig.entries.get(number) == Some(bytes)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_random_life_agrees_with_a_list_of_entries(acts in proptest::collection::vec(act(), 1..60)) {
        play(&acts);
    }
}
