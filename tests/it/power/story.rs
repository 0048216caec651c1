//! One life of a bus in which everything happens once: batches, steps, retries, a park and its
//! resolution, timers, rolls, checkpoints, retirement. A broken disk may end it at any point; what
//! the bus has confirmed until then is taken down.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quadrille::{
    Durability, Event, Group, OrderBy, Receipt, Retention, RetryPolicy, Subscription, TopicOptions,
};
use quadrille_broker::disk::SimDisk;
use quadrille_broker::error::OpenError;

use crate::stage::{NOON, Setup, Stage};

/// What was confirmed, and what was only tried.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// By topic: offset and id.
    pub(crate) published: Vec<(&'static str, u64, String)>,
    pub(crate) tried: BTreeSet<String>,
    pub(crate) steps: BTreeSet<String>,
    pub(crate) tried_steps: BTreeSet<String>,
    /// Acked, and the flush behind it was confirmed.
    pub(crate) acked: BTreeSet<String>,
    pub(crate) attempts: BTreeMap<String, u32>,
    pub(crate) parked: BTreeSet<String>,
    pub(crate) skipped: BTreeSet<String>,
    pub(crate) tried_skips: BTreeSet<String>,
    /// Events behind timers.
    pub(crate) armed: BTreeSet<String>,
    /// Confirmations so far.
    pub(crate) count: usize,
}

pub(crate) struct Story {
    pub(crate) stage: Stage,
    pub(crate) facts: Facts,
}

pub(crate) fn setup() -> Setup {
    Setup { checkpoint_bytes: 9_000, ..Setup::default() }
}

pub(crate) fn group(stage: &Stage) -> Group {
    let retry = RetryPolicy { first: Duration::from_millis(40), ..RetryPolicy::default() };
    stage.bus.group("g").topics(["orders"]).order_by(OrderBy::Key).retry(retry)
}

impl Story {
    /// A bus on this disk, and all of its life as far as it goes.
    pub(crate) fn tell(disk: &SimDisk) -> Result<Self, OpenError> {
        let stage = Stage::on(disk, NOON, &setup())?;
        let mut it = Self { stage, facts: Facts::default() };
        // None: the bus is down.
        let _ = it.all();
        Ok(it)
    }

    fn all(&mut self) -> Option<()> {
        self.topics()?;
        let mut events = self.stage.run(group(&self.stage).subscribe()).ok()?;
        self.noise()?;
        self.traffic(&mut events)?;
        self.trouble(&mut events)?;
        self.timers()
    }

    fn topics(&mut self) -> Option<()> {
        let retention =
            Retention { settled: Some(Duration::from_millis(1)), ..Retention::default() };
        for (name, durability) in [
            ("noise", Durability::Written),
            ("orders", Durability::Synced),
            ("out", Durability::Synced),
            ("journal", Durability::Written),
        ] {
            let retention = match name {
                "noise" | "orders" => retention,
                _ => Retention::default(),
            };
            let options = TopicOptions { durability, retention };
            self.stage.run(self.stage.bus.create_topic_with(name, options)).ok()?;
        }
        Some(())
    }

    fn publish(&mut self, topic: &'static str, key: &str, ids: &[String]) -> Option<()> {
        self.facts.tried.extend(ids.iter().cloned());
        let event = |id: &String| Event::new("e").id(id).source("s").key(key).data(vec![7; 150]);
        let publish = self.stage.bus.topic(topic).publish_all(ids.iter().map(event));
        let receipts = self.stage.run(publish).ok()?;
        self.facts.count += 1;
        for (receipt, id) in receipts.iter().zip(ids) {
            self.facts.published.push((topic, receipt.offset().unwrap(), id.clone()));
        }
        Some(())
    }

    /// Fills segments with what nobody needs: they go.
    fn noise(&mut self) -> Option<()> {
        for _ in 0..26 {
            let event = Event::new("noise").data(vec![9; 1_900]);
            self.stage.run(self.stage.bus.topic("noise").publish(event)).ok()?;
            self.stage.pass(2);
        }
        self.stage.run(self.stage.bus.flush()).ok()?;
        self.stage.pass(61_000);
        Some(())
    }

    /// Settles what comes, one half by steps; segments fill, and are retired.
    fn traffic(&mut self, events: &mut Subscription) -> Option<()> {
        for n in 0..10 {
            let ids: Vec<_> = (0..3).map(|i| format!("o{n}.{i}")).collect();
            self.publish("orders", &format!("k{}", n % 3), &ids)?;
            self.publish("journal", "", &[format!("j{n}")])?;
            let mut acked = Vec::new();
            while let Some(delivery) = self.stage.try_next(events) {
                let id = delivery.id().to_owned();
                if n % 2 == 0 {
                    self.facts.tried_steps.insert(id.clone());
                    let output = |i| Event::new("out").id(format!("{id}/{i}")).source("s");
                    let step = delivery.step().publish("out", output(0)).publish("out", output(1));
                    self.stage.run(step.commit()).ok()?;
                    self.facts.count += 1;
                    self.facts.steps.insert(id);
                } else {
                    self.stage.run(delivery.ack()).ok()?;
                    acked.push(id);
                }
            }
            self.stage.run(self.stage.bus.flush()).ok()?;
            self.facts.count += 1;
            self.facts.acked.extend(acked);
            self.stage.pass(6);
        }
        self.stage.pass(61_000);
        Some(())
    }

    /// One lane fails twice, one is parked and resolved, one is parked and stays so.
    fn trouble(&mut self, events: &mut Subscription) -> Option<()> {
        for lane in ["fails", "heals", "stays"] {
            self.publish("orders", lane, &[format!("{lane}.a"), format!("{lane}.b")])?;
        }
        for _ in 0..2 {
            while let Some(delivery) = self.stage.try_next(events) {
                let (id, attempt) = (delivery.id().to_owned(), delivery.attempt());
                let fails = id.starts_with("fails");
                let settle =
                    if fails { delivery.retry("busy") } else { delivery.dead_letter("bad") };
                self.stage.run(settle).ok()?;
                self.facts.count += 1;
                if fails {
                    self.facts.attempts.insert(id, attempt);
                } else {
                    self.facts.parked.insert(id);
                }
            }
            self.stage.pass(81);
        }
        let dead = self.stage.run(self.stage.bus.dead_letters("g")).ok()?;
        let heals = dead.iter().find(|it| it.id == "heals.a")?;
        self.facts.tried_skips.insert(heals.id.clone());
        self.stage.run(self.stage.bus.resolve("g", heals.position).skip()).ok()?;
        self.facts.count += 1;
        self.facts.skipped.insert(heals.id.clone());
        Some(())
    }

    fn timers(&mut self) -> Option<()> {
        for (id, ms) in [("soon", 50), ("later", 3_600_000)] {
            let event = Event::new("t").id(id).source("s");
            let publish = self.stage.bus.topic("out").publish(event);
            let armed = self.stage.run(publish.after(Duration::from_millis(ms))).ok()?;
            assert!(matches!(armed, Receipt::Scheduled { .. }));
            self.facts.count += 1;
            self.facts.armed.insert(id.to_owned());
        }
        self.stage.pass(60);
        self.publish("orders", "end", &["end".to_owned()])
    }
}
