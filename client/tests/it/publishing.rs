//! Publishing: receipts, repeats, batches, timers, refusals.

use std::time::Duration;

use quadrille::{ErrorKind, Event, Outcome, PublishError, Receipt};

use crate::stage::Stage;

#[test]
fn offsets_are_dense_and_a_repeat_gets_the_first_one() {
    let stage = Stage::new();
    let event = || Event::new("order.created").id("a").source("shop");
    assert_eq!(stage.publish(event()).offset(), Some(0));
    assert_eq!(stage.publish(Event::new("order.created")).offset(), Some(1));
    assert_eq!(stage.publish(event()), Receipt::Duplicate { offset: 0 });
    let error = stage.run(stage.bus.topic("orders").publish(event().data("other"))).unwrap_err();
    assert_eq!((error.code(), error.kind()), ("id_reused", ErrorKind::Conflict));
}

#[test]
fn a_batch_is_answered_event_by_event() {
    let stage = Stage::new();
    let events = ["a", "b", "a"].map(|id| Event::new("order.created").id(id));
    let receipts = stage.run(stage.bus.topic("orders").publish_all(events)).unwrap();
    let offsets: Vec<_> = receipts.iter().map(|receipt| receipt.offset()).collect();
    assert_eq!(offsets, [Some(0), Some(1), Some(0)]);
    assert_eq!(receipts.get(2), Some(Receipt::Duplicate { offset: 0 }));
    assert_eq!(receipts.get(3), None);
}

#[test]
fn pipelined_publishes_keep_their_order() {
    let stage = Stage::new();
    let topic = stage.bus.topic("orders");
    let first = stage.run(topic.publish(Event::new("a")).send()).unwrap();
    let second = stage.run(topic.publish(Event::new("b")).send()).unwrap();
    assert_eq!(stage.run(second).unwrap().offset(), Some(1));
    assert_eq!(stage.run(first).unwrap().offset(), Some(0));
}

#[test]
fn a_delayed_publish_is_a_timer_until_it_is_due() {
    let stage = Stage::new();
    let topic = stage.bus.topic("orders");
    let delay = Duration::from_secs(60);
    let later = |ty| stage.run(topic.publish(Event::new(ty)).after(delay)).unwrap();
    let (Receipt::Scheduled { due, .. }, Receipt::Scheduled { timer, .. }) =
        (later("a"), later("b"))
    else {
        panic!("a timer was asked for")
    };
    assert_eq!(due, 1_700_000_060_000);
    stage.run(stage.bus.cancel_timer(timer)).unwrap();
    assert_eq!(stage.run(stage.bus.cancel_timer(timer)).unwrap_err().code(), "unknown_timer");
    let mut all = stage.subscribe(stage.group("all"));
    stage.advance(59_999);
    assert!(stage.try_next(&mut all).is_none());
    stage.advance(1);
    assert_eq!(stage.next(&mut all).ty(), "a");
    assert!(stage.try_next(&mut all).is_none());
}

#[test]
fn what_cannot_be_published_is_named() {
    let stage = Stage::new();
    let missing = stage.run(stage.bus.topic("none").publish(Event::new("a"))).unwrap_err();
    assert_eq!(missing, PublishError::UnknownTopic { topic: "none".into() });
    assert_eq!((missing.kind(), missing.outcome()), (ErrorKind::NotFound, Outcome::NotApplied));
    let events = [Event::new("a"), Event::new("")];
    let untyped = stage.run(stage.bus.topic("orders").publish_all(events)).unwrap_err();
    assert!(matches!(untyped, PublishError::Invalid { index: 1, .. }), "{untyped}");
    assert_eq!(stage.publish(Event::new("a")).offset(), Some(0), "none of the batch is there");
    let name = stage.run(stage.bus.create_topic("../orders")).unwrap_err();
    assert_eq!((name.code(), name.kind()), ("bad_name", ErrorKind::Input));
}
