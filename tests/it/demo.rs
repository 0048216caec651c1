//! The demo through the command: its story, its JSON, and what it makes of kills and of directories.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use quadrille::{Bus, Event};
use quadrille_tests::{alone, quadrille, root};

/// Enough to be killed several times on the way.
const ORDERS_TO_KILL: u64 = 600;

fn demo(dir: &Path, args: &[&str]) -> Output {
    let ran = Command::new(quadrille()).current_dir(dir).arg("demo").args(args).output();
    ran.expect("the command runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a run that is in order says.
#[track_caller]
fn said(ran: &Output) -> String {
    assert!(ran.status.success(), "{}\n{}", text(&ran.stdout), text(&ran.stderr));
    text(&ran.stdout)
}

/// A number of the one JSON object.
#[track_caller]
fn number(json: &str, name: &str) -> u64 {
    let (_, rest) = json.split_once(&format!("\"{name}\":")).expect("it has this field");
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|it| it.parse().ok()).expect("a number")
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("it is there")
}

/// The shape of the last screen: its lines without numbers, ids, widths, and what went wrong
/// by chance on the way.
fn last_screen(text: &str) -> Vec<String> {
    let lines = text.lines().skip_while(|it| !it.starts_with("The audit, after"));
    let shape = |line: &str| {
        let line = line.split("   done at attempt").next().unwrap_or_default();
        let words = line.split_whitespace().map(|word| match word {
            it if it.starts_with("order-") => "ORDER",
            it if it.contains(|c: char| c.is_ascii_digit()) => "N",
            it => it,
        });
        words.collect::<Vec<_>>().join(" ")
    };
    let shapes = lines.map(shape).take_while(|it| !it.starts_with("All of it is kept"));
    let shapes = shapes.take_while(|it| !it.starts_with("```"));
    shapes.filter(|it| !it.is_empty()).collect()
}

#[test]
fn a_run_is_one_json_object_and_a_second_start_finds_nothing_to_do() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let args = ["--json", "--data", "run", "--count", "60", "--fail-rate", "0.4"];
    let first = said(&demo(dir.path(), &args));
    assert_eq!(first.lines().count(), 1, "{first}");
    assert!(first.contains(r#""audit":"ok""#), "{first}");
    for (name, value) in [("orders", 60), ("parked", 0), ("kills", 0)] {
        assert_eq!(number(&first, name), value, "{name} of {first}");
    }
    assert!(number(&first, "completed") > 0 && number(&first, "cancelled") > 0, "{first}");
    let again = said(&demo(dir.path(), &["--json", "--data", "run"]));
    for (name, value) in [("events", number(&first, "events")), ("retries", 0), ("kills", 0)] {
        assert_eq!(number(&again, name), value, "{name} of {again}");
    }
    let other = demo(dir.path(), &["--json", "--data", "run", "--count", "61"]);
    assert_eq!(other.status.code(), Some(2));
    let why = text(&other.stderr);
    assert!(why.contains("run holds a run with another --count"), "{why}");
    assert_eq!(why.lines().count(), 1, "{why}");
}

#[test]
fn the_story_ends_with_sums_that_hold_and_every_order_at_its_end() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let story = said(&demo(dir.path(), &["--count", "400"]));
    let parts = [
        "1 Flow",
        "2 Trouble",
        "3 orders are parked",
        "attempts used: 0",
        "3 Murder",
        "The audit, after 3 kills",
        "✔ goods",
        "✔ money",
        "✔ orders 400 taken",
        "✔ undo",
        "✔ mails",
        "✔ steps",
        "payment.expired",
        "charge.answered",
        "payment.reversed",
        "needs attention",
        "parked: unexpected currency \"XTS\"",
        "--data demo-data",
        "dlq replace payment",
        "dlq skip payment",
        "dlq retry payment",
        "quadrille demo audit demo-data",
    ];
    let mut rest = story.as_str();
    for part in parts {
        let found = rest.split_once(part);
        rest = found.unwrap_or_else(|| panic!("{part:?} is not next in\n{story}")).1;
    }
    assert!(!story.contains('✘') && !story.contains(" open\n"), "{story}");
    assert_eq!(last_screen(&story), last_screen(&readme()), "the README shows another screen");
    // What is printed can be typed.
    let show = story.lines().find_map(|it| it.trim().strip_prefix("quadrille saga show "));
    let words: Vec<_> = show.expect("a command is printed").split(' ').collect();
    let shown = Command::new(quadrille())
        .current_dir(dir.path())
        .args(["saga", "show"])
        .args(words)
        .output()
        .expect("the command runs");
    assert!(said(&shown).contains("payment.reversed"));

    // A finished run of the default directory gives way; one that was asked for does not.
    let next = said(&demo(dir.path(), &["--count", "8", "--no-kill"]));
    assert!(next.contains("✔ orders 8 taken") && next.contains("after 0 kills"), "{next}");
    assert!(!next.contains("3 Murder"), "{next}");
    let kept = said(&demo(dir.path(), &["--json", "--data", "demo-data"]));
    assert_eq!((number(&kept, "orders"), number(&kept, "parked")), (8, 0), "{kept}");
    std::fs::remove_file(dir.path().join("demo-data/demo.json")).unwrap();
    let foreign = demo(dir.path(), &["--count", "8"]);
    assert_eq!(foreign.status.code(), Some(2));
    assert!(text(&foreign.stderr).contains("something that is not a demo"));
}

/// The process that runs the services, told what to do as the one that directs would tell it.
#[test]
fn killed_at_any_moment_it_finishes() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("run");
    let count = ORDERS_TO_KILL.to_string();
    let args = ["--json", "--data", "run", "--count", &count, "--fail-rate", "0.4"];
    let args = [args.as_slice(), &["--crash-rate", "0.1"]].concat();
    stopped_at_once(dir.path(), &args, &data);
    for enough in [0, 1, 40, 150, 290] {
        let settings = format!(
            r#"{{"orders":null,"count":{count},"data":null,"fail_rate":0.4,"crash_rate":0.1,"seed":null,"no_kill":true,"plain":false,"json":true}}"#
        );
        let start = format!(r#"{{"Start":{{"args":{settings},"data":"{}"}}}}"#, data.display());
        let feed = format!(r#"{{"Feed":{{"act":"Fast","until":{count},"per_second":null}}}}"#);
        let mut child = Command::new(quadrille())
            .args(["demo", "serve"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "{start}\n{feed}").unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut ended = lines.filter(|it| it.contains("State")).map(|it| number(&it, "ended"));
        let reached = ended.find(|ended| *ended >= enough);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(reached.is_some_and(|it| it < ORDERS_TO_KILL), "{enough}: {reached:?}");
    }
    let last = said(&demo(dir.path(), &args));
    assert!(last.contains(r#""audit":"ok""#), "{last}");
    assert_eq!((number(&last, "orders"), number(&last, "kills")), (ORDERS_TO_KILL, 5), "{last}");
}

/// Stopped by the user as soon as the services have begun: in order, and to be gone on with.
fn stopped_at_once(dir: &Path, args: &[&str], data: &Path) {
    let child = Command::new(quadrille())
        .current_dir(dir)
        .arg("demo")
        .args(args)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !data.join("stores/order.redb").exists() {
        std::thread::yield_now();
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{}", text(&ended.stderr));
    assert!(text(&ended.stderr).contains("`quadrille demo --data run` goes on"));
}

#[test]
fn the_audit_names_what_somebody_else_wrote_to_the_log() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    said(&demo(dir.path(), &["--json", "--data", "run", "--count", "10"]));
    assert!(said(&demo(dir.path(), &["audit", "run"])).starts_with("audit: ok\n✔ goods"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let bus = Bus::open(dir.path().join("run")).await.unwrap();
        let event = Event::new("order.completed").source("nobody").saga("order-of-nobody");
        bus.topic("orders").publish(event.data("{}")).await.unwrap();
        bus.close(Duration::ZERO).await.unwrap();
    });
    let audit = demo(dir.path(), &["audit", "run"]);
    assert_eq!(audit.status.code(), Some(1));
    let found = text(&audit.stdout);
    assert!(found.contains("✘ orders") && found.contains("order-of-nobody"), "{found}");
    let json = text(&demo(dir.path(), &["audit", "run", "--json"]).stdout);
    assert!(json.contains("order-of-nobody") && json.starts_with(r#"{"audit":["#), "{json}");
}
