//! The rules, each with a name: what must hold for one order, for the goods and for the money.

use std::collections::BTreeMap;

use super::Violation;
use super::books::Books;
use super::trail::Trail;
use super::words::{CHARGED, CONFIRMED, REFUNDED, RELEASED, RESERVED, SENT, SHIPPED, TOLD, WORDS};
use crate::demo::inventory::Shelf;
use crate::demo::order::{OrderRow, Status};
use crate::demo::store::Effect;

/// One order, as all that speak of it see it.
struct Case<'a> {
    id: &'a str,
    row: &'a OrderRow,
    trail: &'a Trail,
    effects: &'a [&'a Effect],
    found: &'a mut Vec<Violation>,
}

/// What must hold for one order.
pub(super) fn order(
    id: &str,
    row: Option<&OrderRow>,
    trail: &Trail,
    effects: &[&Effect],
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
    case.undone((RESERVED, "inventory.reserved"), (RELEASED, "inventory.released"));
    case.undone((CHARGED, "payment.processed"), (REFUNDED, "payment.refunded"));
    case.outcome();
    case.amounts();
}

impl Case<'_> {
    fn broken(&mut self, rule: &'static str, text: impl std::fmt::Display) {
        self.found.push(Violation::new(rule, format!("{} {text}", self.id)));
    }

    fn done(&self, name: &str) -> usize {
        self.effects.iter().filter(|it| it.deed == name).count()
    }

    fn one_end(&mut self) {
        let completed = self.trail.count("order.completed");
        let cancelled = self.trail.count("order.cancelled");
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
        let trail = self.trail;
        let mut deeds: Vec<&str> = WORDS.iter().flat_map(|it| it.deeds).copied().collect();
        deeds.sort_unstable();
        deeds.dedup();
        for deed in deeds {
            let says = WORDS.iter().filter(|it| it.deeds.contains(&deed)).map(|it| it.says);
            let said: Vec<&str> = says.filter(|says| trail.count(says) > 0).collect();
            let done = self.done(deed);
            if done > 1 {
                self.broken("done_twice", format!("has {deed} {done} times"));
            }
            match said.first() {
                None if done > 0 => {
                    self.broken(
                        "effect_without_event",
                        format!("has {deed}, and no event says so"),
                    );
                }
                Some(says) if done == 0 => {
                    let text = format!("has {says} in the log, but never {deed}");
                    self.broken("event_without_effect", text);
                }
                _ => {}
            }
        }
    }

    fn events_once_and_caused(&mut self) {
        let mut seen = Vec::new();
        let trail = self.trail;
        for step in &trail.steps {
            let (says, at) = (step.word.says, step.at.0);
            if seen.contains(&says) {
                self.broken("event_repeated", format!("has {says} again at #{at}"));
            }
            seen.push(says);
            if !trail.is_caused(step) {
                self.broken(
                    "wrong_cause",
                    format!("has {says} at #{at} without its cause before it"),
                );
            }
        }
    }

    /// An undo step only after the step, and, if the order is cancelled, always then.
    fn undone(&mut self, step: (&str, &str), undo: (&str, &str)) {
        let ((step, step_says), (undo, undo_says)) = (step, undo);
        let (done, undone) = (self.done(step), self.done(undo));
        if undone > done {
            let text = format!("has {undo} {undone} times and {step} {done} times");
            self.broken("undo_without_step", text);
        }
        if done > undone && self.trail.first("order.cancelled").is_some() {
            self.broken("not_undone", format!("is cancelled with {step} and not {undo}"));
        }
        if let (Some(first), Some(after)) =
            (self.trail.first(undo_says), self.trail.first(step_says))
            && first < after
        {
            let text = format!("has {undo_says} before {step_says}");
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
        let money = self.effects.iter().filter(|it| [CHARGED, REFUNDED].contains(&&*it.deed));
        if !money.flat_map(|it| &it.moved).all(|(_, cents)| *cents == total.cents()) {
            self.broken("wrong_amount", format!("costs {total}, which is not what was moved"));
        }
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
        let unit = match &*effect.deed {
            "goods received" => [1, 0, 0, 0],
            RESERVED => [0, 1, 0, 0],
            RELEASED => [0, 0, 1, 0],
            SHIPPED => [0, 0, 0, 1],
            _ => continue,
        };
        for (product, quantity) in &effect.moved {
            let sums = products.entry(product).or_default();
            for (sum, unit) in sums.iter_mut().zip(unit) {
                *sum += unit * quantity;
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
    let [charged, refunded] = [CHARGED, REFUNDED].map(|deed| books.moved(deed));
    let completed = books.orders.values().filter(|row| row.status == Status::Completed);
    let earned: u64 = completed.map(|row| row.order.total_amount.cents()).sum();
    if charged != refunded + earned {
        let text = format!(
            "{charged} cents charged - {refunded} refunded are not the {earned} of completed orders"
        );
        found.push(Violation::new("money", text));
    }
}
