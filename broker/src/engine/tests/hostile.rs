//! The engine over a log that keeps the contract and nothing more: it answers late, fails as
//! "unknown", refuses claims, and is claimed by somebody else in the middle of a load.

use std::collections::BTreeMap;

use quadrille_proto::EventView;
use quadrille_proto::record::Durability::Synced;

use super::*;
use crate::engine::{Range, StoredEvent};
use crate::log::HostileLog;

/// The events of a topic by offset.
fn stored(engine: &Engine, topic: TopicId) -> BTreeMap<u64, String> {
    let mut reader = engine.read(Range::Topic { topic, from: 0, to: u64::MAX });
    let mut all = BTreeMap::new();
    loop {
        let page: Vec<StoredEvent> = reader.next_page().unwrap();
        if page.is_empty() {
            return all;
        }
        for it in page {
            let id = EventView::parse(&it.bytes).unwrap().id.to_owned();
            assert_eq!(all.insert(it.event.offset, id), None, "an offset is used once");
        }
    }
}

#[test]
fn a_log_that_is_late_fails_and_is_claimed_by_others_loses_nothing_that_was_answered() {
    for seed in 0..40 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let log = Arc::new(HostileLog::new(seed));
        let clock = Arc::new(ManualClock::new(NOON));
        let blobs = Arc::new(MemBlobs::default());
        let engine = Engine::start(log.clone(), blobs, options(&clock)).unwrap();
        let mut created = engine.execute(create_topic("orders", Synced));
        engine.drive();
        let Some(Ok(Answer::Topic { topic, .. })) = created.try_get() else { panic!("a topic") };
        let (mut answered, mut epoch, mut waiting) = (BTreeMap::new(), 1, Vec::new());
        for n in 0..120 {
            let id = format!("{seed}-{n}");
            waiting.push((id.clone(), engine.execute(publish(topic, &[&id]))));
            match rng.u8(..14) {
                0 => log.hold(true),
                1 => log.hold(false),
                2 => log.fail("the network is gone"),
                3 => log.usurp(),
                4 => {
                    log.fail_claims(1);
                    log.fail("and again");
                    assert!(engine.reopen().is_err(), "{seed}: the claim failed");
                }
                5..=7 => drop(log.step(Work::Append, NOON)),
                _ => drop(engine.drive()),
            }
            waiting.retain_mut(|(id, ticket)| match ticket.try_get() {
                Some(Ok(Answer::Published(Receipts::Block { first, .. }))) => {
                    answered.insert(first, id.clone());
                    false
                }
                Some(Ok(other)) => panic!("{other:?}"),
                Some(Err(_)) => false,
                None => true,
            });
            if engine.topic("orders").is_err() || log.watermarks().fenced.is_some() {
                log.hold(false);
                engine.reopen().unwrap();
                engine.drive();
                assert!(engine.opened().epoch > epoch, "{seed}: a higher epoch");
                epoch = engine.opened().epoch;
            }
        }
        log.hold(false);
        engine.drive();
        let there = stored(&engine, topic);
        for (offset, id) in &answered {
            assert_eq!(there.get(offset), Some(id), "{seed}: #{offset} was answered");
        }
        assert!(there.keys().copied().eq(0..there.len() as u64), "{seed}: dense");
        assert!(answered.len() > 10, "{seed}: something was answered");
    }
}
