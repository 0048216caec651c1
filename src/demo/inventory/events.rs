//! What the inventory service reads and writes, and nothing else.

use quadrille::Event;
use serde::{Deserialize, Serialize};

/// Somebody wants something. What it costs is handed on to who needs it.
#[derive(Debug, Event, Deserialize)]
#[event(type = "order.created", topic = "orders")]
pub(crate) struct OrderCreated {
    pub(crate) items: Vec<Item>,
    pub(crate) cents: u64,
    pub(crate) currency: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Item {
    pub(crate) product: String,
    pub(crate) quantity: u64,
}

#[derive(Debug, Event, Serialize)]
#[event(type = "inventory.reserved", topic = "inventory")]
pub(crate) struct InventoryReserved {
    pub(crate) cents: u64,
    pub(crate) currency: String,
}

#[derive(Debug, Event, Serialize)]
#[event(type = "inventory.rejected", topic = "inventory")]
pub(crate) struct InventoryRejected {
    pub(crate) reason: String,
}

#[derive(Debug, Event, Serialize)]
#[event(type = "inventory.released", topic = "inventory", undoes = "inventory.reserved")]
pub(crate) struct InventoryReleased {
    pub(crate) reason: String,
}

#[derive(Debug, Event, Deserialize)]
#[event(type = "payment.failed", topic = "payments")]
pub(crate) struct PaymentFailed {
    pub(crate) reason: String,
}

#[derive(Debug, Event, Deserialize)]
#[event(type = "payment.refunded", topic = "payments")]
pub(crate) struct PaymentRefunded {
    pub(crate) reason: String,
}

#[derive(Debug, Event, Deserialize)]
#[event(type = "shipment.scheduled", topic = "shipments")]
pub(crate) struct ShipmentScheduled {}
