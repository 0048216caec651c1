//! Random histories: commands, restarts, crashes, clocks that jump, syncs that come late, against
//! the model; and at any time the log replays, with or without a checkpoint, to the same state.

use proptest::prelude::*;

use super::world::World;

#[derive(Clone, Debug)]
pub(super) enum Op {
    Publish { topic: u8, events: Vec<(u8, u8, bool)> },
    Again { which: u8 },
    Later { topic: u8, saga: u8, ms: u16 },
    Ack { member: u8, many: u8 },
    Step { member: u8, topic: u8, events: Vec<(u8, u8, bool)> },
    Settle { member: u8, which: u8, how: u8 },
    Start { member: u8, which: u8 },
    Expire { member: u8, which: u8 },
    Join { group: u8, credit: u8 },
    Leave { member: u8, started: bool },
    Drain { member: u8 },
    Pause { group: u8 },
    Resume { group: u8 },
    Resolve { group: u8, which: u8, how: u8 },
    Pass { ms: u16 },
    Jump { years: i8 },
    Stand { ms: u16 },
    Sync,
    Lazy(bool),
    Restart { clean: bool },
    Crash { back: u8 },
    Export { many: u8 },
}

fn op() -> impl Strategy<Value = Op> {
    let events = || prop::collection::vec((0u8..3, 0u8..3, prop::bool::weighted(0.2)), 1..5);
    let byte = any::<u8>;
    prop_oneof![
        8 => (byte(), events()).prop_map(|(topic, events)| Op::Publish { topic, events }),
        1 => byte().prop_map(|which| Op::Again { which }),
        1 => (byte(), 0u8..3, 0u16..500).prop_map(|(topic, saga, ms)| Op::Later { topic, saga, ms }),
        8 => (byte(), 1u8..6).prop_map(|(member, many)| Op::Ack { member, many }),
        3 => (byte(), byte(), events())
            .prop_map(|(member, topic, events)| Op::Step { member, topic, events }),
        8 => (byte(), byte(), byte())
            .prop_map(|(member, which, how)| Op::Settle { member, which, how }),
        3 => (byte(), byte()).prop_map(|(member, which)| Op::Start { member, which }),
        1 => (byte(), byte()).prop_map(|(member, which)| Op::Expire { member, which }),
        6 => (byte(), 1u8..9).prop_map(|(group, credit)| Op::Join { group, credit }),
        2 => (byte(), any::<bool>()).prop_map(|(member, started)| Op::Leave { member, started }),
        1 => byte().prop_map(|member| Op::Drain { member }),
        1 => byte().prop_map(|group| Op::Pause { group }),
        1 => byte().prop_map(|group| Op::Resume { group }),
        3 => (byte(), byte(), byte()).prop_map(|(group, which, how)| Op::Resolve { group, which, how }),
        4 => (0u16..500).prop_map(|ms| Op::Pass { ms }),
        1 => (20_000u16..60_000).prop_map(|ms| Op::Pass { ms }),
        1 => (-10i8..=10).prop_map(|years| Op::Jump { years }),
        1 => (0u16..60_000).prop_map(|ms| Op::Stand { ms }),
        3 => Just(Op::Sync),
        2 => any::<bool>().prop_map(Op::Lazy),
        2 => any::<bool>().prop_map(|clean| Op::Restart { clean }),
        1 => byte().prop_map(|back| Op::Crash { back }),
        4 => (1u8..40).prop_map(|many| Op::Export { many }),
    ]
}

fn history() -> impl Strategy<Value = (u8, Vec<Op>)> {
    (any::<u8>(), prop::collection::vec(op(), 1..90))
}

fn play(seed: u8, ops: &[Op]) -> World {
    let mut world = World::new(seed);
    for op in ops {
        world.apply(op);
    }
    world
}

/// A few hundred histories; `QUADRILLE_CORE_CASES` says how many.
fn cases(default: u32) -> ProptestConfig {
    let cases = std::env::var("QUADRILLE_CORE_CASES").ok().and_then(|it| it.parse().ok());
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases.unwrap_or(default))
    }
}

proptest! {
    #![proptest_config(cases(250))]

    #[test]
    fn core_does_what_the_model_says((seed, ops) in history()) {
        let mut world = play(seed, &ops);
        world.it.restart(true);
        world.begun();
        world.observe();
        world.finish();
    }
}

proptest! {
    #![proptest_config(cases(30))]

    #[test]
    fn the_same_inputs_twice_give_identical_bytes((seed, ops) in history()) {
        let bytes = |world: &World| {
            let records = world.it.log.entries.iter().flat_map(|entry| &entry.records);
            let records = records.map(|kind| {
                let record = quadrille_proto::record::Record { kind: Some(kind.clone()) };
                prost::Message::encode_to_vec(&record)
            });
            records.collect::<Vec<_>>()
        };
        assert_eq!(bytes(&play(seed, &ops)), bytes(&play(seed, &ops)));
    }
}
