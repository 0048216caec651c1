//! The same thing said twice: by a session, by its id, by a step; before and after a restart.

use bytes::BytesMut;
use quadrille::{Event, PublishError, Receipt};
use quadrille_broker::core::command::{Answer, Command, NewEvent, Publish, SessionRef, Step};
use quadrille_broker::disk::SimDisk;
use quadrille_broker::engine::MemberEvent;

use crate::stage::{NOON, Setup, Stage};

/// A bus whose process dies and comes back whenever a test says so.
struct Rig {
    disk: SimDisk,
    stage: Stage,
}

impl Rig {
    fn new() -> Self {
        let disk = SimDisk::new();
        let stage = Stage::on(&disk, NOON, &setup()).unwrap();
        for topic in ["orders", "stock"] {
            stage.topic(topic);
        }
        Self { disk, stage }
    }

    fn again(self) -> Self {
        let disk = self.disk.killed();
        drop(self.stage);
        let stage = Stage::on(&disk, NOON, &setup()).unwrap();
        Self { disk, stage }
    }

    fn event(&self, topic: &str, id: &str, data: &str) -> NewEvent {
        let mut bytes = BytesMut::new();
        Event::new("e").id(id).source("s").data(data.to_owned()).encode(&mut bytes);
        let topic = self.stage.engine.topic(topic).unwrap();
        NewEvent { topic, bytes: bytes.freeze(), due: None }
    }

    fn execute(&self, command: Command) -> Result<Answer, &'static str> {
        self.stage.run(self.stage.engine.execute(command)).map_err(|e| e.code())
    }

    fn send(
        &self,
        sequence: u64,
        confirmed: u64,
        id: &str,
        data: &str,
    ) -> Result<Answer, &'static str> {
        let session = Some(SessionRef { id: 77, sequence, confirmed });
        let events = vec![self.event("orders", id, data)];
        self.execute(Command::Publish(Publish { session, events }))
    }
}

/// Checkpoints now and then: what is remembered comes from them and from the log.
fn setup() -> Setup {
    Setup { checkpoint_bytes: 3_000, ..Setup::default() }
}

#[test]
fn a_resend_by_its_session_gets_the_first_receipt_exactly_also_after_a_restart() {
    let mut rig = Rig::new();
    let first = rig.send(1, 0, "a", "x").unwrap();
    let second = rig.send(2, 0, "b", "x").unwrap();
    for round in 0..3 {
        assert_eq!(rig.send(1, 0, "a", "x"), Ok(first.clone()), "round {round}");
        assert_eq!(rig.send(2, 0, "b", "x"), Ok(second.clone()), "round {round}");
        assert_eq!(rig.send(2, 0, "b", "other"), Err("sequence_reused"), "round {round}");
        for n in 0..40 {
            rig.stage.publish("stock", Event::new("fill").data(vec![n; 200]));
        }
        rig = rig.again();
    }
    assert_eq!(rig.stage.ids("orders"), ["a", "b"]);
    let third = rig.send(3, 1, "c", "x").unwrap();
    assert_eq!(rig.send(1, 1, "a", "x"), Err("sequence_forgotten"));
    let rig = rig.again();
    assert_eq!(rig.send(3, 1, "c", "x"), Ok(third));
    assert_eq!(rig.send(1, 1, "a", "x"), Err("sequence_forgotten"));
}

#[test]
fn a_repeated_id_is_stored_once_and_with_other_data_it_is_an_error() {
    let mut rig = Rig::new();
    let event = |id: &str, data: &'static str| Event::new("e").id(id).source("s").data(data);
    let first = rig.stage.publish("orders", event("a", "x"));
    assert!(matches!(first, Receipt::Appended { offset: 0, .. }));
    for n in 0..3 {
        let orders = rig.stage.bus.topic("orders");
        let twice = rig
            .stage
            .run(orders.publish_all([
                event("a", "x"),
                event(&format!("n{n}"), "y"),
                event(&format!("n{n}"), "y"),
            ]))
            .unwrap();
        assert_eq!(twice.get(0), Some(Receipt::Duplicate { offset: 0 }));
        assert_eq!(twice.get(2), Some(Receipt::Duplicate { offset: n + 1 }), "within a batch");
        let other = rig.stage.run(orders.publish(event("a", "z"))).unwrap_err();
        assert!(
            matches!(&other, PublishError::IdReused { id, offset: 0, .. } if id == "a"),
            "{other}"
        );
        let elsewhere = rig.stage.publish("stock", event(&format!("a{n}"), "z"));
        assert_eq!(elsewhere.offset(), Some(n * 41));
        for _ in 0..40 {
            rig.stage.publish("stock", Event::new("fill").data(vec![0; 200]));
        }
        rig = rig.again();
    }
    assert_eq!(rig.stage.ids("orders"), ["a", "n0", "n1", "n2"]);
}

#[test]
fn one_id_in_two_topics_is_two_events() {
    let rig = Rig::new();
    for topic in ["orders", "stock"] {
        let event = Event::new("e").id("same").source("s").data(topic);
        assert!(matches!(rig.stage.publish(topic, event), Receipt::Appended { offset: 0, .. }));
    }
    let rig = rig.again();
    for topic in ["orders", "stock"] {
        let event = Event::new("e").id("same").source("s").data(topic);
        assert_eq!(rig.stage.publish(topic, event), Receipt::Duplicate { offset: 0 });
    }
}

#[test]
fn a_step_that_is_sent_again_happens_once_and_one_with_other_outputs_is_refused() {
    let rig = Rig::new();
    let group = rig.stage.bus.group("g").topics(["orders"]);
    drop(rig.stage.subscribe(group));
    rig.send(1, 0, "a", "x").unwrap();
    let member = rig.stage.engine.join("g", "one", 8).unwrap();
    rig.stage.engine.drive();
    let Some(MemberEvent::Run(run)) = member.try_next() else { panic!("nothing is out") };
    let step = |rig: &Rig, sequence, outputs: &[&str]| {
        let events = outputs.iter().map(|id| rig.event("stock", id, "x")).collect();
        let session = Some(SessionRef { id: 78, sequence, confirmed: 0 });
        let settles = vec![run.events[0].token];
        rig.execute(Command::Step(Step { session, settles, events, cancel: vec![] }))
    };
    let first = step(&rig, 1, &["o1", "o2"]).unwrap();
    assert_eq!(step(&rig, 1, &["o1", "o2"]), Ok(first.clone()));
    assert_eq!(step(&rig, 1, &["o1", "o3"]), Err("sequence_reused"), "changed outputs");
    drop(member);
    let rig = rig.again();
    assert_eq!(step(&rig, 1, &["o1", "o2"]), Ok(first), "the answer was lost in a crash");
    assert_eq!(step(&rig, 1, &["o1", "o3"]), Err("sequence_reused"));
    assert_eq!(step(&rig, 2, &["o1", "o3"]), Err("lease_lost"), "a token settles once");
    assert_eq!(rig.stage.ids("stock"), ["o1", "o2"]);
    assert_eq!(rig.stage.unsettled("g"), 0);
}
