//! The audit against a shop that did everything right, and against each planted violation.

use quadrille::TestBus;

use super::Violation;
use super::log::LogEvent;
use crate::demo::chance::Fate;
use crate::demo::inventory::{Shelf, shelves};
use crate::demo::order::{OrderRow, Status};
use crate::demo::store::{Effect, StoreTx};
use crate::demo::testing::{Hall, audited as compared, log, plan};

/// Runs a shop, lets `plant` meddle with its log and stores, and audits what is there then.
async fn audited(count: u64, plant: impl AsyncFnOnce(&Hall, &mut Vec<LogEvent>)) -> Vec<Violation> {
    let t = TestBus::new().await;
    let hall = Hall::open(&t, &plan(count, 0.4), 0.2).await;
    t.run(hall.shop.participants());
    hall.order_all(t.bus()).await;
    t.run_to_end().await;
    let mut log = log(t.bus()).await;
    plant(&hall, &mut log).await;
    compared(&log, &hall.books())
}

fn rules(violations: &[Violation]) -> Vec<&'static str> {
    violations.iter().map(|it| it.rule).collect()
}

#[track_caller]
fn assert_named(violations: &[Violation], rule: &str, of: &str) {
    let hit = violations.iter().any(|it| it.rule == rule && it.text.contains(of));
    assert!(hit, "no {rule} of {of} in {violations:#?}");
}

#[tokio::test]
async fn a_shop_with_failures_and_crashes_adds_up() {
    assert_eq!(audited(100, async |_, _| ()).await, []);
}

#[tokio::test]
async fn goods_that_vanish_from_a_shelf_are_named() {
    let found = audited(30, async |hall, _| {
        let shelves = shelves(&hall.shop.stores.inventory).unwrap();
        let (product, shelf) = shelves.iter().find(|(_, it)| it.free > 0).unwrap();
        let less = Shelf { free: shelf.free - 1, ..*shelf };
        let key = format!("shelf/{product}");
        hall.shop.stores.inventory.change(|tx| tx.put(&key, &less)).await.unwrap();
    })
    .await;
    assert_eq!(rules(&found), ["stock"]);
    assert!(found[0].text.contains("on the shelf"));
}

#[tokio::test]
async fn goods_that_stay_reserved_are_named() {
    let found = audited(30, async |hall, _| {
        let shelves = shelves(&hall.shop.stores.inventory).unwrap();
        let (product, shelf) = shelves.iter().find(|(_, it)| it.free > 0).unwrap();
        let held = Shelf { free: shelf.free - 1, reserved: 1, ..*shelf };
        let key = format!("shelf/{product}");
        hall.shop.stores.inventory.change(|tx| tx.put(&key, &held)).await.unwrap();
    })
    .await;
    assert_eq!(rules(&found), ["moves", "reserved_at_end"]);
}

#[tokio::test]
async fn a_card_that_is_charged_twice_is_named() {
    let mut id = String::new();
    let found = audited(30, async |hall, _| {
        id = hall.with_fate(None);
        let effects = hall.shop.stores.payment.effects().unwrap();
        let Effect { deed, moved, .. } = effects.into_iter().find(|it| it.order == id).unwrap();
        hall.shop.stores.payment.change(|tx| tx.effect(&id, &deed, moved)).await.unwrap();
    })
    .await;
    assert_named(&found, "done_twice", &format!("{id} has card charged 2 times"));
    assert_named(&found, "money", "charged");
    assert_eq!(found.len(), 2);
}

#[tokio::test]
async fn an_order_with_two_ends_is_named() {
    let mut id = String::new();
    let found = audited(30, async |hall, log| {
        id = hall.with_fate(Some(Fate::CardDeclined));
        let end = log.iter().find(|it| it.order == id && it.says == "order.cancelled");
        let mut second = end.unwrap().clone();
        second.says = "order.completed".into();
        second.id = "planted".into();
        second.at.0 += 1000;
        log.push(second);
    })
    .await;
    assert_named(&found, "several_ends", &format!("{id} has 2 ends"));
    assert_named(&found, "wrong_cause", &id);
    assert_named(&found, "event_without_effect", &id);
}

#[tokio::test]
async fn an_order_without_an_end_is_named() {
    let mut id = String::new();
    let found = audited(30, async |hall, log| {
        id = hall.with_fate(None);
        log.retain(|it| it.order != id || it.says != "order.completed");
    })
    .await;
    assert_named(&found, "no_end", &id);
    assert_named(&found, "effect_without_event", &id);
    assert_eq!(found.len(), 2);
}

