//! Timelines and reasons: every state that an event can be in for a group, one by one.

use std::time::Duration;

use quadrille::{
    Bus, Count, Event, EventState, Group, HoldCause, OrderBy, ParkCause, Position, SagaStatus,
    StartAt, Subscription, Timeline, WaitsFor, Why,
};

use quadrille_broker::upkeep::{Pin, Place};

use crate::stage::Stage;

const SAGA: &str = "order-17";

/// An order, published; and a group that keeps sagas in order.
fn ordered(stage: &Stage, types: &[&str]) {
    for ty in types {
        stage.publish(Event::new(*ty).source("order").saga(SAGA));
    }
}

fn group(stage: &Stage) -> Group {
    let group = stage.group("payment").order_by(OrderBy::Saga).start(StartAt::Beginning);
    group.member("p-1").superseding(["undo"])
}

fn timeline(stage: &Stage) -> Timeline {
    stage.run(stage.bus.timeline(SAGA)).unwrap()
}

/// The state of each event for the only group that it is for.
fn states(stage: &Stage) -> Vec<EventState> {
    let one = |it: quadrille::TimelineEvent| it.groups.into_iter().next().unwrap().state;
    timeline(stage).events.into_iter().map(one).collect()
}

fn why(stage: &Stage, entry: u64) -> Why {
    stage.run(stage.bus.why("payment", at(entry))).unwrap()
}

fn at(entry: u64) -> Position {
    format!("#{entry}").parse().unwrap()
}

/// The entry of the saga's event at an index.
fn entry(stage: &Stage, index: usize) -> u64 {
    timeline(stage).events.get(index).unwrap().position.entry
}

fn sentence(stage: &Stage, index: usize) -> String {
    let entry = entry(stage, index);
    why(stage, entry).to_string().replace(&format!("#{entry}"), "#here")
}

fn fail_times(stage: &Stage, events: &mut Subscription, times: u32, reason: &str) {
    for _ in 0..times {
        let delivery = stage.next(events);
        stage.run(delivery.retry_after(Duration::from_secs(1), reason)).unwrap();
        stage.advance(1_000);
    }
}

#[test]
fn a_saga_that_nobody_knows_is_unknown() {
    let stage = Stage::new();
    let it = timeline(&stage);
    assert_eq!((it.status, it.events.len()), (SagaStatus::Unknown, 0));
    assert_eq!(it.to_string(), "order-17  unknown: no event of it is in the log");
    let error = stage.run(stage.bus.why("payment", "x")).unwrap_err();
    assert_eq!(error.code(), "unknown_group");
    drop(stage.subscribe(group(&stage)));
    for event in ["x", "#99"] {
        let error = stage.run(stage.bus.why("payment", event)).unwrap_err();
        assert_eq!(error.code(), "unknown_event", "{error}");
    }
}

#[test]
fn an_event_waits_for_a_member_and_then_is_out_with_it() {
    let stage = Stage::new();
    ordered(&stage, &["order.created"]);
    let events = stage.subscribe(group(&stage));
    drop(events);
    stage.engine.drive();
    let [EventState::Waiting { behind: None, waits_for, seen, .. }] = &states(&stage)[..] else {
        panic!("{:?}", states(&stage))
    };
    assert_eq!((waits_for, *seen), (&WaitsFor::Member, true));
    assert!(sentence(&stage, 0).ends_with("waits in payment, which has no member"));

    let mut events = stage.subscribe(group(&stage));
    let delivery = stage.next(&mut events);
    stage.advance(2_500);
    let [EventState::Out { member, since, attempt, .. }] = &states(&stage)[..] else {
        panic!("{:?}", states(&stage))
    };
    assert_eq!((&**member, since.as_millis(), *attempt), ("p-1", 2_500, 1));
    assert_eq!(timeline(&stage).status, SagaStatus::Running);

    stage.run(delivery.ack()).unwrap();
    assert_eq!(states(&stage), [EventState::Settled { attempt: Some(1) }]);
    let done = SagaStatus::AtRest { turned_back: false };
    assert_eq!(timeline(&stage).status, done);
    assert!(sentence(&stage, 0).contains("is done in payment"));
}

#[test]
fn what_a_group_does_not_read_is_not_for_it() {
    let stage = Stage::new();
    stage.run(stage.bus.create_topic("stock")).unwrap();
    ordered(&stage, &["order.created"]);
    drop(stage.subscribe(group(&stage).types(["undo"])));
    assert!(timeline(&stage).events[0].groups.is_empty());
    assert!(sentence(&stage, 0).contains("is not for payment"), "{}", sentence(&stage, 0));
    drop(stage.subscribe(stage.bus.group("stock").topics(["stock"])));
    assert!(timeline(&stage).events[0].groups.is_empty());
}

