//! From the log to a member's hands and back.

use quadrille_proto::record::Durability::{Synced, Written};
use quadrille_proto::record::OrderBy;

use super::*;
use crate::core::command::Settle;
use crate::core::output::Closed;

#[test]
fn a_member_sees_an_event_when_it_is_durable_and_not_before() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    bench.group("billing", "orders", OrderBy::Saga);
    let member = bench.join("billing");
    drop(bench.publish(topic, "a"));
    bench.log.write();
    assert!(member.try_next().is_none());
    bench.log.sync();
    assert_eq!(ids(&hand(&member)), ["a"]);
}

#[test]
fn a_waiting_member_is_woken() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    struct Count(AtomicUsize);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let bench = Bench::new();
    let topic = bench.topic("written.orders", Written);
    bench.group("billing", "written.orders", OrderBy::Saga);
    let member = bench.join("billing");
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = count.clone().into();
    let mut cx = std::task::Context::from_waker(&waker);
    assert!(member.poll_next(&mut cx).is_pending());
    drop(bench.engine.execute(publish(topic, &["a", "b", "c"])));
    assert_eq!(count.0.load(Ordering::SeqCst), 0);
    bench.log.write();
    assert_eq!(count.0.load(Ordering::SeqCst), 1, "once for all three");
    assert!(member.poll_next(&mut cx).is_ready());
}

#[test]
fn what_is_not_settled_comes_again_after_a_drop_and_what_is_does_not() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    bench.group("billing", "orders", OrderBy::Saga);
    let member = bench.join("billing");
    drop(bench.engine.execute(publish(topic, &["a", "b", "c"])));
    bench.engine.drive();
    let had = hand(&member);
    assert_eq!(ids(&had).len(), 3);
    drop(bench.engine.acks(vec![had[0].token]));
    bench.pass(1);
    drop(member);
    let bench = bench.again();
    let mut left = ids(&hand(&bench.join("billing")));
    left.extend(ids(&had[..1]));
    left.sort_unstable();
    assert_eq!(left, ["a", "b", "c"]);
}

#[test]
fn a_group_far_behind_reads_the_log_and_misses_nothing() {
    let bench = Bench::with(|options| {
        options.limits.tail_bytes = 2_000;
        options.limits.window_bytes = 3_000;
    });
    let (topic, other) = (bench.topic("orders", Synced), bench.topic("others", Synced));
    for n in 0..700 {
        drop(bench.publish(topic, &n.to_string()));
        drop(bench.publish(other, &n.to_string()));
        if n % 50 == 0 {
            bench.engine.drive();
        }
    }
    bench.engine.drive();
    bench.group("billing", "orders", OrderBy::Everything);
    let member = bench.join("billing");
    let mut seen = Vec::new();
    for _ in 0..1_000 {
        bench.engine.drive();
        let had = hand(&member);
        if had.is_empty() {
            break;
        }
        seen.extend(ids(&had));
        drop(bench.engine.acks(had.iter().map(|it| it.token).collect()));
    }
    assert_eq!(seen, (0..700).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn an_event_that_has_left_memory_before_it_was_durable_is_late_and_not_lost() {
    let bench = Bench::with(|options| options.limits.tail_bytes = 500);
    let topic = bench.topic("orders", Synced);
    bench.group("billing", "orders", OrderBy::Everything);
    let member = bench.join("billing");
    for n in 0..30 {
        drop(bench.publish(topic, &n.to_string()));
        bench.engine.fetch_once();
    }
    bench.log.write();
    bench.engine.fetch_once();
    bench.engine.drive();
    let mut seen = Vec::new();
    for _ in 0..100 {
        let had = hand(&member);
        seen.extend(ids(&had));
        drop(bench.engine.acks(had.iter().map(|it| it.token).collect()));
        bench.engine.drive();
    }
    assert_eq!(seen, (0..30).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_timer_fires_once_also_after_a_drop() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    bench.group("billing", "orders", OrderBy::Saga);
    for (id, after) in [("early", 1_000), ("late", 60_000)] {
        let due = Some(bench.clock.now().wall + after);
        let events = vec![NewEvent { topic, bytes: event(id, id), due }];
        drop(bench.engine.execute(Command::Publish(Publish { session: None, events })));
    }
    bench.engine.drive();
    let member = bench.join("billing");
    bench.pass(999);
    assert_eq!(hand(&member).len(), 0);
    bench.pass(1);
    let early = hand(&member);
    assert_eq!(ids(&early), ["early"]);
    drop(bench.engine.acks(vec![early[0].token]));
    bench.pass(100);
    drop(member);
    let bench = bench.again();
    let member = bench.join("billing");
    bench.pass(58_000);
    assert_eq!(hand(&member).len(), 0);
    bench.pass(1_000);
    assert_eq!(ids(&hand(&member)), ["late"]);
}

#[test]
fn a_retried_event_comes_back_when_its_hold_ends() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    bench.group("billing", "orders", OrderBy::Saga);
    let member = bench.join("billing");
    drop(bench.publish(topic, "a"));
    bench.engine.drive();
    let first = hand(&member).remove(0);
    let how = Settle::Retry { reason: "no luck".to_owned(), after_ms: Some(500) };
    let mut settled = bench.engine.execute(Command::Settle(first.token, how));
    assert!(settled.try_get().is_none(), "a retry is worth a sync");
    bench.pass(499);
    assert!(settled.try_get().is_some());
    assert_eq!(hand(&member).len(), 0);
    bench.pass(1);
    assert_eq!(hand(&member).remove(0).attempt, 2);
}

#[test]
fn a_member_that_is_dropped_leaves_what_it_had_to_the_next() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    bench.group("billing", "orders", OrderBy::Everything);
    let member = bench.join("billing");
    drop(bench.engine.execute(publish(topic, &["a", "b"])));
    bench.engine.drive();
    assert_eq!(hand(&member).len(), 2);
    drop(member);
    let next = bench.join("billing");
    bench.engine.drive();
    let had = hand(&next);
    assert_eq!(ids(&had), ["a", "b"]);
    assert_eq!(had[0].attempt, 1, "nothing had been started");
}

#[test]
fn a_close_waits_for_nobody_without_threads_and_counts_what_is_out() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    bench.group("billing", "orders", OrderBy::Everything);
    let member = bench.join("billing");
    drop(bench.engine.execute(publish(topic, &["a", "b"])));
    bench.engine.drive();
    assert_eq!(hand(&member).len(), 2);
    assert_eq!(bench.engine.close(0).unwrap().released, 2);
    assert!(matches!(member.try_next(), Some(MemberEvent::Closed(Closed::ShuttingDown))));
    drop(member);
    let bench = bench.again();
    let had = hand(&bench.join("billing"));
    assert_eq!((ids(&had), had[0].attempt), (vec!["a".to_owned(), "b".to_owned()], 1));
}
