//! Failures: what counts, how long a lane is held, when it is parked; members and leases.

use quadrille_proto::record::{GroupConfig, Kind, OnExhausted, OrderBy, Resolution, RetryPolicy};

use crate::core::command::{Command, Renewal, Resolve, Settle};
use crate::core::output::Output;
use crate::core::testing::{Bench, event, ordered};
use crate::core::types::{GroupId, MemberId, TopicId};

const ORDERS: [OrderBy; 4] = [OrderBy::Saga, OrderBy::Key, OrderBy::Everything, OrderBy::Nothing];

fn scene(config: GroupConfig) -> (Bench, TopicId, GroupId, MemberId) {
    let mut it = Bench::new();
    let topic = it.topic("orders");
    let group = it.group("g", config);
    let m = it.join(group, 10);
    (it, topic, group, m)
}

fn by(order: OrderBy) -> GroupConfig {
    ordered(&["orders"], order)
}

fn resolve(group: GroupId, it: &Bench, how: Resolution) -> Command {
    let at = it.core.dead_letters(group)[0].event.at;
    let replacement = (how == Resolution::ResolveReplace)
        .then(|| crate::core::testing::encode(event("t", "s", "better")));
    let (by, comment, override_superseded) = ("me".to_owned(), String::new(), false);
    Command::Resolve(Resolve { group, at, how, replacement, override_superseded, by, comment })
}

#[test]
fn attempts_are_counted_across_restarts_and_the_last_one_parks() {
    for order in ORDERS {
        for restarts in [false, true] {
            let (mut it, topic, group, mut m) = scene(by(order));
            it.publish(topic, event("t", "s", "a").key("k"));
            for attempt in 1..=3 {
                let a = it.expect(m, "a");
                assert_eq!(a.attempt, attempt, "{order:?}");
                let settle = Settle::Dropped { reason: "panic".into() };
                it.settle(a.token, settle);
                if restarts {
                    it.restart(false);
                    m = it.join(group, 10);
                }
                it.pass(60_000);
            }
            assert_eq!(it.held(m).len(), 0, "parked");
            assert_eq!(it.core.dead_letters(group)[0].parked.attempts, 3);
        }
    }
}

#[test]
fn twenty_times_unavailable_park_nothing_and_neither_do_defer_and_release() {
    let (mut it, topic, group, m) = scene(by(OrderBy::Saga));
    it.publish(topic, event("t", "s", "a"));
    for _ in 0..20 {
        for settle in [
            Settle::Unavailable { reason: "down".into() },
            Settle::Defer { after_ms: 10 },
            Settle::Release,
        ] {
            let a = it.expect(m, "a");
            assert_eq!(a.attempt, 1);
            it.settle(a.token, settle);
            it.pass(60_000);
        }
    }
    assert_eq!(it.core.dead_letters(group), []);
}

#[test]
fn backoff_grows_to_its_cap_with_jitter_that_is_never_zero() {
    let policy = RetryPolicy { max_attempts: 50, first_ms: 100, factor_percent: 200, cap_ms: 1000 };
    let (mut it, topic, _, m) = scene(GroupConfig { forward: Some(policy), ..by(OrderBy::Saga) });
    it.publish(topic, event("t", "s", "a"));
    let mut delays = Vec::new();
    for attempt in 1..=40 {
        let a = it.expect(m, "a");
        it.settle(a.token, Settle::Retry { reason: String::new(), after_ms: None });
        let Some(Kind::Held(held)) = it.log.entries.last().and_then(|it| it.records.last()) else {
            panic!("a hold")
        };
        let (delay, limit) = (held.due - it.now.wall, (100 << (attempt - 1).min(5)).min(1000));
        assert!((1..=limit).contains(&delay), "{delay} of {limit}");
        delays.push(delay);
        it.pass(delay - 1);
        assert_eq!(it.held(m).len(), 0, "not before");
        it.pass(1);
    }
    assert!(delays.iter().any(|it| *it > 500) && delays.iter().any(|it| *it < 300), "jitter");
}

#[test]
fn absurd_delays_are_refused_and_leave_the_delivery_where_it_is() {
    let (mut it, topic, _, m) = scene(by(OrderBy::Saga));
    it.publish(topic, event("t", "s", "a"));
    let a = it.expect(m, "a");
    for settle in [
        Settle::Retry { reason: String::new(), after_ms: Some(u64::MAX) },
        Settle::Defer { after_ms: u64::MAX },
    ] {
        assert_eq!(it.refused(Command::Settle(a.token, settle)), "delay_too_long");
    }
    it.ack(a.token);
}

