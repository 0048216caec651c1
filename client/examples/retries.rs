//! A handler fails, an event is parked, and somebody resolves it.
//! `cargo run -p quadrille --example retries`

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;
use std::time::Duration;

use quadrille::{Bus, Event, RetryPolicy};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let bus = Bus::memory().await?;
    bus.create_topic("orders").await?;
    let quickly = RetryPolicy { first: Duration::from_millis(10), ..RetryPolicy::default() };
    let group = bus.group("shipping").topics(["orders"]).retry(quickly).max_attempts(3);
    let mut orders = group.subscribe().await?;
    for (id, address) in [("o-1", "nowhere"), ("o-2", "Kyoto")] {
        let order = Event::new("order.created").id(id).key("customer-9").data(address);
        bus.topic("orders").publish(order).await?;
    }
    for _ in 0..3 {
        let order = orders.next().await.ok_or("the bus has closed")?;
        println!("{}, attempt {}: {:?}", order.id(), order.attempt(), order.event());
        order.retry("no such address").await?;
    }
    for dead in bus.dead_letters("shipping").await? {
        println!("{} {} is parked: {}", dead.position, dead.id, dead.reason);
        let repaired = Event::new("order.created").id("o-1").key("customer-9").data("Osaka");
        bus.resolve("shipping", dead.position).by("example").replace(repaired).await?;
    }
    for _ in 0..2 {
        let order = orders.next().await.ok_or("the bus has closed")?;
        println!("{} goes to {}", order.id(), String::from_utf8_lossy(order.data()));
        order.ack();
    }
    bus.close(Duration::from_secs(5)).await?;
    Ok(())
}
