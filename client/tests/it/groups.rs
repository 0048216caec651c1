//! Groups and their members: order, buffering, leases, handlers, ends.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use quadrille::{Closed, Event, OrderBy, StartAt, SubscribeError};

use crate::stage::Stage;

#[test]
fn the_next_of_a_lane_comes_when_the_one_before_is_settled() {
    let stage = Stage::new();
    stage.publish_lane("k", &["a", "b", "c"]);
    let group = stage.group("g").start(StartAt::Beginning);
    let mut events = stage.subscribe(group);
    let first = stage.next(&mut events);
    assert!(stage.try_next(&mut events).is_none());
    first.ack();
    let second = stage.next(&mut events);
    assert_eq!((second.id(), second.topic(), second.offset()), ("b", "orders", 1));
}

#[test]
fn events_without_order_come_all_at_once() {
    let stage = Stage::new();
    stage.publish_lane("k", &["a", "b", "c"]);
    let group = stage.group("g").order_by(OrderBy::Nothing).start(StartAt::Beginning);
    let mut events = stage.subscribe(group);
    let held = [0; 3].map(|_| stage.next(&mut events));
    assert_eq!(held.each_ref().map(|it| it.id()), ["a", "b", "c"]);
}

#[test]
fn a_new_group_on_old_events_must_say_where_it_starts() {
    let stage = Stage::new();
    stage.publish(Event::new("a"));
    let error = stage.run(stage.group("g").subscribe()).unwrap_err();
    assert!(matches!(error, SubscribeError::StartRequired { events: 1, .. }), "{error}");
    let mut events = stage.subscribe(stage.group("g").start(StartAt::End));
    assert!(stage.try_next(&mut events).is_none());
    let other = stage.run(stage.group("g").max_attempts(9).subscribe()).unwrap_err();
    assert_eq!(other.code(), "group_config_conflict");
    drop(stage.subscribe(stage.group("g").max_attempts(9).update()));
    let unnamed = stage.run(stage.bus.group("g").info()).unwrap();
    assert_eq!(unnamed.topics, ["orders"]);
    drop(stage.subscribe(stage.bus.group("g")));
    let none = stage.run(stage.bus.group("none").subscribe()).unwrap_err();
    assert_eq!(none, SubscribeError::UnknownGroup { group: "none".into() });
}

#[test]
fn what_a_dropped_subscription_had_only_buffered_comes_to_another_as_it_was() {
    let stage = Stage::new();
    stage.publish_lane("k", &["a", "b"]);
    stage.publish_lane("l", &["c"]);
    let group = stage.group("g").max_attempts(1).start(StartAt::Beginning);
    let mut one = stage.subscribe(group.clone());
    let held = stage.next(&mut one);
    drop(one);
    let mut two = stage.subscribe(group);
    let other = stage.next(&mut two);
    assert_eq!((other.id(), other.attempt()), ("c", 1));
    assert!(stage.try_next(&mut two).is_none(), "its lane is still in the first one's hands");
    stage.run(held.ack()).unwrap();
    let next = stage.next(&mut two);
    assert_eq!((next.id(), next.attempt()), ("b", 1));
}

#[test]
fn a_subscription_ends_only_when_its_member_is_out_and_says_why() {
    let stage = Stage::new();
    let mut events = stage.subscribe(stage.group("g"));
    assert_eq!(events.closed(), None);
    stage.run(stage.bus.group("g").delete(false)).unwrap();
    assert!(stage.run(events.next()).is_none());
    assert_eq!(events.closed(), Some(Closed::GroupDeleted));
}

#[test]
fn a_paused_group_hands_out_nothing() {
    let stage = Stage::new();
    let mut events = stage.subscribe(stage.group("g"));
    stage.run(stage.bus.group("g").pause("upgrade")).unwrap();
    stage.publish(Event::new("a"));
    assert!(stage.try_next(&mut events).is_none());
    assert_eq!(stage.run(stage.bus.group("g").info()).unwrap().paused.as_deref(), Some("upgrade"));
    stage.run(stage.bus.group("g").resume()).unwrap();
    assert_eq!(stage.next(&mut events).ty(), "a");
}

