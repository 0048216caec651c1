//! Much of everything: long lanes, many lanes, groups far behind, cursors that move, lists.

use bytes::Bytes;
use quadrille_proto::record::{GroupConfig, OrderBy, Resolution};

use crate::core::command::{Command, NewEvent, Publish, Resolve, Settle};
use crate::core::output::{Notice, Output};
use crate::core::testing::{Bench, by_saga, encode, event, id_of, ordered};
use crate::core::types::{MemberId, TopicId};
use crate::limits::Limits;

fn fill(it: &mut Bench, topic: TopicId, count: usize, of: impl Fn(usize) -> Bytes) {
    for from in (0..count).step_by(1000) {
        let events = (from..count.min(from + 1000)).map(&of);
        let events = events.map(|bytes| NewEvent { topic, bytes, due: None }).collect();
        it.run(Command::Publish(Publish { session: None, events })).unwrap();
    }
}

fn numbered(saga: &str, n: usize) -> Bytes {
    encode(event("t", saga, &n.to_string()))
}

/// Acknowledges all that comes, run by run; answers the ids in order.
fn take_all(it: &mut Bench, m: MemberId) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(hand) = it.hands.get_mut(&m).filter(|hand| !hand.is_empty()) {
        let hand = std::mem::take(hand);
        all.extend(hand.iter().map(id_of));
        it.run(Command::Ack(hand.iter().map(|it| it.token).collect())).unwrap();
    }
    all
}

#[test]
fn a_long_lane_behind_a_parked_head_costs_little_and_drains_in_order() {
    for tail_bytes in [1 << 16, 1 << 26] {
        let mut it = Bench::with(Limits { tail_bytes, ..Limits::default() });
        let topic = it.topic("orders");
        let group = it.group("g", ordered(&["orders"], OrderBy::Saga));
        let m = it.join(group, 100);
        fill(&mut it, topic, 1, |n| numbered("s", n));
        let head = it.expect(m, "0");
        it.settle(head.token, Settle::DeadLetter { reason: String::new() });
        fill(&mut it, topic, 3000, |n| numbered("s", n + 1));
        let lane = it.core.live[&group].lanes.values().next().unwrap();
        assert!(lane.waiting.len() <= 16 && lane.waiting.iter().all(|it| it.bytes.is_none()));
        let how = Resolution::ResolveRetry;
        let at = it.core.dead_letters(group)[0].event.at;
        let (by, comment, replacement) = (String::new(), String::new(), None);
        let override_superseded = false;
        let resolve = Resolve { group, at, how, replacement, override_superseded, by, comment };
        it.run(Command::Resolve(resolve)).unwrap();
        let ids: Vec<String> = (0..=3000).map(|n| n.to_string()).collect();
        assert_eq!(take_all(&mut it, m), ids);
        assert_eq!(it.core.durable().groups[&group].counts(), (0, 0));
    }
}

#[test]
fn a_lane_that_is_blocked_forgets_what_waits_beyond_16() {
    let mut it = Bench::new();
    let topic = it.topic("orders");
    let group = it.group("g", ordered(&["orders"], OrderBy::Saga));
    let m = it.join(group, 1);
    fill(&mut it, topic, 60, |n| numbered("s", n));
    let head = it.expect(m, "0");
    it.retry(head.token);
    let lane = it.core.live[&group].lanes.values().next().unwrap();
    assert_eq!(lane.waiting.len(), 16);
    it.pass(100);
    assert_eq!(take_all(&mut it, m).len(), 60);
}

#[test]
fn a_group_far_behind_reads_windows_and_misses_nothing() {
    for order in [OrderBy::Saga, OrderBy::Everything, OrderBy::Nothing] {
        let limits = Limits { tail_bytes: 10_000, window_bytes: 10_000, ..Limits::default() };
        let mut it = Bench::with(limits);
        let (a, b) = (it.topic("a"), it.topic("b"));
        let group = it.group("g", ordered(&["a", "b"], order));
        fill(&mut it, a, 1500, |n| numbered(&format!("s{}", n % 7), n));
        fill(&mut it, b, 1500, |n| numbered(&format!("s{}", n % 7), n + 1500));
        let m = it.join(group, 300);
        let mut all = take_all(&mut it, m);
        if order == OrderBy::Nothing {
            all.sort_by_key(|it| it.parse::<usize>().unwrap());
        }
        let lane = |all: &[String], n: usize| -> Vec<usize> {
            let all = all.iter().map(|it| it.parse::<usize>().unwrap());
            all.filter(|it| it % 1500 % 7 == n || order == OrderBy::Everything).collect()
        };
        assert_eq!(all.len(), 3000);
        assert!((0..7).all(|n| lane(&all, n).is_sorted()), "{order:?}");
    }
}

#[test]
fn a_hot_lane_comes_in_runs_of_up_to_64() {
    let mut it = Bench::new();
    let topic = it.topic("orders");
    let group = it.group("g", ordered(&["orders"], OrderBy::Key));
    fill(&mut it, topic, 200, |n| encode(event("t", "s", &n.to_string()).key("hot")));
    let m = it.join(group, 1000);
    assert_eq!(it.held(m).len(), 64, "one run at a time");
    assert_eq!(take_all(&mut it, m).len(), 200);
}

