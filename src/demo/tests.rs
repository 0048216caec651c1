//! The demo as a whole, on a bus in a directory: with crashes inside, killed from outside, and
//! with an audit that finds what somebody else wrote to its log.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quadrille::{Bus, Event};
use tempfile::TempDir;

use super::audit::audit;
use super::events::{EventType, Payload};
use super::options::{DataDir, RunArgs};
use super::orders::{self, Order};
use super::play;
use super::summary::Summary;

/// Where the process that is to be killed keeps its data.
const DATA: &str = "QUADRILLE_DEMO_TEST_DATA";

/// Enough to be killed several times on the way.
const ORDERS_TO_KILL: u64 = 400;

fn args(count: u64) -> RunArgs {
    let (fail_rate, crash_rate) = (Some(0.4), 0.1);
    RunArgs { count: Some(count), fail_rate, crash_rate, json: true, ..RunArgs::default() }
}

fn sample() -> Vec<Order> {
    orders::load(None).unwrap()
}

async fn played(args: &RunArgs, dir: &Path) -> Summary {
    let data = DataDir::prepare(Some(dir)).unwrap();
    play(args, &sample(), &data, &Arc::default()).await.unwrap().0
}

#[track_caller]
fn assert_good(summary: &Summary, orders: u64) {
    assert!(summary.good(), "{}", summary.text());
    assert_eq!(summary.orders, orders);
    assert!(summary.completed > 0 && summary.cancelled > 0, "{}", summary.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_ends_and_adds_up_whatever_crashes() {
    for crash_rate in [0.0, 0.3, 1.0] {
        let dir = TempDir::new().unwrap();
        let summary = played(&RunArgs { crash_rate, ..args(120) }, dir.path()).await;
        assert_good(&summary, 120);
        assert_eq!(summary.retries > 0, crash_rate > 0.0, "{}", summary.text());
        assert!(summary.duplicates > 0, "{}", summary.text());
        assert_eq!(summary.kills, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_over_does_nothing_when_it_is_started_again() {
    let dir = TempDir::new().unwrap();
    let first = played(&args(40), dir.path()).await;
    let again = played(&RunArgs { json: true, ..RunArgs::default() }, dir.path()).await;
    assert_good(&again, 40);
    assert_eq!((again.events, again.retries, again.kills), (first.events, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_names_what_somebody_else_wrote_to_the_log() {
    let dir = TempDir::new().unwrap();
    let data = DataDir::prepare(Some(dir.path())).unwrap();
    let (_, cancelled) = play(&args(40), &sample(), &data, &Arc::default()).await.unwrap();
    let id = &cancelled[0].order_id;
    let bus = Bus::open(data.bus()).await.unwrap();
    let payload = Payload::from(sample()[0].clone());
    let event = Event::new(EventType::OrderCompleted.name()).source("nobody").saga(id.as_str());
    bus.topic("orders").publish_all([event.json(&payload).unwrap()]).await.unwrap();
    bus.close(Duration::ZERO).await.unwrap();
    let found = audit(&data).await.unwrap().found;
    let ends = found.iter().find(|it| it.rule == "several_ends").unwrap();
    assert!(ends.text.contains(id.as_str()), "{ends}");
}

/// Also a process of its own, for [`killed_or_stopped_at_any_moment_it_finishes`]: tells how far it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_in_a_process_of_its_own_ends() {
    let own = TempDir::new().unwrap();
    let given = std::env::var_os(DATA);
    let data =
        DataDir::prepare(given.as_ref().map(Path::new).or_else(|| Some(own.path()))).unwrap();
    let (args, orders, tally) = (args(ORDERS_TO_KILL), sample(), Arc::default());
    let mut playing = pin!(play(&args, &orders, &data, &tally));
    let mut look = tokio::time::interval(Duration::from_millis(1));
    let mut told = None;
    let summary = loop {
        tokio::select! {
            played = &mut playing => break played.unwrap().0,
            _ = look.tick() => {
                let ended = tally.ended.load(Ordering::Relaxed);
                if told.replace(ended) != Some(ended) {
                    println!("{ended}");
                }
            }
        }
    };
    assert_good(&summary, ORDERS_TO_KILL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_or_stopped_at_any_moment_it_finishes() {
    let dir = TempDir::new().unwrap();
    let moments = [0, 1, 40, 40, 90, 150, 210, 270];
    for (enough, signal) in moments.into_iter().zip(["-KILL", "-KILL", "-INT"].iter().cycle()) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["demo::tests::a_run_in_a_process_of_its_own_ends", "--exact", "--nocapture"])
            .env(DATA, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Read from until the process is gone: one that cannot tell how far it is panics.
        let mut told = lines.filter_map(|line| line.unwrap().parse::<u64>().ok());
        let reached = told.find(|ended| *ended >= enough);
        let id = child.id().to_string();
        assert!(Command::new("kill").args([signal, id.as_str()]).status().unwrap().success());
        let ended = child.wait().unwrap();
        assert!(!ended.success(), "over before it was stopped: {reached:?}");
    }
    let summary = played(&args(ORDERS_TO_KILL), dir.path()).await;
    assert_good(&summary, ORDERS_TO_KILL);
    // Six were killed, the first of them perhaps before it had begun; two were stopped in order.
    assert!((5..=6).contains(&summary.kills), "{} kills", summary.kills);
}
