//! Groups: where they start, what may change, pausing, deleting; deleted topics.

use quadrille_proto::record::{GroupConfig, OrderBy, SettleKind};

use crate::core::command::{Answer, Command, Settle, StartAt};
use crate::core::output::{Closed, Output};
use crate::core::testing::{Bench, by_saga, event, ordered};

fn create(config: GroupConfig, start: Option<StartAt>) -> Command {
    Command::CreateGroup { name: "g".into(), config, start }
}

#[test]
fn a_group_starts_at_the_beginning_of_what_is_empty_and_else_must_say() {
    for (start, sees) in [(StartAt::Beginning, 2), (StartAt::End, 1)] {
        let mut it = Bench::new();
        let topic = it.topic("orders");
        it.publish(topic, event("t", "a", "a"));
        let config = ordered(&["orders"], OrderBy::Saga);
        assert_eq!(it.refused(create(config.clone(), None)), "start_required");
        let Ok(Answer::Group { group, created: true }) = it.run(create(config, Some(start))) else {
            panic!()
        };
        let m = it.join(group, 10);
        it.publish(topic, event("t", "b", "b"));
        assert_eq!(it.held(m).len(), sees);
    }
}

#[test]
fn a_group_that_is_asked_for_differently_is_a_conflict() {
    let mut it = Bench::new();
    it.topic("orders");
    let config = by_saga(&["orders"]);
    let group = it.group("g", config.clone());
    assert_eq!(it.group("g", config.clone()), group);
    let changes: [fn(&mut GroupConfig); 5] = [
        |it| it.set_order_by(OrderBy::Key),
        |it| it.lease_ms = 5,
        |it| it.late.push("t".into()),
        |it| it.forward = Some(Default::default()),
        |it| it.max_in_flight = 3,
    ];
    for change in changes {
        let mut other = config.clone();
        change(&mut other);
        let code = it.refused(create(other, None));
        assert!(["group_config_conflict", "supersede_needs_saga"].contains(&code), "{code}");
    }
    let mut other = config;
    other.lease_ms = 5;
    it.run(Command::AlterGroup { group, config: other.clone() }).unwrap();
    assert_eq!(it.group("g", other.clone()), group);
    other.topics.push("more".into());
    let alter = Command::AlterGroup { group, config: other };
    assert_eq!(it.refused(alter), "group_config_conflict");
    assert_eq!(it.refused(create(by_saga(&["none"]), None)), "group_config_conflict");
}

#[test]
fn a_paused_group_hands_out_nothing_and_still_takes_settles() {
    let mut it = Bench::new();
    let topic = it.topic("orders");
    let group = it.group("g", ordered(&["orders"], OrderBy::Saga));
    let m = it.join(group, 10);
    it.publish_all(topic, "t", "a", &["a1"]);
    it.run(Command::Pause { group, reason: "lunch".into() }).unwrap();
    it.publish_all(topic, "t", "b", &["b1"]);
    it.done(m, "a1");
    assert_eq!(it.held(m).len(), 0);
    it.restart(true);
    let m = it.join(group, 10);
    assert_eq!(it.held(m).len(), 0, "still paused");
    it.run(Command::Resume { group }).unwrap();
    it.done(m, "b1");
}

#[test]
fn deleting_what_is_needed_takes_an_explicit_discard() {
    let mut it = Bench::new();
    let topic = it.topic("orders");
    let group = it.group("g", ordered(&["orders"], OrderBy::Saga));
    let m = it.join(group, 10);
    it.publish_all(topic, "t", "a", &["a1", "a2"]);
    let a1 = it.expect(m, "a1");
    it.settle(a1.token, Settle::DeadLetter { reason: "no".into() });
    assert_eq!(it.refused(Command::DeleteGroup { group, discard: false }), "still_needed");
    assert_eq!(it.refused(Command::DeleteTopic { topic, discard: false }), "still_needed");
    it.run(Command::DeleteGroup { group, discard: true }).unwrap();
    let closed = |it: &Output| matches!(it, Output::MemberClosed { why: Closed::GroupDeleted, .. });
    assert!(it.said.iter().any(closed));
    assert_eq!(it.refused(Command::Pause { group, reason: String::new() }), "unknown_group");
    assert_eq!(it.refused(Command::Settle(a1.token, Settle::Release)), "lease_lost");
    let topics = vec!["quadrille.dead_letters".to_owned()];
    let (name, config) = ("g2".to_owned(), GroupConfig { topics, ..by_saga(&[]) });
    let create = Command::CreateGroup { name, config, start: Some(StartAt::End) };
    let Ok(Answer::Group { group: again, .. }) = it.run(create) else { panic!() };
    assert!(again > group, "numbers are not used again");
    it.restart(true);
}

#[test]
fn a_group_sees_only_its_types() {
    let mut it = Bench::new();
    let topic = it.topic("orders");
    let config = ordered(&["orders"], OrderBy::Saga);
    let group = it.group("g", GroupConfig { types: vec!["t".into()], ..config });
    let m = it.join(group, 10);
    it.publish(topic, event("other", "a", "a1"));
    it.publish(topic, event("t", "a", "a2"));
    it.publish(topic, event("other", "a", "a3"));
    it.done(m, "a2");
    it.pass(200);
    let settled = &it.core.durable().groups[&group].topics[&topic];
    assert_eq!(settled.floor(), 3, "what is passed over is recorded as {:?}", SettleKind::Filtered);
}

#[test]
fn a_deleted_topic_takes_its_blocked_lanes_with_it_and_the_others_go_on() {
    for parked in [true, false] {
        let mut it = Bench::new();
        let (a, b) = (it.topic("a"), it.topic("b"));
        let group = it.group("g", ordered(&["a", "b"], OrderBy::Saga));
        let m = it.join(group, 10);
        it.publish_all(a, "t", "s", &["a1"]);
        it.publish_all(b, "t", "s", &["b1"]);
        it.publish_all(a, "t", "s", &["a2"]);
        let a1 = it.expect(m, "a1");
        match parked {
            true => it.settle(a1.token, Settle::DeadLetter { reason: "no".into() }),
            false => it.retry(a1.token),
        }
        it.hands.clear();
        it.run(Command::DeleteTopic { topic: a, discard: true }).unwrap();
        it.restart(true);
        let m = it.join(group, 10);
        it.done(m, "b1");
        assert_eq!(it.held(m).len(), 0);
        it.pass(1000);
        assert_eq!(it.core.durable().groups[&group].counts(), (0, 0));
    }
}

#[test]
fn events_of_a_deleted_topic_that_are_out_are_gone_when_they_fail() {
    let mut it = Bench::new();
    let (a, b) = (it.topic("a"), it.topic("b"));
    let group = it.group("g", ordered(&["a", "b"], OrderBy::Saga));
    let m = it.join(group, 1);
    it.publish_all(a, "t", "s", &["a1"]);
    it.publish_all(b, "t", "s", &["b1"]);
    let a1 = it.expect(m, "a1");
    it.run(Command::DeleteTopic { topic: a, discard: true }).unwrap();
    it.retry(a1.token);
    it.done(m, "b1");
    it.restart(true);
    assert_eq!(it.core.durable().groups[&group].counts(), (0, 0));
}
