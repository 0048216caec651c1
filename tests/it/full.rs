//! A disk that fills up: what is still possible at each mark, and the way back.

use quadrille::{Delivery, Event, OrderBy, StartAt, Subscription};
use quadrille_broker::disk::{Disk, SimDisk};

use crate::stage::{NOON, Setup, Stage};

const MARKS: [u64; 3] = [900_000, 600_000, 300_000];

struct Full {
    disk: SimDisk,
    stage: Stage,
}

impl Full {
    /// A bus with forty orders, and its disk.
    fn new() -> (Self, Subscription) {
        let disk = SimDisk::new();
        let setup = Setup { disk_marks: MARKS, ..Setup::default() };
        let stage = Stage::on(&disk, NOON, &setup).unwrap();
        for topic in ["orders", "out"] {
            stage.topic(topic);
        }
        for n in 0..40 {
            stage.publish("orders", Event::new("e").id(n.to_string()).key(n.to_string()));
        }
        let group = stage.bus.group("g").topics(["orders"]).order_by(OrderBy::Key);
        let events = stage.subscribe(group.start(StartAt::Beginning));
        (Self { disk, stage }, events)
    }

    /// Leaves so many bytes free, and lets the bus see it.
    fn leave(&self, free: u64) {
        self.disk.set_quota(None);
        let (all, total) = self.disk.space().unwrap();
        self.disk.set_quota(Some(total - all + free));
        self.stage.pass(5_100);
    }

    fn publish(&self) -> &'static str {
        let published = self.stage.run(self.stage.bus.topic("out").publish(Event::new("e")));
        published.err().map_or("ok", |e| e.code())
    }

    fn timer(&self) -> &'static str {
        let publish = self.stage.bus.topic("out").publish(Event::new("e"));
        let armed = self.stage.run(publish.after(std::time::Duration::from_secs(9)));
        armed.err().map_or("ok", |e| e.code())
    }

    fn step(&self, delivery: Delivery) -> Result<(), (&'static str, Box<Delivery>)> {
        let step = delivery.step().publish("out", Event::new("out"));
        self.stage.run(step.commit()).map(drop).map_err(|e| (e.why.code(), e.delivery))
    }
}

#[test]
fn below_the_first_mark_nothing_new_comes_in_and_steps_go_on() {
    let (full, mut events) = Full::new();
    full.leave(MARKS[0] + 50_000);
    assert_eq!((full.publish(), full.timer()), ("ok", "ok"));
    full.leave(MARKS[0] - 50_000);
    assert_eq!((full.publish(), full.timer()), ("disk_full", "disk_full"));
    assert!(full.step(full.stage.next(&mut events)).is_ok());
    full.stage.run(full.stage.next(&mut events).retry("busy")).unwrap();
}

#[test]
fn below_the_second_mark_steps_that_publish_are_refused_and_give_their_delivery_back() {
    let (full, mut events) = Full::new();
    full.leave(MARKS[1] - 50_000);
    assert_eq!(full.publish(), "disk_full");
    let (code, delivery) = full.step(full.stage.next(&mut events)).unwrap_err();
    assert_eq!(code, "disk_full");
    full.stage.run(delivery.step().commit()).unwrap();
    full.stage.run(full.stage.next(&mut events).retry("busy")).unwrap();
    full.stage.run(full.stage.next(&mut events).ack()).unwrap();
}

#[test]
fn below_the_third_mark_a_backlog_drains_and_publishing_resumes_when_there_is_room() {
    let (full, mut events) = Full::new();
    let stage = &full.stage;
    full.leave(MARKS[2] - 50_000);
    assert_eq!(full.publish(), "disk_full");
    let refused = stage.run(stage.next(&mut events).retry("busy")).unwrap_err();
    assert_eq!(refused.why.code(), "disk_full");
    assert!(refused.why.to_string().contains("kept back"), "{}", refused.why);
    stage.run(refused.delivery.dead_letter("bad")).unwrap();
    stage.run(stage.next(&mut events).release()).unwrap();
    let mut drained = 0;
    while let Some(delivery) = stage.try_next(&mut events) {
        stage.run(delivery.ack()).unwrap();
        drained += 1;
    }
    stage.run(stage.bus.flush()).unwrap();
    assert_eq!(drained, 39);
    assert_eq!(stage.dead("g"), ["0"]);
    full.leave(MARKS[0] + 50_000);
    assert_eq!(full.publish(), "ok");
    // What was settled on the full disk stays settled.
    let left = full.disk.killed();
    drop(events);
    let again = Stage::on(&left, NOON, &Setup::default()).unwrap();
    assert_eq!((again.unsettled("g"), again.dead("g")), (1, vec!["0".to_owned()]));
}
