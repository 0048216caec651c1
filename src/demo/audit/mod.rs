//! The audit: does what a run left add up? It reads the log and the stores and believes no service
//! about itself. It shares with the services the formats of events and rows, and no logic.

pub(crate) mod books;
pub(crate) mod log;
mod rules;
mod sums;
mod trail;
mod words;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::time::Duration;

use quadrille::Bus;

use self::books::Books;
use self::log::LogEvent;
pub(crate) use self::sums::{Sum, number};
use self::trail::Trail;
use crate::cli::Failure;
use crate::demo::data::DataDir;
use crate::demo::orders::fnv;
use crate::demo::shop::TOPICS;
use crate::demo::store::Effect;
use crate::out::plain;

/// One thing that does not add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Which rule it breaks; stable.
    pub(crate) rule: &'static str,
    /// Where, and how.
    pub(crate) text: String,
}

impl Violation {
    /// The log may hold anything, so what is said of it is made harmless to a terminal.
    pub(crate) fn new(rule: &'static str, text: String) -> Self {
        Self { rule, text: plain(&text) }
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
    pub(crate) sums: Vec<Sum>,
    /// One cancelled order and its timeline; one that had the most to undo if there is one.
    pub(crate) cancelled: Option<(String, String)>,
}

/// Audits a directory that nobody else has open.
///
/// # Errors
/// Log or stores cannot be read.
pub(crate) async fn audit(data: &DataDir) -> Result<Report, Failure> {
    let books = Books::read(data)?;
    let bus = Bus::open(&data.path).await.map_err(Failure::run)?;
    let mut auditor = Auditor::default();
    auditor.log(&bus).await?;
    let cancelled = match auditor.cancelled() {
        Some(order) => {
            let timeline = bus.timeline(order).await.map_err(Failure::run)?;
            Some((order.to_owned(), timeline.to_string()))
        }
        None => None,
    };
    bus.close(Duration::ZERO).await.map_err(Failure::run)?;
    let found = auditor.compare(&books);
    let sums = auditor.sums(&books, &found);
    Ok(Report { events: auditor.events, books, found, sums, cancelled })
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
    /// Takes all events of a bus.
    pub(crate) async fn log(&mut self, bus: &Bus) -> Result<(), Failure> {
        for name in TOPICS {
            log::topic(bus, name, |event| self.event(&event)).await.map_err(Failure::run)?;
        }
        Ok(())
    }

    /// Takes one event; topics may come in any order.
    pub(crate) fn event(&mut self, event: &LogEvent) {
        self.events += 1;
        if !self.seen.insert(fnv(&[&event.topic, &event.source, &event.id])) {
            let text = format!("{} has event {} more than once", event.topic, event.id);
            self.found.push(Violation::new("event_repeated", text));
        }
        let trail = self.trails.entry(event.order.clone()).or_default();
        if let Err(why) = trail.event(event) {
            let text = format!("#{} {} of {:?} {why}", event.at.0, event.says, event.order);
            self.found.push(Violation::new("not_an_event", text));
        }
    }

    /// Compares with the stores and says what does not add up.
    pub(crate) fn compare(&self, books: &Books) -> Vec<Violation> {
        let mut found = self.found.clone();
        let mut effects: BTreeMap<&str, Vec<&Effect>> = BTreeMap::new();
        for effect in books.effects.iter().filter(|it| !it.order.is_empty()) {
            effects.entry(&effect.order).or_default().push(effect);
        }
        let nothing = Trail::default();
        let mut orders: BTreeSet<&str> = effects.keys().copied().collect();
        orders.extend(self.trails.keys().chain(books.orders.keys()).map(String::as_str));
        for id in orders {
            let (trail, effects) = (self.trails.get(id), effects.remove(id));
            let trail = trail.unwrap_or(&nothing);
            let effects = effects.unwrap_or_default();
            rules::order(id, books.orders.get(id), trail, &effects, &mut found);
        }
        rules::stock(books, &mut found);
        rules::money(books, &mut found);
        found
    }

    /// An order whose card was charged too late, or charged and refunded, or one that was stopped
    /// early.
    fn cancelled(&self) -> Option<&str> {
        let with = |says: &str| {
            let mut trails = self.trails.iter();
            trails.find(|(_, trail)| trail.count(says) > 0).map(|(id, _)| id.as_str())
        };
        ["payment.reversed", "payment.refunded", "order.cancelled"].iter().find_map(|it| with(it))
    }
}

#[cfg(test)]
mod tests;
