//! What the log tells of a run while it goes: which orders have ended, and how long that took. By
//! the log's own times, read without a group; so it says the same whoever was killed meanwhile.

use std::collections::{BTreeMap, HashMap};

use hdrhistogram::Histogram;
use quadrille::{Bus, ReadError};

use super::payment::provider::Provider;
use super::report::{Act, Measured};

/// Reads on in the log.
pub(crate) struct Watch {
    bus: Bus,
    /// Knows which orders have waited for it.
    provider: Provider,
    /// The next offset to read of the topic of orders.
    next: u64,
    /// The next offset to read of the topic of payments.
    next_payment: u64,
    /// Charges that came after their order had failed, also before this process started.
    late: u64,
    // order: looked up by order, never walked.
    open: HashMap<String, Open>,
    /// What orders that are published here count under.
    // order: looked up by order, never walked.
    acts: HashMap<String, Act>,
    measures: BTreeMap<Act, Measure>,
    ended: u64,
}

struct Open {
    since: u64,
    /// None if it was published by an earlier process.
    act: Option<Act>,
}

impl Watch {
    pub(crate) fn new(bus: &Bus, provider: Provider) -> Self {
        Self {
            bus: bus.clone(),
            provider,
            next: 0,
            next_payment: 0,
            late: 0,
            open: HashMap::new(),
            acts: HashMap::new(),
            measures: BTreeMap::new(),
            ended: 0,
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

    /// How many charges came after their order had failed.
    pub(crate) async fn late(&mut self) -> Result<u64, ReadError> {
        let mut events = self.bus.read("payments").from(self.next_payment);
        while let Some(stored) = events.next().await {
            let stored = stored?;
            self.next_payment = stored.offset + 1;
            self.late += u64::from(stored.event().ty == "payment.reversed");
        }
        Ok(self.late)
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
        self.open.insert(order.to_owned(), Open { since: time, act });
    }

    fn died(&mut self, order: &str, time: u64) {
        // A second end is for the audit to find.
        let Some(open) = self.open.remove(order) else { return };
        self.ended += 1;
        let waited = open.act != Some(Act::Cast) && self.provider.has_refused(order);
        if let Some(act) = if waited { Some(Act::Outage) } else { open.act } {
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
    use quadrille::{Ctx, Event};

    use super::*;
    use crate::demo::chance::Chance;

    async fn say(bus: &Bus, ty: &str, order: &str) {
        let event = Event::new(ty).source("test").saga(order);
        bus.topic("orders").publish(event).await.unwrap();
    }

    #[tokio::test]
    async fn orders_count_once_and_only_those_that_an_outage_has_held_up_by_themselves() {
        let bus = Bus::memory().await.unwrap();
        bus.create_topic("orders").await.unwrap();
        let chance = Chance { seed: 3, fail_rate: 0.0, crash_rate: 0.0 };
        let provider = Provider::new(&bus, chance, None);
        let mut watch = Watch::new(&bus, provider.clone());
        let acts = [Act::Steady, Act::Steady, Act::Cast, Act::Steady];
        for (order, act) in ["a", "b", "c", "d"].into_iter().zip(acts) {
            watch.expect(order, act);
            say(&bus, "order.created", order).await;
        }
        say(&bus, "order.completed", "a").await;
        provider.set_down(true);
        for order in ["b", "c"] {
            assert!(provider.refund(&Ctx::test(order)).await.is_err());
        }
        assert_eq!(provider.outage(), (0, 0));
        provider.set_down(false);
        provider.refund(&Ctx::test("b")).await.unwrap();
        assert_eq!(provider.outage(), (1, 0));
        for order in ["a", "b", "c", "d"] {
            say(&bus, "order.cancelled", order).await;
        }
        // `d` was open all the while, and asked for nothing.
        assert_eq!((watch.look().await.unwrap(), watch.ended()), (4, 4));
        let counted: Vec<_> = watch.measured().iter().map(|(act, it)| (*act, it.orders)).collect();
        assert_eq!(counted, [(Act::Steady, 2), (Act::Outage, 1), (Act::Cast, 1)]);
    }

    #[tokio::test]
    async fn late_charges_are_counted_once() {
        let bus = Bus::memory().await.unwrap();
        bus.create_topic("payments").await.unwrap();
        let chance = Chance { seed: 3, fail_rate: 0.0, crash_rate: 0.0 };
        let mut watch = Watch::new(&bus, Provider::new(&bus, chance, None));
        assert_eq!(watch.late().await.unwrap(), 0);
        for ty in ["payment.failed", "payment.reversed"] {
            let event = Event::new(ty).source("test").saga("a");
            bus.topic("payments").publish(event).await.unwrap();
        }
        assert_eq!((watch.late().await.unwrap(), watch.late().await.unwrap()), (1, 1));
    }
}
