//! Names of types and topics are checked as the bus checks them.

use quadrille::Event;

#[derive(Event)]
#[event(type = "", topic = "orders")]
struct Empty;

#[derive(Event)]
#[event(type = ".created", topic = "orders")]
struct LeadingDot;

#[derive(Event)]
#[event(type = "order.created", topic = "new orders")]
struct Space;

#[derive(Event)]
#[event(type = "quadrille.dead_letter", topic = "orders")]
struct ReservedType;

#[derive(Event)]
#[event(type = "order.created", topic = "quadrille.dead_letters")]
struct ReservedTopic;

#[derive(Event)]
#[event(type = "order.created", topic = "orders", undoes = "order/placed")]
struct UndoesNoName;

fn main() {}
