//! The acceptance table of compensation: whatever became of the forward event, its effect is absent
//! or undone exactly once, with no human, also with a restart between any two steps.

use crate::core::command::{Command, Resolve, Settle};
use crate::core::testing::{Bench, by_saga, encode, event, id_of};
use crate::core::types::{GroupId, MemberId, TopicId};
use crate::limits::Limits;
use quadrille_proto::record::Resolution;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Forward {
    NotYetPublished,
    Waiting,
    Out,
    Held,
    Parked,
    Done,
}

struct Scene {
    it: Bench,
    topic: TopicId,
    group: GroupId,
    m: MemberId,
    restarts: bool,
    /// What the handlers did, in order.
    done: Vec<String>,
}

impl Scene {
    fn new(restarts: bool) -> Self {
        let mut it = Bench::new();
        let topic = it.topic("orders");
        let group = it.group("g", by_saga(&["orders"]));
        let m = it.join(group, 10);
        Self { it, topic, group, m, restarts, done: Vec::new() }
    }

    fn publish(&mut self, ty: &str, id: &str) {
        self.it.publish(self.topic, event(ty, "s", id));
        self.between();
    }

    /// A restart between two steps; who held something asks for it again.
    fn between(&mut self) {
        if self.restarts {
            self.it.restart(false);
            self.m = self.it.join(self.group, 10);
        }
    }

    /// Handles all there is, to the end.
    fn handle_all(&mut self) {
        for _ in 0..5 {
            while let Some(it) = self.it.next(self.m) {
                self.done.push(id_of(&it));
                self.it.ack(it.token);
                self.between();
            }
            self.it.pass(100);
        }
    }

    fn forward(&mut self, state: Forward) {
        if state == Forward::NotYetPublished {
            return;
        }
        self.publish("t", "f");
        let settle = match state {
            Forward::Held => Settle::Retry { reason: "no luck".into(), after_ms: Some(60_000) },
            Forward::Parked => Settle::DeadLetter { reason: "no way".into() },
            Forward::Done => return self.handle_all(),
            _ => return,
        };
        let f = self.it.expect(self.m, "f");
        self.it.settle(f.token, settle);
        self.between();
    }
}

#[test]
fn the_effect_is_absent_or_undone_exactly_once() {
    use Forward::{Done, Held, NotYetPublished, Out, Parked, Waiting};
    for restarts in [false, true] {
        for state in [NotYetPublished, Waiting, Out, Held, Parked, Done] {
            for twice in [false, true] {
                let mut scene = Scene::new(restarts);
                if state == Waiting {
                    let group = scene.group;
                    let pause = Command::Pause { group, reason: "lunch".into() };
                    scene.it.run(pause).unwrap();
                }
                scene.forward(state);
                scene.publish("undo", "u1");
                if twice {
                    scene.publish("undo", "u2");
                }
                let group = scene.group;
                scene.it.run(Command::Resume { group }).unwrap();
                if state == NotYetPublished {
                    scene.handle_all();
                    scene.publish("t", "f");
                }
                scene.handle_all();
                let case = format!("{state:?}, twice: {twice}, restarts: {restarts}");
                let expected: &[&str] = match (state, twice) {
                    // Taken or not, the forward event comes before its compensations.
                    (Waiting | Out | Done, false) => &["f", "u1"],
                    (Waiting | Out | Done, true) => &["f", "u1", "u2"],
                    // Never handled to its end, nor after its compensation.
                    (NotYetPublished | Held | Parked, false) => &["u1"],
                    (NotYetPublished | Held | Parked, true) => &["u1", "u2"],
                };
                assert_eq!(scene.done, expected, "{case}");
                let blocked = scene.it.core.group_info(scene.it.now, group).unwrap();
                assert_eq!((blocked.held, blocked.parked), (0, 0), "no human: {case}");
                let info = scene.it.core.dead_letters(group);
                assert_eq!(info.len(), usize::from([Held, Parked].contains(&state)), "{case}");
                assert!(info.iter().all(|it| it.superseded_by.is_some()), "{case}");
            }
        }
    }
}

#[test]
fn a_compensation_waits_for_what_is_out_and_comes_next_when_that_fails() {
    let mut scene = Scene::new(false);
    scene.publish("t", "f1");
    scene.publish("t", "f2");
    let f1 = scene.it.expect(scene.m, "f1");
    scene.publish("undo", "u");
    assert_eq!(scene.it.held(scene.m).len(), 0, "f1 is out");
    scene.it.retry(f1.token);
    let u = scene.it.expect(scene.m, "u");
    let list: Vec<_> = u.superseded.iter().flat_map(|all| all.iter()).collect();
    let said: Vec<_> = list.iter().map(|it| (it.event.offset, it.attempts, &*it.reason)).collect();
    assert_eq!(said, [(0, 1, "no luck"), (1, 0, "")], "what was held, and what waited behind it");
    let dead = scene.it.core.dead_letters(scene.group);
    assert!(dead.iter().all(|it| it.superseded_by == Some(u.token.event)));
    assert_eq!(dead.len(), 2);
}

#[test]
fn a_run_ends_with_a_compensation() {
    let mut scene = Scene::new(false);
    let (group, it) = (scene.group, &mut scene.it);
    it.run(Command::Pause { group, reason: String::new() }).unwrap();
    it.publish_all(scene.topic, "t", "s", &["f1", "f2"]);
    it.publish_all(scene.topic, "undo", "s", &["u"]);
    it.publish_all(scene.topic, "t", "s", &["f3"]);
    it.run(Command::Resume { group }).unwrap();
    assert_eq!(it.held(scene.m), ["f1", "f2", "u"]);
    for id in ["f1", "f2", "u"] {
        it.done(scene.m, id);
    }
    assert_eq!(it.held(scene.m).len(), 0, "f3 is late: it was published with the old turn");
}