#[test]
fn a_parked_head_stops_its_lane_and_its_account_is_in_the_same_entry() {
    let (mut it, topic, group, m) = scene(by(OrderBy::Saga));
    it.publish_all(topic, "t", "s", &["a", "b"]);
    let a = it.expect(m, "a");
    it.settle(a.token, Settle::DeadLetter { reason: "x".repeat(100_000) });
    assert_eq!(it.held(m).len(), 0);
    let entry =
        it.log.entries.iter().rfind(|it| it.records.iter().any(|it| matches!(it, Kind::Parked(_))));
    let records = &entry.unwrap().records;
    let Some(Kind::EventAppended(account)) = records.last() else { panic!("an account") };
    assert!(account.event.len() < 5000, "a reason has its limit");
    let dead = &it.core.dead_letters(group)[0];
    assert_eq!((&*dead.parked.event_type, &*dead.parked.event_id), ("t", "a"));
    it.restart(true);
    let m = it.join(group, 10);
    assert_eq!(it.held(m).len(), 0, "still");
    it.run(resolve(group, &it, Resolution::ResolveRetry)).unwrap();
    let a = it.expect(m, "a");
    assert_eq!(a.attempt, 1, "a new start");
    it.ack(a.token);
    it.done(m, "b");
}

#[test]
fn dead_letters_of_the_bus_s_own_topics_have_no_account() {
    let (mut it, topic, _, m) = scene(by(OrderBy::Saga));
    it.publish(topic, event("t", "s", "a"));
    let a = it.expect(m, "a");
    it.settle(a.token, Settle::DeadLetter { reason: String::new() });
    let config = ordered(&["quadrille.dead_letters"], OrderBy::Nothing);
    let start = Some(crate::core::command::StartAt::Beginning);
    let create = Command::CreateGroup { name: "dead".into(), config, start };
    let Ok(crate::core::command::Answer::Group { group, .. }) = it.run(create) else { panic!() };
    let m = it.join(group, 10);
    let account = it.next(m).expect("the account");
    it.settle(account.token, Settle::DeadLetter { reason: String::new() });
    let accounts = it.core.durable().topics.id("quadrille.dead_letters").unwrap();
    assert_eq!(it.core.durable().topics.get(accounts).unwrap().next, 1);
}

#[test]
fn a_lane_goes_on_behind_a_dead_letter_if_the_group_says_so() {
    let mut config = by(OrderBy::Saga);
    config.set_on_exhausted(OnExhausted::DeadLetter);
    let (mut it, topic, group, m) = scene(config);
    it.publish_all(topic, "t", "s", &["a", "b"]);
    let a = it.expect(m, "a");
    it.synced = false;
    it.settle(a.token, Settle::DeadLetter { reason: "odd".into() });
    assert_eq!(it.held(m).len(), 0, "not before that is durable");
    it.synced = true;
    it.sync();
    it.done(m, "b");
    it.run(resolve(group, &it, Resolution::ResolveReplace)).unwrap();
    let better = it.expect(m, "better");
    assert!(better.replaced);
    it.restart(false);
    let m = it.join(group, 10);
    it.done(m, "better");
    it.restart(true);
    let m = it.join(group, 10);
    assert_eq!((it.held(m).len(), it.core.dead_letters(group).len()), (0, 0));
}

#[test]
fn a_skipped_head_lets_its_lane_go_on_also_after_a_restart() {
    for restarts in [false, true] {
        let (mut it, topic, group, mut m) = scene(by(OrderBy::Key));
        for id in ["a", "b"] {
            it.publish(topic, event("t", "s", id).key("k"));
        }
        let a = it.expect(m, "a");
        it.settle(a.token, Settle::DeadLetter { reason: String::new() });
        if restarts {
            it.restart(false);
            m = it.join(group, 10);
        }
        it.run(resolve(group, &it, Resolution::ResolveSkip)).unwrap();
        it.done(m, "b");
        assert_eq!(it.core.durable().groups[&group].counts(), (0, 0));
    }
}

