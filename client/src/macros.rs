//! The macros, as they are used; what they take is told where they are made, and shown below this.

/// A struct as an event, which is a [`TypedEvent`](crate::TypedEvent).
///
/// ```
/// use quadrille::Event;
/// use serde::{Deserialize, Serialize};
/// # type OrderId = String;
/// # #[derive(Event)]
/// # #[event(type = "payment.processed", topic = "payments")]
/// # struct PaymentProcessed;
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "payment.refunded", topic = "payments", undoes = PaymentProcessed)]
/// struct PaymentRefunded {
///     #[event(saga)]
///     order: OrderId,
///     #[event(key)]
///     customer: String,
///     cents: u64,
/// }
/// ```
///
pub use quadrille_derive::Event;

/// What a handler may emit, one of many; they are [`Outputs`](trait@crate::Outputs).
///
/// ```
/// use quadrille::{Event, Outputs};
/// use serde::Serialize;
///
/// #[derive(Event, Serialize)]
/// #[event(type = "inventory.reserved", topic = "inventory")]
/// struct InventoryReserved;
///
/// #[derive(Event, Serialize)]
/// #[event(type = "inventory.failed", topic = "inventory")]
/// struct InventoryFailed {
///     missing: u32,
/// }
///
/// #[derive(Outputs)]
/// enum Reserved {
///     Yes(InventoryReserved),
///     No(InventoryFailed),
///     Known,
/// }
/// ```
///
pub use quadrille_derive::Outputs;

/// Tells at which argument a function is no [`Handler`](crate::Handler).
///
/// ```
/// use quadrille::{Event, Failure, State};
/// use serde::Deserialize;
///
/// #[derive(Event, Deserialize)]
/// #[event(type = "order.created", topic = "orders")]
/// struct OrderCreated {
///     items: u32,
/// }
///
/// struct Stock;
///
/// #[quadrille::handler]
/// async fn reserve(order: OrderCreated, State(stock): State<Stock>) -> Result<(), Failure> {
///     Ok(())
/// }
/// ```
///
pub use quadrille_derive::handler;
