//! The notification service: tells the customer how the order ended.

use super::chance::Chance;
use super::events::{EventType, Incoming, Kind, Output};
use super::inbox::Service;
use super::store::{StoreError, Tables, What};

pub(crate) const NOTIFICATION: Service = Service {
    name: "notification",
    consumes: &[EventType::ShipmentScheduled, EventType::OrderCancelled],
    compensating: &[EventType::OrderCancelled],
    handle,
};

fn handle(
    tables: &mut Tables<'_>,
    event: &Incoming,
    _: &Chance,
) -> Result<Vec<Output>, StoreError> {
    let kind = match event.ty {
        EventType::OrderCancelled => Kind::Cancellation,
        _ => Kind::Confirmation,
    };
    tables.effect(&event.order_id, What::MailSent(kind))?;
    let mut sent = event.then(EventType::NotificationSent);
    sent.payload.kind = Some(kind);
    Ok(vec![sent])
}