#[test]
fn a_lost_member_costs_an_attempt_only_where_user_code_had_begun() {
    for order in ORDERS {
        let (mut it, topic, group, _) = scene(by(order));
        let m = it.join(group, 512);
        it.run(Command::Leave { member: 1, started: Vec::new() }).unwrap();
        let ids: Vec<String> = (0..512).map(|n| format!("e{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        it.publish_all(topic, "t", "s", &ids);
        it.pass(0);
        let first = it.hands[&m][0].token;
        let buffered = it.hands[&m].len();
        assert!(order != OrderBy::Nothing || buffered == 512);
        it.run(Command::Leave { member: m, started: vec![first] }).unwrap();
        it.hands.clear();
        it.pass(60_000);
        let m = it.join(group, 512);
        let mut second = 0;
        for _ in 0..600 {
            let Some(one) = it.next(m) else { break };
            second += one.attempt - 1;
            assert!(one.attempt == 1 || one.token.event == first.event);
            it.ack(one.token);
        }
        assert_eq!(second, 1, "{order:?}");
        let settled = &it.core.durable().groups[&group].topics[&topic];
        assert_eq!(settled.floor(), 512);
    }
}

#[test]
fn a_lease_that_runs_out_counts_for_what_was_started_and_its_member_is_told() {
    let (mut it, topic, _, m) = scene(by(OrderBy::Saga));
    it.publish_all(topic, "t", "a", &["a"]);
    it.publish_all(topic, "t", "b", &["b"]);
    let a = it.expect(m, "a");
    it.run(Command::Start(a.token)).unwrap();
    it.pass(29_999);
    assert_eq!(it.held(m), ["b"]);
    it.pass(1);
    let lost = |it: &Output| matches!(it, Output::LeaseLost { .. });
    assert_eq!(it.said.iter().filter(|it| lost(it)).count(), 2);
    it.pass(1000);
    let attempts: Vec<u32> = it.hands[&m].iter().map(|it| it.attempt).collect();
    assert_eq!(attempts, [1, 2], "b again at once, a after its hold");
    assert_eq!(it.refused(Command::Settle(a.token, Settle::Release)), "lease_lost");
}

#[test]
fn leases_that_are_renewed_live_and_what_ran_too_long_does_not() {
    let (mut it, topic, _, m) = scene(by(OrderBy::Nothing));
    it.publish_all(topic, "t", "s", &["a"]);
    let run = it.hands[&m][0].token.run;
    for _ in 0..5 {
        it.pass(20_000);
        let runs = vec![Renewal { run, started: 1, expired: 0 }];
        it.run(Command::Renew { member: m, runs }).unwrap();
    }
    assert_eq!(it.held(m), ["a"]);
    let runs = vec![Renewal { run, started: 1, expired: u64::MAX }];
    it.run(Command::Renew { member: m, runs }).unwrap();
    it.pass(1000);
    assert_eq!(it.expect(m, "a").attempt, 2);
}

#[test]
fn a_process_that_stood_still_keeps_its_leases_and_one_that_followed_its_deadlines_does_not() {
    let (mut it, topic, _, m) = scene(by(OrderBy::Saga));
    it.publish_all(topic, "t", "a", &["a"]);
    let lost = |it: &Output| matches!(it, Output::LeaseLost { .. });
    it.jump(60_000);
    it.pass(29_999);
    assert!(!it.said.iter().any(lost), "the machine slept");
    it.publish_all(topic, "t", "b", &["b"]);
    let b = it.hands[&m][1].token;
    it.retry(b);
    it.hands.get_mut(&m).unwrap().pop_back();
    it.pass(200);
    assert_eq!(it.hands[&m].back().map(|it| it.attempt), Some(2), "no tick was late");
    it.pass(90_000);
    assert!(it.said.iter().any(lost));
}

#[test]
fn a_clock_that_jumps_neither_ends_nor_prolongs_a_hold() {
    for years in [-10i64, 10] {
        let (mut it, topic, group, m) = scene(by(OrderBy::Saga));
        it.publish_all(topic, "t", "a", &["a"]);
        let a = it.expect(m, "a");
        it.settle(a.token, Settle::Retry { reason: String::new(), after_ms: Some(30_000) });
        it.now.wall = it.now.wall.saturating_add_signed(years * 366 * 24 * 3_600_000);
        it.pass(29_999);
        assert_eq!(it.held(m).len(), 0);
        it.pass(1);
        assert_eq!(it.held(m), ["a"]);
        assert!(it.log.entries.iter().any(|it| matches!(it.records[0], Kind::ClockJumped(_))));
        let a = it.expect(m, "a");
        it.settle(a.token, Settle::Retry { reason: String::new(), after_ms: Some(30_000) });
        it.now.wall = it.now.wall.saturating_add_signed(years * 366 * 24 * 3_600_000);
        it.restart(true);
        let m = it.join(group, 1);
        it.pass(60_000);
        assert_eq!(it.held(m), ["a"], "after a restart at most the policy's cap");
    }
}
