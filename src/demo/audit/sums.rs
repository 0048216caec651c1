//! The audit as sums that a person can check. Each also stands for the rules on its subject: it is
//! good if it adds up and none of them found anything.

use super::books::Books;
use super::words::{CHARGED, CONFIRMED, REFUNDED, RELEASED, RESERVED, TOLD};
use super::{Auditor, Violation};
use crate::demo::order::Status;

/// One line of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    /// What it is about.
    pub(crate) subject: &'static str,
    /// The sum.
    pub(crate) text: String,
    pub(crate) good: bool,
}

/// Which rules belong to which sum. A rule that is in none belongs to the steps.
const RULES: [(&str, &[&str]); 5] = [
    ("goods", &["stock", "moves", "reserved_at_end"]),
    ("money", &["money", "wrong_amount"]),
    ("orders", &["no_end", "several_ends", "ends_differ", "unknown_order"]),
    ("undo", &["undo_without_step", "not_undone", "undo_before_step"]),
    ("mails", &["missing", "too_much"]),
];

impl Auditor {
    /// The sums of what was audited.
    pub(super) fn sums(&self, books: &Books, found: &[Violation]) -> Vec<Sum> {
        let sum = |subject: &'static str, adds_up: bool, text: String| {
            let listed = |rule| RULES.iter().find(|(_, rules)| rules.contains(&rule));
            let of = |it: &Violation| listed(it.rule).map_or("steps", |(subject, _)| *subject);
            let good = adds_up && !found.iter().any(|it| of(it) == subject);
            Sum { subject, text, good }
        };
        vec![
            goods(books, sum),
            money(books, sum),
            orders(books, sum),
            undo(books, sum),
            mails(books, sum),
            self.steps(found, sum),
        ]
    }

    fn steps(&self, found: &[Violation], sum: impl Fn(&'static str, bool, String) -> Sum) -> Sum {
        let of = |rule: &str| found.iter().filter(|it| it.rule == rule).count();
        let (twice, untold) = (of("event_repeated"), of("effect_without_event"));
        let text = format!(
            "{} events: {twice} emitted twice, {untold} effects without their event",
            number(self.events)
        );
        sum("steps", twice + untold == 0, text)
    }
}

fn goods(books: &Books, sum: impl Fn(&'static str, bool, String) -> Sum) -> Sum {
    let received = books.moved("goods received");
    let shelves = books.shelves.values();
    let (free, held, gone) = shelves.fold((0, 0, 0), |(free, held, gone), it| {
        (free + it.free, held + it.reserved, gone + it.shipped)
    });
    let reserved = if held > 0 { format!(" + {} reserved", number(held)) } else { String::new() };
    let [all, on, off] = [received, free, gone].map(number);
    let text = format!("{all} received = {on} on the shelf{reserved} + {off} shipped");
    sum("goods", received == free + held + gone, text)
}

fn money(books: &Books, sum: impl Fn(&'static str, bool, String) -> Sum) -> Sum {
    let [charged, refunded] = [CHARGED, REFUNDED].map(|deed| books.moved(deed));
    let completed = books.orders.values().filter(|it| it.status == Status::Completed);
    let earned: u64 = completed.map(|it| it.order.total_amount.cents()).sum();
    let [plus, minus, left] = [charged, refunded, earned].map(amount);
    let text = format!("{plus} charged - {minus} refunded = {left} completed");
    sum("money", charged == refunded + earned, text)
}

fn orders(books: &Books, sum: impl Fn(&'static str, bool, String) -> Sum) -> Sum {
    let [open, completed, cancelled] =
        [Status::Open, Status::Completed, Status::Cancelled].map(|it| books.count(it));
    let still = if open > 0 { format!(" + {} open", number(open)) } else { String::new() };
    let [all, good, bad] = [books.orders.len() as u64, completed, cancelled].map(number);
    sum("orders", open == 0, format!("{all} taken = {good} completed + {bad} cancelled{still}"))
}

/// What cancelled orders had done, and what was undone of it.
fn undo(books: &Books, sum: impl Fn(&'static str, bool, String) -> Sum) -> Sum {
    let cancelled =
        |order: &str| books.orders.get(order).is_some_and(|it| it.status == Status::Cancelled);
    let count = |deed: &str| {
        books.effects.iter().filter(|it| it.deed == deed && cancelled(&it.order)).count() as u64
    };
    let [reserved, charged, released, refunded] =
        [RESERVED, CHARGED, RELEASED, REFUNDED].map(count);
    let [goods, cards, back, money] = [reserved, charged, released, refunded].map(number);
    let text = format!(
        "cancelled: {goods} reserved = {back} released, {cards} charged = {money} refunded"
    );
    sum("undo", (reserved, charged) == (released, refunded), text)
}

fn mails(books: &Books, sum: impl Fn(&'static str, bool, String) -> Sum) -> Sum {
    let [confirmed, told] = [CONFIRMED, TOLD].map(|deed| books.moved(deed));
    let all = books.orders.len() as u64;
    let [orders, yes, no] = [all, confirmed, told].map(number);
    let text = format!("{orders} orders = {yes} confirmations + {no} cancellations mailed");
    sum("mails", all == confirmed + told, text)
}

/// With a comma at every thousand.
pub(crate) fn number(it: u64) -> String {
    let digits = it.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Cents as an amount of money.
fn amount(cents: u64) -> String {
    format!("{}.{:02}", number(cents / 100), cents % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_read_them() {
        for (it, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(number(it), text);
        }
        assert_eq!(amount(123_405), "1,234.05");
    }
}
