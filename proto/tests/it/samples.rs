//! One event with every field, one with the fewest, and one record of each number with every
//! field set. The golden fixtures are made of these, so they only grow.

use bytes::{Bytes, BytesMut};
use quadrille_proto::Event;
use quadrille_proto::record::*;

pub(crate) fn event() -> Event {
    Event::new("order.created")
        .id("01234567-89ab-7cde-8123-456789abcdef")
        .source("shop")
        .saga("order-17")
        .key("customer-4711")
        .subject("orders/17")
        .turn(1)
        .schema(2)
        .time(1_700_000_000_123)
        .cause("01234567-89ab-7cde-8123-000000000000")
        .content_type("application/json")
        .traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("tenant", "blue")
        .header("tenant", "grün")
        .header("flag", "")
        .data(r#"{"total":17}"#)
}

pub(crate) fn minimal() -> Event {
    Event::new("a").id("1")
}

fn event_bytes() -> Bytes {
    let mut out = BytesMut::new();
    minimal().encode(&mut out);
    out.freeze()
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn position() -> Position {
    Position { entry: 3_310, index: 2 }
}

fn lane() -> Option<Lane> {
    Some(Lane { hi: 0x0102_0304_0506_0708, lo: 0x1112_1314_1516_1718 })
}

fn place() -> Option<EventRef> {
    Some(EventRef { topic: 7, offset: 300, at: Some(position()) })
}

fn ranges() -> Vec<OffsetRange> {
    vec![OffsetRange { topic: 7, from: 290, to: 300 }, OffsetRange { topic: 8, from: 1, to: 2 }]
}

fn lanes() -> Vec<LaneMoved> {
    vec![
        LaneMoved { lane: lane(), first: Some(position()) },
        LaneMoved { lane: lane(), first: None },
    ]
}

fn topic_config() -> Option<TopicConfig> {
    Some(TopicConfig {
        durability: Durability::Written.into(),
        retention: Some(Retention {
            age_ms: 1,
            bytes: 2,
            count: 3,
            settled_min_age_ms: 604_800_000,
            unsettled_at_most_ms: 5,
        }),
        versioned: true,
        max_keys: 1_000_000,
        domain: 1,
    })
}

fn group_config() -> Option<GroupConfig> {
    let policy = |max_attempts| RetryPolicy {
        max_attempts,
        first_ms: 100,
        factor_percent: 200,
        cap_ms: 60_000,
    };
    Some(GroupConfig {
        topics: texts(&["orders", "payments"]),
        types: texts(&["order.created", "payment.failed"]),
        order_by: OrderBy::Key.into(),
        on_exhausted: OnExhausted::DeadLetter.into(),
        forward: Some(policy(5)),
        compensating: Some(policy(50)),
        superseding: texts(&["payment.failed"]),
        late: texts(&["order.created"]),
        lease_ms: 30_000,
        handler_timeout_ms: 300_000,
        max_in_flight: 512,
        type_patterns: texts(&["order.*"]),
        kill_switch: true,
    })
}

fn receipt() -> Receipt {
    Receipt {
        topic: 7,
        offset: 300,
        duplicate: true,
        timer: 4,
        due: 1_700_000_060_000,
        epoch: 2,
        at: Some(position()),
        synced: true,
    }
}

fn gap() -> Gap {
    Gap { from_entry: 10, to_entry: 20, bytes: 4_096, reason: text("checksum") }
}

/// In the order of their numbers.
pub(crate) fn records() -> Vec<Kind> {
    [topics_and_groups(), settles(), dead_letters(), bookkeeping(), publishing(), log(), later()]
        .concat()
}

fn topics_and_groups() -> Vec<Kind> {
    vec![
        Kind::EventAppended(EventAppended {
            topic: 7,
            offset: 300,
            turn: 1,
            revision: 12,
            timer: 4,
            emitted_by: place(),
            emitted_by_group: 9,
            late: true,
            event: event_bytes(),
        }),
        Kind::TopicCreated(TopicCreated { topic: 7, name: text("orders"), config: topic_config() }),
        Kind::TopicChanged(TopicChanged { topic: 7, config: topic_config() }),
        Kind::TopicDeleted(TopicDeleted { topic: 7, unsettled: 11 }),
        Kind::GroupCreated(GroupCreated {
            group: 9,
            name: text("inventory"),
            config: group_config(),
            starts: ranges(),
        }),
        Kind::GroupChanged(GroupChanged { group: 9, config: group_config(), starts: ranges() }),
        Kind::GroupPaused(GroupPaused { group: 9, reason: text("bad deploy"), kill_switch: true }),
        Kind::GroupResumed(GroupResumed { group: 9, probe: true }),
        Kind::GroupDeleted(GroupDeleted { group: 9, unsettled: 11, dead_letters: 1 }),
    ]
}

fn settles() -> Vec<Kind> {
    vec![
        Kind::Settled(Settled {
            group: 9,
            kind: SettleKind::Step.into(),
            ranges: ranges(),
            lanes: lanes(),
            turns: vec![TurnTaken { saga: lane(), turn: 1 }],
        }),
        Kind::CursorMoved(CursorMoved { group: 9, topic: 7, to: 301, lanes: lanes() }),
        Kind::Held(Held {
            group: 9,
            event: place(),
            lane: lane(),
            class: HoldClass::MemberLost.into(),
            attempts: 2,
            unavailable: 1,
            due: 1_700_000_060_000,
            reason: text("timeout"),
            member: text("inventory-1"),
        }),
    ]
}

fn dead_letters() -> Vec<Kind> {
    vec![
        Kind::Parked(Parked {
            group: 9,
            event: place(),
            lane: lane(),
            class: ParkClass::CrashesConsumer.into(),
            attempts: 5,
            reason: text("no such product"),
            blocking: true,
            member: text("inventory-1"),
            event_type: text("order.created"),
            event_id: text("1"),
            saga: text("order-17"),
            lanes: lanes(),
        }),
        Kind::Resolved(Resolved {
            group: 9,
            event: place(),
            how: Resolution::ResolveReplace.into(),
            by: text("ada"),
            comment: text("typo in the order"),
            replacement: event_bytes(),
            lanes: lanes(),
        }),
        Kind::Superseded(Superseded {
            group: 9,
            lane: lane(),
            by: place(),
            events: vec![SupersededEvent {
                event: place(),
                attempts: 3,
                reason: text("timeout"),
                event_type: text("order.created"),
            }],
        }),
    ]
}

fn bookkeeping() -> Vec<Kind> {
    vec![
        Kind::HandedOut(HandedOut { group: 9, event: place(), lane: lane() }),
        Kind::Released(Released { group: 9, event: place(), lane: lane() }),
        Kind::TurnsEvicted(TurnsEvicted { group: 9, sagas: lane().into_iter().collect() }),
        Kind::Truncated(Truncated { group: 9, ranges: ranges(), count: 11 }),
        Kind::TopicTrimmed(TopicTrimmed { first: ranges(), before_entry: 3_000 }),
    ]
}

fn publishing() -> Vec<Kind> {
    vec![
        Kind::TimerArmed(TimerArmed {
            timer: 4,
            topic: 7,
            due: 1_700_000_060_000,
            turn: 1,
            id_hi: 5,
            id_lo: 6,
            event: event_bytes(),
        }),
        Kind::TimerCancelled(TimerCancelled { timer: 4 }),
        Kind::SessionReceipt(SessionReceipt {
            hi: 1,
            lo: 2,
            sequence: 33,
            confirmed: 30,
            receipts: vec![receipt(), Receipt::default()],
            digest: 0x0102_0304_0506_0708,
        }),
        Kind::SessionEnded(SessionEnded { hi: 1, lo: 2, expired: true }),
        Kind::ProducerClaimed(ProducerClaimed { name: text("outbox"), epoch: 3 }),
        Kind::ProducerAdvanced(ProducerAdvanced {
            name: text("outbox"),
            epoch: 3,
            number: 88,
            receipt: Some(receipt()),
        }),
    ]
}

fn log() -> Vec<Kind> {
    vec![
        Kind::EpochStarted(EpochStarted {
            epoch: 2,
            clean: true,
            recovered_end: 3_311,
            dropped_from: 3_311,
            dropped_bytes: 99,
            may_contain_acknowledged: true,
            gaps: vec![gap()],
            accepted: vec![gap()],
        }),
        Kind::ClockJumped(ClockJumped { by_ms: -61_000 }),
        Kind::Catalog(Catalog {
            log_id_hi: 1,
            log_id_lo: 2,
            seed_hi: 3,
            seed_lo: 4,
            next_topic: 8,
            next_group: 10,
            next_timer: 5,
            topics: vec![CatalogTopic {
                topic: 7,
                name: text("orders"),
                config: topic_config(),
                next_offset: 301,
                first_offset: 1,
            }],
            groups: vec![CatalogGroup {
                group: 9,
                name: text("inventory"),
                config: group_config(),
                cursors: ranges(),
                paused: text("bad deploy"),
                is_paused: true,
            }],
        }),
    ]
}

fn later() -> Vec<Kind> {
    vec![
        Kind::GroupSought(GroupSought {
            group: 9,
            to: ranges(),
            effects_again: true,
            generation: 1,
        }),
        Kind::RevisionsEvicted(RevisionsEvicted { topic: 7, keys: lane().into_iter().collect() }),
        Kind::ExpectationArmed(ExpectationArmed {
            expectation: 6,
            saga: lane(),
            limit_ms: 900_000,
            types: texts(&["payment.processed", "payment.failed"]),
            else_topic: 7,
            armed_by: place(),
            else_event: event_bytes(),
        }),
        Kind::ExpectationMet(ExpectationMet { expectation: 6, by: place() }),
        Kind::ExpectationExpired(ExpectationExpired { expectation: 6 }),
        Kind::ExpectationCancelled(ExpectationCancelled { expectation: 6 }),
        Kind::SagaTypeDeclared(SagaTypeDeclared {
            first: text("order.created"),
            owner: text("orders"),
            success: texts(&["order.completed"]),
            failure: texts(&["order.cancelled"]),
            limit_ms: 86_400_000,
            max_open: 100_000,
        }),
        Kind::ParticipantDeclared(ParticipantDeclared {
            name: text("inventory"),
            group: 9,
            contract: Bytes::from_static(b"opaque"),
        }),
        Kind::SagaUntracked(SagaUntracked { saga: lane() }),
    ]
}
