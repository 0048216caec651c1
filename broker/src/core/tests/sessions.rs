//! Sessions: a resend gets the first receipts, exactly, and nothing twice.

use crate::core::command::{Answer, Command, NewEvent, Publish, Receipts, SessionRef, Step};
use crate::core::testing::{Bench, by_saga, encode, event};
use crate::limits::Limits;

fn say(id: u128, sequence: u64, confirmed: u64, event_id: &str) -> Command {
    let events = vec![NewEvent { topic: 1, bytes: encode(event("t", "s", event_id)), due: None }];
    let session = Some(SessionRef { id, sequence, confirmed });
    Command::Publish(Publish { session, events })
}

#[test]
fn a_resend_gets_the_first_receipts_exactly_also_after_a_restart() {
    let mut it = Bench::new();
    it.topic("orders");
    let first = it.run(say(7, 1, 0, "a"));
    let entries = it.log.entries.len();
    assert_eq!(it.run(say(7, 1, 0, "a")), first);
    it.restart(false);
    assert_eq!(it.run(say(7, 1, 0, "a")), first);
    assert_eq!(it.log.entries.len(), entries, "nothing was written again");
    assert_eq!(it.refused(say(7, 1, 0, "b")), "sequence_reused");
}

#[test]
fn a_step_that_is_resent_with_other_outputs_is_refused() {
    let mut it = Bench::new();
    let topic = it.topic("orders");
    let group = it.group("g", by_saga(&["orders"]));
    let m = it.join(group, 5);
    it.publish(topic, event("t", "s", "a"));
    let token = it.expect(m, "a").token;
    let step = |id: &str, cancel: Vec<u64>| {
        let events = vec![NewEvent { topic, bytes: encode(event("t", "s", id)), due: None }];
        let session = Some(SessionRef { id: 7, sequence: 1, confirmed: 0 });
        Command::Step(Step { session, settles: vec![token], events, cancel })
    };
    let first = it.run(step("b", vec![]));
    assert!(matches!(first, Ok(Answer::Published(Receipts::Block { .. }))));
    it.restart(false);
    assert_eq!(it.run(step("b", vec![])), first);
    assert_eq!(it.refused(step("c", vec![])), "sequence_reused");
    assert_eq!(it.refused(step("b", vec![3])), "sequence_reused");
}

#[test]
fn what_was_confirmed_is_forgotten_and_numbers_that_make_no_sense_are_refused() {
    let mut it = Bench::new();
    it.topic("orders");
    it.run(say(7, 1, 0, "a")).unwrap();
    it.run(say(7, 2, 1, "b")).unwrap();
    for (sequence, confirmed) in [(1, 0), (0, 0), (3, 3), (3, u64::MAX), (u64::MAX, u64::MAX)] {
        assert_eq!(it.refused(say(7, sequence, confirmed, "c")), "sequence_forgotten");
    }
}

#[test]
fn a_session_is_full_until_it_confirms() {
    let mut it = Bench::with(Limits { session_receipts: 2, ..Limits::default() });
    it.topic("orders");
    it.run(say(7, 1, 0, "a")).unwrap();
    it.run(say(7, 2, 0, "b")).unwrap();
    assert_eq!(it.refused(say(7, 3, 0, "c")), "limit_reached");
    assert!(it.run(say(7, 3, 1, "c")).is_ok());
}

#[test]
fn there_are_never_more_sessions_than_the_limit_and_the_oldest_goes() {
    let mut it = Bench::with(Limits { sessions: 3, ..Limits::default() });
    it.topic("orders");
    for id in 1..=5 {
        it.pass(10);
        it.run(say(id, 1, 0, &format!("e{id}"))).unwrap();
        assert!(it.core.durable().sessions.by_id.len() <= 3);
    }
    let left: Vec<u128> = it.core.durable().sessions.by_id.keys().copied().collect();
    assert_eq!(left, [3, 4, 5]);
}

#[test]
fn silence_ends_a_session_and_a_jump_of_the_clock_does_not() {
    let mut it = Bench::new();
    it.topic("orders");
    it.run(say(7, 1, 0, "a")).unwrap();
    it.now.wall += 10 * 366 * 24 * 3_600_000;
    it.pass(30_000);
    assert_eq!(it.core.durable().sessions.by_id.len(), 1);
    it.pass(11 * 60_000);
    assert_eq!(it.core.durable().sessions.by_id.len(), 0);
}
