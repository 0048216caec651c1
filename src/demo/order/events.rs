//! What the order service writes and reads, and nothing else.

use quadrille::Event;
use serde::{Deserialize, Serialize};

/// Somebody wants something.
#[derive(Clone, Debug, Event, Serialize)]
#[event(type = "order.created", topic = "orders")]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderCreated {
    #[event(saga)]
    pub(crate) order: String,
    #[event(key)]
    pub(crate) customer: String,
    pub(crate) items: Vec<Item>,
    pub(crate) cents: u64,
    pub(crate) currency: String,
}

/// So many of one product.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Item {
    pub(crate) product: String,
    pub(crate) quantity: u64,
}

#[derive(Debug, Event, Serialize)]
#[event(type = "order.completed", topic = "orders")]
pub(crate) struct OrderCompleted {}

#[derive(Debug, Event, Serialize)]
#[event(type = "order.cancelled", topic = "orders", undoes = "order.created")]
pub(crate) struct OrderCancelled {
    pub(crate) reason: String,
}

/// The customer was told something.
#[derive(Debug, Event, Deserialize)]
#[event(type = "notification.sent", topic = "notifications")]
pub(crate) struct NotificationSent {
    pub(crate) kind: String,
}

#[derive(Debug, Event, Deserialize)]
#[event(type = "inventory.rejected", topic = "inventory")]
pub(crate) struct InventoryRejected {
    pub(crate) reason: String,
}

#[derive(Debug, Event, Deserialize)]
#[event(type = "inventory.released", topic = "inventory")]
pub(crate) struct InventoryReleased {
    pub(crate) reason: String,
}
