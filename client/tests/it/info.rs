//! What a bus says of itself, in a directory whose log is damaged while it is closed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use quadrille::{Bus, Event, Lost, OpenError, OpenOptions, StartAt};
use quadrille_broker::error::OpenError as LogError;
use tempfile::TempDir;

const EVENTS: u64 = 40;

/// A directory with [`EVENTS`] events that a group has not settled, left without an orderly end, and so
/// without a checkpoint.
async fn filled() -> TempDir {
    let dir = TempDir::new().unwrap();
    let bus = Bus::open(&dir).await.unwrap();
    bus.create_topic("orders").await.unwrap();
    drop(bus.group("payment").topics(["orders"]).subscribe().await.unwrap());
    for n in 0..EVENTS {
        bus.topic("orders")
            .publish(Event::new("e").id(n.to_string()).data(vec![7; 90]))
            .await
            .unwrap();
    }
    dir
}

/// Turns a byte in the middle of the log over.
fn damage(dir: &Path) {
    let segment = dir.join("log/0000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let used = bytes.iter().rposition(|it| *it != 0).unwrap();
    *bytes.get_mut(used / 2).unwrap() ^= 0xff;
    fs::write(segment, bytes).unwrap();
}

#[tokio::test]
async fn a_bus_in_order_says_so_and_who_needs_its_events() {
    let dir = filled().await;
    let bus = Bus::open(&dir).await.unwrap();
    let info = bus.info().await.unwrap();
    assert_eq!((info.epoch, info.clean), (2, false));
    assert_eq!((&info.gaps, &info.dropped, &info.losses), (&vec![], &None, &vec![]));
    let pin = info.pins.iter().find(|it| it.what.contains("payment")).unwrap();
    assert_eq!((pin.topic.as_deref(), pin.from), (Some("orders"), 0));
    assert!(info.limits.iter().any(|it| it.used > 0 && it.used <= it.max), "{info:?}");
    bus.close(Duration::ZERO).await.unwrap();
    assert!(Bus::open(&dir).await.unwrap().info().await.unwrap().clean);
}

#[tokio::test]
async fn a_gap_is_refused_until_it_is_accepted_and_is_listed_ever_after() {
    let dir = filled().await;
    damage(dir.path());
    let refused = Bus::open(&dir).await.unwrap_err();
    assert!(refused.to_string().contains("accept_gap"), "{refused}");
    let OpenError::Log(LogError::Gap { from, to, .. }) = refused else { panic!("{refused}") };

    let bus = Bus::open_with(&dir, OpenOptions { accept_gap: true, ..OpenOptions::default() })
        .await
        .unwrap();
    let info = bus.info().await.unwrap();
    let [gap] = &info.gaps[..] else { panic!("{info:?}") };
    assert_eq!((gap.from, gap.to, gap.accepted), (from, to, true));
    let found = &info.losses;
    assert!(found.iter().any(|it| it.what == Lost::Gap(gap.clone())), "{found:?}");
    let sentence = format!("entries #{from} to #{} are lost: ", to - 1);
    assert!(found[0].to_string().starts_with(&sentence), "{}", found[0]);
    bus.close(Duration::ZERO).await.unwrap();

    let bus = Bus::open(&dir).await.unwrap();
    let again = bus.info().await.unwrap();
    assert_eq!(again.losses.first(), found.first());
    let mut rest = bus.read("orders");
    let mut left = 0;
    while rest.next().await.transpose().unwrap().is_some() {
        left += 1;
    }
    assert_eq!(left, EVENTS - (to - from));
    let group = bus.group("payment").topics(["orders"]).start(StartAt::Beginning);
    drop(group.subscribe().await.unwrap());
}
