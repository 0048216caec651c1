//! The payment service: charges a card, and gives the money back when the order fails later.

use super::chance::Chance;
use super::events::{EventType, Incoming, Output};
use super::inbox::Service;
use super::store::{StoreError, Tables, What};

pub(crate) const PAYMENT: Service = Service {
    name: "payment",
    consumes: &[EventType::InventoryReserved, EventType::ShipmentRefused],
    compensating: &[EventType::ShipmentRefused],
    handle,
};

fn handle(
    tables: &mut Tables<'_>,
    event: &Incoming,
    chance: &Chance,
) -> Result<Vec<Output>, StoreError> {
    let key = format!("charged/{}", event.order_id);
    let amount = event.payload.order.total_amount;
    if event.ty == EventType::ShipmentRefused {
        if tables.get(&key)? == Some(true) {
            tables.put(&key, &false)?;
            tables.effect(&event.order_id, What::CardRefunded(amount))?;
        }
        // A compensation says that it is done also when there was nothing to undo.
        return Ok(vec![event.then(EventType::PaymentRefunded)]);
    }
    if chance.failure(&event.order_id) == Some(EventType::PaymentFailed) {
        return Ok(vec![event.but(EventType::PaymentFailed, "the card was declined")]);
    }
    tables.put(&key, &true)?;
    tables.effect(&event.order_id, What::CardCharged(amount))?;
    Ok(vec![event.then(EventType::PaymentProcessed)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::shop::{Shop, incoming, no_trouble};

    #[test]
    fn a_charge_is_refunded_once() {
        let mut shop = Shop::new(1);
        shop.handle(&PAYMENT, incoming(EventType::InventoryReserved, "a"), &no_trouble());
        for id in ["first", "second"] {
            let mut refused = incoming(EventType::ShipmentRefused, "a");
            refused.origin.id = id.into();
            let done = shop.handle(&PAYMENT, refused, &no_trouble());
            assert_eq!(done[0].ty, EventType::PaymentRefunded);
        }
        let amount = incoming(EventType::OrderCreated, "a").payload.order.total_amount;
        let effects = shop.store(&PAYMENT).effects().unwrap();
        let what: Vec<_> = effects.into_iter().map(|it| it.what).collect();
        assert_eq!(what, [What::CardCharged(amount), What::CardRefunded(amount)]);
    }

    #[test]
    fn a_declined_card_is_not_charged() {
        let mut shop = Shop::new(1);
        let chance = Chance { fail_rate: 1.0, ..no_trouble() };
        let failing = (0..).map(|i| format!("order-{i}"));
        let id = failing
            .take(100)
            .find(|id| chance.failure(id) == Some(EventType::PaymentFailed))
            .unwrap();
        let done = shop.handle(&PAYMENT, incoming(EventType::InventoryReserved, &id), &chance);
        assert_eq!(done[0].payload.reason.as_deref(), Some("the card was declined"));
        assert!(shop.store(&PAYMENT).effects().unwrap().is_empty());
    }
}
