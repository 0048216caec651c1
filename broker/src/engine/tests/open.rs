//! Opening, closing, dropping, and what an opening finds.

use quadrille_proto::record::Durability::Synced;
use quadrille_proto::record::{Kind, OrderBy};

use super::*;
use crate::core::{Core, CoreConfig};
use crate::error::EngineError;

#[test]
fn two_engines_live_in_one_process() {
    let (one, other) = (Bench::new(), Bench::new());
    let topic = one.topic("orders", Synced);
    assert!(other.engine.topic("orders").is_err());
    let mut ticket = one.publish(topic, "a");
    other.engine.drive();
    assert_eq!(ticket.try_get(), None);
    one.engine.drive();
    assert!(ticket.try_get().is_some());
}

#[test]
fn a_drop_without_a_close_leaves_everything_that_was_recorded() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    for id in ["a", "b", "c"] {
        drop(bench.publish(topic, id));
    }
    bench.engine.drive();
    let bench = bench.again();
    assert!(!bench.engine.opened().clean);
    assert_eq!(bench.engine.topic("orders"), Ok(topic));
    let mut ticket = bench.publish(topic, "d");
    bench.engine.drive();
    assert_eq!(first_offset(ticket.try_get()), 3);
}

#[test]
fn a_close_writes_a_checkpoint_and_ends_everything() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    let mut waiting = bench.publish(topic, "a");
    let report = bench.engine.close(1_000).unwrap();
    assert!(report.checkpointed);
    assert_eq!(report.released, 0);
    assert_eq!(first_offset(waiting.try_get()), 0, "it was recorded before");
    let mut late = bench.publish(topic, "b");
    assert!(matches!(late.try_get(), Some(Err(EngineError::Unavailable { .. }))));
    let bench = bench.again();
    assert!(bench.engine.opened().clean);
    let mut ticket = bench.publish(topic, "c");
    bench.engine.drive();
    assert_eq!(first_offset(ticket.try_get()), 1);
}

#[test]
fn a_checkpoint_and_what_follows_give_the_same_state_as_all_of_the_log() {
    let bench = Bench::with(|options| options.limits.checkpoint_bytes = 4_000);
    let topic = bench.topic("orders", Synced);
    for n in 0..200 {
        drop(bench.publish(topic, &n.to_string()));
        bench.engine.drive();
    }
    let checkpoints = |bench: &Bench| {
        let names = bench.blobs.list().unwrap();
        names.into_iter().filter(|name| name.starts_with("checkpoint")).collect::<Vec<_>>()
    };
    assert_eq!(checkpoints(&bench).len(), 2, "the last two are kept");
    let live = bench.engine.0.shared.look(|state| state.core.durable().clone());
    let bench = bench.again();
    let from_checkpoint = bench.engine.0.shared.look(|state| state.core.durable().clone());
    assert_eq!(from_checkpoint, live);
    for name in checkpoints(&bench) {
        bench.blobs.remove(&name).unwrap();
    }
    let bench = bench.again();
    let from_log = bench.engine.0.shared.look(|state| state.core.durable().clone());
    assert_eq!(from_log, live);
}

#[test]
fn a_damaged_checkpoint_is_said_and_does_not_count() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    bench.engine.close(0).unwrap();
    for name in bench.blobs.list().unwrap() {
        let mut bytes = bench.blobs.get(&name).unwrap().unwrap().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        bench.blobs.put(&name, &bytes).unwrap();
    }
    let bench = bench.again();
    assert_eq!(bench.engine.opened().notes.len(), 1, "{:?}", bench.engine.opened().notes);
    assert_eq!(bench.engine.topic("orders"), Ok(topic));
}

#[test]
fn a_full_segment_is_followed_by_one_that_begins_with_a_catalog() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    let data = vec![b'x'; 500_000];
    for n in 0..12 {
        let mut bytes = BytesMut::new();
        Event::new("order.created").id(n.to_string()).data(data.clone()).encode(&mut bytes);
        let events = vec![NewEvent { topic, bytes: bytes.freeze(), due: None }];
        drop(bench.engine.execute(Command::Publish(Publish { session: None, events })));
        bench.engine.drive();
        bench.clock.advance(1);
    }
    bench.pass(10);
    let segments = bench.log.segments();
    assert_eq!(segments.len(), 2, "6 MB in segments of 4 MiB: {segments:?}");
    let Read::Entries(entries) = bench.log.read(segments[1].first, 1).unwrap() else {
        panic!("no entry")
    };
    let first = entries[0].records().next().unwrap().unwrap();
    assert_eq!(first.kind, 38, "a catalog");
    let sidecars = bench.blobs.list().unwrap();
    assert!(sidecars.iter().any(|name| name.starts_with("sidecar")), "{sidecars:?}");
}

#[test]
fn a_catalog_behind_a_gap_tells_what_is_used_up_and_takes_nothing_back() {
    let bench = Bench::new();
    let topic = bench.topic("orders", Synced);
    bench.group("billing", "orders", OrderBy::Saga);
    let catalog = || bench.engine.0.shared.look(|state| state.core.catalog());
    let Kind::Catalog(early) = catalog() else { panic!("no catalog") };
    drop(bench.engine.execute(publish(topic, &["a", "b", "c"])));
    let Kind::Catalog(late) = catalog() else { panic!("no catalog") };
    let limits = bench.engine.options().limits.clone();
    let mut core = Core::new(CoreConfig { hash_key: 1, epoch: 1, limits, seed: 1 });
    for catalog in [late, early] {
        core.mend(&catalog);
        assert_eq!(core.topic_id("orders"), Some(topic));
        assert_eq!(core.topics().iter().find(|it| it.id == topic).unwrap().next, 3);
        assert!(core.group_id("billing").is_some());
    }
}
