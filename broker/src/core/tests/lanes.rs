//! Lanes: order across retries, parks and lost members; nobody else is delayed.

use quadrille_proto::record::OrderBy;

use crate::core::command::{Command, Settle};
use crate::core::testing::{Bench, by_saga, event, ordered};

#[test]
fn a_failing_lane_delays_nobody_else_and_keeps_its_order() {
    let mut it = Bench::new();
    let topic = it.topic("orders");
    let group = it.group("g", ordered(&["orders"], OrderBy::Saga));
    let m = it.join(group, 10);
    for (saga, id) in [("a", "a1"), ("b", "b1"), ("a", "a2"), ("b", "b2")] {
        it.publish(topic, event("t", saga, id));
    }
    assert_eq!(it.held(m), ["a1", "b1"]);
    let a1 = it.expect(m, "a1");
    it.retry(a1.token);
    let b1 = it.expect(m, "b1");
    it.ack(b1.token);
    let b2 = it.expect(m, "b2");
    it.ack(b2.token);
    assert_eq!(it.held(m).len(), 0);
    it.pass(100);
    let a1 = it.expect(m, "a1");
    assert_eq!(a1.attempt, 2);
    it.ack(a1.token);
    let a2 = it.expect(m, "a2");
    it.ack(a2.token);
    it.restart(true);
    let m = it.join(group, 10);
    assert_eq!(it.held(m).len(), 0);
}

#[test]
fn a_compensation_overtakes_what_is_held() {
    let mut it = Bench::new();
    let topic = it.topic("orders");
    let group = it.group("g", by_saga(&["orders"]));
    let m = it.join(group, 10);
    it.publish(topic, event("t", "a", "a1"));
    it.publish(topic, event("t", "a", "a2"));
    let a1 = it.expect(m, "a1");
    it.settle(a1.token, Settle::DeadLetter { reason: "odd".into() });
    it.publish(topic, event("undo", "a", "u"));
    let undo = it.expect(m, "u");
    assert_eq!(undo.superseded.as_ref().map(|all| all.len()), Some(2));
    assert_eq!(undo.turn, 1);
    it.ack(undo.token);
    it.publish(topic, event("t", "a", "a3"));
    assert_eq!(it.held(m).len(), 0, "its turn has passed");
    it.restart(false);
    let m = it.join(group, 10);
    assert_eq!(it.held(m).len(), 0);
    it.run(Command::Leave { member: m, started: Vec::new() }).unwrap();
}
