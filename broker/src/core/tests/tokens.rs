//! Tokens: settling twice, out of turn, after a restart; and the care after an unclean stop.

use quadrille_proto::record::{Kind, OrderBy};

use crate::core::command::{Answer, Command, NewEvent, Settle, Step};
use crate::core::testing::{Bench, by_saga, core, encode, event, ordered};
use crate::core::types::{GroupId, MemberId, Position, Token, TopicId};

fn scene(ids: &[&str]) -> (Bench, TopicId, GroupId, MemberId, Vec<Token>) {
    let mut it = Bench::new();
    let topic = it.topic("orders");
    let group = it.group("g", by_saga(&["orders"]));
    it.publish_all(topic, "t", "s", ids);
    let m = it.join(group, 10);
    let tokens = it.hands[&m].iter().map(|it| it.token).collect();
    (it, topic, group, m, tokens)
}

fn code(it: &mut Bench, token: Token) -> Option<&'static str> {
    match it.run(Command::Ack(vec![token])) {
        Ok(Answer::Acked { refused }) => refused.first().map(|(_, refusal)| refusal.code()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_settle_again_is_fine_and_another_one_is_not() {
    let settles: [fn() -> Settle; 6] = [
        || Settle::Retry { reason: String::new(), after_ms: Some(60_000) },
        || Settle::Defer { after_ms: 60_000 },
        || Settle::Unavailable { reason: String::new() },
        || Settle::DeadLetter { reason: String::new() },
        || Settle::Dropped { reason: String::new() },
        || Settle::Release,
    ];
    for (index, settle) in settles.iter().enumerate() {
        let (mut it, .., tokens) = scene(&["a"]);
        it.settle(tokens[0], settle());
        let entries = it.log.entries.len();
        it.settle(tokens[0], settle());
        let other = settles[(index + 1) % settles.len()]();
        assert_eq!(it.refused(Command::Settle(tokens[0], other)), "settled_otherwise");
        assert_eq!(code(&mut it, tokens[0]), Some("settled_otherwise"));
        assert_eq!(it.log.entries.len(), entries);
    }
    let (mut it, .., tokens) = scene(&["a"]);
    assert_eq!(code(&mut it, tokens[0]), None);
    assert_eq!(code(&mut it, tokens[0]), None);
    assert_eq!(it.refused(Command::Settle(tokens[0], Settle::Release)), "settled_otherwise");
}

#[test]
fn a_step_happens_once_and_frees_its_credit_once() {
    let (mut it, topic, group, _, tokens) = scene(&["a", "b"]);
    let events = vec![NewEvent { topic, bytes: encode(event("t", "s", "out")), due: None }];
    let settles = vec![tokens[0], tokens[0]];
    let step = Step { settles, events, ..Step::default() };
    it.run(Command::Step(step.clone())).unwrap();
    let entries = it.log.entries.len();
    let again = it.run(Command::Step(step.clone()));
    assert!(matches!(again, Ok(Answer::Published(_))));
    assert_eq!(it.log.entries.len(), entries, "it happened once");
    let mixed = Step { settles: vec![tokens[0], tokens[1]], ..step };
    assert_eq!(it.refused(Command::Step(mixed)), "lease_lost");
    assert_eq!(it.core.group_info(it.now, group).unwrap().out.0, 1);
}

#[test]
fn of_a_lane_only_the_first_open_delivery_can_have_begun_or_failed() {
    let (mut it, .., tokens) = scene(&["a", "b", "c"]);
    let retry = Settle::Retry { reason: String::new(), after_ms: None };
    assert_eq!(it.refused(Command::Settle(tokens[1], retry.clone())), "not_its_turn");
    assert_eq!(it.refused(Command::Start(tokens[1])), "not_its_turn");
    assert_eq!(code(&mut it, tokens[0]), None);
    it.settle(tokens[1], retry);
    assert_eq!(code(&mut it, tokens[2]), Some("lease_lost"), "what followed went back");
}

#[test]
fn a_token_of_an_earlier_epoch_settles_what_nobody_else_has_had() {
    let (mut it, _, group, _, tokens) = scene(&["a", "b"]);
    it.restart(false);
    assert_eq!(code(&mut it, Token { epoch: 99, ..tokens[0] }), Some("foreign_token"));
    assert_eq!(code(&mut it, tokens[0]), None);
    assert_eq!(code(&mut it, tokens[0]), None, "the same again");
    let m = it.join(group, 10);
    assert_eq!(it.held(m), ["b"], "a is not repeated");
    assert_eq!(code(&mut it, tokens[1]), Some("lease_lost"), "handed out since");
    it.done(m, "b");
}

#[test]
fn an_earlier_token_counts_and_parks_and_never_lets_a_lane_pass() {
    let (mut it, _, group, _, tokens) = scene(&["a", "b"]);
    it.restart(false);
    let retry = Settle::Retry { reason: "r".into(), after_ms: Some(1000) };
    assert_eq!(it.refused(Command::Settle(tokens[1], retry.clone())), "lease_lost", "a is first");
    it.settle(tokens[0], retry);
    let m = it.join(group, 10);
    assert_eq!(it.held(m).len(), 0, "b waits behind a");
    it.pass(1000);
    assert_eq!(it.expect(m, "a").attempt, 2);
    it.done(m, "b");
}

#[test]
fn an_earlier_token_of_another_lane_does_not_unblock_this_one() {
    let (mut it, topic, group, m, tokens) = scene(&["a"]);
    it.publish(topic, event("t", "other", "o"));
    let other = it.hands[&m][1].token;
    it.settle(tokens[0], Settle::Retry { reason: String::new(), after_ms: Some(60_000) });
    it.restart(true);
    assert_eq!(code(&mut it, Token { lane: tokens[0].lane, ..other }), Some("lease_lost"));
    let m = it.join(group, 10);
    assert_eq!(it.held(m), ["o"]);
}

#[test]
fn a_compensation_that_an_earlier_token_settles_has_taken_its_turn() {
    let mut it = Bench::new();
    let topic = it.topic("orders");
    let group = it.group("g", by_saga(&["orders"]));
    let m = it.join(group, 1);
    it.publish_all(topic, "undo", "s", &["u"]);
    let u = it.expect(m, "u");
    it.restart(false);
    assert_eq!(code(&mut it, u.token), None);
    let m = it.join(group, 10);
    it.publish_all(topic, "t", "s", &["f"]);
    assert_eq!(it.held(m).len(), 0, "f is late");
}

#[test]
fn an_event_that_kills_its_process_is_parked_after_max_attempts_restarts() {
    for order in [OrderBy::Saga, OrderBy::Nothing] {
        let mut it = Bench::new();
        let topic = it.topic("orders");
        let group = it.group("g", ordered(&["orders"], order));
        it.publish_all(topic, "t", "s", &["killer", "next"]);
        for _ in 0..4 {
            it.restart(false);
            let m = it.join(group, 1);
            let token = it.expect(m, "killer").token;
            if it.core.group_info(it.now, group).is_some_and(|it| it.parked == 0)
                && it.run(Command::Start(token)).is_err()
            {
                break;
            }
            it.run(Command::Start(token)).expect("twice is once");
        }
        let dead = &it.core.dead_letters(group)[0];
        assert_eq!(dead.parked.reason, "crashes its consumer");
        let records = it.log.entries.iter().flat_map(|it| &it.records);
        let starts = records.filter(|it| matches!(it, Kind::HandedOut(_))).count();
        assert_eq!(starts, 3, "{order:?}");
    }
}

#[test]
fn care_ends_with_a_release_or_an_ack_and_normal_running_writes_nothing() {
    let (mut it, topic, group, m, tokens) = scene(&["a"]);
    let entries = it.log.entries.len();
    it.run(Command::Start(tokens[0])).unwrap();
    assert_eq!(it.log.entries.len(), entries, "no care is needed");
    assert!(!it.hands[&m].is_empty());
    for _ in 0..10 {
        it.restart(false);
        let m = it.join(group, 1);
        let a = it.expect(m, "a");
        assert!(it.runs[&a.token.run].1, "careful");
        it.run(Command::Start(a.token)).unwrap();
        it.settle(a.token, Settle::Release);
    }
    it.restart(false);
    let m = it.join(group, 10);
    let a = it.expect(m, "a");
    it.run(Command::Start(a.token)).unwrap();
    it.ack(a.token);
    it.publish_all(topic, "t", "s", &["b"]);
    let b = it.expect(m, "b");
    assert!(!it.runs[&b.token.run].1, "published since");
    it.ack(b.token);
    assert_eq!(it.core.durable().groups[&group].counts(), (0, 0));
}

#[test]
fn a_checkpoint_whose_sections_differ_in_age_counts_nothing_twice() {
    let (mut it, ..) = scene(&["a"]);
    it.restart(false);
    let at = |it: &Bench| Position { entry: it.log.entries.len() as u64, index: u32::MAX };
    let sections = it.core.durable().sections();
    let topics = (at(&it), it.core.durable().export(sections[0]).unwrap());
    let m = it.join(1, 1);
    let a = it.expect(m, "a").token;
    it.run(Command::Start(a)).unwrap();
    let mut other = core(&it.limits, 99);
    other.import(sections[0].kind(), topics.0, &topics.1).unwrap();
    for section in &sections[1..] {
        let bytes = it.core.durable().export(*section).unwrap();
        other.import(section.kind(), at(&it), &bytes).unwrap();
    }
    for (entry, it) in (1u64..).zip(&it.log.entries).filter(|(entry, _)| *entry > topics.0.entry) {
        for (index, kind) in (0u32..).zip(&it.records) {
            other.replay(Position { entry, index }, it.time, it.sync, kind);
        }
    }
    assert_eq!(other.durable(), it.core.durable());
    assert_eq!(other.durable().groups[&1].head(a.lane, a.event).unwrap().unaccounted, 1);
}