#[test]
fn a_lane_that_is_out_makes_the_rest_wait_behind_its_first_event() {
    let stage = Stage::new();
    ordered(&stage, &["a", "b", "c"]);
    let mut events = stage.subscribe(group(&stage));
    let first = stage.next(&mut events);
    let [EventState::Out { .. }, second, EventState::Waiting { behind, ahead, .. }] =
        &states(&stage)[..]
    else {
        panic!("{:?}", states(&stage))
    };
    assert!(matches!(second, EventState::Waiting { .. }), "{second:?}");
    assert_eq!(behind.as_ref().unwrap().position, first.position());
    assert_eq!((ahead.known, ahead.more), (2, false));
    let said = sentence(&stage, 1);
    let first = first.position();
    let start = format!("b #here of order-17 waits in payment behind {first}, which is ");
    assert!(said.starts_with(&start), "{said}");
}

#[test]
fn a_paused_group_says_so() {
    let stage = Stage::new();
    let _events = stage.subscribe(group(&stage));
    stage.run(stage.bus.group("payment").pause("upgrade")).unwrap();
    ordered(&stage, &["order.created"]);
    let [EventState::Waiting { waits_for, seen, .. }] = &states(&stage)[..] else {
        panic!("{:?}", states(&stage))
    };
    assert_eq!((waits_for, *seen), (&WaitsFor::Resume("upgrade".into()), false));
    let tree = timeline(&stage).to_string();
    assert!(tree.ends_with("payment         waiting: the group is paused: upgrade"), "{tree}");
}

#[test]
fn a_member_that_is_full_lets_others_wait() {
    let stage = Stage::new();
    stage.publish(Event::new("x").saga("another"));
    ordered(&stage, &["order.created"]);
    let mut events = stage.subscribe(group(&stage).max_in_flight(1).concurrency(1).credit(1));
    let _held = stage.next(&mut events);
    let [EventState::Waiting { waits_for, .. }] = &states(&stage)[..] else {
        panic!("{:?}", states(&stage))
    };
    assert_eq!(*waits_for, WaitsFor::Room);
}

#[test]
fn a_held_event_says_until_when_and_why() {
    let stage = Stage::new();
    ordered(&stage, &["order.created", "order.paid"]);
    let mut events = stage.subscribe(group(&stage));
    let first = stage.next(&mut events);
    let place = first.position();
    stage.run(first.retry_after(Duration::from_secs(4), "no answer")).unwrap();
    stage.advance(1_000);
    let states = states(&stage);
    let EventState::Held { left, cause, reason, attempts, .. } = &states[0] else {
        panic!("{states:?}")
    };
    assert_eq!((left.as_secs(), *cause, *attempts), (3, HoldCause::Retry, 1));
    assert_eq!(reason, "no answer");
    assert_eq!(
        sentence(&stage, 0),
        "order.created #here of order-17 is held in payment for 3.0s more after 1 attempt: no answer"
    );
    assert_eq!(
        sentence(&stage, 1),
        format!(
            "order.paid #here of order-17 waits in payment behind {place}, which is held for 3.0s \
             more after 1 attempt: no answer"
        )
    );
    stage.advance(3_000);
    let delivery = stage.next(&mut events);
    stage.run(delivery.unavailable("payments-api")).unwrap();
    let tree = timeline(&stage).to_string();
    assert!(tree.contains("more, unavailable once: payments-api"), "{tree}");
}

#[test]
fn a_stuck_saga_is_drawn_with_its_reason_and_the_commands_that_resolve_it() {
    let stage = Stage::new();
    stage.run(stage.bus.create_topic("stock")).unwrap();
    stage.publish(Event::new("order.created").source("order").saga(SAGA));
    let mut inventory =
        stage.subscribe(stage.group("inventory").order_by(OrderBy::Saga).start(StartAt::Beginning));
    fail_times(&stage, &mut inventory, 1, "busy");
    let reserved = Event::new("inventory.reserved").source("inventory");
    stage.run(stage.next(&mut inventory).step().publish("stock", reserved).commit()).unwrap();
    let payment = stage.bus.group("payment").topics(["stock"]).order_by(OrderBy::Saga);
    let mut payment = stage.subscribe(payment.start(StartAt::Beginning).max_attempts(2));
    fail_times(&stage, &mut payment, 2, "unexpected currency \"XTS\"");
    stage.advance(180_000);

    let it = timeline(&stage).with_commands("--data demo-data");
    let parked = it.events[1].position.to_string();
    let (first, number) = (it.events[0].position, parked.trim_start_matches('#'));
    let expected = format!(
        "\
order-17  needs attention  3m03s   waiting at payment
└─ order.created              order       {first}
   └─ inventory.reserved      inventory   {parked}   done at attempt 2
      └─ payment              parked after 2 attempts: unexpected currency \"XTS\"     behind it: 0
         quadrille dlq show payment {number} --data demo-data · dlq retry payment {number} … · dlq skip payment {number} …"
    );
    assert_eq!(it.to_string(), expected);
    assert_eq!(it.events[1].cause, Some(first));
    assert_eq!(it.events[1].emitted_by.as_deref(), Some("inventory"));
    let without = timeline(&stage).to_string();
    assert!(without.ends_with("behind it: 0"), "{without}");
    let why = stage.run(stage.bus.why("payment", &*it.events[1].id)).unwrap();
    let why = why.with_commands("--data demo-data").to_string();
    assert_eq!(
        why,
        format!(
            "inventory.reserved {parked} of order-17 is parked in payment after 2 attempts: \
             unexpected currency \"XTS\"; resolve it with `quadrille dlq retry payment {number} \
             --data demo-data`"
        )
    );
}

