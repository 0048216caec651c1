//! Reading without a group.

use quadrille::{Bus, Event};

#[tokio::test]
async fn a_range_a_key_and_a_saga_are_read_in_order() {
    let bus = Bus::memory().await.unwrap();
    bus.create_topic("orders").await.unwrap();
    bus.create_topic("stock").await.unwrap();
    let (orders, stock) = (bus.topic("orders"), bus.topic("stock"));
    for (id, key, saga) in [("a", "k", "s"), ("b", "l", "t"), ("c", "k", "s")] {
        orders.publish(Event::new("x").id(id).key(key).saga(saga)).await.unwrap();
    }
    stock.publish(Event::new("x").id("d").saga("s")).await.unwrap();
    let ids = |read: Vec<quadrille::StoredEvent>| {
        read.into_iter().map(|it| format!("{}/{}", it.topic, it.event().id)).collect::<Vec<_>>()
    };
    assert_eq!(ids(bus.read("orders").from(1).to(2).all().await.unwrap()), ["orders/b"]);
    assert_eq!(ids(bus.read("orders").key("k").all().await.unwrap()), ["orders/a", "orders/c"]);
    let saga = ids(bus.saga("s").all().await.unwrap());
    assert_eq!(saga, ["orders/a", "orders/c", "stock/d"]);
    assert_eq!(bus.read("none").all().await.unwrap_err().code(), "unknown_topic");
}

#[tokio::test]
async fn long_topics_are_read_page_by_page() {
    let bus = Bus::memory().await.unwrap();
    bus.create_topic("orders").await.unwrap();
    let events = (0..700).map(|_| Event::new("x"));
    bus.topic("orders").publish_all(events).await.unwrap();
    let read = bus.read("orders").all().await.unwrap();
    let offsets: Vec<u64> = read.iter().map(|it| it.offset).collect();
    assert_eq!(offsets, (0..700).collect::<Vec<_>>());
}
