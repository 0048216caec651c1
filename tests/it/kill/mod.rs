//! A process that works on a bus is killed again and again, under load and while it recovers, and
//! what it was told stays true.

mod ledger;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use quadrille::{OrderBy, RetryPolicy};
use quadrille_broker::time::{Clock, Now, SystemClock};
use quadrille_tests::{alone, rounds};

use self::ledger::Ledger;
use crate::stage::{Setup, Stage};

/// A running victim and what it says.
pub(crate) struct Victim {
    child: Child,
    lines: Receiver<String>,
}

impl Victim {
    pub(crate) fn start(what: &str, dir: &Path, round: u64) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_victim"))
            .arg(what)
            .arg(dir)
            .arg(round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut line = String::new();
            // A line without an end is none: it was cut off.
            while out.read_line(&mut line).is_ok_and(|it| it > 0) && line.ends_with('\n') {
                if sender.send(line.trim_end().to_owned()).is_err() {
                    return;
                }
                line.clear();
            }
        });
        Self { child, lines }
    }

    pub(crate) fn next(&self, within: Duration) -> Option<String> {
        self.lines.recv_timeout(within).ok()
    }

    /// kill -9, and the last words.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.iter().collect()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> (std::process::ExitStatus, Vec<String>) {
        let said = self.lines.iter().collect();
        (self.child.wait().unwrap(), said)
    }
}

/// One life; whether it was killed while it opened.
fn live(ledger: &mut Ledger, what: &str, dir: &Path, round: u64, rng: &mut fastrand::Rng) -> bool {
    ledger.begin_life();
    let patience = Duration::from_secs(20);
    let victim = Victim::start(what, dir, round);
    assert_eq!(victim.next(patience).as_deref(), Some("opening"));
    let early = rng.u8(..4) == 0;
    let mut opened = false;
    if early {
        opened = victim.next(Duration::from_micros(rng.u64(..9_000))).is_some();
    } else {
        while !opened {
            let line = victim.next(patience).unwrap_or_else(|| panic!("it does not open"));
            opened = line == "opened";
            ledger.take(&line);
        }
        let clock = SystemClock::new();
        let end = rng.u64(2..120);
        while let Some(left) = end.checked_sub(clock.now().mono)
            && let Some(line) = victim.next(Duration::from_millis(left))
        {
            ledger.take(&line);
        }
    }
    for line in victim.kill() {
        opened |= line == "opened";
        ledger.take(&line);
    }
    !opened
}

/// Opens the directory itself and compares.
fn look(ledger: &mut Ledger, dir: &Path) -> Stage {
    let at = Now { mono: 1_000, wall: now_of(dir) };
    let stage = Stage::within(dir, at, &Setup::default()).unwrap();
    let opened = stage.engine.opened();
    assert_eq!(opened.gaps, [], "a kill damages nothing");
    // What is cut off was never told to anybody; what was told is checked below.
    for topic in ["orders", "out", "journal"] {
        let kept = stage.all(topic);
        ledger.check_topic(topic, &kept);
    }
    ledger.check_steps();
    stage
}

/// The newest time of a change in the directory, ms since 1970.
fn now_of(dir: &Path) -> u64 {
    let changed = files(dir).into_iter().map(|it| it.modified().unwrap()).max().unwrap();
    let since = changed.duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

fn files(dir: &Path) -> Vec<fs::Metadata> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let about = entry.metadata().unwrap();
        if about.is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(about);
        }
    }
    found
}

#[test]
fn two_hundred_kills_under_load_and_in_recovery_lose_nothing_that_was_told() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (mut ledger, mut rng) = (Ledger::default(), fastrand::Rng::with_seed(11));
    let mut in_recovery = 0;
    for round in 0..210 * rounds() {
        in_recovery += u64::from(live(&mut ledger, "load", dir.path(), round, &mut rng));
        if round % 15 == 14 {
            drop(look(&mut ledger, dir.path()));
        }
    }
    assert!(in_recovery >= 20, "only {in_recovery} kills met a recovery");
    assert!(ledger.counts().iter().all(|it| *it > 20), "{:?}", ledger.counts());
    finish(ledger, dir.path());
}

#[test]
fn a_directory_stays_small_however_often_its_process_is_killed() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (mut ledger, mut rng) = (Ledger::default(), fastrand::Rng::with_seed(12));
    let (mut largest, mut rounds) = (0, 0);
    // Events have 750 bytes on the average.
    while ledger.events() < 12_000 {
        live(&mut ledger, "calm", dir.path(), rounds, &mut rng);
        rounds += 1;
        largest = largest.max(files(dir.path()).iter().map(fs::Metadata::len).sum::<u64>());
    }
    assert!(largest < 5 << 20, "{largest} bytes after {rounds} lives");
    finish(ledger, dir.path());
}

/// After the last life: everything comes to its end.
fn finish(mut ledger: Ledger, dir: &Path) {
    let stage = look(&mut ledger, dir);
    ledger.begin_life();
    let retry = RetryPolicy {
        max_attempts: 1_000_000,
        first: Duration::from_millis(4),
        ..RetryPolicy::default()
    };
    for (group, topic, order) in [
        ("work", "orders", OrderBy::Saga),
        ("audit", "journal", OrderBy::Nothing),
        ("keep", "out", OrderBy::Everything),
    ] {
        let described = stage.bus.group(group).topics([topic]).retry(retry).order_by(order);
        let mut events = stage.subscribe(described);
        for dead in stage.run(stage.bus.dead_letters(group)).unwrap() {
            stage.run(stage.bus.resolve(group, dead.position).skip()).unwrap();
        }
        // Beyond every hold and timer.
        stage.pass(120_000);
        while let Some(it) = stage.try_next(&mut events) {
            let (saga, offset, id) = (it.saga(), it.offset(), it.id());
            let wall = stage.now().wall;
            ledger.take(&format!("D {group} {saga} {offset} {id} {} {wall}", it.attempt()));
            it.ack();
            stage.pass(1);
        }
        assert_eq!(stage.unsettled(group), 0, "{group}");
    }
    for topic in ["orders", "out", "journal"] {
        ledger.check_topic(topic, &stage.all(topic));
    }
    ledger.check_steps();
    ledger.check_drained();
}
