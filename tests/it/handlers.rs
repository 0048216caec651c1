//! Consumers that abort, panic, leave, or have nobody to call: what counts, and what is parked.

use std::cell::RefCell;
use std::pin::pin;
use std::time::Duration;

use quadrille::{Bus, Event, OrderBy, RetryPolicy, StartAt};
use quadrille_broker::disk::SimDisk;
use quadrille_tests::alone;

use crate::kill::Victim;
use crate::stage::{NOON, Setup, Stage};

fn stage() -> Stage {
    let stage = Stage::on(&SimDisk::new(), NOON, &Setup::default()).unwrap();
    stage.topic("orders");
    stage
}

#[tokio::test]
async fn an_event_that_aborts_its_process_is_parked_after_a_few_restarts() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let bus = Bus::open(dir.path()).await.unwrap();
    for topic in ["orders", "done"] {
        bus.create_topic(topic).await.unwrap();
    }
    // Made before there are events, so that it starts with the first of them.
    let group = bus.group("work").topics(["orders"]).order_by(OrderBy::Key);
    drop(group.subscribe().await.unwrap());
    for (id, ty, key) in
        [("a", "order", "1"), ("bomb", "bomb", "2"), ("b", "order", "2"), ("c", "order", "3")]
    {
        bus.topic("orders").publish(Event::new(ty).id(id).key(key)).await.unwrap();
    }
    bus.close(Duration::ZERO).await.unwrap();
    drop(bus);
    let (mut aborted, mut done) = (0, Vec::new());
    loop {
        let (status, said) = Victim::start("crash", dir.path(), 0).wait();
        done.extend(said.iter().filter_map(|it| it.strip_prefix("done ").map(str::to_owned)));
        if status.success() {
            break;
        }
        aborted += 1;
        assert!(aborted <= 8, "it goes on and on: {said:?}");
        assert_eq!(said.last().map(String::as_str), Some("seen bomb 1"), "{said:?}");
    }
    assert!(aborted >= 5, "parked after only {aborted}");
    let bus = Bus::open(dir.path()).await.unwrap();
    let dead = bus.dead_letters("work").await.unwrap();
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!((&*dead[0].id, &*dead[0].reason), ("bomb", "crashes its consumer"));
    assert_eq!(dead[0].attempts, 0, "it never said that it had failed");
    done.sort_unstable();
    assert_eq!(done, ["a", "c"], "each once, and b waits for the bomb");
    bus.resolve("work", dead[0].position).skip().await.unwrap();
    drop(bus);
    let (_, said) = Victim::start("crash", dir.path(), 0).wait();
    assert!(said.contains(&"done b".to_owned()), "{said:?}");
}

#[test]
fn a_panicking_handler_does_not_spin_and_is_parked_after_its_attempts() {
    let stage = stage();
    for id in ["bad", "good"] {
        stage.publish("orders", Event::new("e").id(id).key(id));
    }
    let retry =
        RetryPolicy { first: Duration::from_secs(8), max_attempts: 4, ..Default::default() };
    let group = stage.bus.group("g").topics(["orders"]).retry(retry).start(StartAt::Beginning);
    let seen = RefCell::new(Vec::new());
    let events = stage.subscribe(group);
    let mut running = pin!(events.for_each_concurrent(4, |delivery| {
        seen.borrow_mut().push((delivery.id().to_owned(), stage.now().mono));
        async {
            assert_eq!(delivery.id(), "good", "on purpose");
            delivery.ack();
        }
    }));
    let mut waited = Vec::new();
    for _ in 0..600 {
        assert!(stage.poll_settled(running.as_mut()).is_pending());
        waited.push(seen.borrow().len());
        stage.pass(100);
    }
    let seen = seen.borrow();
    let bad: Vec<_> = seen.iter().filter(|it| it.0 == "bad").map(|it| it.1).collect();
    assert_eq!(bad.len(), 4, "{seen:?}");
    assert_eq!(seen.len(), 5, "the other one was done at once");
    assert!(bad[3] - bad[0] > 3_000, "a pause between attempts: {bad:?}");
    let dead = stage.run(stage.bus.dead_letters("g")).unwrap();
    assert_eq!((&*dead[0].id, &*dead[0].reason, dead[0].attempts), ("bad", "panicked", 4));
}

#[test]
fn five_hundred_buffered_events_lose_no_attempt_when_their_member_goes() {
    let stage = stage();
    let events = (0..512).map(|n| Event::new("e").id(n.to_string()).key(n.to_string()));
    stage.run(stage.bus.topic("orders").publish_all(events)).unwrap();
    // One attempt: whatever counts, parks.
    let group = stage.bus.group("g").topics(["orders"]).max_attempts(1).start(StartAt::Beginning);
    let out = || stage.run(stage.bus.group("g").info()).unwrap().out;
    // It goes in order; it drops what it has; it is never heard of again.
    let mut events = stage.subscribe(group.clone().credit(512));
    let first = stage.next(&mut events);
    assert_eq!(out(), 512, "all are in its hands");
    stage.run(first.release()).unwrap();
    drop(events);
    for lost in [false, true] {
        let member = stage.engine.join("g", "engine", 512).unwrap();
        stage.engine.drive();
        assert_eq!(out(), 512, "all are in its hands, lost: {lost}");
        if !lost {
            drop(member);
            stage.engine.drive();
        } else {
            stage.pass(29_000);
            assert_eq!(out(), 512, "its lease is 30 s");
            stage.pass(2_000);
        }
    }
    assert_eq!(stage.dead("g"), [""; 0]);
    let mut events = stage.subscribe(group);
    for _ in 0..512 {
        let delivery = stage.next(&mut events);
        assert_eq!(delivery.attempt(), 1);
        stage.run(delivery.ack()).unwrap();
    }
    assert_eq!(stage.unsettled("g"), 0);
}

#[test]
fn what_a_lost_member_had_begun_counts_and_what_it_had_buffered_does_not() {
    let stage = stage();
    let events = (0..20).map(|n| Event::new("e").id(n.to_string()).key("one"));
    stage.run(stage.bus.topic("orders").publish_all(events)).unwrap();
    let retry = RetryPolicy { first: Duration::from_millis(1), ..RetryPolicy::default() };
    let group = stage.bus.group("g").topics(["orders"]).retry(retry).start(StartAt::Beginning);
    let mut events = stage.subscribe(group.clone());
    let begun = stage.next(&mut events);
    drop(begun);
    drop(events);
    stage.pass(10);
    let mut events = stage.subscribe(group);
    for n in 0..20 {
        let delivery = stage.next(&mut events);
        assert_eq!((delivery.id(), delivery.attempt()), (&*n.to_string(), 1 + u32::from(n == 0)));
        stage.run(delivery.ack()).unwrap();
    }
}

#[test]
fn twenty_times_unavailable_parks_nothing() {
    let stage = stage();
    for id in ["a", "b"] {
        stage.publish("orders", Event::new("e").id(id).key("one"));
    }
    let group = stage.bus.group("g").topics(["orders"]).max_attempts(1).start(StartAt::Beginning);
    let mut events = stage.subscribe(group);
    for n in 0..20 {
        let delivery = stage.next(&mut events);
        assert_eq!((delivery.id(), delivery.attempt()), ("a", 1), "time {n}");
        stage.run(delivery.unavailable("payments are down")).unwrap();
        assert!(stage.try_next(&mut events).is_none(), "the lane holds");
        stage.pass(61_000);
    }
    assert_eq!(stage.dead("g"), [""; 0]);
    stage.run(stage.next(&mut events).ack()).unwrap();
    assert_eq!(stage.next(&mut events).id(), "b");
}