#[test]
fn a_late_event_in_the_middle_of_a_lane_is_settled_as_late() {
    let mut scene = Scene::new(false);
    let (group, topic, m) = (scene.group, scene.topic, scene.m);
    let it = &mut scene.it;
    it.publish_all(topic, "undo", "s", &["u"]);
    it.done(m, "u");
    it.run(Command::Pause { group, reason: String::new() }).unwrap();
    it.publish(topic, event("t", "s", "new1").turn(1));
    it.publish(topic, event("t", "s", "old"));
    it.publish(topic, event("t", "s", "new2").turn(1));
    it.run(Command::Resume { group }).unwrap();
    for id in ["new1", "new2"] {
        it.done(m, id);
    }
    assert_eq!(it.core.durable().groups[&group].topics[&topic].floor(), 4);
}

#[test]
fn a_group_that_asks_for_late_events_gets_them_flagged() {
    let mut it = Bench::new();
    let topic = it.topic("orders");
    let mut config = by_saga(&["orders"]);
    config.late.push("t".into());
    let group = it.group("g", config);
    let m = it.join(group, 10);
    it.publish_all(topic, "undo", "s", &["u"]);
    it.done(m, "u");
    it.publish_all(topic, "t", "s", &["f"]);
    assert!(it.expect(m, "f").late);
}

#[test]
fn a_compensation_never_passes_another_one() {
    for park in [true, false] {
        let mut scene = Scene::new(false);
        scene.publish("undo", "u1");
        let u1 = scene.it.expect(scene.m, "u1");
        match park {
            true => scene.it.settle(u1.token, Settle::DeadLetter { reason: "odd".into() }),
            false => scene.it.retry(u1.token),
        }
        scene.publish("undo", "u2");
        assert_eq!(scene.it.held(scene.m).len(), 0);
        scene.it.restart(true);
        scene.m = scene.it.join(scene.group, 10);
        assert_eq!(scene.it.held(scene.m).len(), 0);
    }
}

#[test]
fn turns_are_inherited_through_steps_and_restarts() {
    for restarts in [false, true] {
        let mut scene = Scene::new(restarts);
        scene.publish("undo", "u");
        let u = scene.it.expect(scene.m, "u");
        assert_eq!(u.turn, 1);
        scene.between();
        let (topic, it) = (scene.topic, &mut scene.it);
        let token = it.next(scene.m).map_or(u.token, |it| it.token);
        it.step(
            token,
            vec![(topic, event("t", "s", "next")), (topic, event("undo", "s", "again"))],
        );
        scene.between();
        let next = scene.it.expect(scene.m, "next");
        assert_eq!(next.turn, 1, "an event's turn is its cause's");
        scene.it.ack(next.token);
        scene.between();
        assert_eq!(scene.it.expect(scene.m, "again").turn, 2, "plus one if it supersedes");
    }
}

#[test]
fn a_superseded_event_is_retried_only_with_an_override_and_then_once() {
    for restarts in [false, true] {
        let mut scene = Scene::new(restarts);
        scene.forward(Forward::Parked);
        scene.publish("undo", "u");
        scene.handle_all();
        let at = scene.it.core.dead_letters(scene.group)[0].event.at;
        let resolve = |override_superseded| {
            Command::Resolve(Resolve {
                group: scene.group,
                at,
                how: Resolution::ResolveRetry,
                replacement: None,
                override_superseded,
                by: "me".into(),
                comment: String::new(),
            })
        };
        let (plain, forced) = (resolve(false), resolve(true));
        assert_eq!(scene.it.refused(plain), "was_superseded");
        scene.it.run(forced).unwrap();
        scene.between();
        let f = scene.it.expect(scene.m, "f");
        assert!(f.late, "and it is told that its turn has passed");
        scene.it.ack(f.token);
        scene.between();
        scene.handle_all();
        assert_eq!(scene.done, ["u"]);
    }
}

#[test]
fn a_compensation_far_behind_in_the_lane_still_overtakes_all_of_it() {
    for tail_bytes in [1 << 10, 1 << 26] {
        let mut it = Bench::with(Limits { tail_bytes, ..Limits::default() });
        let topic = it.topic("orders");
        let group = it.group("g", by_saga(&["orders"]));
        let m = it.join(group, 10);
        it.publish_all(topic, "t", "s", &["f0"]);
        let f0 = it.expect(m, "f0");
        it.settle(f0.token, Settle::DeadLetter { reason: "odd".into() });
        let events = (1..700).map(|n| crate::core::command::NewEvent {
            topic,
            bytes: encode(event("t", "s", &format!("f{n}"))),
            due: None,
        });
        let events = events.collect();
        it.run(Command::Publish(crate::core::command::Publish { session: None, events })).unwrap();
        it.restart(true);
        let m = it.join(group, 10);
        it.publish_all(topic, "undo", "s", &["u"]);
        let u = it.expect(m, "u");
        assert_eq!(u.superseded.map(|all| all.len()), Some(700));
        it.ack(u.token);
        assert_eq!(it.core.durable().groups[&group].topics[&topic].floor(), 701);
    }
}
