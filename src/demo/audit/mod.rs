//! The audit: does what a run left add up? It reads the log and the stores and believes no service
//! about itself. It shares with the services the formats of events and rows, and no logic.

pub(crate) mod books;
pub(crate) mod log;
mod rules;
mod trail;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::time::Duration;

use quadrille::Bus;

use self::books::Books;
use self::log::LogEvent;
use self::trail::Trail;
use crate::cli::Failure;
use crate::demo::events::TOPICS;
use crate::demo::options::DataDir;
use crate::demo::orders::fnv;
use crate::demo::store::What;

/// One thing that does not add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Which rule it breaks; stable.
    pub(crate) rule: &'static str,
    /// Where, and how.
    pub(crate) text: String,
}

impl Violation {
    pub(crate) fn new(rule: &'static str, text: String) -> Self {
        Self { rule, text }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.text)
    }
}

/// What an audit saw.
#[derive(Debug)]
pub(crate) struct Report {
    /// How many events the log holds.
    pub(crate) events: u64,
    pub(crate) books: Books,
    pub(crate) found: Vec<Violation>,
    /// The events of one cancelled order, of one that had the most to undo if there is one.
    pub(crate) cancelled: Vec<LogEvent>,
}

/// Audits a directory that nobody else has open.
///
/// # Errors
/// Log or stores cannot be read.
pub(crate) async fn audit(data: &DataDir) -> Result<Report, Failure> {
    let books = Books::read(data)?;
    let bus = Bus::open(data.bus()).await.map_err(Failure::run)?;
    let mut auditor = Auditor::default();
    for name in TOPICS {
        log::topic(&bus, name, |event| auditor.event(&event)).await?;
    }
    let cancelled = match books.cancelled() {
        Some(id) => log::order(&bus, id).await?,
        None => Vec::new(),
    };
    bus.close(Duration::ZERO).await.map_err(Failure::run)?;
    let events = auditor.events;
    Ok(Report { events, found: auditor.finish(&books), books, cancelled })
}

/// Takes the log, event by event, and then the stores.
#[derive(Debug, Default)]
pub(crate) struct Auditor {
    trails: BTreeMap<String, Trail>,
    /// Hashes of (topic, source, id).
    seen: HashSet<u64>,
    events: u64,
    found: Vec<Violation>,
}

impl Auditor {
    /// Takes one event; topics may come in any order.
    pub(crate) fn event(&mut self, event: &LogEvent) {
        self.events += 1;
        if !self.seen.insert(fnv(&[&event.topic, &event.source, &event.id])) {
            let text = format!("{} has event {} more than once", event.topic, event.id);
            self.found.push(Violation::new("event_repeated", text));
        }
        let trail = self.trails.entry(event.order_id.clone()).or_default();
        if let Err(why) = trail.event(event) {
            let text = format!("#{} {} of {:?} {why}", event.at.0, event.ty, event.order_id);
            self.found.push(Violation::new("not_an_event", text));
        }
    }

    /// Compares with the stores and says what does not add up.
    pub(crate) fn finish(mut self, books: &Books) -> Vec<Violation> {
        let mut orders: BTreeMap<&str, (Trail, Vec<&What>)> = BTreeMap::new();
        for (id, trail) in &mut self.trails {
            orders.entry(id).or_default().0 = std::mem::take(trail);
        }
        for effect in books.effects.iter().filter(|it| !it.order_id.is_empty()) {
            orders.entry(&effect.order_id).or_default().1.push(&effect.what);
        }
        for id in books.orders.keys() {
            orders.entry(id).or_default();
        }
        for (id, (trail, effects)) in &orders {
            rules::order(id, books.orders.get(*id), trail, effects, &mut self.found);
        }
        rules::stock(books, &mut self.found);
        rules::money(books, &mut self.found);
        self.found
    }
}

#[cfg(test)]
mod tests;
