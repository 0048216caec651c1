//! What only the compiler knows of an event's parts is said at the part.

use quadrille::Event;

#[derive(Event)]
#[event(type = "order.created", topic = "orders")]
struct KeyWithoutText {
    #[event(key)]
    customer: Vec<u8>,
}

#[derive(Event)]
#[event(type = "order.cancelled", topic = "orders", undoes = String)]
struct UndoesNoEvent;

fn main() {}
