//! What the shipping service reads and writes, and nothing else.

use quadrille::Event;
use serde::{Deserialize, Serialize};

#[derive(Debug, Event, Deserialize)]
#[event(type = "payment.processed", topic = "payments")]
pub(crate) struct PaymentProcessed {}

#[derive(Debug, Event, Serialize)]
#[event(type = "shipment.scheduled", topic = "shipments")]
pub(crate) struct ShipmentScheduled {
    pub(crate) parcel: String,
}

#[derive(Debug, Event, Serialize)]
#[event(type = "shipment.refused", topic = "shipments")]
pub(crate) struct ShipmentRefused {
    pub(crate) reason: String,
}