#[test]
fn acks_are_handed_over_within_a_millisecond_though_nobody_polls() {
    let stage = Stage::new();
    stage.publish_lane("k", &["a"]);
    let mut events = stage.subscribe(stage.group("g").start(StartAt::Beginning));
    stage.next(&mut events).ack();
    assert_eq!(stage.unsettled("g"), 1, "it is buffered");
    stage.advance(1);
    assert_eq!(stage.unsettled("g"), 0);
}

#[test]
fn sixty_four_acks_are_handed_over_together() {
    let stage = Stage::new();
    let events = (0..65).map(|_| Event::new("a"));
    stage.run(stage.bus.topic("orders").publish_all(events)).unwrap();
    let group = stage.group("g").order_by(OrderBy::Nothing).start(StartAt::Beginning);
    let mut events = stage.subscribe(group);
    let held: Vec<_> = (0..65).map(|_| stage.next(&mut events)).collect();
    for (i, delivery) in held.into_iter().enumerate() {
        assert_eq!(stage.unsettled("g"), 65, "before ack {i}");
        delivery.ack();
    }
    assert_eq!(stage.unsettled("g"), 1);
}

#[test]
fn a_handler_that_takes_too_long_loses_its_lease_and_is_dropped() {
    let stage = Stage::new();
    stage.publish_lane("k", &["a"]);
    let group = stage.group("g").start(StartAt::Beginning);
    let group = group.handler_timeout(Duration::from_secs(10));
    let events = stage.subscribe(group);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let dropped = Rc::new(Cell::new(0));
    struct Count(Rc<Cell<u32>>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let mut running = pin!(events.for_each_concurrent(4, |delivery| {
        let (seen, count) = (Rc::clone(&seen), Count(Rc::clone(&dropped)));
        async move {
            seen.borrow_mut().push(delivery.attempt());
            std::future::pending::<()>().await;
            drop((count, delivery));
        }
    }));
    for _ in 0..5 {
        assert!(stage.poll_settled(running.as_mut()).is_pending());
        stage.advance(2_500);
    }
    assert_eq!(dropped.get(), 0, "first seen by a renewal at 2.5 s, not yet older than 10 s");
    stage.advance(2_500);
    assert!(stage.poll_settled(running.as_mut()).is_pending());
    assert_eq!(dropped.get(), 1);
    stage.advance(1_000);
    assert!(stage.poll_settled(running.as_mut()).is_pending());
    assert_eq!(*seen.borrow(), [1, 2], "it counts as an attempt");
}

#[test]
fn extend_starts_the_handler_timeout_again() {
    let stage = Stage::new();
    stage.publish_lane("k", &["a"]);
    let group = stage.group("g").start(StartAt::Beginning);
    let mut events = stage.subscribe(group.handler_timeout(Duration::from_secs(10)));
    let delivery = stage.next(&mut events);
    let mut lost = pin!(delivery.lease_lost());
    for _ in 0..20 {
        stage.advance(2_500);
        delivery.extend();
        assert!(stage.poll_settled(lost.as_mut()).is_pending());
    }
    for _ in 0..6 {
        stage.advance(2_500);
    }
    assert!(stage.poll_settled(lost.as_mut()).is_ready());
    let refused = stage.run(delivery.ack()).unwrap_err();
    assert_eq!(refused.why.code(), "lease_lost");
}

#[test]
fn a_lease_is_kept_while_user_code_works() {
    let stage = Stage::new();
    stage.publish_lane("k", &["a", "b"]);
    let mut events = stage.subscribe(stage.group("g").start(StartAt::Beginning));
    let delivery = stage.next(&mut events);
    for _ in 0..25 {
        stage.advance(10_000);
    }
    stage.run(delivery.ack()).unwrap();
    assert_eq!(stage.next(&mut events).id(), "b", "the rest of the run is still here");
}

#[test]
fn a_handler_that_panics_harms_nobody_else() {
    let stage = Stage::new();
    stage.publish_lane("k", &["bad"]);
    stage.publish_lane("l", &["good", "better"]);
    let group = stage.group("g").max_attempts(1).start(StartAt::Beginning);
    let events = stage.subscribe(group);
    let done = Rc::new(RefCell::new(Vec::new()));
    let mut running = pin!(events.for_each_concurrent(2, |delivery| {
        let done = Rc::clone(&done);
        async move {
            assert_ne!(delivery.id(), "bad", "on purpose");
            done.borrow_mut().push(delivery.id().to_owned());
            delivery.ack();
        }
    }));
    assert!(stage.poll_settled(running.as_mut()).is_pending());
    assert_eq!(*done.borrow(), ["good", "better"]);
    let dead = stage.run(stage.bus.dead_letters("g")).unwrap();
    assert_eq!((&*dead[0].id, &*dead[0].reason), ("bad", "panicked"));
}

#[test]
fn the_result_of_a_closure_settles_what_it_leaves_open() {
    let stage = Stage::new();
    stage.publish_lane("k", &["fails"]);
    stage.publish_lane("l", &["drops"]);
    stage.publish_lane("m", &["settles"]);
    let group = stage.group("g").max_attempts(1).start(StartAt::Beginning);
    let mut running = pin!(group.run(|delivery| async move {
        match delivery.id() {
            "fails" => Err("no stock"),
            "drops" => {
                drop(delivery);
                Ok(())
            }
            _ => {
                delivery.dead_letter("by itself");
                Err("too late")
            }
        }
    }));
    assert!(stage.poll_settled(running.as_mut()).is_pending());
    let dead = stage.run(stage.bus.dead_letters("g")).unwrap();
    let reasons: Vec<_> = dead.iter().map(|it| (&*it.id, &*it.reason)).collect();
    assert_eq!(reasons, [("fails", "no stock"), ("settles", "by itself")]);
    stage.run(stage.bus.group("g").delete(true)).unwrap();
    assert_eq!(stage.run(running).unwrap(), Closed::GroupDeleted);
}

#[test]
fn handlers_of_different_lanes_run_at_once_up_to_the_limit() {
    let stage = Stage::new();
    for key in ["a", "b", "c"] {
        stage.publish_lane(key, &[key]);
    }
    let events = stage.subscribe(stage.group("g").start(StartAt::Beginning));
    let gate = Rc::new(tokio::sync::Semaphore::new(0));
    let running_now = Rc::new(Cell::new(0));
    let mut running = pin!(events.for_each_concurrent(2, |delivery| {
        let (gate, now) = (Rc::clone(&gate), Rc::clone(&running_now));
        async move {
            now.set(now.get() + 1);
            gate.acquire().await.unwrap().forget();
            now.set(now.get() - 1);
            delivery.ack();
        }
    }));
    assert_eq!(stage.poll_settled(running.as_mut()), Poll::Pending);
    assert_eq!(running_now.get(), 2);
    gate.add_permits(3);
    assert_eq!(stage.poll_settled(running.as_mut()), Poll::Pending);
    assert_eq!((running_now.get(), stage.unsettled("g")), (0, 0));
}

#[test]
fn what_arrives_after_a_subscription_was_dropped_keeps_no_member() {
    let stage = Stage::new();
    let mut events = stage.subscribe(stage.group("g"));
    stage.publish_lane("k", &["a"]);
    let held = stage.next(&mut events);
    stage.publish_lane("l", &["b"]);
    stage.engine.drive();
    drop(events);
    // Looks for the loss of its lease, and so into the mailbox, where `b` is.
    assert!(stage.poll_settled(pin!(held.lease_lost())).is_pending());
    stage.run(held.ack()).unwrap();
    stage.engine.drive();
    let info = stage.run(stage.bus.group("g").info()).unwrap();
    assert!(info.members.is_empty(), "{info:?}");
    assert_eq!((info.out, info.unsettled), (0, 1));
}
