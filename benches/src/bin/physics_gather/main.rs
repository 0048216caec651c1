//! 64 closed-loop tasks over a fake log that sleeps T per sync: what gathering after a sync is
//! worth, what "have come back" must count, and what it costs publishers that don't come back.
//! Decides the rule and the cap of gathering (DESIGN §3).
#![expect(clippy::print_stdout, reason = "a program that prints what it measured")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use fake_log::{Batch, FakeLog, Rule, release};
use hdrhistogram::Histogram;
use quadrille_benches::{Cell, Options, Report, Spread, Table, nanos_histogram, now, record};
use tokio::sync::mpsc;

mod fake_log;

const TASKS: u32 = 64;
const SYNC_MICROS: [u64; 4] = [100, 200, 1000, 3000];
const DISTANCE: Duration = Duration::from_millis(1);
/// Time of one run: 33 syncs of the slowest log.
const LASTING: Duration = Duration::from_millis(200);

const NONE: Rule = Rule { name: "none", cap: 0.0, since_release: true, skip: 0, one_wake: false };
const HALF: Rule = Rule { name: "back 1/2", cap: 0.5, ..NONE };
const RULES: [Rule; 8] = [
    NONE,
    Rule { name: "queue 1/2", since_release: false, ..HALF },
    Rule { name: "back 1/4", cap: 0.25, ..HALF },
    HALF,
    Rule { name: "back 1", cap: 1.0, ..HALF },
    Rule { name: "back 1/2 skip 8", skip: 8, ..HALF },
    Rule { name: "none, one wake", one_wake: true, ..NONE },
    Rule { name: "back 1/2 skip 8, one wake", skip: 8, one_wake: true, ..HALF },
];

/// How publishers behave.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Load {
    /// Each sends its next when the last is answered; all start at once.
    Together,
    /// The same, but the second half starts in the middle of the first sync.
    TwoHalves,
    /// Together, and an answer and the next publish take 1 to 2 ms (the runtime's timer).
    Distant,
    /// The same in two halves.
    DistantHalves,
    /// Each waits up to 4 T between an answer and its next.
    Thinking,
}

fn main() -> std::io::Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let rules = RULES.map(|rule| rule.name);
    let mut rates = Table::new(
        "64 closed-loop tasks: rate as a share of 64/T (T as measured); median [min..max] of rounds",
        &[&["T, ms", "start"], &rules[..]].concat(),
    );
    let starts = [("together", Load::Together), ("two halves", Load::TwoHalves)];
    let mut cases: Vec<_> =
        SYNC_MICROS.iter().flat_map(|&t| starts.map(|(name, load)| (t, name, load))).collect();
    cases.push((6000, "together, 1-2 ms away", Load::Distant));
    cases.push((6000, "two halves, 1-2 ms away", Load::DistantHalves));
    for (micros, name, load) in cases {
        let share = |run: &Run| run.rate * run.sync.as_secs_f64() / f64::from(TASKS);
        let mut row = vec![millis(micros), name.into()];
        row.extend(interleaved(&options, &runtime, micros, TASKS, load, share));
        rates.row(row);
    }
    let mut delays = Table::new(
        "median answer time as a multiple of T; median [min..max] of rounds",
        &[&["T, ms", "publishers"], &rules[..]].concat(),
    );
    for (micros, name, tasks, load) in [
        (200, "one, closed loop", 1, Load::Together),
        (3000, "one, closed loop", 1, Load::Together),
        (3000, "two, thinking 0..4 T", 2, Load::Thinking),
        (3000, "eight, thinking 0..4 T", 8, Load::Thinking),
        (3000, "64, thinking 0..4 T", TASKS, Load::Thinking),
    ] {
        let answer =
            |run: &Run| run.answers.value_at_quantile(0.5) as f64 / 1e9 / run.sync.as_secs_f64();
        let mut row = vec![millis(micros), name.into()];
        row.extend(interleaved(&options, &runtime, micros, tasks, load, answer));
        delays.row(row);
    }
    println!("{}", Report::new("physics_gather", vec![rates, delays]).render(options.json));
    Ok(())
}

fn millis(micros: u64) -> Cell {
    format!("{}", micros as f64 / 1e3).into()
}

/// Every rule once per round; the spread of `value` for each.
fn interleaved(
    options: &Options,
    runtime: &tokio::runtime::Runtime,
    micros: u64,
    tasks: u32,
    load: Load,
    value: impl Fn(&Run) -> f64,
) -> Vec<Cell> {
    let mut values = vec![Vec::new(); RULES.len()];
    for _ in 0..options.rounds {
        for (rule, values) in RULES.into_iter().zip(&mut values) {
            values.push(value(&run(runtime, rule, Duration::from_micros(micros), tasks, load)));
        }
    }
    values.into_iter().map(|values| Spread::of(values).into()).collect()
}

/// What one run of one rule gave.
struct Run {
    /// Publishes answered per second.
    rate: f64,
    /// Mean time of a sync as the log saw it: a sleep is longer than asked for.
    sync: Duration,
    answers: Histogram<u64>,
}

fn run(
    runtime: &tokio::runtime::Runtime,
    rule: Rule,
    sleep: Duration,
    tasks: u32,
    load: Load,
) -> Run {
    let log = Arc::new(FakeLog::default());
    let (batches, mut released) = mpsc::unbounded_channel::<Batch>();
    let releasing = runtime.spawn(async move {
        while let Some(batch) = released.recv().await {
            release(batch);
        }
    });
    let syncer = std::thread::spawn({
        let log = Arc::clone(&log);
        move || log.sync_loop(rule, sleep, &batches)
    });
    let start = now();
    let end = start + LASTING;
    let answers = runtime.block_on(async {
        let publishers: Vec<_> = (0..tasks)
            .map(|i| {
                let halves = matches!(load, Load::TwoHalves | Load::DistantHalves);
                let late = (halves && i >= tasks / 2).then_some(sleep / 2);
                tokio::spawn(publisher(Arc::clone(&log), late, (load, sleep), end))
            })
            .collect();
        let mut all = nanos_histogram();
        for publisher in publishers {
            if let Ok(answers) = publisher.await {
                all += answers;
            }
        }
        all
    });
    let rate = answers.len() as f64 / start.elapsed().as_secs_f64();
    log.close();
    let (syncs, syncing) = syncer.join().unwrap_or_default();
    releasing.abort();
    Run { rate, sync: syncing / syncs.max(1), answers }
}

/// Publishes, waits for the answer, again until `end`.
async fn publisher(
    log: Arc<FakeLog>,
    late: Option<Duration>,
    (load, sleep): (Load, Duration),
    end: Instant,
) -> Histogram<u64> {
    let mut answers = nanos_histogram();
    if let Some(late) = late {
        let start = now();
        // Shorter than the runtime's timer can wait for.
        while start.elapsed() < late {
            tokio::task::yield_now().await;
        }
    }
    while now() < end {
        match load {
            Load::Together | Load::TwoHalves => {}
            Load::Distant | Load::DistantHalves => tokio::time::sleep(DISTANCE).await,
            Load::Thinking => tokio::time::sleep(sleep.mul_f64(4.0 * fastrand::f64())).await,
        }
        let start = now();
        if log.publish().await.is_err() {
            break;
        }
        record(&mut answers, start.elapsed());
    }
    answers
}
