//! What an enum of outputs holds can be emitted itself.

use quadrille::{Event, Outputs};

#[derive(Event)]
#[event(type = "inventory.reserved", topic = "inventory")]
struct WithoutSerialize;

#[derive(Outputs)]
enum Reserved {
    Yes(WithoutSerialize),
    No(u32),
    Known,
}

fn main() {}