#[tokio::test]
async fn a_refund_of_what_was_not_charged_is_named() {
    let mut id = String::new();
    let found = audited(30, async |hall, _| {
        id = hall.with_fate(Some(Fate::CardDeclined));
        let cents = hall.books().orders[&id].order.total_amount.cents();
        let refund = |tx: &mut StoreTx| tx.effect(&id, "card refunded", [("cents", cents)]);
        hall.shop.stores.payment.change(refund).await.unwrap();
    })
    .await;
    assert_named(&found, "undo_without_step", &id);
    assert_named(&found, "money", "refunded");
    assert_named(&found, "effect_without_event", &id);
    assert_eq!(found.len(), 3);
}

#[tokio::test]
async fn an_undo_that_is_missing_is_named() {
    let mut id = String::new();
    let found = audited(30, async |hall, _| {
        id = hall.with_fate(Some(Fate::NoCarrier));
        let refund = |it: &Effect| it.order == id && it.deed == "card refunded";
        hall.shop.stores.payment.forget(refund).await;
    })
    .await;
    assert_named(&found, "not_undone", &id);
    assert_named(&found, "money", "refunded");
    assert_named(&found, "event_without_effect", &id);
    assert_eq!(found.len(), 3);
}

#[tokio::test]
async fn an_undo_before_its_step_is_named() {
    let mut id = String::new();
    let found = audited(30, async |hall, log| {
        id = hall.with_fate(Some(Fate::NoCarrier));
        let place = |log: &[LogEvent], ty: &str| {
            log.iter().position(|it| it.order == id && it.says == ty).unwrap()
        };
        let step = place(log, "payment.processed");
        let undo = place(log, "payment.refunded");
        let (first, second) = (log[step].at, log[undo].at);
        log[step].at = second;
        log[undo].at = first;
    })
    .await;
    assert_named(&found, "undo_before_step", &id);
}

#[tokio::test]
async fn a_notification_that_is_sent_twice_or_never_is_named() {
    let mut id = String::new();
    let found = audited(30, async |hall, _| {
        id = hall.with_fate(Some(Fate::OutOfStock));
        let mail = |tx: &mut StoreTx| tx.effect(&id, "cancellation mailed", [("mail", 1)]);
        hall.shop.stores.notification.change(mail).await.unwrap();
    })
    .await;
    assert_named(&found, "done_twice", &format!("{id} has cancellation mailed 2 times"));
    assert_eq!(found.len(), 1);
    let found = audited(30, async |hall, _| {
        id = hall.with_fate(None);
        hall.shop.stores.notification.forget(|it| it.order == id).await;
    })
    .await;
    assert_named(&found, "missing", &format!("{id} is completed without confirmation mailed"));
}

#[tokio::test]
async fn a_store_that_tells_another_end_than_the_log_is_named() {
    let mut id = String::new();
    let found = audited(30, async |hall, _| {
        id = hall.with_fate(None);
        let key = format!("order/{id}");
        let change = |tx: &mut StoreTx| {
            let row: OrderRow = tx.get(&key)?.unwrap();
            tx.put(&key, &OrderRow { status: Status::Cancelled, ..row })
        };
        hall.shop.stores.order.change(change).await.unwrap();
    })
    .await;
    assert_named(&found, "ends_differ", &id);
    assert_named(&found, "too_much", "is cancelled with parcel sent");
}

#[tokio::test]
async fn events_that_are_stored_twice_invented_or_foreign_are_named() {
    let found = audited(30, async |_, log| {
        let mut copy = log[70].clone();
        copy.at.0 += 1000;
        let mut foreign = log[0].clone();
        foreign.order = "order-of-nobody".into();
        foreign.id = "planted-1".into();
        let mut invented = log[0].clone();
        invented.says = "order.eaten".into();
        invented.id = "planted-2".into();
        log.extend([copy, foreign, invented]);
    })
    .await;
    assert_named(&found, "event_repeated", "more than once");
    assert_named(&found, "unknown_order", "order-of-nobody");
    assert_named(&found, "not_an_event", "order.eaten");
}

#[tokio::test]
async fn nothing_at_all_is_not_fine() {
    let t = TestBus::new().await;
    let hall = Hall::open(&t, &plan(2, 0.0), 0.0).await;
    assert_eq!(rules(&hall.audit(t.bus()).await), ["no_end", "no_end"]);
}
