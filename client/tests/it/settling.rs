//! Settles: what each leads to, what a refusal gives back, dead letters and their resolution.

use std::time::Duration;

use quadrille::{Delivery, ErrorKind, Event, RetryPolicy, StartAt, Subscription};

use crate::stage::Stage;

/// A lane `a`, `b`; with no pause between attempts.
fn lane(attempts: u32) -> (Stage, Subscription) {
    let stage = Stage::new();
    stage.publish_lane("k", &["a", "b"]);
    let at_once = RetryPolicy { first: Duration::from_millis(1), ..RetryPolicy::default() };
    let group = stage.group("g").retry(at_once).max_attempts(attempts).start(StartAt::Beginning);
    let events = stage.subscribe(group);
    (stage, events)
}

fn seen(it: &Delivery) -> (&str, u32) {
    (it.id(), it.attempt())
}

#[test]
fn what_failed_comes_again_before_what_follows_it() {
    let (stage, mut events) = lane(5);
    stage.next(&mut events).retry("no stock");
    assert!(stage.try_next(&mut events).is_none(), "the rest of the run went back");
    stage.advance(1);
    let again = stage.next(&mut events);
    assert_eq!(seen(&again), ("a", 2));
    again.ack();
    assert_eq!(seen(&stage.next(&mut events)), ("b", 1));
}

#[test]
fn only_retries_and_drops_count_as_attempts() {
    let (stage, mut events) = lane(9);
    stage.next(&mut events).defer(Duration::from_millis(5));
    stage.advance(5);
    stage.next(&mut events).unavailable("payment is down");
    stage.advance(1);
    stage.next(&mut events).release();
    let untouched = stage.next(&mut events);
    assert_eq!(seen(&untouched), ("a", 1));
    untouched.retry_after(Duration::from_millis(50), "busy");
    stage.advance(49);
    assert!(stage.try_next(&mut events).is_none());
    stage.advance(1);
    drop(stage.next(&mut events));
    stage.advance(2);
    assert_eq!(seen(&stage.next(&mut events)), ("a", 3));
}

#[test]
fn a_refused_settle_gives_the_delivery_back() {
    let (stage, mut events) = lane(5);
    let delivery = stage.next(&mut events);
    let endless = Duration::from_secs(u64::MAX / 1000);
    let refused = stage.run(delivery.defer(endless)).unwrap_err();
    assert_eq!((refused.why.code(), refused.why.kind()), ("delay_too_long", ErrorKind::Input));
    stage.run(refused.delivery.ack()).unwrap();
    assert_eq!(seen(&stage.next(&mut events)), ("b", 1), "nothing of the run was lost");
}

#[test]
fn an_awaited_ack_says_that_the_bus_has_it() {
    let (stage, mut events) = lane(5);
    let first = stage.next(&mut events);
    stage.run(first.ack()).unwrap();
    assert_eq!(stage.unsettled("g"), 1);
}

#[test]
fn a_dead_letter_blocks_its_lane_until_it_is_skipped() {
    let (stage, mut events) = lane(5);
    stage.next(&mut events).dead_letter("no such product");
    assert!(stage.try_next(&mut events).is_none());
    let dead = stage.run(stage.bus.dead_letters("g")).unwrap();
    let [it] = &dead[..] else { panic!("{dead:?}") };
    assert_eq!(
        (&*it.id, &*it.reason, &*it.topic, it.offset),
        ("a", "no such product", "orders", 0)
    );
    assert!(it.blocks.is_some());
    stage.run(stage.bus.resolve("g", it.position).by("ann").comment("typo").skip()).unwrap();
    assert_eq!(seen(&stage.next(&mut events)), ("b", 1));
    let twice = stage.run(stage.bus.resolve("g", it.position).skip()).unwrap_err();
    assert_eq!((twice.code(), twice.kind()), ("no_dead_letter", ErrorKind::NotFound));
}

#[test]
fn a_dead_letter_can_be_tried_again_or_replaced() {
    let (stage, mut events) = lane(1);
    stage.next(&mut events).retry("once is enough");
    let at = stage.run(stage.bus.dead_letters("g")).unwrap()[0].position;
    stage.run(stage.bus.resolve("g", at).retry()).unwrap();
    stage.next(&mut events).retry("again");
    let other = Event::new("order.created").data("repaired");
    stage.run(stage.bus.resolve("g", at).replace(other)).unwrap();
    let repaired = stage.next(&mut events);
    assert_eq!((repaired.data(), repaired.replaced()), (&b"repaired"[..], true));
    // It is the same event in all that was not said.
    assert_eq!((repaired.id(), repaired.key(), repaired.ty()), ("a", "k", "order.created"));
}
