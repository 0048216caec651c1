//! What the log tells of a run while it goes: which orders have ended, and how long that took. By
//! the log's own times, read without a group; so it says the same whoever was killed meanwhile.

use std::collections::{BTreeMap, HashMap};

use hdrhistogram::Histogram;
use quadrille::{Bus, ReadError};

use super::report::{Act, Measured};

/// Reads on in the log.
pub(crate) struct Watch {
    bus: Bus,
    /// The next offset to read of the topic of orders.
    next: u64,
    // order: looked up by order; walked only to set the same label for all.
    open: HashMap<String, Open>,
    /// What orders that are published here count under.
    // order: looked up by order, never walked.
    acts: HashMap<String, Act>,
    measures: BTreeMap<Act, Measure>,
    ended: u64,
    down: bool,
}

struct Open {
    since: u64,
    /// None if it was published by an earlier process.
    act: Option<Act>,
}

impl Watch {
    pub(crate) fn new(bus: &Bus) -> Self {
        Self {
            bus: bus.clone(),
            next: 0,
            open: HashMap::new(),
            acts: HashMap::new(),
            measures: BTreeMap::new(),
            ended: 0,
            down: false,
        }
    }

    /// This order will be published here, and counts under this.
    pub(crate) fn expect(&mut self, order: &str, act: Act) {
        self.acts.insert(order.to_owned(), act);
    }

    /// How many orders have ended, also before this process started.
    pub(crate) fn ended(&self) -> u64 {
        self.ended
    }

    /// The provider goes down or comes back. Orders that are open meanwhile count by themselves.
    pub(crate) async fn outage(&mut self, down: bool) -> Result<(), ReadError> {
        self.look().await?;
        self.down = down;
        if down {
            for open in self.open.values_mut().filter(|it| it.act != Some(Act::Cast)) {
                open.act = Some(Act::Outage);
            }
        }
        Ok(())
    }

    /// Reads what is new; tells how many orders have ended in it.
    pub(crate) async fn look(&mut self) -> Result<u64, ReadError> {
        let before = self.ended;
        let mut events = self.bus.read("orders").from(self.next);
        while let Some(stored) = events.next().await {
            let stored = stored?;
            self.next = stored.offset + 1;
            let event = stored.event();
            match event.ty {
                "order.created" => self.born(event.saga_or_id(), stored.time),
                "order.completed" | "order.cancelled" => self.died(event.saga_or_id(), stored.time),
                _ => {}
            }
        }
        Ok(self.ended - before)
    }

    pub(crate) fn measured(&self) -> Vec<(Act, Measured)> {
        self.measures.iter().map(|(act, it)| (*act, it.measured())).collect()
    }

    fn born(&mut self, order: &str, time: u64) {
        let act = self.acts.remove(order);
        let meets = self.down && act.is_some_and(|it| it != Act::Cast);
        let act = if meets { Some(Act::Outage) } else { act };
        self.open.insert(order.to_owned(), Open { since: time, act });
    }

    fn died(&mut self, order: &str, time: u64) {
        // A second end is for the audit to find.
        let Some(open) = self.open.remove(order) else { return };
        self.ended += 1;
        if let Some(act) = open.act {
            self.measures.entry(act).or_insert_with(|| Measure::since(open.since)).add(&open, time);
        }
    }
}

/// Orders of one act.
struct Measure {
    /// Milliseconds from publish to end; None if no histogram can be made.
    took: Option<Histogram<u64>>,
    first: u64,
    last: u64,
}

impl Measure {
    fn since(first: u64) -> Self {
        // Three digits up to an hour.
        Self { took: Histogram::new_with_bounds(1, 3_600_000, 3).ok(), first, last: first }
    }

    fn add(&mut self, open: &Open, end: u64) {
        (self.first, self.last) = (self.first.min(open.since), self.last.max(end));
        if let Some(took) = &mut self.took {
            took.saturating_record(end.saturating_sub(open.since));
        }
    }

    fn measured(&self) -> Measured {
        let Some(took) = &self.took else { return Measured::default() };
        let seconds = (self.last - self.first).max(1) as f64 / 1000.0;
        let at = |share| took.value_at_quantile(share) as f64;
        let per_s = took.len() as f64 / seconds;
        Measured { orders: took.len(), per_s, p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use quadrille::Event;

    use super::*;

    async fn say(bus: &Bus, ty: &str, order: &str) {
        let event = Event::new(ty).source("test").saga(order);
        bus.topic("orders").publish(event).await.unwrap();
    }

    #[tokio::test]
    async fn orders_count_once_and_those_that_meet_an_outage_by_themselves() {
        let bus = Bus::memory().await.unwrap();
        bus.create_topic("orders").await.unwrap();
        let mut watch = Watch::new(&bus);
        for (order, act) in [("a", Act::Steady), ("b", Act::Steady), ("c", Act::Cast)] {
            watch.expect(order, act);
            say(&bus, "order.created", order).await;
        }
        say(&bus, "order.completed", "a").await;
        watch.outage(true).await.unwrap();
        watch.outage(false).await.unwrap();
        for order in ["a", "b", "c"] {
            say(&bus, "order.cancelled", order).await;
        }
        assert_eq!((watch.look().await.unwrap(), watch.ended()), (2, 3));
        let counted: Vec<_> = watch.measured().iter().map(|(act, it)| (*act, it.orders)).collect();
        assert_eq!(counted, [(Act::Steady, 1), (Act::Outage, 1), (Act::Cast, 1)]);
    }
}
