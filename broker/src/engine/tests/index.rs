//! The index of an engine without threads: it lags, it is asked, it is damaged in every way that
//! comes to mind, and answers as if nothing had happened.

use std::path::{Path, PathBuf};

use quadrille_proto::record::Durability::Synced;
use quadrille_proto::record::{OrderBy, Resolution};
#[cfg(feature = "index")]
use tempfile::TempDir;

use super::super::indexing::Indexing;
use super::*;
use crate::core::command::{Resolve, Settle};
use crate::index::{DeadRow, Edge, SagaRow};

const SAGAS: usize = 60;

/// An engine with an index, in this folder if there is one.
fn open(log: &Arc<StepLog>, root: Option<&Path>) -> Bench {
    let (blobs, clock) = (Arc::new(MemBlobs::default()), Arc::new(ManualClock::new(NOON)));
    let indexing = Some(Indexing::new(root.map(PathBuf::from)));
    let opened = Engine::start_with(log.clone(), blobs.clone(), options(&clock), indexing);
    let engine = opened.unwrap();
    engine.drive();
    Bench { log: log.clone(), blobs, clock, engine }
}

/// Publishes to sagas, fails, parks and resolves some of it.
fn work(bench: &Bench, topic: TopicId, round: usize) {
    let saga = |n: usize| format!("saga-{}", n % SAGAS);
    for n in 0..SAGAS * 3 {
        let bytes = event(&format!("{round}-{n}"), &saga(n * 7 + round));
        let events = vec![NewEvent { topic, bytes, due: None }];
        drop(bench.engine.execute(Command::Publish(Publish { session: None, events })));
    }
    bench.engine.drive();
    let member = bench.join("billing");
    bench.engine.drive();
    for (n, delivered) in (0..).zip(hand(&member)) {
        let settle = match n % 5 {
            0 => Settle::Retry { reason: "busy".into(), after_ms: Some(1) },
            1 => Settle::DeadLetter { reason: format!("no such card, {n}") },
            _ => {
                drop(bench.engine.acks(vec![delivered.token]));
                continue;
            }
        };
        drop(bench.engine.execute(Command::Settle(delivered.token, settle)));
    }
    bench.pass(200);
    for delivered in hand(&member) {
        drop(bench.engine.acks(vec![delivered.token]));
    }
    let group = bench.engine.group("billing").unwrap();
    let dead = bench.engine.dead_letters(group).try_get();
    bench.engine.drive();
    for (n, dead) in dead.into_iter().flat_map(Result::unwrap).enumerate() {
        let resolve = Resolve {
            group,
            at: dead.event.at,
            how: if n % 2 == 0 { Resolution::ResolveSkip } else { Resolution::ResolveRetry },
            replacement: None,
            override_superseded: false,
            by: "somebody".into(),
            comment: format!("case {n}"),
        };
        if n % 3 == 0 {
            drop(bench.engine.execute(Command::Resolve(resolve)));
        }
    }
    bench.pass(200);
}

/// All that can be asked.
type Answers = (Vec<Option<(SagaRow, Vec<String>)>>, Vec<DeadRow>, Vec<Edge>);

fn answers(bench: &Bench) -> Answers {
    let saga = |n| {
        let exact = bench.engine.saga_row(&format!("saga-{n}")).unwrap();
        assert!(exact.whole);
        exact.value
    };
    let sagas = (0..=SAGAS).map(saga).collect();
    (sagas, bench.engine.dead_rows().unwrap().value, bench.engine.edges().unwrap().value)
}

/// A log with two rounds of work.
fn worked() -> (Arc<StepLog>, Bench) {
    let log = StepLog::new();
    let bench = open(&log, None);
    let topic = bench.topic("orders", Synced);
    bench.group("billing", "orders", OrderBy::Saga);
    work(&bench, topic, 0);
    (log, bench)
}