#[test]
fn what_waits_behind_a_parked_event_is_counted_and_names_it() {
    let stage = Stage::new();
    ordered(&stage, &["a"]);
    let mut events = stage.subscribe(group(&stage).max_attempts(1));
    fail_times(&stage, &mut events, 1, "card expired");
    ordered(&stage, &["b"; 30]);
    let states = states(&stage);
    let EventState::Parked { cause, attempts, behind, .. } = &states[0] else {
        panic!("{states:?}")
    };
    let Some(Count { known, more, .. }) = behind else { panic!("{behind:?}") };
    assert_eq!((*cause, *attempts, *known, *more), (ParkCause::Exhausted, 1, 30, false));
    let said = sentence(&stage, 2);
    let first = at(entry(&stage, 0));
    let expected = format!(
        "b #here of order-17 waits in payment behind 2 events, the first of which, {first}, is parked \
         after 1 attempt: card expired"
    );
    assert_eq!(said, expected);
    stage.run(stage.bus.resolve("payment", first).skip()).unwrap();
    assert_eq!(timeline(&stage).status, SagaStatus::Running);
}

#[test]
fn what_waits_in_a_lane_is_not_settled_though_the_group_has_come_past_it() {
    let stage = Stage::new();
    ordered(&stage, &["a", "b"]);
    let mut events = stage.subscribe(group(&stage).max_attempts(1).credit(4096));
    fail_times(&stage, &mut events, 1, "card expired");
    for _ in 0..3 {
        let others = (0..1_000).map(|_| Event::new("x"));
        stage.run(stage.bus.topic("orders").publish_all(others)).unwrap();
    }
    let mut out: Vec<_> = (0..3_000).map(|_| stage.next(&mut events)).collect();
    // So many holes that what is settled is recorded as one floor and unfinished lanes.
    for index in (0..1_500).rev() {
        out.swap_remove(index * 2).ack();
    }
    stage.run(stage.bus.flush()).unwrap();
    let states = states(&stage);
    assert!(matches!(states[0], EventState::Parked { .. }), "{states:?}");
    assert!(matches!(states[1], EventState::Waiting { behind: Some(_), .. }), "{states:?}");
    let pins = stage.run(stage.engine.info()).unwrap().pins;
    let passed = |it: &Pin| matches!(it.from, Place::Offset(_, floor) if floor > 1_000);
    assert!(pins.iter().any(passed), "{pins:?}");
}

#[test]
fn a_dead_letter_lets_its_lane_go_on_and_a_rejection_is_one() {
    let stage = Stage::new();
    ordered(&stage, &["a", "b"]);
    let group = group(&stage).on_exhausted(quadrille::OnExhausted::DeadLetter);
    let mut events = stage.subscribe(group);
    stage.run(stage.next(&mut events).dead_letter("no such card")).unwrap();
    let states = states(&stage);
    let EventState::Parked { cause, behind, .. } = &states[0] else { panic!("{states:?}") };
    assert_eq!((*cause, *behind), (ParkCause::Rejected, None));
    assert!(matches!(states[1], EventState::Out { .. }), "{states:?}");
    let position = at(entry(&stage, 0));
    stage.run(stage.bus.resolve("payment", position).retry()).unwrap();
    let again = &self::states(&stage)[0];
    assert!(matches!(again, EventState::Out { .. } | EventState::Waiting { .. }), "{again:?}");
    stage.run(stage.next(&mut events).ack()).unwrap();
    stage.run(stage.next(&mut events).ack()).unwrap();
    assert!(self::states(&stage).iter().all(EventState::is_over));
}

