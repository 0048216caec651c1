//! The rules, each with a name: what must hold for one order, for the goods and for the money.

use std::collections::BTreeMap;

use super::Violation;
use super::books::Books;
use super::trail::Trail;
use crate::demo::events::{EventType, Kind};
use crate::demo::inventory::Shelf;
use crate::demo::order::{OrderRow, Status};
use crate::demo::store::What;

/// What services do to the world: as the journals have it, and the event that says it.
const DEEDS: [(&str, EventType, Option<Kind>); 10] = [
    (RESERVED, EventType::InventoryReserved, None),
    (RELEASED, EventType::InventoryReleased, None),
    (CHARGED, EventType::PaymentProcessed, None),
    (REFUNDED, EventType::PaymentRefunded, None),
    (SENT, EventType::ShipmentScheduled, None),
    (SHIPPED, EventType::ShipmentScheduled, None),
    (CONFIRMED, EventType::NotificationSent, Some(Kind::Confirmation)),
    (TOLD, EventType::NotificationSent, Some(Kind::Cancellation)),
    (COMPLETED, EventType::OrderCompleted, None),
    (CANCELLED, EventType::OrderCancelled, None),
];

const RESERVED: &str = "goods reserved";
const RELEASED: &str = "goods released";
const CHARGED: &str = "card charged";
const REFUNDED: &str = "card refunded";
const SENT: &str = "parcel sent";
const SHIPPED: &str = "goods shipped";
const CONFIRMED: &str = "confirmation mailed";
const TOLD: &str = "cancellation mailed";
const COMPLETED: &str = "order completed";
const CANCELLED: &str = "order cancelled";

const fn deed(what: &What) -> &'static str {
    match what {
        What::StockReceived(_) => "goods received",
        What::StockReserved(_) => RESERVED,
        What::StockReleased(_) => RELEASED,
        What::StockShipped(_) => SHIPPED,
        What::CardCharged(_) => CHARGED,
        What::CardRefunded(_) => REFUNDED,
        What::ParcelSent(_) => SENT,
        What::MailSent(Kind::Confirmation) => CONFIRMED,
        What::MailSent(Kind::Cancellation) => TOLD,
        What::OrderCompleted => COMPLETED,
        What::OrderCancelled => CANCELLED,
    }
}

/// One order, as all that speak of it see it.
struct Case<'a> {
    id: &'a str,
    row: &'a OrderRow,
    trail: &'a Trail,
    effects: &'a [&'a What],
    found: &'a mut Vec<Violation>,
}

/// What must hold for one order.
pub(super) fn order(
    id: &str,
    row: Option<&OrderRow>,
    trail: &Trail,
    effects: &[&What],
    found: &mut Vec<Violation>,
) {
    let Some(row) = row else {
        let text = format!("nobody ordered {id:?}, but log or stores speak of it");
        return found.push(Violation::new("unknown_order", text));
    };
    let mut case = Case { id, row, trail, effects, found };
    case.one_end();
    case.deeds_and_events();
    case.events_once_and_caused();
    case.undone((RESERVED, EventType::InventoryReserved), (RELEASED, EventType::InventoryReleased));
    case.undone((CHARGED, EventType::PaymentProcessed), (REFUNDED, EventType::PaymentRefunded));
    case.outcome();
    case.amounts();
}

