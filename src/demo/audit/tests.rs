//! The audit against a shop that did everything right, and against each planted violation.

use super::books::Books;
use super::log::LogEvent;
use super::{Auditor, Violation};
use crate::demo::chance::Chance;
use crate::demo::events::{EventType, Kind};
use crate::demo::inventory::{INVENTORY, Shelf};
use crate::demo::notification::NOTIFICATION;
use crate::demo::options::DataDir;
use crate::demo::order::{ORDER, OrderRow, Status};
use crate::demo::payment::PAYMENT;
use crate::demo::shop::Shop;
use crate::demo::store::What;

const CHANCE: Chance = Chance { seed: 3, fail_rate: 0.4, crash_rate: 0.2 };

fn audit(log: &[LogEvent], books: &Books) -> Vec<Violation> {
    let mut auditor = Auditor::default();
    log.iter().for_each(|it| auditor.event(it));
    auditor.finish(books)
}

/// Runs a shop, lets `plant` meddle with its log and stores, and audits what is found on the disk.
fn audited(count: u64, plant: impl FnOnce(&mut Shop)) -> Vec<Violation> {
    let mut shop = Shop::new(count);
    shop.run(&CHANCE);
    plant(&mut shop);
    let log = std::mem::take(&mut shop.log);
    let dir = shop.close();
    let data = DataDir::prepare(Some(dir.path())).unwrap();
    audit(&log, &Books::read(&data).unwrap())
}

/// The first order of the shop that meets this fate.
fn with_fate(shop: &Shop, fate: Option<EventType>) -> String {
    shop.order_ids().into_iter().find(|id| CHANCE.failure(id) == fate).unwrap()
}

fn rules(violations: &[Violation]) -> Vec<&'static str> {
    violations.iter().map(|it| it.rule).collect()
}

#[track_caller]
fn assert_named(violations: &[Violation], rule: &str, of: &str) {
    let hit = violations.iter().any(|it| it.rule == rule && it.text.contains(of));
    assert!(hit, "no {rule} of {of} in {violations:#?}");
}

#[test]
fn a_shop_with_failures_and_crashes_adds_up() {
    assert_eq!(audited(100, |_| ()), []);
}

#[test]
fn goods_that_vanish_from_a_shelf_are_named() {
    let found = audited(30, |shop| {
        let shelves = crate::demo::inventory::shelves(shop.store(&INVENTORY)).unwrap();
        let (product, shelf) = shelves.iter().find(|(_, it)| it.free > 0).unwrap();
        let less = Shelf { free: shelf.free - 1, ..*shelf };
        let key = format!("shelf/{product}");
        shop.store(&INVENTORY).write(|tables| tables.put(&key, &less)).unwrap();
    });
    assert_eq!(rules(&found), ["stock"]);
    assert!(found[0].text.contains("on the shelf"));
}

#[test]
fn goods_that_stay_reserved_are_named() {
    let found = audited(30, |shop| {
        let shelves = crate::demo::inventory::shelves(shop.store(&INVENTORY)).unwrap();
        let (product, shelf) = shelves.iter().find(|(_, it)| it.free > 0).unwrap();
        let held = Shelf { free: shelf.free - 1, reserved: 1, ..*shelf };
        let key = format!("shelf/{product}");
        shop.store(&INVENTORY).write(|tables| tables.put(&key, &held)).unwrap();
    });
    assert_eq!(rules(&found), ["moves", "reserved_at_end"]);
}

#[test]
fn a_card_that_is_charged_twice_is_named() {
    let mut id = String::new();
    let found = audited(30, |shop| {
        id = with_fate(shop, None);
        let effects = shop.store(&PAYMENT).effects().unwrap();
        let charge = effects.into_iter().find(|it| it.order_id == id).unwrap();
        shop.store(&PAYMENT).write(|tables| tables.effect(&id, charge.what)).unwrap();
    });
    assert_named(&found, "done_twice", &format!("{id} has card charged 2 times"));
    assert_named(&found, "money", "charged");
    assert_eq!(found.len(), 2);
}

#[test]
fn an_order_with_two_ends_is_named() {
    let mut id = String::new();
    let found = audited(30, |shop| {
        id = with_fate(shop, Some(EventType::PaymentFailed));
        let end = shop.log.iter().find(|it| it.order_id == id && it.ty == "order.cancelled");
        let mut second = end.unwrap().clone();
        second.ty = "order.completed".into();
        second.id = "planted".into();
        second.at.0 += 1000;
        shop.log.push(second);
    });
    assert_named(&found, "several_ends", &format!("{id} has 2 ends"));
    assert_named(&found, "wrong_cause", &id);
    assert_named(&found, "event_without_effect", &id);
}

