//! What a test bus needs of an engine without threads: when to drive it, what is armed, the same
//! ids again, and a death of the process in place.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use quadrille_proto::record::Durability::Synced;
use quadrille_proto::record::OrderBy;

use super::*;
use crate::core::command::Settle;

/// An engine whose log has everything at once.
fn engine() -> (Engine, Arc<ManualClock>, TopicId) {
    let clock = Arc::new(ManualClock::new(NOON));
    let engine = Engine::memory(options(&clock)).unwrap();
    drop(engine.execute(create_topic("orders", Synced)));
    let config = GroupConfig {
        topics: vec!["orders".to_owned()],
        order_by: OrderBy::Saga.into(),
        ..GroupConfig::default()
    };
    drop(engine.execute(Command::CreateGroup { name: "g".to_owned(), config, start: None }));
    let topic = engine.topic("orders").unwrap();
    engine.drive();
    (engine, clock, topic)
}

#[test]
fn a_death_in_place_takes_the_acks_that_the_log_was_not_given_and_nothing_that_was_answered() {
    let (engine, clock, topic) = engine();
    let member = engine.join("g", "one", 10).unwrap();
    for id in ["a", "b"] {
        drop(engine.execute(publish(topic, &[id])));
    }
    engine.drive();
    let mut held = hand(&member).into_iter();
    drop(engine.acks(vec![held.next().unwrap().token]));
    clock.advance(1);
    engine.drive();
    drop(engine.acks(vec![held.next().unwrap().token]));
    assert!(engine.is_settled(engine.group("g").unwrap(), held_event(&engine, topic, 1)));
    engine.crash();
    assert!(engine.topic("orders").is_err(), "nothing works until it is opened again");
    engine.reopen().unwrap();
    assert!(!engine.opened().clean);
    let member = engine.join("g", "one", 10).unwrap();
    engine.drive();
    assert_eq!(ids(&hand(&member)), ["b"]);
}

fn held_event(engine: &Engine, topic: TopicId, offset: u64) -> crate::core::types::EventRef {
    let mut read = engine.read(super::super::Range::Topic { topic, from: offset, to: u64::MAX });
    read.next_page().unwrap()[0].event
}

#[test]
fn the_hook_is_called_when_there_is_something_to_drive_and_not_otherwise() {
    let (engine, _, topic) = engine();
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    engine.on_work(move || {
        counter.fetch_add(1, SeqCst);
    });
    assert_eq!(engine.next_wake(), None, "nobody holds anything");
    let member = engine.join("g", "one", 10).unwrap();
    assert_eq!(calls.load(SeqCst), 0);
    drop(engine.execute(publish(topic, &["a"])));
    assert!(calls.load(SeqCst) > 0, "a lease has begun: there is a deadline");
    engine.drive();
    let lease = engine.next_wake().unwrap();
    calls.store(0, SeqCst);
    drop(engine.acks(vec![hand(&member)[0].token]));
    assert!(calls.load(SeqCst) > 0, "an ack is to be written");
    assert_eq!(engine.next_wake(), Some(NOON.mono + 1));
    assert!(lease > NOON.mono + 1);
}

#[test]
fn holds_and_timers_are_armed_and_leases_are_not() {
    let (engine, clock, topic) = engine();
    let member = engine.join("g", "one", 10).unwrap();
    drop(engine.execute(publish(topic, &["a"])));
    engine.drive();
    assert_eq!(engine.next_armed(), None);
    let token = hand(&member)[0].token;
    drop(engine.execute(Command::Settle(token, Settle::Defer { after_ms: 700 })));
    assert_eq!(engine.next_armed(), Some(NOON.mono + 700));
    let due = Some(NOON.wall + 500);
    let events = vec![NewEvent { topic, bytes: event("t", "t"), due }];
    drop(engine.execute(Command::Publish(Publish { session: None, events })));
    assert_eq!(engine.next_armed(), Some(NOON.mono + 500));
    clock.advance(700);
    engine.drive();
    assert_eq!(engine.next_armed(), None);
    assert_eq!(hand(&member).len(), 2);
}

#[test]
fn what_waits_behind_an_event_in_somebodys_hands_is_known() {
    let (engine, _, topic) = engine();
    let group = engine.group("g").unwrap();
    let member = engine.join("g", "one", 10).unwrap();
    let in_saga = |id: &str, saga: &str| {
        let events = vec![NewEvent { topic, bytes: event(id, saga), due: None }];
        drop(engine.execute(Command::Publish(Publish { session: None, events })));
    };
    in_saga("a", "s");
    engine.drive();
    let first = hand(&member)[0].token;
    assert_eq!(engine.waiting_behind(group, first.event), []);
    in_saga("b", "s");
    in_saga("c", "other");
    engine.drive();
    assert_eq!(engine.waiting_behind(group, first.event), [held_event(&engine, topic, 1)]);
    drop(engine.acks(vec![first]));
    assert_eq!(engine.waiting_behind(group, first.event), []);
}

#[test]
fn the_same_seed_makes_the_same_ids_again() {
    let made = |seed| {
        let clock = Arc::new(ManualClock::new(NOON));
        let engine = Engine::memory(Options { seed, ..options(&clock) }).unwrap();
        [engine.new_id(NOON.wall), engine.new_id(NOON.wall)]
    };
    assert_eq!(made(1), made(1));
    assert_ne!(made(1), made(2));
}
