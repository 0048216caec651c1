//! What happens when the log or core fails, and the way back.

use quadrille_proto::record::Durability::Synced;
use quadrille_proto::record::OrderBy;

use super::*;
use crate::core::output::Closed;
use crate::error::{EngineError, Outcome};

fn outcome(answer: Option<super::super::Outcomes>) -> Outcome {
    match answer {
        Some(Err(error @ EngineError::Unavailable { .. })) => error.outcome(),
        other => panic!("not unavailable: {other:?}"),
    }
}

#[test]
fn a_fence_tells_who_waits_unknown_and_who_comes_not_applied() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    let mut durable = bench.publish(topic, "a");
    bench.log.write();
    bench.log.sync();
    let mut waiting = bench.publish(topic, "b");
    bench.log.write();
    bench.log.fail();
    assert_eq!(first_offset(durable.try_get()), 0);
    assert_eq!(outcome(waiting.try_get()), Outcome::Unknown);
    assert_eq!(outcome(bench.publish(topic, "c").try_get()), Outcome::NotApplied);
    assert!(bench.engine.topic("orders").is_err());
    assert!(bench.engine.close(0).is_err());
    assert_eq!(bench.engine.next_deadline(), None);
}

#[test]
fn reopening_brings_back_all_that_was_written_in_a_new_epoch() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    let epoch = bench.engine.opened().epoch;
    drop(bench.publish(topic, "a"));
    bench.log.write();
    drop(bench.publish(topic, "b"));
    bench.log.fail();
    assert!(bench.engine.reopen().is_ok());
    bench.engine.drive();
    assert_eq!(bench.engine.opened().epoch, epoch + 1);
    let mut ticket = bench.publish(topic, "c");
    bench.engine.drive();
    assert_eq!(first_offset(ticket.try_get()), 1, "b was never written");
    bench.engine.reopen().unwrap();
    assert_eq!(bench.engine.opened().epoch, epoch + 1, "it works: nothing to do");
}

#[test]
fn a_fence_closes_members_and_drops_what_they_had_not_taken() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    bench.group("billing", "orders", OrderBy::Saga);
    let member = bench.join("billing");
    drop(bench.publish(topic, "a"));
    bench.engine.drive();
    bench.log.fail();
    for _ in 0..2 {
        assert!(matches!(member.try_next(), Some(MemberEvent::Closed(Closed::Fenced))));
    }
    bench.engine.reopen().unwrap();
    bench.engine.drive();
    drop(member);
    assert_eq!(ids(&hand(&bench.join("billing"))), ["a"], "it comes again");
}

#[test]
fn a_panic_under_the_lock_fences_and_the_host_lives() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    let mut waiting = bench.publish(topic, "a");
    let mut panicked = bench.engine.view::<()>(|_| panic!("a bug in core"));
    assert!(matches!(panicked.try_get(), Some(Err(EngineError::Unavailable { .. }))));
    assert_eq!(outcome(waiting.try_get()), Outcome::Unknown);
    assert_eq!(outcome(bench.publish(topic, "b").try_get()), Outcome::NotApplied);
    bench.log.write();
    bench.engine.reopen().unwrap();
    bench.engine.drive();
    let mut again = bench.publish(topic, "c");
    bench.engine.drive();
    assert_eq!(first_offset(again.try_get()), 1);
}

#[test]
fn a_dropped_engine_answers_unknown() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    let mut waiting = bench.publish(topic, "a");
    drop(bench.engine);
    assert_eq!(outcome(waiting.try_get()), Outcome::Unknown);
}
