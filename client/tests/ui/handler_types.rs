//! The mistakes in a handler that only the compiler sees, with `#[handler]`: each is shown at the
//! argument that it is about.

use std::rc::Rc;

use quadrille::{Ctx, Event, Failure, State, handler};
use serde::Deserialize;

#[derive(Event, Deserialize)]
#[event(type = "order.created", topic = "orders")]
struct Order;

#[derive(Event)]
#[event(type = "order.placed", topic = "orders")]
struct Unreadable;

struct Stock;
struct Other;

#[handler]
async fn event_not_first(_: Ctx, _: Order) -> Result<(), Failure> {
    Ok(())
}

#[handler]
async fn event_without_deserialize(_: Unreadable) -> Result<(), Failure> {
    Ok(())
}

#[handler]
async fn not_an_extractor(_: Order, _: Ctx, _: u32) -> Result<(), Failure> {
    Ok(())
}

#[handler]
async fn two_states(_: Order, _: State<Stock>, _: State<Other>) -> Result<(), Failure> {
    Ok(())
}

#[handler]
async fn no_result(_: Order) -> u32 {
    7
}

#[handler]
async fn another_error(_: Order) -> Result<(), String> {
    Ok(())
}

#[handler]
async fn no_output(_: Order) -> Result<u32, Failure> {
    Ok(7)
}

#[handler]
async fn not_send(_: Order) -> Result<(), Failure> {
    let stock = Rc::new(1);
    std::future::ready(()).await;
    drop(stock);
    Ok(())
}

fn main() {}