impl Case<'_> {
    fn broken(&mut self, rule: &'static str, text: impl std::fmt::Display) {
        self.found.push(Violation::new(rule, format!("{} {text}", self.id)));
    }

    fn done(&self, name: &str) -> usize {
        self.effects.iter().filter(|it| deed(it) == name).count()
    }

    fn one_end(&mut self) {
        let completed = self.trail.count(EventType::OrderCompleted, None);
        let cancelled = self.trail.count(EventType::OrderCancelled, None);
        let end = match (completed, cancelled) {
            (0, 0) => return self.broken("no_end", "has not ended in the log"),
            (1, 0) => Status::Completed,
            (0, 1) => Status::Cancelled,
            _ => {
                let ends = completed + cancelled;
                let text = format!("has {ends} ends: {completed} completed, {cancelled} cancelled");
                return self.broken("several_ends", text);
            }
        };
        if self.row.status != end {
            let text = format!("is {:?} in the store and {end:?} in the log", self.row.status);
            self.broken("ends_differ", text);
        }
    }

    /// Every effect once, and never without the event that says so, nor that without the effect.
    fn deeds_and_events(&mut self) {
        for (name, ty, kind) in DEEDS {
            let (done, said) = (self.done(name), self.trail.count(ty, kind));
            if done > 1 {
                self.broken("done_twice", format!("has {name} {done} times"));
            }
            if done > 0 && said == 0 {
                let text = format!("has {name}, but the log has no {}", ty.name());
                self.broken("effect_without_event", text);
            }
            if said > 0 && done == 0 {
                let text = format!("has {} in the log, but never {name}", ty.name());
                self.broken("event_without_effect", text);
            }
        }
    }

    fn events_once_and_caused(&mut self) {
        let mut seen = Vec::new();
        let trail = self.trail;
        for step in &trail.steps {
            let name = step.ty.name();
            if seen.contains(&(step.ty, step.kind)) {
                self.broken("event_repeated", format!("has {name} again at #{}", step.at.0));
            }
            seen.push((step.ty, step.kind));
            let right = match trail.cause(step) {
                None => false,
                Some(None) => step.ty == EventType::OrderCreated,
                Some(Some(cause)) => causes(step.ty, step.kind).contains(&cause),
            };
            if !right {
                let text = format!("has {name} at #{} without its cause before it", step.at.0);
                self.broken("wrong_cause", text);
            }
        }
    }

    /// An undo step only after the step, and, if the order is cancelled, always then.
    fn undone(&mut self, step: (&str, EventType), undo: (&str, EventType)) {
        let ((step, step_type), (undo, undo_type)) = (step, undo);
        let (done, undone) = (self.done(step), self.done(undo));
        if undone > done {
            let text = format!("has {undo} {undone} times and {step} {done} times");
            self.broken("undo_without_step", text);
        }
        if done > undone && self.trail.first(EventType::OrderCancelled).is_some() {
            self.broken("not_undone", format!("is cancelled with {step} and not {undo}"));
        }
        if let (Some(first), Some(after)) =
            (self.trail.first(undo_type), self.trail.first(step_type))
            && first < after
        {
            let text = format!("has {} before {}", undo_type.name(), step_type.name());
            self.broken("undo_before_step", text);
        }
    }

    /// What belongs to an end is there, and nothing else: also every notification.
    fn outcome(&mut self) {
        let (status, needs, excludes): (_, &[&str], &[&str]) = match self.row.status {
            Status::Open => return,
            Status::Completed => (
                "completed",
                &[RESERVED, CHARGED, SENT, SHIPPED, CONFIRMED],
                &[RELEASED, REFUNDED, TOLD],
            ),
            Status::Cancelled => ("cancelled", &[TOLD], &[SENT, SHIPPED, CONFIRMED]),
        };
        for deed in needs.iter().filter(|it| self.done(it) == 0).collect::<Vec<_>>() {
            self.broken("missing", format!("is {status} without {deed}"));
        }
        for deed in excludes.iter().filter(|it| self.done(it) > 0).collect::<Vec<_>>() {
            self.broken("too_much", format!("is {status} with {deed}"));
        }
    }

    fn amounts(&mut self) {
        let total = self.row.order.total_amount;
        let right = |it: &What| {
            !matches!(it,
            What::CardCharged(amount) | What::CardRefunded(amount) if *amount != total)
        };
        if !self.effects.iter().all(|it| right(it)) {
            self.broken("wrong_amount", format!("costs {total}, which is not what was moved"));
        }
    }
}

