//! An event is a struct, and one field at most is its key, one its saga.

use quadrille::Event;

#[derive(Event)]
#[event(type = "order.created", topic = "orders")]
enum AnEnum {}

#[derive(Event)]
#[event(type = "order.created", topic = "orders")]
union AUnion {
    order: u32,
}

#[derive(Event)]
#[event(type = "order.created", topic = "orders")]
struct TwoKeys {
    #[event(key)]
    customer: String,
    #[event(key)]
    country: String,
}

#[derive(Event)]
#[event(type = "order.created", topic = "orders")]
struct TwoSagas(#[event(saga)] String, #[event(saga)] String);

#[derive(Event)]
#[event(type = "order.created", topic = "orders")]
struct KeyWithValue {
    #[event(key = "customer")]
    customer: String,
}

#[derive(Event)]
#[event(type = "order.created", topic = "orders")]
struct UnknownOfField {
    #[event(subject)]
    customer: String,
}

fn main() {}
