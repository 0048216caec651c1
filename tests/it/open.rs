//! Buses beside each other, buses that were only dropped, and directories that cannot be opened.

use std::fs;
use std::time::Duration;

use quadrille::{Bus, Event, OpenError, StartAt};
use quadrille_broker::disk::SimDisk;
use quadrille_tests::alone;

use crate::stage::{NOON, Setup, Stage};

#[tokio::test]
async fn two_buses_in_one_process_know_nothing_of_each_other() {
    let _alone = alone();
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) =
        (Bus::open(here.path()).await.unwrap(), Bus::open(there.path()).await.unwrap());
    let three = Bus::memory().await.unwrap();
    for (bus, count) in [(&one, 3), (&two, 2), (&three, 1)] {
        bus.create_topic("orders").await.unwrap();
        for n in 0..count {
            let receipt =
                bus.topic("orders").publish(Event::new("e").id("same").data(vec![n])).await;
            assert_eq!(receipt.is_ok(), n == 0, "the id is used with other data");
            let receipt = bus.topic("orders").publish(Event::new("e")).await.unwrap();
            assert_eq!(receipt.offset(), Some(u64::from(n) + 1));
        }
    }
    one.close(Duration::ZERO).await.unwrap();
    assert_eq!(two.read("orders").all().await.unwrap().len(), 3, "it goes on");
    let refused = one.topic("orders").publish(Event::new("e")).await.unwrap_err();
    assert_eq!(refused.code(), "unavailable");
}

#[tokio::test]
async fn a_bus_that_was_only_dropped_opens_again_with_all_that_it_confirmed() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    for n in 0..4 {
        let bus = Bus::open(dir.path()).await.unwrap();
        bus.create_topic("orders").await.unwrap();
        let group = bus.group("g").topics(["orders"]).start(StartAt::Beginning);
        let mut events = group.subscribe().await.unwrap();
        let id = n.to_string();
        let receipt = bus.topic("orders").publish(Event::new("e").id(&*id)).await.unwrap();
        assert_eq!(receipt.offset(), Some(n));
        let delivery = events.next().await.unwrap();
        assert_eq!(delivery.id(), id, "what was acked does not come again");
        delivery.ack().await.unwrap();
    }
}

#[tokio::test]
async fn a_directory_that_is_open_is_said_to_be_with_the_process_that_has_it() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let bus = Bus::open(dir.path()).await.unwrap();
    let OpenError::Log(error) = Bus::open(dir.path()).await.unwrap_err() else { panic!("which?") };
    assert_eq!(error.code(), "directory_locked");
    let pid = std::process::id().to_string();
    assert!(error.to_string().contains(&pid), "{error} does not name {pid}");
    bus.create_topic("still").await.unwrap();
    drop(bus);
    drop(Bus::open(dir.path()).await.unwrap());
}

/// The code of the error, which names `what`.
async fn refused(dir: &std::path::Path, what: &str) -> &'static str {
    let OpenError::Log(error) = Bus::open(dir).await.unwrap_err() else { panic!("which?") };
    assert!(error.to_string().contains(what), "{error} does not name {what:?}");
    error.code()
}

#[tokio::test]
async fn a_directory_that_is_none_is_left_alone() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "a letter").unwrap();
    assert_eq!(refused(&file, "a file").await, "not_a_data_directory");
    assert_eq!(refused(dir.path(), "`file`").await, "not_a_data_directory");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was made in it");
    assert_eq!(fs::read(&file).unwrap(), b"a letter");
    let error = Bus::at("http:elsewhere").await.unwrap_err();
    assert!(error.to_string().contains("http:elsewhere"), "{error}");
}

#[tokio::test]
async fn a_directory_of_somebody_else_or_of_a_newer_version_is_left_alone() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let manifest = dir.path().join("manifest");
    fs::write(&manifest, vec![b'x'; 5_000]).unwrap();
    assert_eq!(refused(dir.path(), "manifest").await, "not_a_data_directory");
    fs::remove_file(&manifest).unwrap();
    drop(Bus::open(dir.path()).await.unwrap());
    let ours = fs::read(&manifest).unwrap();
    fs::write(&manifest, newer(ours.clone())).unwrap();
    assert_eq!(refused(dir.path(), "newer").await, "newer_format");
    let mut damaged = ours.clone();
    for at in [40, 512 + 40] {
        damaged[at] ^= 1;
    }
    fs::write(&manifest, damaged).unwrap();
    assert_eq!(refused(dir.path(), "manifest").await, "manifest_damaged");
    fs::remove_file(&manifest).unwrap();
    assert_eq!(refused(dir.path(), "missing").await, "manifest_damaged");
    fs::write(&manifest, ours).unwrap();
    drop(Bus::open(dir.path()).await.unwrap());
    let segment = dir.path().join("log/0000000001.seg");
    fs::remove_file(segment).unwrap();
    assert_eq!(refused(dir.path(), "0000000001").await, "segment_missing");
}

/// A manifest in which both copies have an incompat bit that nobody knows.
fn newer(mut bytes: Vec<u8>) -> Vec<u8> {
    for at in [0, 512] {
        bytes[at + 12] |= 0x80;
        let sealed = crc32fast::hash(&bytes[at..at + 60]);
        bytes[at + 60..at + 64].copy_from_slice(&sealed.to_le_bytes());
    }
    bytes
}

#[test]
fn a_disk_that_cannot_be_written_is_said_so() {
    let disk = SimDisk::new();
    drop(Stage::on(&disk, NOON, &Setup::default()).unwrap());
    disk.set_read_only(true);
    let error = Stage::on(&disk, NOON, &Setup::default()).err().unwrap();
    assert_eq!(error.code(), "read_only");
    assert!(error.to_string().contains("read-only"), "{error}");
    disk.set_read_only(false);
    drop(Stage::on(&disk, NOON, &Setup::default()).unwrap());
}
