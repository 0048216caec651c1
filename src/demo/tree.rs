//! The tree of causes of one order, as people read it.

use anstyle::{AnsiColor, Style};

use super::audit::log::LogEvent;
use super::events::EventType;

/// Draws the events of one order, each below the one that caused it.
pub(crate) fn draw(events: &[LogEvent], colour: bool) -> String {
    let mut lines = Vec::new();
    let start = events.iter().map(|it| it.time_ms).min().unwrap_or(0);
    let caused = |it: &LogEvent| events.iter().any(|c| c.id == it.cause && c.at < it.at);
    for root in events.iter().filter(|it| !caused(it)) {
        branch(events, root, "", "", &mut lines);
    }
    let width = lines.iter().map(|(text, _)| text.chars().count()).max().unwrap_or(0);
    let line = |(text, event): &(String, &LogEvent)| {
        let style = if colour { style(&event.ty) } else { Style::new() };
        let pad = " ".repeat(width - text.chars().count());
        let after = event.time_ms.saturating_sub(start);
        let place = match event.at {
            (entry, 0) => format!("#{entry}"),
            (entry, index) => format!("#{entry}.{index}"),
        };
        let line = format!("{style}{text}{style:#}{pad}  {place:<9} +{after} ms  {}", said(event));
        line.trim_end().to_owned()
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn branch<'e>(
    events: &'e [LogEvent],
    event: &'e LogEvent,
    stem: &str,
    indent: &str,
    lines: &mut Vec<(String, &'e LogEvent)>,
) {
    lines.push((format!("{stem}{}", event.ty), event));
    // An event is later than its cause, so this ends even if the log is damaged.
    let effects: Vec<_> =
        events.iter().filter(|it| it.cause == event.id && it.at > event.at).collect();
    for (place, effect) in (1..).zip(&effects) {
        let (turn, below) =
            if place < effects.len() { ("├─ ", "│  ") } else { ("└─ ", "   ") };
        branch(events, effect, &format!("{indent}{turn}"), &format!("{indent}{below}"), lines);
    }
}

/// What an event says beyond its type: the reason where it arises, the kind of a notification.
fn said(event: &LogEvent) -> String {
    let Some(payload) = &event.payload else {
        return "(not readable)".to_owned();
    };
    let arises = matches!(
        EventType::parse(&event.ty),
        Some(EventType::InventoryRejected | EventType::PaymentFailed | EventType::ShipmentRefused)
    );
    match (&payload.reason, payload.kind) {
        (Some(reason), _) if arises => reason.clone(),
        (_, Some(kind)) => format!("{kind:?}").to_lowercase(),
        _ if event.cause.is_empty() => {
            format!("{}, {}", payload.order.customer_id, payload.order.total_amount)
        }
        _ => String::new(),
    }
}

fn style(ty: &str) -> Style {
    let colour = match EventType::parse(ty) {
        Some(
            EventType::InventoryRejected | EventType::PaymentFailed | EventType::ShipmentRefused,
        ) => AnsiColor::Red,
        Some(
            EventType::PaymentRefunded | EventType::InventoryReleased | EventType::OrderCancelled,
        ) => AnsiColor::Yellow,
        _ => AnsiColor::Green,
    };
    Style::new().fg_color(Some(colour.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::chance::Chance;
    use crate::demo::shop::{Shop, no_trouble};

    #[test]
    fn a_cancelled_order_is_drawn_from_its_start_to_the_last_word() {
        let chance = Chance { fail_rate: 1.0, ..no_trouble() };
        let mut shop = Shop::new(20);
        let ids = shop.order_ids();
        let refused =
            ids.iter().find(|id| chance.failure(id) == Some(EventType::ShipmentRefused)).unwrap();
        shop.run(&chance);
        shop.log.retain(|it| it.order_id == *refused);
        let drawn = draw(&shop.log, false);
        let types: Vec<_> = drawn
            .lines()
            .map(|line| line.trim_start_matches([' ', '└', '─', '│', '├']))
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        assert_eq!(
            types,
            [
                "order.created",
                "inventory.reserved",
                "payment.processed",
                "shipment.refused",
                "payment.refunded",
                "inventory.released",
                "order.cancelled",
                "notification.sent",
            ]
        );
        assert!(drawn.contains("no carrier goes to that address"), "{drawn}");
        assert_eq!(drawn.matches("no carrier").count(), 1);
        assert!(drawn.ends_with("cancellation"), "{drawn}");
        assert!(!drawn.contains('\u{1b}') && draw(&shop.log, true).contains('\u{1b}'));
    }

    #[test]
    fn siblings_hang_on_one_branch_and_a_loop_of_causes_ends() {
        let mut shop = Shop::new(1);
        shop.run(&no_trouble());
        let mut twin = shop.log[1].clone();
        twin.at.0 += 100;
        shop.log.push(twin);
        let drawn = draw(&shop.log, false);
        assert!(drawn.contains("├─ inventory.reserved"), "{drawn}");
        shop.log[0].cause = shop.log[1].id.clone();
        assert_eq!(draw(&shop.log, false).lines().count(), 7);
    }
}
