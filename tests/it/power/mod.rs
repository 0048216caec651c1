//! The whole engine on a disk that loses power, or fails, at every operation of a life.

mod story;

use std::collections::{BTreeMap, BTreeSet};

use quadrille::Event;
use quadrille_broker::disk::{Fault, SimDisk};
use quadrille_broker::time::Now;
use quadrille_tests::rounds;

use self::story::{Facts, Story, group, setup};
use crate::stage::{NOON, Stage};

/// How many operations the whole story takes, and what they are.
fn operations() -> Vec<String> {
    let disk = SimDisk::new();
    let story = Story::tell(&disk).unwrap();
    let facts = &story.facts;
    assert_eq!(facts.parked.len(), 2, "{facts:?}");
    assert_eq!(facts.attempts.get("fails.a"), Some(&2));
    assert_eq!(facts.armed.len(), 2);
    let trace = disk.trace();
    let happens = |what: &str| trace.iter().any(|it| it.starts_with(what));
    for what in ["rename blobs/checkpoint", "remove log/", "set_len log/"] {
        assert!(happens(what), "{what} does not happen");
    }
    trace
}

/// Opens what is left, compares it with what was confirmed, and goes on to the end.
fn check(disk: &SimDisk, facts: &Facts, power_lost: bool, case: &str) {
    // Later than everything that happened before.
    let at = Now { mono: 1_000, wall: NOON.wall + 300_000 };
    let stage = Stage::on(disk, at, &setup()).unwrap_or_else(|e| panic!("{case}: {e}"));
    assert_eq!(stage.engine.opened().gaps, [], "{case}");
    let mut kept = BTreeMap::new();
    for topic in ["orders", "out", "journal"] {
        if stage.engine.topic(topic).is_ok() {
            let all = stage.all(topic);
            let first = all.first().map_or(0, |it| it.0);
            assert!((first..).zip(&all).all(|(n, it)| n == it.0), "{case}: {topic} has holes");
            let ids: BTreeSet<_> = all.iter().map(|it| &it.1).collect();
            assert_eq!(ids.len(), all.len(), "{case}: {topic} has something twice: {all:?}");
            kept.insert(topic, all);
        }
    }
    published(&kept, facts, power_lost, case);
    steps(&kept, facts, case);
    if stage.engine.group("g").is_ok() {
        deliveries(&stage, facts, case);
    } else {
        assert_eq!((facts.steps.len(), facts.acked.len()), (0, 0), "{case}: the group is gone");
    }
    timers(&stage, facts, case);
}

type Kept = BTreeMap<&'static str, Vec<(u64, String)>>;

fn published(kept: &Kept, facts: &Facts, power_lost: bool, case: &str) {
    for (topic, offset, id) in &facts.published {
        let all = kept.get(topic).unwrap_or_else(|| panic!("{case}: {topic} is gone"));
        let retired = all.first().is_some_and(|it| it.0 > *offset);
        let settled = facts.steps.contains(id) || facts.acked.contains(id);
        if let Some((_, there)) = all.iter().find(|it| it.0 == *offset) {
            let other = *topic == "journal" && power_lost;
            assert!(there == id || other, "{case}: {offset} of {topic} was {id}, is {there}");
        } else if retired || all.is_empty() && *topic == "orders" {
            assert!(settled, "{case}: {id} was retired unsettled");
        } else {
            assert!(*topic == "journal" && power_lost, "{case}: {id} at {offset} is lost");
        }
    }
}

fn steps(kept: &Kept, facts: &Facts, case: &str) {
    let empty = Vec::new();
    let out: BTreeSet<_> = kept.get("out").unwrap_or(&empty).iter().map(|it| &*it.1).collect();
    for id in &facts.tried_steps {
        let there = [0, 1].map(|i| out.contains(&*format!("{id}/{i}")));
        assert_eq!(there[0], there[1], "{case}: half of the step of {id}");
        assert!(there[0] || !facts.steps.contains(id), "{case}: the step of {id} is lost");
    }
}

