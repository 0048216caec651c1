//! A log that is cut short, and one with a bit turned over, in a real directory: what opens, what
//! it says, what is still served.

use std::fs;
use std::path::{Path, PathBuf};

use quadrille::{Event, StartAt};
use quadrille_broker::engine::Opened;
use quadrille_broker::error::OpenError;
use quadrille_broker::log::LogOptions;
use quadrille_tests::{alone, rounds};

use crate::stage::{NOON, Setup, Stage};

/// One segment, so that it can be looked at byte by byte.
fn setup() -> Setup {
    let log = LogOptions {
        segment_bytes: 1 << 20,
        first_segment_bytes: 1 << 20,
        max_chunk_bytes: 4_000,
        seed: 3,
        ..LogOptions::default()
    };
    Setup { log, ..Setup::default() }
}

/// A directory with the events `0` to `4` of `orders`, killed, and its newest segment without the
/// zeros at its end.
fn killed(dir: &Path) -> (PathBuf, Vec<u8>) {
    let stage = Stage::within(dir, NOON, &setup()).unwrap();
    stage.topic("orders");
    for n in 0..5 {
        stage.publish("orders", Event::new("e").id(n.to_string()).data("data"));
    }
    drop(stage);
    let path = dir.join("log/0000000001.seg");
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.iter().rposition(|it| *it != 0).unwrap() + 1);
    (path, bytes)
}