/// Which events may cause one.
const fn causes(ty: EventType, kind: Option<Kind>) -> &'static [EventType] {
    match (ty, kind) {
        (EventType::OrderCreated, _) => &[],
        (EventType::InventoryReserved | EventType::InventoryRejected, _) => {
            &[EventType::OrderCreated]
        }
        (EventType::PaymentProcessed | EventType::PaymentFailed, _) => {
            &[EventType::InventoryReserved]
        }
        (EventType::ShipmentScheduled | EventType::ShipmentRefused, _) => {
            &[EventType::PaymentProcessed]
        }
        (EventType::PaymentRefunded, _) => &[EventType::ShipmentRefused],
        (EventType::InventoryReleased, _) => {
            &[EventType::PaymentFailed, EventType::PaymentRefunded]
        }
        (EventType::OrderCancelled, _) => {
            &[EventType::InventoryRejected, EventType::InventoryReleased]
        }
        (EventType::NotificationSent, Some(Kind::Cancellation)) => &[EventType::OrderCancelled],
        (EventType::NotificationSent, _) => &[EventType::ShipmentScheduled],
        (EventType::OrderCompleted, _) => &[EventType::NotificationSent],
    }
}

/// Goods in = on the shelf + reserved + shipped; the shelves agree with what was moved; nothing
/// stays reserved when every order has ended.
pub(super) fn stock(books: &Books, found: &mut Vec<Violation>) {
    let mut products: BTreeMap<&str, [u64; 4]> = BTreeMap::new();
    for product in books.shelves.keys() {
        products.entry(product).or_default();
    }
    for effect in &books.effects {
        let (items, unit) = match &effect.what {
            What::StockReceived(items) => (items, [1, 0, 0, 0]),
            What::StockReserved(items) => (items, [0, 1, 0, 0]),
            What::StockReleased(items) => (items, [0, 0, 1, 0]),
            What::StockShipped(items) => (items, [0, 0, 0, 1]),
            _ => continue,
        };
        for item in items {
            let sums = products.entry(&item.product_id).or_default();
            for (sum, unit) in sums.iter_mut().zip(unit) {
                *sum += unit * u64::from(item.quantity);
            }
        }
    }
    let open = books.count(Status::Open) > 0;
    for (product, [received, reserved, released, shipped]) in products {
        let Shelf { free, reserved: held, shipped: gone } =
            books.shelves.get(product).copied().unwrap_or_default();
        let mut broken =
            |rule, text| found.push(Violation::new(rule, format!("{product}: {text}")));
        if received != free + held + gone {
            let are = format!("{gone} shipped + {free} on the shelf + {held} reserved");
            broken("stock", format!("{received} came in, and {are} are {}", free + held + gone));
        }
        if (held + released + shipped, gone) != (reserved, shipped) {
            let moves = format!("{reserved} reserved, {released} released, {shipped} shipped");
            broken("moves", format!("after {moves} there are {held} reserved, {gone} shipped"));
        }
        if held > 0 && !open {
            broken("reserved_at_end", format!("{held} are reserved, and no order is open"));
        }
    }
}

/// Charged − refunded = what the completed orders cost.
pub(super) fn money(books: &Books, found: &mut Vec<Violation>) {
    let (mut charged, mut refunded) = (0, 0);
    for effect in &books.effects {
        match effect.what {
            What::CardCharged(amount) => charged += amount.cents(),
            What::CardRefunded(amount) => refunded += amount.cents(),
            _ => {}
        }
    }
    let completed = books.orders.values().filter(|row| row.status == Status::Completed);
    let earned: u64 = completed.map(|row| row.order.total_amount.cents()).sum();
    if charged != refunded + earned {
        let text = format!(
            "{charged} cents charged - {refunded} refunded are not the {earned} of completed orders"
        );
        found.push(Violation::new("money", text));
    }
}
