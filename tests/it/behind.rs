//! Groups that are far behind, long lanes, and timers, across restarts.

use std::time::Duration;

use quadrille::{Event, OrderBy, Receipt, StartAt};
use quadrille_broker::disk::SimDisk;
use quadrille_broker::log::LogOptions;
use quadrille_broker::time::Now;

use crate::stage::{NOON, Setup, Stage};

/// Several segments, and checkpoints between.
fn setup() -> Setup {
    let log = LogOptions {
        segment_bytes: 300_000,
        first_segment_bytes: 100_000,
        max_chunk_bytes: 64_000,
        seed: 5,
        ..LogOptions::default()
    };
    Setup { log, checkpoint_bytes: 400_000, ..Setup::default() }
}

/// Ten thousand events, in lanes named by `key`.
fn backlog(disk: &SimDisk, key: impl Fn(usize) -> String) -> Stage {
    let stage = Stage::on(disk, NOON, &setup()).unwrap();
    stage.topic("orders");
    for batch in 0..20 {
        let event = |n: usize| Event::new("e").id(n.to_string()).key(key(n)).data(vec![1; 40]);
        let events = (batch * 500..(batch + 1) * 500).map(event);
        stage.run(stage.bus.topic("orders").publish_all(events)).unwrap();
    }
    stage
}

#[test]
fn a_group_far_behind_drains_completely_and_in_order_across_restarts() {
    for order in [OrderBy::Key, OrderBy::Everything, OrderBy::Nothing] {
        let mut disk = SimDisk::new();
        let mut stage = backlog(&disk, |n| format!("k{}", n % 7));
        let (mut done, mut last) = (vec![false; 10_000], [None; 7]);
        for life in 0..4 {
            let group = stage.bus.group("g").topics(["orders"]).order_by(order);
            let mut events = stage.subscribe(group.start(StartAt::Beginning).max_attempts(1_000));
            let most = if life < 3 { 2_000 } else { usize::MAX };
            for _ in 0..most {
                let Some(delivery) = stage.soon(&mut events) else { break };
                let offset = usize::try_from(delivery.offset()).unwrap();
                assert!(!std::mem::replace(&mut done[offset], true), "{offset} again, {order:?}");
                if order != OrderBy::Nothing {
                    let before = last[offset % 7].replace(offset);
                    assert!(before.is_none_or(|it| it < offset), "{offset} after {before:?}");
                }
                drop(delivery.ack());
            }
            stage.pass(2);
            stage.run(stage.bus.flush()).unwrap();
            disk = disk.killed();
            drop(events);
            stage = Stage::on(&disk, NOON, &setup()).unwrap();
        }
        assert_eq!(done.iter().filter(|it| !**it).count(), 0, "{order:?}");
        assert_eq!(stage.unsettled("g"), 0, "{order:?}");
    }
}

#[test]
fn a_long_lane_behind_a_parked_event_drains_in_order_after_its_resolution() {
    let disk = SimDisk::new();
    let stage = backlog(&disk, |_| "one".to_owned());
    let group = |stage: &Stage| {
        let group = stage.bus.group("g").topics(["orders"]).order_by(OrderBy::Key);
        stage.subscribe(group.start(StartAt::Beginning))
    };
    let mut events = group(&stage);
    stage.run(stage.next(&mut events).dead_letter("bad")).unwrap();
    stage.pass(100);
    assert!(stage.try_next(&mut events).is_none(), "all wait");
    let disk = disk.killed();
    drop(events);
    drop(stage);
    let stage = Stage::on(&disk, NOON, &setup()).unwrap();
    let mut events = group(&stage);
    stage.pass(100);
    assert!(stage.try_next(&mut events).is_none(), "all wait, after a restart too");
    let dead = stage.run(stage.bus.dead_letters("g")).unwrap();
    stage.run(stage.bus.resolve("g", dead[0].position).retry()).unwrap();
    for n in 0..10_000 {
        let delivery = stage.soon(&mut events).unwrap_or_else(|| panic!("{n} does not come"));
        assert_eq!(delivery.offset(), n);
        drop(delivery.ack());
    }
    stage.pass(2);
    assert_eq!(stage.unsettled("g"), 0);
}

#[test]
fn timers_fire_once_across_restarts() {
    let mut disk = SimDisk::new();
    let mut stage = Stage::on(&disk, NOON, &setup()).unwrap();
    stage.topic("orders");
    let mut armed = Vec::new();
    for n in 0..50_u64 {
        let event = Event::new("t").id(n.to_string());
        let publish = stage.bus.topic("orders").publish(event);
        let receipt = stage.run(publish.after(Duration::from_millis(100 * (n + 1)))).unwrap();
        let Receipt::Scheduled { timer, due } = receipt else { panic!("{receipt:?}") };
        assert_eq!(due, NOON.wall + 100 * (n + 1));
        armed.push(timer);
    }
    stage.run(stage.bus.cancel_timer(armed[49])).unwrap();
    for life in 1..=6 {
        let fired = stage.ids("orders").len() as u64;
        assert_eq!(fired, (10 * (life - 1)).min(49), "life {life}");
        // Killed in the middle of it, and back after a while.
        stage.pass(450);
        disk = if life % 2 == 0 { disk.killed() } else { disk.crashed(life) };
        let at = Now { mono: 1_000, wall: NOON.wall + 1_000 * life };
        stage = Stage::on(&disk, at, &setup()).unwrap();
        stage.pass(0);
    }
    let expected: Vec<_> = (0..49).map(|it| it.to_string()).collect();
    assert_eq!(stage.ids("orders"), expected, "in the order in which they were due");
    let error = stage.run(stage.bus.cancel_timer(armed[0])).unwrap_err();
    assert_eq!(error.code(), "unknown_timer", "it has fired");
}
