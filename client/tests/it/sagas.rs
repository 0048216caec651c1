//! Lists of sagas and of dead letters, with an index and without one: the same answers.

use std::time::Duration;

use quadrille::{Event, EventState, OrderBy, SagaList, SagaStatus, StartAt};

use crate::stage::Stage;

/// Six orders, published in turn; payment has settled the first two, parked the third with
/// something behind it, and has the others in its hands or before it.
fn shop(index: bool) -> Stage {
    let stage = if index { Stage::indexed() } else { Stage::new() };
    stage.run(stage.bus.create_topic("money")).unwrap();
    for n in 0..6 {
        stage.publish(Event::new("order.created").source("order").saga(format!("order-{n}")));
        stage.advance(1_000);
    }
    let group = stage.group("payment").order_by(OrderBy::Saga).max_attempts(1).credit(64);
    let mut events = stage.subscribe(group.start(StartAt::Beginning));
    let paid = Event::new("payment.processed").source("payment");
    stage.run(stage.next(&mut events).step().publish("money", paid).commit()).unwrap();
    stage.run(stage.next(&mut events).ack()).unwrap();
    stage.run(stage.next(&mut events).retry("card expired")).unwrap();
    stage.publish(Event::new("order.changed").source("order").saga("order-2"));
    stage.engine.drive();
    drop(events);
    stage
}

fn both(test: impl Fn(Stage)) {
    test(shop(true));
    test(shop(false));
}

fn names(list: &SagaList) -> Vec<&str> {
    list.rows.iter().map(|it| &*it.saga).collect()
}

#[test]
fn sagas_are_listed_by_what_is_asked_for() {
    both(|stage| {
        let ask = || stage.bus.sagas();
        let all = stage.run(ask()).unwrap();
        assert_eq!(
            names(&all),
            ["order-2", "order-0", "order-5", "order-4", "order-3", "order-1"],
            "the newest event decides"
        );
        let oldest = stage.run(ask().oldest().limit(2)).unwrap();
        assert_eq!(names(&oldest), ["order-0", "order-1"]);
        let open = stage.run(ask().open().oldest()).unwrap();
        assert_eq!(names(&open), ["order-2", "order-3", "order-4", "order-5"]);
        let newest = stage.run(ask().open().limit(2)).unwrap();
        assert_eq!(names(&newest), ["order-2", "order-5"]);
        let stuck = stage.run(ask().needs_attention()).unwrap();
        assert_eq!(names(&stuck), ["order-2"]);
        let row = &stuck.rows[0];
        assert_eq!((row.status, row.count), (SagaStatus::NeedsAttention, 2));
        assert_eq!(row.services, ["order"]);
        assert_eq!(row.groups, ["payment"]);
        assert_eq!(row.trouble.as_ref().unwrap().2, "card expired");
        let first = &all.rows[1];
        assert_eq!((first.status, first.count), (SagaStatus::AtRest { turned_back: false }, 2));
        assert_eq!(first.services, ["order", "payment"]);
        assert!(!all.cut && all.exact_to > first.last.0);
    });
}

#[test]
fn dead_letters_are_found_by_what_they_say() {
    both(|stage| {
        let ask = || stage.bus.dead_letters_of_all();
        let all = stage.run(ask()).unwrap();
        assert_eq!(all.rows.len(), 1);
        assert_eq!(
            (all.rows[0].group.as_str(), &*all.rows[0].letter.reason),
            ("payment", "card expired")
        );
        let none = [
            ask().group("other"),
            ask().ty("order.changed"),
            ask().saga("order-1"),
            ask().reason("stock"),
            ask().older_than(Duration::from_secs(3600)),
        ];
        for none in none {
            assert!(stage.run(none).unwrap().rows.is_empty());
        }
        let some = ask().group("payment").reason("expired").newer_than(Duration::from_secs(60));
        assert_eq!(stage.run(some).unwrap().rows.len(), 1);

        let place = all.rows[0].letter.position;
        let skip = stage.bus.resolve("payment", place).by("ops").comment("a test order");
        stage.run(skip.skip()).unwrap();
        assert!(stage.run(ask()).unwrap().rows.is_empty());
        let with = stage.run(ask().with_resolved()).unwrap();
        assert!(with.resolved_to.is_some());
        let resolved = with.rows[0].resolved.clone().unwrap();
        let told = (resolved.how, &*resolved.by, &*resolved.comment);
        assert_eq!(told, ("skip", "ops", "a test order"));
        let timeline = stage.run(stage.bus.timeline("order-2")).unwrap();
        let state = &timeline.events[0].groups[0].state;
        assert!(matches!(state, EventState::Skipped { .. }) && state.is_over(), "{state:?}");
        let tree = timeline.to_string();
        assert!(tree.contains("skipped by ops: a test order"), "{tree}");
    });
}

#[test]
fn what_was_late_and_what_led_to_what_is_known() {
    both(|stage| {
        let group = stage.bus.group("undo").topics(["orders"]).order_by(OrderBy::Saga);
        let group = group.superseding(["order.undone"]).start(StartAt::End);
        let mut events = stage.subscribe(group);
        stage.publish(Event::new("order.undone").saga("order-9"));
        stage.run(stage.next(&mut events).ack()).unwrap();
        stage.publish(Event::new("order.confirmed").saga("order-9"));
        stage.engine.drive();
        stage.advance(200);
        let timeline = stage.run(stage.bus.timeline("order-9")).unwrap();
        let of = |index: usize| {
            let groups = &timeline.events.get(index).unwrap().groups;
            groups.iter().find(|it| it.group == "undo").unwrap().state.clone()
        };
        assert_eq!(of(1), EventState::Late, "{timeline}");
        let (edges, _) = stage.run(stage.bus.choreography()).unwrap().unwrap();
        let edge = &edges[0];
        let told = (&*edge.from, &*edge.to, edge.count);
        assert_eq!(told, ("order.created", "payment.processed", 1));
    });
}

#[test]
fn an_index_says_how_far_it_is() {
    let stage = shop(true);
    let index = stage.run(stage.bus.info()).unwrap().index.unwrap();
    assert_eq!((index.lag, index.rebuilt, &index.note), (0, 0, &None));
    assert_eq!(index.to_string(), format!("the index is at entry #{}, 0 behind", index.position));
    assert_eq!(stage.run(shop(false).bus.info()).unwrap().index, None);
}
