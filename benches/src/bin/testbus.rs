//! What a test costs: a saga of five services on a `TestBus`, from nothing to its end, and all that
//! can go wrong in a scenario of three. Needs the feature `testbus`.
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::time::Duration;

use clap::Parser;
use quadrille::{Event, Failure, Participant, TestBus, every_fault};
use quadrille_benches::{Failure as Failed, Goal, Goals, Line, Needs, Report, now};
use serde::{Deserialize, Serialize};

/// Sagas per round.
const SAGAS: u32 = 200;

#[derive(Debug, Parser)]
struct Arguments {
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
    /// Rounds; medians are taken over them.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

macro_rules! events {
    ($($name:ident is $ty:literal in $topic:literal;)+) => {
        $(#[derive(Event, Serialize, Deserialize)]
        #[event(type = $ty, topic = $topic)]
        struct $name {
            #[event(saga)]
            order: String,
        })+
    };
}

events! {
    Created is "order.created" in "orders";
    Reserved is "inventory.reserved" in "inventory";
    Paid is "payment.processed" in "payments";
    Scheduled is "shipment.scheduled" in "shipments";
    Completed is "order.completed" in "orders";
}

async fn reserve(event: Created) -> Result<Reserved, Failure> {
    Ok(Reserved { order: event.order })
}

async fn charge(event: Reserved) -> Result<Paid, Failure> {
    Ok(Paid { order: event.order })
}

async fn ship(event: Paid) -> Result<Scheduled, Failure> {
    Ok(Scheduled { order: event.order })
}

async fn complete(event: Scheduled) -> Result<Completed, Failure> {
    Ok(Completed { order: event.order })
}

async fn notify(_: Completed) -> Result<(), Failure> {
    Ok(())
}

fn run(t: &TestBus) {
    t.run((
        Participant::new("inventory", ()).on(reserve),
        Participant::new("payment", ()).on(charge),
        Participant::new("shipping", ()).on(ship),
        Participant::new("order", ()).on(complete),
        Participant::new("notification", ()).on(notify),
    ));
}

async fn saga(t: &TestBus) {
    run(t);
    t.publish(&Created { order: "order-17".into() }).await;
    t.run_to_end().await;
    assert_eq!(t.published::<Completed>().len(), 1);
}

async fn three(t: &TestBus) {
    run(t);
    for order in ["a", "b", "c"] {
        let order = Created { order: order.into() };
        t.bus().publish(&order).after(Duration::from_millis(10)).await.expect("it is refused");
    }
    t.run_to_end().await;
    assert_eq!(t.published::<Completed>().len(), 3);
}

fn main() -> Result<(), Failed> {
    let Arguments { json, rounds } = Arguments::parse();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    let (mut sagas, mut faults, mut also) = (Vec::new(), Vec::new(), String::new());
    for _ in 0..rounds {
        let start = now();
        for _ in 0..SAGAS {
            runtime.block_on(async { saga(&TestBus::new().await).await });
        }
        sagas.push(start.elapsed().as_secs_f64() * 1e3 / f64::from(SAGAS));
        let start = now();
        also = runtime.block_on(every_fault(three)).to_string();
        faults.push(start.elapsed().as_secs_f64());
    }
    let memory = "in memory, on the test's own runtime; nothing is durable".to_owned();
    let lines = vec![
        Line {
            goal: Goal {
                what: "ms per saga of five services, with its bus".into(),
                how: memory.clone(),
                needs: Needs::AtMost(2.0),
            },
            values: sagas,
            also: format!("{SAGAS} a round"),
        },
        Line {
            goal: Goal {
                what: "s for every fault of three sagas of five services".into(),
                how: memory,
                needs: Needs::AtMost(10.0),
            },
            values: faults,
            also,
        },
    ];
    println!("{}", Report::new("testbus", vec![Goals(lines).table()]).render(json));
    Ok(())
}
