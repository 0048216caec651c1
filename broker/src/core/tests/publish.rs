//! Publishing: what is refused and with which code, repeats, ids, offsets.

use bytes::Bytes;
use quadrille_proto::Event;
use quadrille_proto::record::{Kind, TopicConfig};

use crate::core::command::{Answer, Command, NewEvent, Publish, Receipt, Receipts, Step};
use crate::core::testing::{Bench, encode, event};
use crate::core::types::{Position, TopicId};
use crate::limits::Limits;

fn publish(events: Vec<(TopicId, Bytes)>) -> Command {
    let events = events.into_iter().map(|(topic, bytes)| NewEvent { topic, bytes, due: None });
    Command::Publish(Publish { session: None, events: events.collect() })
}

fn e(id: &str) -> Bytes {
    encode(event("t", "s", id))
}

#[test]
fn bad_input_is_refused_by_name_and_changes_nothing() {
    let limits = Limits { event_bytes: 100, command_events: 3, ..Limits::default() };
    let mut it = Bench::with(limits);
    let topic = it.topic("orders");
    let big = encode(Event::new("t").id("x").source("s").data(vec![0; 200]));
    let twice = encode(event("t", "s", "twice").data("other"));
    for (command, code) in [
        (publish(vec![]), "empty_command"),
        (publish(vec![(99, e("a"))]), "unknown_topic"),
        (publish(vec![(topic, big)]), "event_too_large"),
        (publish((0..4).map(|_| (topic, e("a"))).collect()), "command_too_large"),
        (publish(vec![(topic, e("twice")), (topic, twice)]), "id_reused"),
    ] {
        assert_eq!(it.refused(command), code);
    }
    let refusal = it.run(publish(vec![(topic, Bytes::from_static(b"\xff\xff"))]));
    assert!(refusal.is_err(), "not an event");
    for name in ["", ".", "..", ".hidden", "a/b", "a b", &"x".repeat(256), &"x".repeat(9999)] {
        let command = Command::CreateTopic { name: name.into(), config: TopicConfig::default() };
        assert_eq!(it.refused(command), "bad_name", "{name:?}");
    }
    let config = TopicConfig::default();
    let command = Command::CreateTopic { name: "quadrille.mine".into(), config };
    assert_eq!(it.refused(command), "reserved_name");
}

#[test]
fn a_repeat_is_stored_once_within_a_batch_across_commands_and_across_a_restart() {
    let mut it = Bench::new();
    let topic = it.topic("orders");
    let duplicate = Receipt::Duplicate { topic, offset: 0 };
    let Ok(Answer::Published(Receipts::Each(receipts))) =
        it.run(publish(vec![(topic, e("a")), (topic, e("a")), (topic, e("b"))]))
    else {
        panic!("receipts one by one")
    };
    assert!(matches!(receipts[0], Receipt::Appended { event, .. } if event.offset == 0));
    assert_eq!(receipts[1], duplicate);
    assert!(matches!(receipts[2], Receipt::Appended { event, .. } if event.offset == 1));
    for restart in [false, true] {
        if restart {
            it.restart(false);
        }
        let answer = it.run(publish(vec![(topic, e("a"))]));
        assert_eq!(answer, Ok(Answer::Published(Receipts::Each(vec![duplicate]))));
        let other = encode(event("t", "s", "a").data("other"));
        assert_eq!(it.refused(publish(vec![(topic, other)])), "id_reused");
    }
    let appended = it.log.entries.iter().flat_map(|it| &it.records);
    assert_eq!(appended.filter(|it| matches!(it, Kind::EventAppended(_))).count(), 2);
}

#[test]
fn the_same_id_in_another_topic_is_another_event() {
    let mut it = Bench::new();
    let (a, b) = (it.topic("a"), it.topic("b"));
    it.publish(a, event("t", "s", "x"));
    assert!(matches!(it.publish(b, event("t", "s", "x")), Receipt::Appended { .. }));
}

#[test]
fn a_batch_is_one_block_of_dense_offsets() {
    let mut it = Bench::new();
    let topic = it.topic("orders");
    it.publish(topic, event("t", "s", "first"));
    let answer = it.run(publish(vec![(topic, e("a")), (topic, e("b"))]));
    let entry = it.log.entries.len() as u64;
    let at = Position { entry, index: 0 };
    let block = Receipts::Block { topic, first: 1, count: 2, at, synced: true };
    assert_eq!(answer, Ok(Answer::Published(block)));
}

#[test]
fn disks_fill_in_three_marks_and_backlogs_drain() {
    let limits = Limits::default();
    let [first, second, third] = limits.disk_marks;
    let mut it = Bench::with(limits);
    let topic = it.topic("orders");
    let group = it.group("g", crate::core::testing::by_saga(&["orders"]));
    let m = it.join(group, 10);
    for id in ["a", "b", "c", "d"] {
        it.publish(topic, event("t", id, id));
    }
    let step = |token, id: &str| {
        let events = vec![NewEvent { topic, bytes: e(id), due: None }];
        Command::Step(Step { settles: vec![token], events, ..Step::default() })
    };
    let a = it.expect(m, "a");
    it.core.on_space(first - 1);
    assert_eq!(it.refused(publish(vec![(topic, e("x"))])), "disk_full");
    assert!(it.run(step(a.token, "y")).is_ok());
    it.core.on_space(second - 1);
    let b = it.expect(m, "b");
    assert_eq!(it.refused(step(b.token, "z")), "disk_full");
    it.retry(b.token);
    it.core.on_space(third - 1);
    let c = it.expect(m, "c");
    let retry = crate::core::command::Settle::Retry { reason: String::new(), after_ms: None };
    assert_eq!(it.refused(Command::Settle(c.token, retry)), "disk_full");
    it.ack(c.token);
    let d = it.expect(m, "d");
    let dead = crate::core::command::Settle::DeadLetter { reason: String::new() };
    it.settle(d.token, dead);
    it.core.on_space(u64::MAX);
    it.publish(topic, event("t", "s", "again"));
}