#[test]
fn what_a_compensation_has_overtaken_is_superseded() {
    let stage = Stage::new();
    ordered(&stage, &["a", "b"]);
    let mut events = stage.subscribe(group(&stage).max_attempts(1));
    fail_times(&stage, &mut events, 1, "card expired");
    ordered(&stage, &["undo"]);
    let undo = stage.next(&mut events);
    let states = states(&stage);
    for (state, attempts) in [(&states[0], 1), (&states[1], 0)] {
        let EventState::Superseded { by, attempts: used, .. } = state else { panic!("{state:?}") };
        assert_eq!((*by, *used), (undo.position(), attempts));
    }
    assert_eq!(timeline(&stage).status, SagaStatus::Compensating);
    let expected = format!(
        "a #here of order-17 was superseded in payment by {} after 1 attempt: card expired",
        undo.position()
    );
    assert_eq!(sentence(&stage, 0), expected);
    stage.run(undo.ack()).unwrap();
    assert_eq!(timeline(&stage).status, SagaStatus::AtRest { turned_back: true });
}

#[test]
fn an_event_of_an_unordered_group_is_found_in_its_run() {
    let stage = Stage::new();
    ordered(&stage, &["a", "b"]);
    let mut events = stage.subscribe(group(&stage).superseding([""; 0]).order_by(OrderBy::Nothing));
    let first = stage.next(&mut events);
    let held = stage.next(&mut events);
    stage.run(held.retry_after(Duration::from_secs(1), "later")).unwrap();
    let states = states(&stage);
    assert!(matches!(states[0], EventState::Out { .. }), "{states:?}");
    assert!(matches!(states[1], EventState::Held { attempts: 1, .. }), "{states:?}");
    drop(first);
}

#[test]
fn a_diagram_quotes_what_it_shows() {
    let stage = Stage::new();
    stage.publish(Event::new("a\"<b>").source("order").saga(SAGA));
    let mut events = stage.subscribe(group(&stage).max_attempts(1));
    fail_times(&stage, &mut events, 1, "it said \"no\"");
    let drawn = timeline(&stage).mermaid();
    assert!(drawn.starts_with("flowchart TD\n  saga([\"order-17 · needs attention\"])\n"));
    assert!(drawn.contains("saga --> n0[\"a#quot;#lt;b#gt;<br>order #"), "{drawn}");
    assert!(drawn.contains("n0 -.-> n1{{\"payment<br>parked"), "{drawn}");
    assert!(drawn.contains("#quot;no#quot;"), "{drawn}");
}

#[test]
fn deep_chains_and_siblings_are_drawn() {
    let stage = Stage::new();
    let mut cause = String::new();
    for n in 0..60 {
        let id = format!("e-{n}");
        stage.publish(Event::new("step").id(&*id).saga(SAGA).cause(cause));
        cause = id;
    }
    stage.publish(Event::new("twin").saga(SAGA).cause("e-0"));
    let tree = timeline(&stage).to_string();
    let lines: Vec<_> = tree.lines().collect();
    assert_eq!(lines.len(), 62);
    assert!(lines[2].starts_with("   ├─ step"), "{tree}");
    assert!(lines[61].starts_with("   └─ twin"), "{tree}");
    let deepest = lines.iter().map(|it| it.find("step").unwrap_or(0)).max().unwrap();
    assert!(deepest < 600, "{tree}");
}

#[tokio::test]
async fn a_directory_that_is_opened_again_tells_the_same_story() {
    let dir = tempfile::TempDir::new().unwrap();
    let bus = Bus::open(&dir).await.unwrap();
    bus.create_topic("orders").await.unwrap();
    for ty in ["a", "b"] {
        let event = Event::new(ty).source("order").saga(SAGA);
        bus.topic("orders").publish(event).await.unwrap();
    }
    let group = bus.group("payment").topics(["orders"]).order_by(OrderBy::Saga);
    let mut events = group.start(StartAt::Beginning).subscribe().await.unwrap();
    events.next().await.unwrap().dead_letter("no such card").await.unwrap();
    let before = bus.timeline(SAGA).await.unwrap();
    bus.close(Duration::ZERO).await.unwrap();
    let bus = Bus::open(&dir).await.unwrap();
    let after = bus.timeline(SAGA).await.unwrap();
    assert_eq!((before.status, after.status), (SagaStatus::NeedsAttention, after.status));
    let first = |it: &Timeline| it.events[0].groups[0].state.to_string();
    assert_eq!(first(&before), "parked: no such card     behind it: 1");
    assert_eq!(first(&after), first(&before));
    let why = bus.why("payment", after.events[1].position).await.unwrap();
    let first = after.events[0].position;
    let expected = format!("waits in payment behind {first}, which is parked: no such card");
    assert!(why.to_string().ends_with(&expected), "{why}");
}
