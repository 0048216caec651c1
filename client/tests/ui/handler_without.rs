//! The same mistakes without `#[handler]`: the compiler cannot say where they are, but what a
//! handler is, and what shows the place.

use std::rc::Rc;

use quadrille::{Ctx, Event, Failure, Participant};
use serde::Deserialize;

#[derive(Event, Deserialize)]
#[event(type = "order.created", topic = "orders")]
struct Order;

fn not_async(_: Order) -> Result<(), Failure> {
    Ok(())
}

async fn event_not_first(_: Ctx, _: Order) -> Result<(), Failure> {
    Ok(())
}

async fn not_an_extractor(_: Order, _: u32) -> Result<(), Failure> {
    Ok(())
}

async fn no_result(_: Order) -> u32 {
    7
}

async fn not_send(_: Order) -> Result<(), Failure> {
    let stock = Rc::new(1);
    std::future::ready(()).await;
    drop(stock);
    Ok(())
}

fn main() {
    let _ = Participant::new("a", ()).on(not_async);
    let _ = Participant::new("b", ()).on(event_not_first);
    let _ = Participant::new("c", ()).on(not_an_extractor);
    let _ = Participant::new("d", ()).on(no_result);
    let _ = Participant::new("e", ()).on(not_send);
}
