//! The words of the choreography: event types with their topics, what an event carries, and what
//! a handler sees and gives back. No bus and no store.

use serde::{Deserialize, Serialize};

use super::orders::Order;

macro_rules! event_types {
    ($($variant:ident = $name:literal on $topic:literal,)+) => {
        /// A type of event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub(crate) enum EventType {
            $(#[serde(rename = $name)] $variant,)+
        }

        impl EventType {
            /// Its name, as published.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The topic it is published to.
            pub(crate) const fn topic(self) -> &'static str {
                match self { $(Self::$variant => $topic,)+ }
            }

            /// The type of that name.
            pub(crate) fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

event_types! {
    OrderCreated = "order.created" on "orders",
    OrderCompleted = "order.completed" on "orders",
    OrderCancelled = "order.cancelled" on "orders",
    InventoryReserved = "inventory.reserved" on "inventory",
    InventoryRejected = "inventory.rejected" on "inventory",
    InventoryReleased = "inventory.released" on "inventory",
    PaymentProcessed = "payment.processed" on "payments",
    PaymentFailed = "payment.failed" on "payments",
    PaymentRefunded = "payment.refunded" on "payments",
    ShipmentScheduled = "shipment.scheduled" on "shipments",
    ShipmentRefused = "shipment.refused" on "shipments",
    NotificationSent = "notification.sent" on "notifications",
}

/// Every topic of the choreography.
pub(crate) const TOPICS: [&str; 5] =
    ["orders", "inventory", "payments", "shipments", "notifications"];

/// What a customer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Confirmation,
    Cancellation,
}

/// What every event carries: the order, so that a service needs no other service's store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payload {
    #[serde(flatten)]
    pub(crate) order: Order,
    /// Why the order is not going through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Which notification was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<Kind>,
}

impl From<Order> for Payload {
    fn from(order: Order) -> Self {
        Self { order, reason: None, kind: None }
    }
}

/// Where an event came from: what makes its inbox key, and what tells a second delivery of it
/// (same offset) from a second copy (another offset).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) topic: String,
    pub(crate) offset: u64,
    pub(crate) source: String,
    pub(crate) id: String,
    /// How often its group was sent back to read again with effects.
    pub(crate) generation: u32,
    /// 1 when it is delivered for the first time.
    pub(crate) attempt: u32,
}

/// An event as a handler sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub(crate) origin: Origin,
    pub(crate) ty: EventType,
    /// The order, which is the saga.
    pub(crate) order_id: String,
    pub(crate) payload: Payload,
}

impl Incoming {
    /// An event that goes on with the story of this one.
    pub(crate) fn then(&self, ty: EventType) -> Output {
        Output { ty, payload: Payload { kind: None, ..self.payload.clone() } }
    }

    /// An event that says why this one's request is not met.
    pub(crate) fn but(&self, ty: EventType, reason: &str) -> Output {
        let mut output = self.then(ty);
        output.payload.reason = Some(reason.to_owned());
        output
    }
}

/// What a handler wants published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Output {
    pub(crate) ty: EventType,
    pub(crate) payload: Payload,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_the_order_with_what_is_to_be_said_of_it() {
        let text = r#"{"customerId":"c-1","items":[{"productId":"mug","quantity":2}],"totalAmount":19.9,"kind":"cancellation"}"#;
        let payload: Payload = serde_json::from_str(text).unwrap();
        assert_eq!(payload.kind, Some(Kind::Cancellation));
        assert_eq!(payload.order.total_amount.cents(), 1990);
        assert_eq!(serde_json::to_string(&payload).unwrap(), text);
    }

    #[test]
    fn types_are_found_by_their_names_and_live_on_known_topics() {
        let ty = EventType::parse("payment.refunded").unwrap();
        assert_eq!((ty, ty.topic()), (EventType::PaymentRefunded, "payments"));
        assert_eq!(EventType::parse("payment.stolen"), None);
        assert!(TOPICS.contains(&ty.topic()));
    }
}
