//! When an answer may be seen: stamps, watermarks, and the order of what is recorded.

use quadrille_proto::record::Durability::{Synced, Written};
use quadrille_proto::record::OrderBy;

use super::*;
use crate::core::refusal::Refusal;
use crate::error::EngineError;

#[test]
fn a_publish_answers_after_the_sync_that_covers_it_and_not_before() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    let mut ticket = bench.publish(topic, "a");
    assert_eq!(ticket.try_get(), None);
    assert!(bench.log.write());
    assert_eq!(ticket.try_get(), None, "written is not durable");
    assert!(bench.log.sync());
    assert_eq!(first_offset(ticket.try_get()), 0);
}

#[test]
fn a_publish_to_a_written_topic_does_not_wait_for_the_disk() {
    let bench = Bench::new();
    let topic = bench.topic("written.orders", Written);
    let mut ticket = bench.publish(topic, "a");
    assert_eq!(ticket.try_get(), None);
    bench.log.write();
    assert_eq!(first_offset(ticket.try_get()), 0);
}

#[test]
fn a_refusal_waits_for_what_it_may_have_looked_at() {
    let bench = Bench::new();
    let created = bench.engine.execute(create_topic("orders", Synced));
    let mut refused = bench.publish(77, "a");
    assert_eq!(refused.try_get(), None, "the topic it was refused beside is not durable");
    bench.log.write();
    assert_eq!(refused.try_get(), None);
    bench.log.sync();
    let refusal = EngineError::Refused(Refusal::UnknownTopicNumber(77));
    assert_eq!(refused.try_get(), Some(Err(refusal)));
    drop(created);
    let mut again = bench.publish(77, "a");
    assert!(again.try_get().is_some(), "nothing is on its way any more");
}

#[test]
fn what_is_executed_while_the_log_writes_goes_in_one_chunk() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    let mut tickets: Vec<_> = ["a", "b", "c"].map(|id| bench.publish(topic, id)).into();
    assert!(bench.log.write(), "the first was handed over at once");
    assert!(bench.log.write(), "the others when the log was done with it");
    assert!(!bench.log.write());
    bench.log.sync();
    let offsets: Vec<_> = tickets.iter_mut().map(|it| first_offset(it.try_get())).collect();
    assert_eq!(offsets, [0, 1, 2]);
}

#[test]
fn an_ack_answers_at_once_and_is_written_soon_and_durable_in_time() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    bench.group("billing", "orders", OrderBy::Saga);
    let member = bench.join("billing");
    drop(bench.publish(topic, "a"));
    bench.engine.drive();
    let hand = hand(&member);
    let before = bench.log.watermarks();
    let mut ticket = bench.engine.acks(vec![hand[0].token]);
    assert!(ticket.try_get().is_some());
    assert!(!bench.log.write(), "nobody waits, so it gathers");
    assert_eq!(bench.engine.next_deadline(), Some(NOON.mono + 1));
    bench.clock.advance(1);
    bench.engine.tick_once();
    assert!(bench.log.write());
    assert_eq!(bench.log.watermarks().written, before.written + 1);
    assert_eq!(bench.log.syncs_asked(), 0);
    bench.clock.advance(98);
    bench.engine.tick_once();
    assert_eq!(bench.log.syncs_asked(), 1, "although nobody waits for it");
}

#[test]
fn a_flush_answers_when_everything_before_it_is_durable() {
    let bench = Bench::new();
    let topic = bench.topic("written.orders", Written);
    let mut published = bench.publish(topic, "a");
    let mut flushed = bench.engine.flush();
    bench.log.write();
    assert!(published.try_get().is_some());
    assert_eq!(flushed.try_get(), None);
    bench.log.sync();
    assert!(flushed.try_get().is_some());
}

#[test]
fn a_full_disk_delays_and_loses_nothing() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    bench.log.set_full(true);
    let mut ticket = bench.publish(topic, "a");
    bench.engine.drive();
    assert_eq!(ticket.try_get(), None);
    bench.log.set_full(false);
    bench.clock.advance(20);
    bench.engine.drive();
    assert_eq!(first_offset(ticket.try_get()), 0);
}

#[test]
fn publishers_wait_in_turn_while_the_queue_is_full() {
    let bench = Bench::with(|options| options.limits.queue_bytes = 100);
    let topic = bench.topic("orders", Synced);
    let engine = &bench.engine;
    let first = engine.try_admit(80).expect("there is room");
    assert!(engine.try_admit(80).is_none());
    let mut second = Box::pin(engine.admit(80));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(second.as_mut().poll(&mut cx).is_pending());
    let mut ticket = engine.execute_admitted(publish(topic, &["a"]), first);
    assert!(second.as_mut().poll(&mut cx).is_pending(), "its room comes with its answer");
    assert!(engine.try_admit(1).is_none(), "nobody overtakes who waits");
    engine.drive();
    assert!(ticket.try_get().is_some());
    assert!(second.as_mut().poll(&mut cx).is_ready());
    assert!(engine.try_admit(1000).is_some(), "a command larger than the queue gets all of it");
}

#[test]
fn what_was_read_from_core_is_seen_when_it_is_safe() {
    let bench = Bench::new();
    let created = bench.engine.execute(create_topic("orders", Synced));
    let mut seen = bench.engine.view(|core| core.topic_id("orders"));
    bench.log.write();
    assert!(seen.try_get().is_none());
    bench.log.sync();
    assert!(matches!(seen.try_get(), Some(Ok(Some(_)))));
    drop(created);
}

#[test]
fn threads_answer_by_themselves() {
    let engine = Engine::memory(Options { seed: 1, ..Options::default() }).unwrap();
    let wait = |ticket| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(ticket)
    };
    let Ok(Answer::Topic { topic, .. }) = wait(engine.execute(create_topic("orders", Synced)))
    else {
        panic!("no topic")
    };
    for n in 0..100 {
        let id = n.to_string();
        assert_eq!(first_offset(Some(wait(engine.execute(publish(topic, &[&id]))))), n);
    }
    engine.close(1_000).unwrap();
}
