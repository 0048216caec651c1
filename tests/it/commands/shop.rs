//! A data directory as operators find it: an event done, one parked with others behind it, one that
//! a compensation has overtaken, one held, and two of groups without sagas. Made through the library.

use std::path::Path;
use std::time::Duration;

use quadrille::{Bus, Delivery, Event, OrderBy, Position, RetryPolicy, Subscription};

/// The places of what is there.
pub(super) struct Shop {
    /// Parked in `payment` after two attempts; two events of its saga wait behind it.
    pub(super) parked: Position,
    /// The event of the same saga behind it.
    pub(super) behind: Position,
    /// Overtaken in `payment`, by the next.
    pub(super) overtaken: Position,
    pub(super) compensation: Position,
    /// Held in `payment` for an hour.
    pub(super) held: Position,
    /// Done by `payment`.
    pub(super) done: Position,
    /// A dead letter of `shipping`, by key, its data no text; another event of its entry is done.
    pub(super) parcel: Position,
}

/// Makes it.
pub(super) async fn open(dir: &Path) -> Shop {
    let bus = Bus::open(dir).await.unwrap();
    bus.create_topic("orders").await.unwrap();
    bus.create_topic("parcels").await.unwrap();
    let policy = RetryPolicy { max_attempts: 2, first: Duration::ZERO, ..RetryPolicy::default() };
    let payment = bus.group("payment").topics(["orders"]).order_by(OrderBy::Saga);
    let payment = payment.superseding(["order.cancelled"]).retry(policy).member("payment-1");
    let mut payment = payment.subscribe().await.unwrap();

    let shipping = bus.group("shipping").topics(["parcels"]).member("shipping-1");
    let mut shipping = shipping.subscribe().await.unwrap();

    let odd = r#"{"total":"12.50", "currency":"XTS", "items":[{"product":"tea","quantity":2}]}"#;
    let parked = publish(&bus, "order.created", "order-2", odd).await;
    for _ in 0..2 {
        let delivery = next(&mut payment, parked).await;
        delivery.retry("unexpected currency \"XTS\"").await.unwrap();
    }
    let behind = publish(&bus, "order.changed", "order-2", "{}").await;
    publish(&bus, "order.noted", "order-2", "{}").await;

    let overtaken = publish(&bus, "order.created", "order-3", "{}").await;
    next(&mut payment, overtaken).await.dead_letter("the card has expired").await.unwrap();
    let compensation = publish(&bus, "order.cancelled", "order-3", "{}").await;
    next(&mut payment, compensation).await.ack().await.unwrap();

    let held = publish(&bus, "order.created", "order-4", "{}").await;
    let hour = Duration::from_secs(3600);
    next(&mut payment, held).await.retry_after(hour, "the provider is down").await.unwrap();

    let done = publish(&bus, "order.created", "order-1", "{}").await;
    let parcel = Event::new("parcel.packed").id("p1").source("packer").key("street");
    let parcel = parcel.content_type("application/octet-stream").header("weight", "2 kg");
    let step = next(&mut payment, done).await.step().publish("parcels", parcel.data(vec![0, 255]));
    let step = step.publish("parcels", Event::new("parcel.packed").id("p2"));
    let parcel = place(step.commit().await.unwrap().get(0).unwrap());
    let reason = "no such street:\n\u{1b}[31mit's a long story that does not fit into the eighty columns of a terminal";
    next(&mut shipping, parcel).await.dead_letter(reason).await.unwrap();
    shipping.next().await.unwrap().ack().await.unwrap();
    bus.close(Duration::ZERO).await.unwrap();
    Shop { parked, behind, overtaken, compensation, held, done, parcel }
}

async fn publish(bus: &Bus, ty: &str, saga: &str, data: &'static str) -> Position {
    let event = Event::new(ty).id(format!("{saga}:{ty}")).source("shop").saga(saga).schema(1);
    let event = event.content_type("application/json").data(data);
    let receipt = bus.topic("orders").publish(event).await.unwrap();
    place(receipt)
}

fn place(receipt: quadrille::Receipt) -> Position {
    let quadrille::Receipt::Appended { position, .. } = receipt else { panic!("{receipt:?}") };
    position
}

async fn next(subscription: &mut Subscription, at: Position) -> Delivery {
    let delivery = subscription.next().await.unwrap();
    assert_eq!(delivery.position(), at);
    delivery
}