#[test]
fn an_order_without_an_end_is_named() {
    let mut id = String::new();
    let found = audited(30, |shop| {
        id = with_fate(shop, None);
        shop.log.retain(|it| it.order_id != id || it.ty != "order.completed");
    });
    assert_named(&found, "no_end", &id);
    assert_named(&found, "effect_without_event", &id);
    assert_eq!(found.len(), 2);
}

#[test]
fn a_refund_of_what_was_not_charged_is_named() {
    let mut id = String::new();
    let found = audited(30, |shop| {
        id = with_fate(shop, Some(EventType::PaymentFailed));
        let amount = shop.log.iter().find(|it| it.order_id == id).unwrap();
        let amount = amount.payload.as_ref().unwrap().order.total_amount;
        let refund = What::CardRefunded(amount);
        shop.store(&PAYMENT).write(|tables| tables.effect(&id, refund)).unwrap();
    });
    assert_named(&found, "undo_without_step", &id);
    assert_named(&found, "money", "refunded");
    assert_named(&found, "effect_without_event", &id);
    assert_eq!(found.len(), 3);
}

#[test]
fn an_undo_that_is_missing_is_named() {
    let mut id = String::new();
    let found = audited(30, |shop| {
        id = with_fate(shop, Some(EventType::ShipmentRefused));
        let refund = |it: &crate::demo::store::Effect| {
            it.order_id == id && matches!(it.what, What::CardRefunded(_))
        };
        shop.store(&PAYMENT).forget(refund);
    });
    assert_named(&found, "not_undone", &id);
    assert_named(&found, "money", "refunded");
    assert_named(&found, "event_without_effect", &id);
    assert_eq!(found.len(), 3);
}

#[test]
fn an_undo_before_its_step_is_named() {
    let mut id = String::new();
    let found = audited(30, |shop| {
        id = with_fate(shop, Some(EventType::ShipmentRefused));
        let place = |log: &[LogEvent], ty: &str| {
            log.iter().position(|it| it.order_id == id && it.ty == ty).unwrap()
        };
        let step = place(&shop.log, "payment.processed");
        let undo = place(&shop.log, "payment.refunded");
        let (first, second) = (shop.log[step].at, shop.log[undo].at);
        shop.log[step].at = second;
        shop.log[undo].at = first;
    });
    assert_named(&found, "undo_before_step", &id);
}

#[test]
fn a_notification_that_is_sent_twice_or_never_is_named() {
    let mut id = String::new();
    let found = audited(30, |shop| {
        id = with_fate(shop, Some(EventType::InventoryRejected));
        let mail = What::MailSent(Kind::Cancellation);
        shop.store(&NOTIFICATION).write(|tables| tables.effect(&id, mail)).unwrap();
    });
    assert_named(&found, "done_twice", &format!("{id} has cancellation mailed 2 times"));
    assert_eq!(found.len(), 1);
    let found = audited(30, |shop| {
        id = with_fate(shop, None);
        shop.store(&NOTIFICATION).forget(|it| it.order_id == id);
    });
    assert_named(&found, "missing", &format!("{id} is completed without confirmation mailed"));
}

#[test]
fn a_store_that_tells_another_end_than_the_log_is_named() {
    let mut id = String::new();
    let found = audited(30, |shop| {
        id = with_fate(shop, None);
        let key = format!("order/{id}");
        let change = |tables: &mut crate::demo::store::Tables<'_>| {
            let row: OrderRow = tables.get(&key)?.unwrap();
            tables.put(&key, &OrderRow { status: Status::Cancelled, ..row })
        };
        shop.store(&ORDER).write(change).unwrap();
    });
    assert_named(&found, "ends_differ", &id);
    assert_named(&found, "too_much", "is cancelled with parcel sent");
}

#[test]
fn events_that_are_stored_twice_invented_or_foreign_are_named() {
    let found = audited(30, |shop| {
        let mut copy = shop.log[70].clone();
        copy.at.0 += 1000;
        let mut foreign = shop.log[0].clone();
        foreign.order_id = "order-of-nobody".into();
        foreign.id = "planted-1".into();
        let mut invented = shop.log[0].clone();
        invented.ty = "order.eaten".into();
        invented.id = "planted-2".into();
        shop.log.extend([copy, foreign, invented]);
    });
    assert_named(&found, "event_repeated", "more than once");
    assert_named(&found, "unknown_order", "order-of-nobody");
    assert_named(&found, "not_an_event", "order.eaten");
}

#[test]
fn nothing_at_all_is_not_fine() {
    let mut shop = Shop::new(2);
    let log = std::mem::take(&mut shop.log);
    let dir = shop.close();
    let data = DataDir::prepare(Some(dir.path())).unwrap();
    let found = audit(&log, &Books::read(&data).unwrap());
    assert_eq!(rules(&found), ["no_end", "no_end"]);
}
