//! The shipping service: sends a parcel, or says why it cannot.

use super::chance::Chance;
use super::events::{EventType, Incoming, Output};
use super::inbox::Service;
use super::store::{StoreError, Tables, What};

pub(crate) const SHIPPING: Service = Service {
    name: "shipping",
    consumes: &[EventType::PaymentProcessed],
    compensating: &[],
    handle,
};

fn handle(
    tables: &mut Tables<'_>,
    event: &Incoming,
    chance: &Chance,
) -> Result<Vec<Output>, StoreError> {
    if chance.failure(&event.order_id) == Some(EventType::ShipmentRefused) {
        return Ok(vec![event.but(EventType::ShipmentRefused, "no carrier goes to that address")]);
    }
    tables.effect(&event.order_id, What::ParcelSent(event.payload.order.items.clone()))?;
    Ok(vec![event.then(EventType::ShipmentScheduled)])
}
