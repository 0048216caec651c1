//! One test for each row of the table of cancel safety in the crate's documentation.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Waker};

use futures_util::FutureExt as _;
use quadrille::{Bus, Event, StartAt};
use quadrille_broker::limits::Limits;

use crate::stage::Stage;

#[test]
fn a_publish_that_was_never_polled_has_not_happened() {
    let stage = Stage::new();
    drop(stage.bus.topic("orders").publish(Event::new("a")).into_future());
    drop(stage.bus.topic("orders").publish(Event::new("a")).send());
    assert_eq!(stage.publish(Event::new("b")).offset(), Some(0));
}

#[test]
fn a_publish_that_waits_for_room_has_not_happened() {
    let stage = Stage::with(Limits { queue_bytes: 150, ..Limits::default() });
    let topic = stage.bus.topic("orders");
    let large = || Event::new("a").data(vec![0; 90]);
    let mut cx = Context::from_waker(Waker::noop());
    let first = topic.publish(large()).send().now_or_never().unwrap().unwrap();
    let mut second = Box::pin(topic.publish(large()).send());
    assert!(second.as_mut().poll(&mut cx).is_pending(), "the queue is full");
    drop(second);
    assert_eq!(stage.run(first).unwrap().offset(), Some(0));
    assert_eq!(stage.publish(Event::new("b")).offset(), Some(1));
}

#[test]
fn a_publish_that_waits_for_its_receipt_happens() {
    let stage = Stage::new();
    let topic = stage.bus.topic("orders");
    assert!(topic.publish(Event::new("a")).into_future().now_or_never().is_none());
    drop(topic.publish(Event::new("a")).send().now_or_never().unwrap().unwrap());
    assert_eq!(stage.publish(Event::new("b")).offset(), Some(2));
}

#[test]
fn an_event_is_not_lost_with_the_wait_for_it() {
    let stage = Stage::new();
    let mut events = stage.subscribe(stage.group("g"));
    assert!(events.next().now_or_never().is_none());
    stage.publish_lane("k", &["a"]);
    assert_eq!(stage.next(&mut events).id(), "a");
}

#[test]
fn a_settle_is_recorded_before_it_is_awaited() {
    let stage = Stage::new();
    stage.publish_lane("k", &["a", "b"]);
    let mut events = stage.subscribe(stage.group("g").start(StartAt::Beginning));
    drop(stage.next(&mut events).ack());
    drop(stage.next(&mut events).dead_letter("no"));
    assert_eq!(stage.run(stage.bus.dead_letters("g")).unwrap()[0].id, "b");
    assert!(stage.try_next(&mut events).is_none());
}

#[test]
fn a_step_is_recorded_before_it_is_awaited() {
    let stage = Stage::new();
    stage.publish_lane("k", &["a"]);
    let mut events = stage.subscribe(stage.group("g").start(StartAt::Beginning));
    drop(stage.next(&mut events).step().publish("orders", Event::new("x").key("l")).commit());
    assert_eq!(stage.next(&mut events).ty(), "x");
}

#[test]
fn handlers_go_with_their_loop_and_count_as_attempts() {
    let stage = Stage::new();
    stage.publish_lane("k", &["a", "b"]);
    let group = stage.group("g").max_attempts(1).start(StartAt::Beginning);
    let events = stage.subscribe(group.clone());
    let begun = Rc::new(Cell::new(0));
    let mut running = Box::pin(events.for_each_concurrent(1, |delivery| {
        begun.set(begun.get() + 1);
        async move {
            std::future::pending::<()>().await;
            drop(delivery);
        }
    }));
    assert!(stage.poll_settled(running.as_mut()).is_pending());
    assert_eq!(begun.get(), 1);
    drop(running);
    let dead = stage.run(stage.bus.dead_letters("g")).unwrap();
    assert_eq!((&*dead[0].id, &*dead[0].reason), ("a", "dropped without a settle"));
}

#[test]
fn closures_go_with_their_loop_and_count_as_attempts() {
    let stage = Stage::new();
    stage.publish_lane("k", &["a"]);
    let group = stage.group("g").max_attempts(1).start(StartAt::Beginning);
    let mut running = Box::pin(group.run(|delivery| async move {
        drop(delivery);
        std::future::pending::<Result<(), String>>().await
    }));
    assert!(stage.poll_settled(running.as_mut()).is_pending());
    drop(running);
    let dead = stage.run(stage.bus.dead_letters("g")).unwrap();
    assert_eq!((&*dead[0].id, &*dead[0].reason), ("a", "cancelled"));
}

#[test]
fn waiting_for_the_loss_of_a_lease_changes_nothing() {
    let stage = Stage::new();
    stage.publish_lane("k", &["a"]);
    let mut events = stage.subscribe(stage.group("g").start(StartAt::Beginning));
    let delivery = stage.next(&mut events);
    assert!(delivery.lease_lost().now_or_never().is_none());
    stage.run(delivery.ack()).unwrap();
}

#[test]
fn a_subscribe_that_is_dropped_may_have_made_the_group_and_leaves_no_member() {
    let stage = Stage::new();
    assert!(stage.group("g").subscribe().now_or_never().is_none());
    let info = stage.run(stage.bus.group("g").info()).unwrap();
    assert!(info.members.is_empty());
}

#[test]
fn an_administrative_command_happens_though_nobody_waits_for_the_answer() {
    let stage = Stage::new();
    assert!(stage.bus.create_topic("stock").now_or_never().is_none());
    assert!(stage.run(stage.bus.topic("stock").publish(Event::new("a"))).is_ok());
}

#[tokio::test]
async fn no_event_is_skipped_when_reading_is_interrupted() {
    let bus = Bus::memory().await.unwrap();
    bus.create_topic("orders").await.unwrap();
    bus.topic("orders").publish(Event::new("a")).await.unwrap();
    let mut read = bus.read("orders");
    // The page is read on another thread, which may be done already.
    let first = match read.next().now_or_never() {
        Some(first) => first,
        None => read.next().await,
    };
    assert_eq!(first.unwrap().unwrap().offset, 0);
    assert!(read.next().await.is_none());
}

#[test]
fn a_question_that_is_dropped_changes_nothing() {
    let stage = Stage::new();
    stage.publish(Event::new("a").id("e").saga("s"));
    drop(stage.subscribe(stage.group("g").start(StartAt::Beginning)));
    // A publish under way lets both wait until it is safe.
    let before = stage.unsettled("g");
    let publish = stage.bus.topic("orders").publish(Event::new("b").saga("s"));
    assert!(publish.into_future().now_or_never().is_none());
    assert!(stage.bus.timeline("s").now_or_never().is_none());
    assert!(stage.bus.why("g", "e").now_or_never().is_none());
    assert_eq!(stage.run(stage.bus.timeline("s")).unwrap().events.len(), 2);
    assert_eq!(stage.unsettled("g"), before + 1);
}

#[tokio::test]
async fn a_close_goes_on_when_nobody_waits_for_it() {
    let bus = Bus::memory().await.unwrap();
    bus.create_topic("orders").await.unwrap();
    let mut events = bus.group("g").topics(["orders"]).subscribe().await.unwrap();
    assert!(bus.close(std::time::Duration::from_secs(1)).now_or_never().is_none());
    assert!(events.next().await.is_none());
    assert_eq!(events.closed(), Some(quadrille::Closed::ShuttingDown));
}
