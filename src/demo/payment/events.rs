//! What the payment service reads and writes, and nothing else.

use quadrille::Event;
use serde::{Deserialize, Serialize};

#[derive(Debug, Event, Deserialize)]
#[event(type = "inventory.reserved", topic = "inventory")]
pub(crate) struct InventoryReserved {
    pub(crate) cents: u64,
    pub(crate) currency: String,
}

/// The provider's webhook: a charge that it did not answer at once.
#[derive(Debug, Event, Deserialize)]
#[event(type = "charge.answered", topic = "payments")]
pub(crate) struct ChargeAnswered {
    pub(crate) cents: u64,
}

/// To itself: so long a charge may take.
#[derive(Debug, Event, Serialize, Deserialize)]
#[event(type = "payment.expired", topic = "payments")]
pub(crate) struct PaymentExpired {}

#[derive(Debug, Event, Deserialize)]
#[event(type = "shipment.refused", topic = "shipments")]
pub(crate) struct ShipmentRefused {
    pub(crate) reason: String,
}

/// An operator gives an order up.
#[derive(Debug, Event, Deserialize)]
#[event(type = "order.withdrawn", topic = "orders")]
pub(crate) struct OrderWithdrawn {
    pub(crate) reason: String,
}

#[derive(Debug, Event, Serialize)]
#[event(type = "payment.processed", topic = "payments")]
pub(crate) struct PaymentProcessed {
    pub(crate) cents: u64,
}

#[derive(Debug, Event, Serialize)]
#[event(type = "payment.failed", topic = "payments")]
pub(crate) struct PaymentFailed {
    pub(crate) reason: String,
}

/// An order that was paid is paid back: who did something because of the payment undoes it.
#[derive(Debug, Event, Serialize)]
#[event(type = "payment.refunded", topic = "payments", undoes = "payment.processed")]
pub(crate) struct PaymentRefunded {
    pub(crate) reason: String,
}

/// A charge came too late and went straight back. Nobody had heard of it, so nobody has anything to
/// undo.
#[derive(Debug, Event, Serialize)]
#[event(type = "payment.reversed", topic = "payments")]
pub(crate) struct PaymentReversed {
    pub(crate) cents: u64,
}
