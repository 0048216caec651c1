//! Reading without a group.

use quadrille_proto::record::Durability::Synced;
use quadrille_proto::record::OrderBy;

use super::*;
use crate::engine::fetch::EventReader;
use crate::engine::{Range, Reader, StoredEvent};

fn all(mut reader: Reader) -> Vec<StoredEvent> {
    let mut all = Vec::new();
    loop {
        let page = reader.next_page().unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

fn offsets(bench: &Bench, range: Range) -> Vec<u64> {
    all(bench.engine.read(range)).iter().map(|it| it.event.offset).collect()
}

#[test]
fn a_range_of_a_topic_comes_in_pages_and_only_what_is_revealed() {
    let bench = Bench::new();
    let (topic, other) = (bench.topic("orders", Synced), bench.topic("others", Synced));
    for n in 0..600 {
        let id = n.to_string();
        drop(bench.engine.execute(publish(topic, &[&id])));
        drop(bench.engine.execute(publish(other, &[&id])));
    }
    bench.engine.drive();
    let whole = Range::Topic { topic, from: 0, to: u64::MAX };
    assert_eq!(offsets(&bench, whole.clone()), (0..600).collect::<Vec<_>>());
    let part = Range::Topic { topic, from: 17, to: 20 };
    assert_eq!(offsets(&bench, part), [17, 18, 19]);

    drop(bench.publish(topic, "hidden"));
    bench.log.write();
    let mut reader = bench.engine.read(Range::Topic { topic, from: 599, to: u64::MAX });
    assert_eq!(reader.next_page().unwrap().len(), 1);
    assert_eq!(reader.next_page().unwrap(), []);
    bench.log.sync();
    assert_eq!(reader.next_page().unwrap().len(), 1, "it goes on where it was");
}

#[test]
fn a_batch_is_one_entry_and_all_of_it_is_read_back() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    let ids: Vec<_> = (0..1000).map(|n| n.to_string()).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    drop(bench.engine.execute(publish(topic, &ids)));
    bench.engine.drive();
    let found = all(bench.engine.read(Range::Topic { topic, from: 0, to: 1000 }));
    assert_eq!(found.len(), 1000);
    for (stored, id) in found.iter().zip(ids) {
        assert_eq!(stored.bytes, event(id, id));
    }
}

#[test]
fn a_saga_is_read_across_topics_in_the_order_of_the_log() {
    let bench = Bench::new();
    let (topic, other) = (bench.topic("orders", Synced), bench.topic("others", Synced));
    for n in 0..20 {
        let topic = if n % 3 == 0 { other } else { topic };
        let bytes = event(&n.to_string(), if n % 2 == 0 { "even" } else { "odd" });
        let events = vec![NewEvent { topic, bytes, due: None }];
        drop(bench.engine.execute(Command::Publish(Publish { session: None, events })));
    }
    bench.engine.drive();
    let found = all(bench.engine.read(Range::Saga { saga: "odd".to_owned() }));
    assert_eq!(found.len(), 10);
    assert!(found.is_sorted_by_key(|it| it.event));
    let key = |topic| Range::Key { topic, key: "3".to_owned() };
    assert_eq!(all(bench.engine.read(key(other))).len(), 1);
    assert_eq!(all(bench.engine.read(key(topic))).len(), 0);
}

#[test]
fn a_window_that_is_not_revealed_is_not_taken_for_the_end() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    let shared = &bench.engine.0.shared;
    let window = |from| {
        let index = shared.place().index;
        EventReader::new(shared).window(&index, topic, from, (10, 1000)).unwrap()
    };
    assert_eq!(window(0).map(|it| it.len()), Some(0), "there is nothing");
    drop(bench.publish(topic, "a"));
    assert!(window(0).is_none());
    bench.log.write();
    assert!(window(0).is_none());
    bench.log.sync();
    assert_eq!(window(0).map(|it| it.len()), Some(1));
}

#[test]
fn people_see_the_engine_when_it_is_safe() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    bench.group("billing", "orders", OrderBy::Everything);
    let member = bench.join("billing");
    drop(bench.publish(topic, "a"));
    let mut early = bench.engine.info();
    assert!(early.try_get().is_none());
    bench.engine.drive();
    let info = early.try_get().unwrap().unwrap();
    assert_eq!((info.topics[0].next, info.groups[0].unsettled), (1, 1));
    let id = bench.engine.group("billing").unwrap();
    let group = bench.engine.group_info(id).try_get().unwrap().unwrap().unwrap();
    assert_eq!(group.members[0].holds.len(), 1);
    assert!(bench.engine.group_info(id + 1).try_get().unwrap().unwrap().is_none());
    assert_eq!(bench.engine.topic_name(topic), Some("orders".to_owned()));
    assert!(info.limits.iter().any(|it| it.name == "queue_bytes" && it.used == 0));
    assert_eq!(hand(&member).len(), 1);
}
