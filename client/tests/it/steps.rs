//! Steps: atomic, inheriting, repeatable.

use std::time::Duration;

use quadrille::{ErrorKind, Event, OrderBy, Receipt, StartAt, StepError};

use crate::stage::Stage;

#[test]
fn outputs_inherit_from_the_input_and_have_ids_derived_from_it() {
    let stage = Stage::new();
    stage.run(stage.bus.create_topic("stock")).unwrap();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    stage.publish(Event::new("order.created").id("o-1").saga("s-1").traceparent(trace));
    let mut events = stage.subscribe(stage.group("g").start(StartAt::Beginning));
    let step = stage.next(&mut events).step();
    let step = step.publish("stock", Event::new("inventory.reserved"));
    let step =
        step.publish("stock", Event::new("inventory.reserved").id("own").saga("s-2").cause("c"));
    let receipts =
        stage.run(step.publish("stock", Event::new("inventory.reserved")).commit()).unwrap();
    assert_eq!(receipts.len(), 3);
    assert_eq!(stage.unsettled("g"), 0);

    let mut stock = stage.subscribe(
        stage.bus.group("s").topics(["stock"]).order_by(OrderBy::Nothing).start(StartAt::Beginning),
    );
    let out = [0; 3].map(|_| stage.next(&mut stock));
    for (receipt, delivery) in receipts.iter().zip(&out) {
        let Receipt::Appended { position, .. } = receipt else { panic!("{receipt:?}") };
        assert_eq!(position, delivery.position(), "a receipt tells where the event is");
    }
    let log_id = stage.engine.opened().log_id;
    let derived = |n| quadrille_proto::ids::derived(log_id, 1, 0, 1, 0, "inventory.reserved", n);
    let first = out[0].event();
    assert_eq!((first.saga, first.cause, first.traceparent), ("s-1", "o-1", trace));
    assert_eq!([first.id, out[2].id()], [&*derived(0), &*derived(2)]);
    let own = out[1].event();
    assert_eq!((own.id, own.saga, own.cause), ("own", "s-2", "c"));
}

#[test]
fn a_refused_step_gives_the_delivery_back_and_has_done_nothing() {
    let stage = Stage::new();
    stage.publish_lane("k", &["a", "b"]);
    let mut events = stage.subscribe(stage.group("g").start(StartAt::Beginning));
    let step = stage.next(&mut events).step();
    let refused = stage.run(step.publish("none", Event::new("x")).commit()).unwrap_err();
    assert_eq!((refused.why.code(), refused.why.kind()), ("unknown_topic", ErrorKind::NotFound));
    let step = refused.delivery.step().publish("orders", Event::new("x"));
    let refused = stage.run(step.publish("orders", Event::new("")).commit()).unwrap_err();
    assert!(matches!(refused.why, StepError::Publish(_)), "{}", refused.why);
    assert!(stage.try_next(&mut events).is_none(), "the first one is not settled");
    stage.run(refused.delivery.ack()).unwrap();
    assert_eq!(stage.next(&mut events).id(), "b");
    assert!(stage.try_next(&mut events).is_none());
}

#[test]
fn a_step_settles_several_deliveries_and_the_lowest_is_the_cause() {
    let stage = Stage::new();
    stage.publish_lane("k", &["a"]);
    stage.publish_lane("l", &["b"]);
    let mut events =
        stage.subscribe(stage.group("g").types(["order.created"]).start(StartAt::Beginning));
    let (a, b) = (stage.next(&mut events), stage.next(&mut events));
    stage.run(b.step().with(a).publish("orders", Event::new("x")).commit()).unwrap();
    let all = stage.group("all").types(["x"]).start(StartAt::Beginning);
    assert_eq!(stage.next(&mut stage.subscribe(all)).event().cause, "a");
}

#[test]
fn a_step_arms_and_cancels_timers() {
    let stage = Stage::new();
    stage.publish_lane("k", &["a", "b"]);
    let mut events =
        stage.subscribe(stage.group("g").types(["order.created"]).start(StartAt::Beginning));
    let second = Duration::from_secs(1);
    let step = stage.next(&mut events).step().publish("orders", Event::new("late"));
    let receipts =
        stage.run(step.after(second).publish("orders", Event::new("now")).commit()).unwrap();
    let Some(Receipt::Scheduled { timer, .. }) = receipts.get(0) else { panic!("{receipts:?}") };
    stage.run(stage.next(&mut events).step().cancel(timer).commit()).unwrap();
    stage.advance(1_000);
    let others = stage.group("o").types(["late", "now"]).start(StartAt::Beginning);
    let mut others = stage.subscribe(others);
    assert_eq!(stage.next(&mut others).ty(), "now");
    assert!(stage.try_next(&mut others).is_none());
}
