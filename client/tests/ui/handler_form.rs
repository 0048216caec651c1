//! What is wrong with the form of a handler.

use quadrille::{Failure, handler};

struct Order;

#[handler]
fn not_async(_: Order) -> Result<(), Failure> {
    Ok(())
}

#[handler]
async fn without_event() -> Result<(), Failure> {
    Ok(())
}

#[handler]
async fn without_return(_: Order) {}

#[handler]
async fn too_long(
    _: Order, _: (), _: (), _: (), _: (), _: (), _: (), _: (), _: (), _: u32,
) -> Result<(), Failure> {
    Ok(())
}

#[handler]
struct NotAFunction;

#[handler(order)]
async fn unknown_argument(_: Order) -> Result<(), Failure> {
    Ok(())
}

impl Order {
    #[handler]
    async fn method(self) -> Result<(), Failure> {
        Ok(())
    }
}

fn main() {}
