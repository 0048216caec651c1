//! Three services react to each other's events; one order is refused and its stock released.
//! `cargo run -p quadrille --example choreography`

#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use std::error::Error;

use quadrille::{Bus, Delivery, Event, OrderBy};

type Done = Result<(), Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done {
    let bus = Bus::memory().await?;
    for topic in ["orders", "stock", "payments"] {
        bus.create_topic(topic).await?;
    }
    let stock = bus
        .group("inventory")
        .topics(["orders", "payments"])
        .types(["order.created", "payment.failed"])
        .superseding(["payment.failed"])
        .order_by(OrderBy::Saga)
        .run(inventory);
    let money = bus.group("payment").topics(["stock"]).types(["inventory.reserved"]).run(payment);
    tokio::try_join!(
        async { Ok::<_, Box<dyn Error>>(stock.await?) },
        async { Ok(money.await?) },
        watch(&bus),
    )?;
    Ok(())
}

async fn inventory(order: Delivery) -> Done {
    let what = match order.ty() {
        "order.created" => "inventory.reserved",
        _ => "inventory.released",
    };
    let data = order.data().to_vec();
    order.step().publish("stock", Event::new(what).data(data)).commit().await?;
    Ok(())
}

async fn payment(reserved: Delivery) -> Done {
    let what = if reserved.data() == b"0" { "payment.failed" } else { "payment.processed" };
    reserved.step().publish("payments", Event::new(what)).commit().await?;
    Ok(())
}

/// Publishes two orders, waits for their ends, and shows what has happened.
async fn watch(bus: &Bus) -> Done {
    let ends = bus.group("watch").topics(["stock", "payments"]);
    let ends = ends.types(["inventory.released", "payment.processed"]);
    let mut ends = ends.order_by(OrderBy::Nothing).subscribe().await?;
    for (saga, price) in [("order-1", "20"), ("order-2", "0")] {
        let order = Event::new("order.created").saga(saga).data(price);
        bus.topic("orders").publish(order).await?;
    }
    for _ in 0..2 {
        let end = ends.next().await.ok_or("the bus has closed")?;
        let mut saga = bus.saga(end.saga());
        while let Some(stored) = saga.next().await {
            let stored = stored?;
            let event = stored.event();
            println!("{:8} {} {}", stored.position.to_string(), event.saga_or_id(), event.ty);
        }
        end.ack();
    }
    bus.close(std::time::Duration::from_secs(5)).await?;
    Ok(())
}