#[test]
fn what_is_new_is_in_the_answer_and_costs_nothing_without_an_index() {
    let (log, bench) = worked();
    let before = answers(&bench);
    assert_eq!(before.0.iter().flatten().map(|it| it.0.count).sum::<u64>(), SAGAS as u64 * 3);
    assert!(before.1.iter().any(|it| it.resolved.is_some()), "{:?}", before.1);
    assert!(before.0.last().unwrap().is_none());
    let info = bench.engine.info().try_get();
    bench.engine.drive();
    assert_eq!(info.unwrap().unwrap().index.unwrap().lag, 0);
    drop(bench);
    // Without one, what is asked is read for the answer alone.
    let none = Engine::start(log, Arc::<MemBlobs>::default(), options(&Arc::default())).unwrap();
    none.drive();
    assert!(none.saga_row("saga-1").is_none());
    assert_eq!(none.dead_rows().unwrap().value, before.1);
    let info = none.info();
    none.drive();
    assert_eq!({ info }.try_get().unwrap().unwrap().index, None);
}

#[test]
fn a_walk_meets_every_saga_once_and_open_ones_by_what_is_not_settled() {
    let (_, bench) = worked();
    let mut newest = bench.engine.walk(true, false);
    let mut all = Vec::new();
    loop {
        let some = newest.next(7).unwrap();
        all.extend(some.clone());
        if some.is_empty() {
            break;
        }
    }
    assert_eq!(all.len(), SAGAS);
    let oldest = bench.engine.walk(false, false).next(1_000).unwrap();
    assert_eq!((oldest.len(), oldest[0].as_str()), (SAGAS, "saga-0"));
    let open = bench.engine.walk(false, true).next(1_000).unwrap();
    assert!(!open.is_empty() && open.len() < SAGAS, "{open:?}");
    let mut backwards = bench.engine.walk(true, true).next(1_000).unwrap();
    backwards.sort();
    let mut open = open;
    open.sort();
    assert_eq!(open, backwards);
}

#[test]
fn an_index_that_lags_says_so_and_timelines_are_whole_all_the_same() {
    let log = StepLog::new();
    let bench = open(&log, None);
    let topic = bench.topic("orders", Synced);
    drop(bench.engine.execute(Command::Publish(Publish {
        session: None,
        events: vec![NewEvent { topic, bytes: event("first", "long"), due: None }],
    })));
    bench.engine.drive();
    // More than is read for one answer.
    for n in 0..30_000 {
        let saga = if n == 29_999 { "long" } else { "other" };
        let bytes = event(&format!("e{n}"), saga);
        let events = vec![NewEvent { topic, bytes, due: None }];
        drop(bench.engine.execute(Command::Publish(Publish { session: None, events })));
    }
    while bench.log.write() | bench.log.sync() {}
    let row = bench.engine.saga_row("long").unwrap();
    assert!(!row.whole && row.value.unwrap().0.count == 1);
    let mut story = bench.engine.story("long");
    story.read().unwrap();
    assert_eq!(story.events.len(), 2);
    let mut none = bench.engine.story("nobody");
    none.read().unwrap();
    assert!(none.events.is_empty());
    bench.engine.drive();
    let row = bench.engine.saga_row("long").unwrap();
    assert!(row.whole && row.value.unwrap().0.count == 2);
}

#[cfg(feature = "index")]
mod damage {
    use std::fs;

