//! What the notification service reads and writes, and nothing else.

use quadrille::Event;
use serde::{Deserialize, Serialize};

#[derive(Debug, Event, Deserialize)]
#[event(type = "shipment.scheduled", topic = "shipments")]
pub(crate) struct ShipmentScheduled {
    pub(crate) parcel: String,
}

#[derive(Debug, Event, Deserialize)]
#[event(type = "order.cancelled", topic = "orders")]
pub(crate) struct OrderCancelled {
    pub(crate) reason: String,
}

/// The customer was told.
#[derive(Debug, Event, Serialize)]
#[event(type = "notification.sent", topic = "notifications")]
pub(crate) struct NotificationSent {
    /// `confirmation` or `cancellation`.
    pub(crate) kind: String,
    pub(crate) text: String,
}
