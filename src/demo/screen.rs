//! The last screen of a story: what the audit found, one order that went back, one that was parked,
//! and what the operator did about it.

use anstyle::{AnsiColor, Style};

use super::audit::books::Books;
use super::audit::{Report, number};
use super::director::Told;
use super::report::Resolved;
use super::summary::audit_text;
use crate::out::quoted;

/// All of it. `dir` is where it is kept.
pub(crate) fn draw(told: &Told, report: &Report, dir: &str, colour: bool) -> String {
    let mut parts = vec![format!(
        "The audit, after {} kills and {} panics: sums of the log and the databases\n{}",
        told.kills,
        number(told.counts.retries),
        audit_text(&report.sums, &report.found).trim_end()
    )];
    let cancelled = report.cancelled.as_ref();
    parts.extend(cancelled.map(|(_, timeline)| timeline.clone()));
    if let Some(first) = told.parked.first() {
        parts.push(first.timeline.clone());
    }
    if !told.resolved.is_empty() {
        parts.push(operator(&told.resolved, &report.books));
    }
    let mut after = format!("All of it is kept in {dir}. Look for yourself:");
    let dir = quoted(dir);
    if let Some((order, _)) = cancelled {
        after += &format!("\n  quadrille saga show {order} --data {dir}");
    }
    parts.push(format!("{after}\n  quadrille demo audit {dir}"));
    let text = parts.join("\n\n");
    if colour { paint(&text) } else { text }
}

/// What was done about each that was parked, and how its order has ended.
fn operator(resolved: &[Resolved], books: &Books) -> String {
    let wide = |of: fn(&Resolved) -> &str| {
        resolved.iter().map(|it| of(it).chars().count()).max().unwrap_or(0)
    };
    let (how, why) = (wide(|it| &it.how), wide(|it| &it.why));
    let line = |it: &Resolved| {
        let end = books.orders.get(&it.order).map_or("unknown", |row| row.status.name());
        format!("  {:how$}   {:why$}   {end}", it.how, it.why)
    };
    let lines: Vec<_> = resolved.iter().map(line).collect();
    format!("The operator resolves what is parked, and its orders end:\n{}", lines.join("\n"))
}

/// Good news green, bad news red, what goes back yellow.
fn paint(text: &str) -> String {
    let style = |line: &str| {
        let has = |words: &[&str]| words.iter().any(|it| line.contains(it));
        match () {
            () if line.starts_with('✔') => Some(AnsiColor::Green),
            () if line.starts_with('✘') || has(&["parked after", "needs attention"]) => {
                Some(AnsiColor::Red)
            }
            () if has(&["failed", "rejected", "refused", "expired"]) => Some(AnsiColor::Red),
            () if has(&["refunded", "reversed", "released", "cancelled"]) => {
                Some(AnsiColor::Yellow)
            }
            () => None,
        }
    };
    let paint = |line: &str| match style(line) {
        None => line.to_owned(),
        Some(colour) => {
            let style = Style::new().fg_color(Some(colour.into()));
            format!("{style}{line}{style:#}")
        }
    };
    text.lines().map(paint).collect::<Vec<_>>().join("\n")
}