#[test]
fn members_are_served_in_turn_within_their_credit_and_the_group_s_room() {
    let mut it = Bench::new();
    let topic = it.topic("orders");
    let config = GroupConfig { max_in_flight: 7, ..ordered(&["orders"], OrderBy::Nothing) };
    let group = it.group("g", config);
    let (m, n) = (it.join(group, 5), it.join(group, 5));
    for id in ["a", "b", "c", "d"] {
        it.publish(topic, event("t", id, id));
    }
    assert_eq!((it.held(m).len(), it.held(n).len()), (2, 2));
    fill(&mut it, topic, 100, |n| numbered("s", n));
    assert_eq!(it.held(m).len() + it.held(n).len(), 7);
}

#[test]
fn a_saturated_group_says_so_and_goes_on_when_lanes_end() {
    let mut it = Bench::with(Limits { lanes_unfinished: 4, ..Limits::default() });
    let topic = it.topic("orders");
    let group = it.group("g", ordered(&["orders"], OrderBy::Saga));
    let m = it.join(group, 100);
    fill(&mut it, topic, 10, |n| numbered(&format!("s{n}"), n));
    assert_eq!(it.held(m).len(), 4);
    let said = |it: &Bench| {
        let said = it.said.iter().filter_map(|it| match it {
            Output::Notice(Notice::Saturated { yes, .. }) => Some(*yes),
            _ => None,
        });
        said.collect::<Vec<_>>()
    };
    assert_eq!(said(&it), [true]);
    assert!(it.core.group_info(it.now, group).unwrap().saturated);
    assert_eq!(take_all(&mut it, m).len(), 10);
    assert_eq!(said(&it).last(), Some(&false));
}

#[test]
fn a_cursor_moves_past_many_islands_and_a_restart_loses_nothing() {
    for order in [OrderBy::Saga, OrderBy::Nothing] {
        let mut it = Bench::new();
        let topic = it.topic("orders");
        let config = GroupConfig { max_in_flight: 10_000, ..ordered(&["orders"], order) };
        let group = it.group("g", config);
        let m = it.join(group, 4000);
        fill(&mut it, topic, 2400, |n| numbered(&format!("s{n}"), n));
        let hand = std::mem::take(it.hands.get_mut(&m).unwrap());
        let even = hand.iter().filter(|it| it.token.event.offset % 2 == 0);
        it.run(Command::Ack(even.map(|it| it.token).collect())).unwrap();
        let settled = &it.core.durable().groups[&group].topics[&topic];
        assert_eq!((settled.floor(), settled.islands()), (2400, 0), "{order:?}");
        it.restart(false);
        let m = it.join(group, 4000);
        let mut left = take_all(&mut it, m);
        left.sort_by_key(|it| it.parse::<usize>().unwrap());
        let odd: Vec<String> = (0..1200).map(|n| (2 * n + 1).to_string()).collect();
        assert_eq!(left, odd);
        assert_eq!(it.core.durable().groups[&group].counts(), (0, 0));
    }
}

#[test]
fn the_list_of_superseded_events_is_bounded_and_the_oldest_go() {
    let mut it = Bench::with(Limits { superseded_listed: 5, ..Limits::default() });
    let topic = it.topic("orders");
    let group = it.group("g", by_saga(&["orders"]));
    let m = it.join(group, 100);
    fill(&mut it, topic, 8, |n| numbered("s", n));
    let head = it.expect(m, "0");
    it.settle(head.token, Settle::DeadLetter { reason: String::new() });
    it.hands.clear();
    it.publish_all(topic, "undo", "s", &["u"]);
    it.done(m, "u");
    assert_eq!(it.core.dead_letters(group).len(), 8);
    it.jump(20_000);
    let left: Vec<u64> = it.core.dead_letters(group).iter().map(|it| it.event.offset).collect();
    assert_eq!(left, [3, 4, 5, 6, 7]);
    it.restart(true);
}

#[test]
fn nothing_is_shown_before_it_is_durable_and_topics_keep_their_order() {
    let mut it = Bench::new();
    let sync = it.topic("sync");
    let config = quadrille_proto::record::TopicConfig { durability: 1, ..Default::default() };
    it.run(Command::CreateTopic { name: "written".into(), config }).unwrap();
    let group = it.group("g", ordered(&["sync", "written"], OrderBy::Saga));
    let m = it.join(group, 10);
    it.synced = false;
    it.publish_all(sync, "t", "s", &["a"]);
    it.publish_all(2, "t", "s", &["b"]);
    let end = it.log.entries.len() as u64;
    it.core.on_watermarks(it.now, end, end - 2, &mut it.log);
    assert!(it.core.poll_output().is_none(), "b is written, but a comes first");
    it.sync();
    assert_eq!(it.held(m), ["a", "b"]);
}
