//! Input that is not allowed: a stable code, a sentence that names what was wrong, and nobody else
//! is disturbed.

use std::time::Duration;

use quadrille::{Event, OrderBy, Position, StartAt, TimerId};
use quadrille_broker::core::command::{Answer, Command, NewEvent, Settle, Step};
use quadrille_broker::disk::SimDisk;
use quadrille_broker::engine::MemberEvent;
use quadrille_broker::error::EngineError;

use crate::stage::{NOON, Setup, Stage};

fn stage() -> Stage {
    let stage = Stage::on(&SimDisk::new(), NOON, &Setup::default()).unwrap();
    stage.topic("orders");
    stage
}

#[test]
fn names_that_are_none_are_refused_by_name() {
    let stage = stage();
    let long = "x".repeat(256);
    for name in ["", "..", ".", ".hidden", "a/b", "a\\b", "a b", "a\0b", "käse", "../../etc", &long]
    {
        let topic = stage.run(stage.bus.create_topic(name)).unwrap_err();
        assert_eq!(topic.code(), "bad_name", "{name:?}");
        assert!(topic.to_string().contains(&format!("{name:?}")), "{topic}");
        let group = stage.bus.group(name).topics(["orders"]);
        let group = stage.run(group.subscribe()).unwrap_err();
        assert_eq!(group.code(), "bad_name", "{name:?}");
        assert!(group.to_string().contains(&format!("{name:?}")), "{group}");
    }
    let reserved = stage.run(stage.bus.create_topic("quadrille.mine")).unwrap_err();
    assert_eq!(reserved.code(), "reserved_name");
    assert!(reserved.to_string().contains("quadrille.mine"), "{reserved}");
    stage.topic(&"x".repeat(255));
    stage.topic("A.b-c_9");
}

#[test]
fn what_is_not_there_is_named() {
    let stage = stage();
    let bus = &stage.bus;
    let event = || Event::new("e");
    let nowhere = Position { entry: 7, index: 1 };
    for (code, said, name) in [
        stage
            .run(bus.topic("nope").publish(event()))
            .map_err(|e| (e.code(), e.to_string(), "nope")),
        stage
            .run(bus.group("g").topics(["nope"]).subscribe())
            .map(|_| unreachable!())
            .map_err(|e| (e.code(), e.to_string(), "nope")),
    ]
    .map(Result::unwrap_err)
    {
        assert_eq!(code, "unknown_topic");
        assert!(said.contains(name), "{said}");
    }
    let e = stage.run(bus.group("none").subscribe()).unwrap_err();
    assert_eq!((e.code(), e.to_string().contains("none")), ("unknown_group", true), "{e}");
    let e = stage.run(bus.group("none").info()).unwrap_err();
    assert_eq!((e.code(), e.to_string().contains("none")), ("unknown_group", true), "{e}");
    let e = stage.run(bus.delete_topic("nope", true)).unwrap_err();
    assert_eq!((e.code(), e.to_string().contains("nope")), ("unknown_topic", true), "{e}");
    drop(stage.subscribe(bus.group("g").topics(["orders"])));
    let e = stage.run(bus.resolve("g", nowhere).skip()).unwrap_err();
    assert_eq!((e.code(), e.to_string().contains("#7.1")), ("no_dead_letter", true), "{e}");
    let e = stage.run(bus.cancel_timer(TimerId(99))).unwrap_err();
    assert_eq!((e.code(), e.to_string().contains("99")), ("unknown_timer", true), "{e}");
}

#[test]
fn events_and_batches_that_are_too_large_are_measured() {
    let stage = stage();
    let topic = stage.bus.topic("orders");
    let big = Event::new("e").data(vec![0; (1 << 20) + 1]);
    let e = stage.run(topic.publish_all([Event::new("e"), big.clone()])).unwrap_err();
    assert_eq!(e.code(), "event_too_large");
    assert!(e.to_string().contains("event 1") && e.to_string().contains("1048576"), "{e}");
    let e = stage.run(topic.publish_all((0..1_025).map(|_| Event::new("e")))).unwrap_err();
    assert_eq!(e.code(), "command_too_large");
    assert!(e.to_string().contains("1025") && e.to_string().contains("1024"), "{e}");
    let five = (0..5).map(|_| Event::new("e").data(vec![0; 900_000]));
    let e = stage.run(topic.publish_all(five)).unwrap_err();
    assert_eq!(e.code(), "command_too_large");
    let e = stage.run(topic.publish_all([])).unwrap_err();
    assert_eq!(e.code(), "empty_command");
    let e = stage.run(topic.publish(Event::new(""))).unwrap_err();
    assert!(e.to_string().contains("type"), "{e}");
    assert_eq!(stage.all("orders"), [], "all or none");
    assert_eq!(stage.publish("orders", Event::new("e")).offset(), Some(0));
}