    use super::*;

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for item in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let target = to.join(item.file_name());
            match item.file_type().unwrap().is_dir() {
                true => copy(&item.path(), &target),
                false => drop(fs::copy(item.path(), target).unwrap()),
            }
        }
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for item in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match item.file_type().unwrap().is_dir() {
                true => found.extend(files(&item.path())),
                false => found.push(item.path()),
            }
        }
        found.sort();
        found
    }

    /// Does something to an index that is closed.
    fn harm(root: &Path, older: &Path, rng: &mut fastrand::Rng) -> String {
        let all = files(root);
        let file = rng.choice(&all).unwrap().clone();
        let name = file.strip_prefix(root).unwrap().display().to_string();
        let mut bytes = fs::read(&file).unwrap();
        let used = bytes.iter().rposition(|it| *it != 0).unwrap_or(0) + 1;
        match rng.u32(0..9) {
            0 => fs::remove_file(&file).unwrap(),
            1 => fs::remove_dir_all(root).unwrap(),
            2 => {
                bytes.truncate(rng.usize(0..used));
                fs::write(&file, bytes).unwrap();
            }
            3 => fs::write(&file, b"").unwrap(),
            4 | 5 => {
                for _ in 0..rng.usize(1..4) {
                    if let Some(byte) = bytes.get_mut(rng.usize(0..used)) {
                        *byte ^= 1 << rng.u32(0..8);
                    }
                }
                fs::write(&file, bytes).unwrap();
            }
            6 => {
                fs::remove_dir_all(root).unwrap();
                copy(older, root);
            }
            7 => {
                // One file of another time, as a restore that was not finished leaves it.
                let old = files(older);
                let old = rng.choice(&old).unwrap();
                let place = root.join(old.strip_prefix(older).unwrap());
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                fs::copy(old, place).unwrap();
            }
            _ => {
                // Half a snapshot.
                let half = bytes.get(..rng.usize(0..used)).unwrap_or_default();
                let folder = file.parent().unwrap();
                let name = rng.choice(["snap.0000000000100000", "snap.00000000000000ff"]).unwrap();
                let ending = rng.choice(["", ".generating"]).unwrap();
                fs::write(folder.join(format!("{name}{ending}")), half).unwrap();
            }
        }
        name
    }

    #[test]
    fn a_thousand_damaged_indexes_answer_as_if_nothing_had_happened() {
        let seed = fastrand::u64(..);
        let workers = 0..WORKERS;
        let rebuilt: u64 = std::thread::scope(|scope| {
            let workers: Vec<_> =
                workers.map(|worker| scope.spawn(move || damage_some(seed, worker))).collect();
            workers.into_iter().map(|it| it.join().unwrap()).sum()
        });
        assert!(rebuilt > CASES / 10, "the damage was felt {rebuilt} times");
    }

    const CASES: u64 = 1_000;
    const WORKERS: u64 = 4;

    /// A part of the cases; how often an index was made anew.
    fn damage_some(seed: u64, worker: u64) -> u64 {
        let (log, bench) = worked();
        let topic = bench.engine.topic("orders").unwrap();
        drop(bench);
        let dir = TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name);
        // An index of the first round, and one of both.
        drop(open(&log, Some(&at("index"))));
        copy(&at("index"), &at("older"));
        let bench = open(&log, Some(&at("index")));
        work(&bench, topic, 1);
        drop(bench);
        copy(&at("index"), &at("whole"));
        let bench = open(&log, None);
        let expected = answers(&bench);
        drop(bench);

        let mut rebuilt = 0;
        for case in (0..CASES).filter(|case| case % WORKERS == worker) {
            let mut rng = fastrand::Rng::with_seed(seed ^ case);
            let root = at("case");
            copy(&at("whole"), &root);
            let name = harm(&root, &at("older"), &mut rng);
            let bench = open(&log, Some(&root));
            let found = answers(&bench);
            assert!(found == expected, "seed {seed}, case {case}, file {name}");
            let mut info = bench.engine.info();
            bench.engine.drive();
            let info = info.try_get().unwrap().unwrap().index.unwrap();
            rebuilt += info.rebuilt.min(1);
            drop(bench);
            fs::remove_dir_all(&root).unwrap();
        }
        rebuilt
    }

    #[test]
    fn a_deleted_index_is_made_again_in_the_same_place() {
        let (log, bench) = worked();
        let expected = answers(&bench);
        drop(bench);
        let dir = TempDir::new().unwrap();
        let root = dir.path().join("index");
        for _ in 0..2 {
            let bench = open(&log, Some(&root));
            assert!(answers(&bench) == expected);
            drop(bench);
            assert!(root.join("1").exists());
            fs::remove_dir_all(&root).unwrap();
        }
    }
}