fn restore(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.metadata().unwrap().is_dir() {
            restore(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Opens a copy in which the newest segment holds these bytes.
fn open_with(dir: &Path, copy: &Path, bytes: &[u8], accept: bool) -> Result<Stage, OpenError> {
    restore(dir, copy);
    fs::write(copy.join("log/0000000001.seg"), bytes).unwrap();
    Stage::within(copy, NOON, &Setup { accept_gap: accept, ..setup() })
}

fn ids(stage: &Stage) -> Vec<String> {
    if stage.engine.topic("orders").is_ok() { stage.ids("orders") } else { Vec::new() }
}

/// So many events are there, and the next one comes behind them.
fn serves(stage: &Stage, expected: usize, case: &str) {
    let numbers: Vec<_> = (0..expected).map(|it| it.to_string()).collect();
    assert_eq!(ids(stage), numbers, "{case}");
    stage.run(stage.bus.create_topic("orders")).unwrap();
    let receipt = stage.publish("orders", Event::new("e").id("after"));
    assert_eq!(receipt.offset(), Some(expected as u64), "{case}");
}

#[test]
fn a_segment_may_be_cut_at_every_length() {
    let _alone = alone();
    let (home, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (dir, copy) = (home.path(), copy.path().join("copy"));
    let (_, bytes) = killed(dir);
    let step = if rounds() > 1 { 1 } else { 7 };
    let (mut served, mut said) = (0, 0);
    for len in (64..bytes.len()).step_by(step).chain([bytes.len()]) {
        let case = format!("cut at {len} of {}", bytes.len());
        let stage =
            open_with(dir, &copy, &bytes[..len], false).unwrap_or_else(|e| panic!("{case}: {e}"));
        let Opened { gaps, dropped, clean, .. } = stage.engine.opened();
        assert!(!clean, "{case}");
        assert_eq!(gaps, [], "{case}: a torn tail is no gap");
        let now = ids(&stage).len();
        assert!(now >= served, "{case}: more bytes, fewer events");
        served = now;
        if let Some(dropped) = dropped {
            said += 1;
            let kept = fs::read(copy.join(&dropped.quarantine)).unwrap();
            assert_eq!(kept.len() as u64, dropped.bytes, "{case}");
            // Zeros at the very end may as well be room that was never used.
            let end = bytes[..len].iter().rposition(|it| *it != 0).unwrap() + 1;
            assert!(
                kept.ends_with(&bytes[end - kept.len().min(end)..end])
                    || bytes[..len].ends_with(&kept),
                "{case}: quarantine"
            );
            assert!(dropped.may_contain_acknowledged, "{case}");
        }
        serves(&stage, now, &case);
    }
    assert_eq!(served, 5, "nothing is cut off the whole segment");
    assert!(said * step > bytes.len() / 2, "{said}: most lengths are in the middle of something");
}

#[test]
fn a_cut_is_said_exactly() {
    let _alone = alone();
    let (home, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (dir, copy) = (home.path(), copy.path().join("copy"));
    let (path, bytes) = killed(dir);
    // With the room behind it: a file that ends early has been cut, even if only of zeros.
    let whole = fs::read(path).unwrap();
    let whole_log = open_with(dir, &copy, &whole, false).unwrap().engine.opened();
    assert_eq!((whole_log.gaps, whole_log.dropped), (vec![], None));
    let torn = open_with(dir, &copy, &bytes[..bytes.len() - 1], false).unwrap();
    let opened = torn.engine.opened();
    let dropped = opened.dropped.unwrap();
    assert_eq!(dropped.from, whole_log.end - 1, "the last entry");
    assert_eq!(opened.end, whole_log.end - 1);
    serves(&torn, 4, "one byte less");
}

#[test]
fn a_turned_bit_is_found_and_what_is_not_hit_is_served() {
    let _alone = alone();
    let (home, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (dir, copy) = (home.path(), copy.path().join("copy"));
    let (_, bytes) = killed(dir);
    let step = if rounds() > 1 { 1 } else { 61 };
    for bit in (64 * 8..bytes.len() * 8).step_by(step) {
        let case = format!("bit {bit} of {}", bytes.len() * 8);
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let stage = match open_with(dir, &copy, &damaged, false) {
            Ok(stage) => stage,
            // Nobody knows what was in it: somebody must say that it does not matter.
            Err(e) => {
                assert_eq!(e.code(), "gap_after_checkpoint", "{case}: {e}");
                assert!(e.to_string().contains("accept_gap"), "{case}: {e}");
                open_with(dir, &copy, &damaged, true).unwrap_or_else(|e| panic!("{case}: {e}"))
            }
        };
        let opened = stage.engine.opened();
        let said = !opened.gaps.is_empty() || opened.dropped.is_some();
        let found = ids(&stage);
        assert!(said, "{case}: {found:?}, and nobody says why");
        let mut sorted = found.clone();
        sorted.sort_unstable();
        assert_eq!(found, sorted, "{case}");
        assert!(found.iter().all(|it| matches!(&**it, "0" | "1" | "2" | "3" | "4")), "{case}");
        // Of a gap in the middle everything behind it is there.
        if opened.dropped.is_none() && !opened.accepted.is_empty() && found.len() < 4 {
            assert!(opened.accepted[0].from < 4, "{case}: {found:?}, {opened:?}");
        }
    }
}

#[test]
fn a_gap_behind_the_checkpoints_is_refused_and_accepted_only_explicitly() {
    let _alone = alone();
    let (home, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (dir, copy) = (home.path(), copy.path().join("copy"));
    let stage = Stage::within(dir, NOON, &setup()).unwrap();
    stage.topic("orders");
    let first = stage.publish("orders", Event::new("e").id("0"));
    let quadrille::Receipt::Appended { position, .. } = first else { panic!("{first:?}") };
    for n in 1..5 {
        stage.publish("orders", Event::new("e").id(n.to_string()).data("unmistakable"));
    }
    // The mark says that all of it is durable.
    stage.pass(10);
    drop(stage);
    let mut bytes = fs::read(dir.join("log/0000000001.seg")).unwrap();
    let needle = b"unmistakable";
    let at = bytes.windows(needle.len()).position(|it| it == needle).unwrap();
    bytes[at] ^= 1;
    let refused = open_with(dir, &copy, &bytes, false).err().unwrap();
    let lost = position.entry + 1;
    assert!(
        matches!(refused, OpenError::Gap { from, to, .. } if (from, to) == (lost, lost + 1)),
        "{refused}"
    );
    assert!(refused.to_string().contains(&format!("#{lost}")), "{refused}");
    let stage = open_with(dir, &copy, &bytes, true).unwrap();
    let opened = stage.engine.opened();
    assert_eq!((opened.accepted.len(), opened.dropped), (1, None));
    assert_eq!((opened.accepted[0].from, opened.accepted[0].to), (lost, lost + 1));
    assert_eq!(
        stage.all("orders").iter().map(|it| &*it.1).collect::<Vec<_>>(),
        ["0", "2", "3", "4"]
    );
    let mut events =
        stage.subscribe(stage.bus.group("g").topics(["orders"]).start(StartAt::Beginning));
    let mut came = Vec::new();
    while let Some(it) = stage.try_next(&mut events) {
        came.push(it.id().to_owned());
        it.ack();
        stage.pass(1);
    }
    assert_eq!(came, ["0", "2", "3", "4"], "a group goes on behind it");
    drop((events, stage));
    // It was recorded: nobody asks again.
    let again = Stage::within(&copy, NOON, &setup()).unwrap();
    assert_eq!(again.engine.opened().accepted, []);
}

#[test]
fn a_gap_before_the_checkpoints_costs_the_events_in_it_and_nothing_else() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::within(dir.path(), NOON, &setup()).unwrap();
    stage.topic("orders");
    for n in 0..5 {
        stage.publish("orders", Event::new("e").id(n.to_string()).data(format!("payload {n}")));
    }
    // With a checkpoint of the very end.
    assert!(stage.engine.close(0).unwrap().checkpointed);
    drop(stage);
    let path = dir.path().join("log/0000000001.seg");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(9).position(|it| it == b"payload 2").unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let stage = Stage::within(dir.path(), NOON, &setup()).unwrap();
    let opened = stage.engine.opened();
    assert_eq!((opened.gaps.len(), opened.accepted.len()), (1, 0), "{opened:?}");
    assert_eq!(ids(&stage), ["0", "1", "3", "4"]);
    assert_eq!(stage.publish("orders", Event::new("e")).offset(), Some(5));
}
