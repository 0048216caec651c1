//! What may be said of an order in the log: the audit's own list. It shares no type with the
//! services, which is the point of it.

/// What one event says.
#[derive(Debug)]
pub(super) struct Word {
    /// Its type; of a notification, with its kind.
    pub(super) says: &'static str,
    pub(super) topic: &'static str,
    /// What was done to the world by who says it.
    pub(super) deeds: &'static [&'static str],
    /// What may lead to it; it begins something if nothing may.
    pub(super) causes: &'static [&'static str],
}

const fn word(
    says: &'static str,
    topic: &'static str,
    deeds: &'static [&'static str],
    causes: &'static [&'static str],
) -> Word {
    Word { says, topic, deeds, causes }
}

pub(super) const RESERVED: &str = "goods reserved";
pub(super) const RELEASED: &str = "goods released";
pub(super) const SHIPPED: &str = "goods shipped";
pub(super) const CHARGED: &str = "card charged";
pub(super) const REFUNDED: &str = "card refunded";
pub(super) const SENT: &str = "parcel sent";
pub(super) const CONFIRMED: &str = "confirmation mailed";
pub(super) const TOLD: &str = "cancellation mailed";
pub(super) const COMPLETED: &str = "order completed";
pub(super) const CANCELLED: &str = "order cancelled";

/// All of them.
pub(super) static WORDS: [Word; 17] = [
    word("order.created", "orders", &[], &[]),
    word("order.withdrawn", "orders", &[], &[]),
    word("inventory.reserved", "inventory", &[RESERVED], &["order.created"]),
    word("inventory.rejected", "inventory", &[], &["order.created"]),
    word("payment.processed", "payments", &[CHARGED], &["inventory.reserved", "charge.answered"]),
    word("charge.answered", "payments", &[], &["inventory.reserved"]),
    word("payment.expired", "payments", &[], &["inventory.reserved"]),
    word(
        "payment.failed",
        "payments",
        &[],
        &["inventory.reserved", "payment.expired", "order.withdrawn"],
    ),
    word("payment.reversed", "payments", &[CHARGED, REFUNDED], &["charge.answered"]),
    word("payment.refunded", "payments", &[REFUNDED], &["shipment.refused"]),
    word("shipment.scheduled", "shipments", &[SENT, SHIPPED], &["payment.processed"]),
    word("shipment.refused", "shipments", &[], &["payment.processed"]),
    word("inventory.released", "inventory", &[RELEASED], &["payment.failed", "payment.refunded"]),
    word("notification.sent confirmation", "notifications", &[CONFIRMED], &["shipment.scheduled"]),
    word("notification.sent cancellation", "notifications", &[TOLD], &["order.cancelled"]),
    word("order.completed", "orders", &[COMPLETED], &["notification.sent confirmation"]),
    word("order.cancelled", "orders", &[CANCELLED], &["inventory.rejected", "inventory.released"]),
];

/// The word for what an event says.
pub(super) fn find(says: &str) -> Option<&'static Word> {
    WORDS.iter().find(|it| it.says == says)
}
