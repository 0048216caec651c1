//! The engine alone, on a log in the working directory: publish, and publish → deliver → ack, without the client
//! library. For profiling.
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use quadrille_benches::now;
use quadrille_broker::core::command::{Answer, Command, NewEvent, Publish, StartAt};
use quadrille_broker::engine::{Engine, MemberEvent, Options, Outcomes, Ticket};
use quadrille_proto::Event;
use quadrille_proto::record::{Durability, GroupConfig, OrderBy, TopicConfig};

const BATCH: usize = 64;

fn batch(topic: u32, next: &mut u64, keys: u64) -> Vec<NewEvent> {
    let mut bytes = BytesMut::with_capacity(BATCH * 192);
    let mut out = Vec::with_capacity(BATCH);
    for _ in 0..BATCH {
        *next += 1;
        let key = format!("k{}", *next % keys);
        let event = Event::new("order.created")
            .id(format!("0190-{next:031x}"))
            .source("bench")
            .key(key)
            .data(vec![b'x'; 64]);
        event.encode(&mut bytes);
        out.push(NewEvent { topic, bytes: bytes.split().freeze(), due: None });
    }
    out
}

fn main() {
    let order = match std::env::args().nth(1).as_deref() {
        Some("key") => OrderBy::Key,
        Some("one") => OrderBy::Everything,
        _ => OrderBy::Nothing,
    };
    let dir = tempfile::tempdir_in(".").expect("a directory");
    let engine = Engine::open(dir.path(), Options::default()).expect("opens");
    let config = TopicConfig { durability: Durability::Written.into(), ..Default::default() };
    let created = engine.execute(Command::CreateTopic { name: "t".into(), config });
    let created = wait(created);
    let Ok(Answer::Topic { topic, .. }) = created else { panic!("{created:?}") };
    let mut next = 0;
    let events = std::env::args().nth(2).and_then(|it| it.parse().ok()).unwrap_or(2_000_000);
    let n = events / BATCH;
    let start = now();
    let mut last = None;
    for _ in 0..n {
        let events = batch(topic, &mut next, 10_000);
        last = Some(engine.execute(Command::Publish(Publish { session: None, events })));
    }
    wait(last.expect("some")).expect("published");
    report("publish", start.elapsed(), n * BATCH);

    let config =
        GroupConfig { topics: vec!["t".into()], order_by: order.into(), ..GroupConfig::default() };
    let start_at = Some(StartAt::End);
    let command = Command::CreateGroup { name: "g".into(), config, start: start_at };
    wait(engine.execute(command)).expect("a group");
    let member = engine.join("g", "m", 512).expect("joins");
    let start = now();
    let mut acked = 0;
    let mut cx = Context::from_waker(Waker::noop());
    let mut published = 0;
    let mut tokens = Vec::with_capacity(BATCH);
    while acked < n * BATCH {
        if published < acked + 512 && published < n * BATCH {
            let events = batch(topic, &mut next, 10_000);
            published += events.len();
            drop(engine.execute(Command::Publish(Publish { session: None, events })));
        }
        while let Poll::Ready(event) = member.poll_next(&mut cx) {
            let MemberEvent::Run(run) = event else { continue };
            tokens.extend(run.events.iter().map(|it| it.token));
            if tokens.len() >= BATCH {
                acked += tokens.len();
                drop(engine.acks(std::mem::take(&mut tokens)));
            }
        }
        if !tokens.is_empty() && published >= acked + 256 {
            acked += tokens.len();
            drop(engine.acks(std::mem::take(&mut tokens)));
        }
    }
    report("publish, deliver, ack", start.elapsed(), n * BATCH);
}

fn wait(ticket: Ticket) -> Outcomes {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(ticket)
}

fn report(what: &str, took: std::time::Duration, events: usize) {
    let ns = took.as_nanos() as f64 / events as f64;
    println!("{what}: {ns:.0} ns per event, {:.2} M/s", 1000.0 / ns);
}