/// What is unsettled comes, in the order of its lane and with its history; the rest does not.
fn deliveries(stage: &Stage, facts: &Facts, case: &str) {
    let dead: BTreeSet<_> = stage.dead("g").into_iter().collect();
    for id in &facts.parked {
        let there = dead.contains(id);
        assert!(there || facts.tried_skips.contains(id), "{case}: {id} is not parked any more");
        assert!(!there || !facts.skipped.contains(id), "{case}: {id} is parked again");
    }
    let out: BTreeSet<_> = stage.ids("out").into_iter().collect();
    let mut events = stage.subscribe(group(stage));
    stage.pass(100);
    let mut last = BTreeMap::new();
    while let Some(delivery) = stage.try_next(&mut events) {
        let id = delivery.id();
        assert!(!facts.acked.contains(id), "{case}: {id} comes again");
        assert!(!out.contains(&format!("{id}/0")), "{case}: {id} comes again after its step");
        assert!(!dead.contains(id), "{case}: {id} is parked and comes");
        assert!(!facts.skipped.contains(id), "{case}: {id} was skipped and comes");
        let before = last.insert(delivery.key().to_owned(), delivery.offset());
        assert!(before < Some(delivery.offset()), "{case}: {id} comes too late");
        let counted = facts.attempts.get(id).copied().unwrap_or_default();
        let may_be = if id == "fails.a" { counted + 1..=3 } else { 1..=1 };
        assert!(may_be.contains(&delivery.attempt()), "{case}: {id} {}", delivery.attempt());
        delivery.ack();
        stage.pass(1);
    }
    for dead in stage.run(stage.bus.dead_letters("g")).unwrap() {
        stage.run(stage.bus.resolve("g", dead.position).skip()).unwrap();
    }
    while let Some(delivery) = stage.try_next(&mut events) {
        delivery.ack();
        stage.pass(1);
    }
    assert_eq!(stage.unsettled("g"), 0, "{case}");
}

/// What is armed fires, once, and the bus works.
fn timers(stage: &Stage, facts: &Facts, case: &str) {
    stage.pass(3_700_000);
    if stage.engine.topic("out").is_err() {
        assert!(facts.published.is_empty(), "{case}");
        return;
    }
    let out = stage.ids("out");
    for id in ["soon", "later"] {
        let fired = out.iter().filter(|it| *it == id).count();
        assert!(fired <= 1, "{case}: {id} has fired {fired} times");
        assert!(fired == 1 || !facts.armed.contains(id), "{case}: {id} never fired");
    }
    let next = stage.all("out").last().map_or(0, |it| it.0 + 1);
    let receipt = stage.publish("out", Event::new("after").id("after"));
    assert_eq!(receipt.offset(), Some(next), "{case}");
}

#[test]
fn the_power_may_fail_at_every_operation() {
    let total = operations().len() as u64;
    for at in 0..total {
        let disk = SimDisk::new();
        disk.fail_at(at, Fault::Death);
        let facts = Story::tell(&disk).map(|it| it.facts).unwrap_or_default();
        check(&disk.killed(), &facts, false, &format!("killed at {at}"));
        for n in 0..2 * rounds() {
            // 0 and 1 are the extremes: nothing, or all, of what was not synced survives.
            let seed = if n == 0 { at % 3 } else { at * 1_000 + n };
            check(&disk.crashed(seed), &facts, true, &format!("power lost at {at}, seed {seed}"));
        }
    }
}

#[test]
fn a_failed_write_or_sync_ends_the_epoch_and_takes_nothing_back() {
    let trace = operations();
    for (at, what) in (0..).zip(&trace) {
        let disk = SimDisk::new();
        disk.fail_at(at, Fault::Io);
        let Ok(story) = Story::tell(&disk) else {
            check(&disk.killed(), &Facts::default(), false, &format!("{what} failed at {at}"));
            continue;
        };
        let case = format!("{what} failed at {at}");
        let of_the_log = what.starts_with("write log/") || what.starts_with("sync log/");
        let fenced = story.stage.engine.topic("orders").is_err();
        // A checkpoint or side file that fails is tried again; the log never.
        assert!(fenced || !of_the_log, "{case}: the bus goes on");
        let Story { stage, facts } = story;
        let event = Event::new("e").id("after the failure");
        let after = stage.run(stage.bus.topic("out").publish(event));
        assert_eq!(after.is_err(), fenced, "{case}: {after:?}");
        drop(stage);
        check(&disk.killed(), &facts, false, &case);
        check(&disk.crashed(at), &facts, true, &case);
    }
}

#[test]
fn nothing_is_confirmed_after_a_failure_in_its_epoch() {
    let trace = operations();
    let syncs = (0..).zip(&trace).filter(|(_, what)| what.starts_with("sync log/"));
    for (at, what) in syncs.skip(3).step_by(3) {
        let (once, ever) = (SimDisk::new(), SimDisk::new());
        once.fail_at(at, Fault::Io);
        ever.fail_at(at, Fault::IoForever);
        let (once, ever) = (Story::tell(&once), Story::tell(&ever));
        let (Ok(once), Ok(ever)) = (once, ever) else { continue };
        // The next sync would "succeed", and say that what is lost is safe.
        assert_eq!(once.facts.count, ever.facts.count, "{what} at {at}");
    }
}
