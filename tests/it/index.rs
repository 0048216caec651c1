//! The index on a real directory: made, used, deleted, made again, while publishing goes on.

use std::fs;
use std::time::Duration;

use quadrille::{Bus, Event, OpenOptions, OrderBy, StartAt, Timeline};
use quadrille_tests::alone;
use tempfile::TempDir;

async fn open(dir: &TempDir) -> Bus {
    let options = OpenOptions { index: true, ..OpenOptions::default() };
    Bus::open_with(dir.path(), options).await.unwrap()
}

/// The timeline once the index has come as far as the log.
async fn timeline(bus: &Bus, saga: &str) -> Timeline {
    loop {
        let timeline = bus.timeline(saga).await.unwrap();
        if bus.info().await.unwrap().index.unwrap().lag == 0 {
            return timeline;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_deleted_index_is_made_again_and_tells_what_is_long_over() {
    let (_alone, dir) = (alone(), TempDir::new().unwrap());
    let bus = open(&dir).await;
    bus.create_topic("orders").await.unwrap();
    let orders = bus.topic("orders");
    for n in 0..200 {
        let event = Event::new("order.created").source("order").saga(format!("order-{n}"));
        orders.publish(event).await.unwrap();
    }
    let group = bus.group("payment").topics(["orders"]).order_by(OrderBy::Saga);
    let mut events = group.start(StartAt::Beginning).concurrency(256).subscribe().await.unwrap();
    let mut out = Vec::new();
    for _ in 0..200 {
        out.push(events.next().await.unwrap());
    }
    for delivery in out {
        match delivery.saga() {
            "order-7" => drop(delivery.retry_after(Duration::from_millis(1), "busy").await),
            _ => drop(delivery.ack().await),
        }
    }
    events.next().await.unwrap().ack().await.unwrap();
    bus.flush().await.unwrap();
    let before = timeline(&bus, "order-7").await;
    let said = before.events[0].groups[0].state.to_string();
    assert_eq!(said, "done at attempt 2");
    drop(events);
    bus.close(Duration::from_secs(1)).await.unwrap();

    for _ in 0..2 {
        let bus = open(&dir).await;
        let again = timeline(&bus, "order-7").await;
        assert_eq!(again.events, before.events);
        let list = bus.sagas().limit(3).await.unwrap();
        assert_eq!(list.rows[0].saga, "order-199");
        bus.close(Duration::from_secs(1)).await.unwrap();
        assert!(dir.path().join("index/1").exists());
        fs::remove_dir_all(dir.path().join("index")).unwrap();
    }
}