#[test]
fn absurd_delays_are_refused_and_the_delivery_is_kept() {
    let stage = stage();
    let endless = Duration::from_secs(u64::MAX / 2_000);
    let e = stage.run(stage.bus.topic("orders").publish(Event::new("e")).after(endless));
    let e = e.unwrap_err();
    assert_eq!(e.code(), "delay_too_long");
    assert!(e.to_string().contains("at most"), "{e}");
    stage.publish("orders", Event::new("e").id("a"));
    let group = stage.bus.group("g").topics(["orders"]).start(StartAt::Beginning);
    let mut events = stage.subscribe(group);
    let e = stage.run(stage.next(&mut events).defer(endless)).unwrap_err();
    assert_eq!(e.why.code(), "delay_too_long");
    let step = e.delivery.step().publish("orders", Event::new("late")).after(endless);
    let e = stage.run(step.commit()).unwrap_err();
    assert_eq!(e.why.code(), "delay_too_long");
    stage.run(e.delivery.ack()).unwrap();
    assert_eq!((stage.unsettled("g"), stage.all("orders").len()), (0, 1));
}

/// A group with one event out, by the engine's own words.
fn out(stage: &Stage) -> (quadrille_broker::engine::Member, quadrille_broker::core::types::Token) {
    stage.publish("orders", Event::new("e").id("a").key("k"));
    let group = stage.bus.group("g").topics(["orders"]).order_by(OrderBy::Key);
    drop(stage.subscribe(group.start(StartAt::Beginning)));
    let member = stage.engine.join("g", "one", 8).unwrap();
    stage.engine.drive();
    let Some(MemberEvent::Run(run)) = member.try_next() else { panic!("nothing is out") };
    (member, run.events[0].token)
}

fn code(stage: &Stage, command: Command) -> Result<Answer, (&'static str, String)> {
    let answer = stage.run(stage.engine.execute(command));
    answer.map_err(|e: EngineError| (e.code(), e.to_string()))
}

#[test]
fn settling_twice_is_fine_once_and_an_error_in_another_way() {
    let stage = stage();
    let (_member, token) = out(&stage);
    let settled = Ok(Answer::Acked { refused: vec![] });
    assert_eq!(code(&stage, Command::Ack(vec![token])), settled);
    assert_eq!(code(&stage, Command::Ack(vec![token])), settled, "the same again");
    let other = Command::Settle(token, Settle::DeadLetter { reason: "no".into() });
    let (code_of, said) = code(&stage, other).unwrap_err();
    assert_eq!(code_of, "settled_otherwise");
    assert!(said.contains("acknowledged") && said.contains(&token.event.at.to_string()), "{said}");
    let step = Step { settles: vec![token], ..Step::default() };
    assert_eq!(code(&stage, Command::Step(step)).unwrap_err().0, "settled_otherwise");
    assert_eq!(stage.unsettled("g"), 0);
}

#[test]
fn a_stale_token_is_refused_and_names_its_event() {
    let stage = stage();
    let (member, token) = out(&stage);
    drop(member);
    stage.engine.drive();
    let second = stage.engine.join("g", "two", 8).unwrap();
    stage.engine.drive();
    assert!(matches!(second.try_next(), Some(MemberEvent::Run(_))), "it is another's");
    let number = stage.engine.topic("orders").unwrap();
    let mut bytes = bytes::BytesMut::new();
    Event::new("x").id("x").source("s").encode(&mut bytes);
    let event = NewEvent { topic: number, bytes: bytes.freeze(), due: None };
    let step = Step { settles: vec![token], events: vec![event], ..Step::default() };
    for command in [
        Command::Step(step),
        Command::Settle(token, Settle::Retry { reason: "late".into(), after_ms: None }),
    ] {
        let (code_of, said) = code(&stage, command).unwrap_err();
        assert_eq!(code_of, "lease_lost");
        assert!(said.contains(&token.event.at.to_string()), "{said}");
    }
    let Ok(Answer::Acked { refused }) = code(&stage, Command::Ack(vec![token])) else { panic!() };
    assert_eq!(refused[0].1.code(), "lease_lost");
    assert_eq!(stage.ids("orders"), ["a"], "nothing of the step has happened");
    assert_eq!(stage.unsettled("g"), 1);
}
