//! What the index of sagas costs and gives: publishing beside it, timelines from a long log, and
//! making it anew. Ratios are of the same round.
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use quadrille::{Bus, Durability, Event, OpenOptions, OrderBy, StartAt, Topic, TopicOptions};
use quadrille_benches::{
    Ends, Failure, Goal, Goals, Line, Needs, Options, Report, Spread, Stage, file_bytes,
    nanos_histogram, now, pause, raw_round, record, refuse_memory,
};
use quadrille_broker::engine::Options as EngineOptions;
use tempfile::TempDir;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Fewer and shorter rounds, to see that it works; no numbers to keep.
    #[arg(long)]
    quick: bool,
}

/// How much is measured.
#[derive(Clone, Debug)]
struct Plan {
    dir: PathBuf,
    rounds: u32,
    sagas: u32,
    events: u64,
}

fn main() -> Result<(), Failure> {
    let Arguments { options, quick } = Arguments::parse();
    refuse_memory(&options.dir)?;
    let plan = Plan {
        dir: options.dir.clone(),
        rounds: if quick { 2 } else { options.rounds },
        sagas: if quick { 20_000 } else { 120_000 },
        events: if quick { 1_000_000 } else { 10_000_000 },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let work = async move {
        let mut lines = beside(&plan).await?;
        lines.extend(long_log(&plan).await?);
        Ok::<_, Failure>(lines)
    };
    let lines = runtime.block_on(async { tokio::spawn(work).await })??;
    println!("{}", Report::new("index_targets", vec![Goals(lines).table()]).render(options.json));
    Ok(())
}

/// What was seen of an index beside a load.
#[derive(Default)]
struct Beside {
    ratios: Vec<f64>,
    rates: Vec<f64>,
    shares: Vec<f64>,
    lags: Vec<f64>,
    gone: Vec<f64>,
}

impl Beside {
    /// A round: the load with an index and without one, in turns.
    async fn round(&mut self, plan: &Plan, round: u32, load: Load) -> Result<(), Failure> {
        let mut pair = [0.0; 2];
        for turn in 0..2 {
            let index = (turn + round).is_multiple_of(2);
            let options = EngineOptions { index, ..EngineOptions::default() };
            let stage = Stage::open_with(&plan.dir, options).await?;
            let (before, start) = (indexing_seconds()?, now());
            let rate = load.run(plan, &stage).await?;
            let share = (indexing_seconds()? - before) / start.elapsed().as_secs_f64();
            if let Some(it) = pair.get_mut(usize::from(index)) {
                *it = rate;
            }
            if index {
                self.rates.push(rate);
                self.shares.push(share * 100.0);
                let lag = stage.bus.info().await?.index.ok_or("there is no index")?.lag;
                self.lags.push(lag as f64);
                self.gone.push(caught_up(&stage.bus).await?.as_secs_f64());
            }
            stage.close().await?;
        }
        let [without, with] = pair;
        self.ratios.push(with / without);
        Ok(())
    }

    fn lines(self, what: &str, how: &str) -> Vec<Line> {
        let lag = Spread::of(self.lags);
        let also = format!(
            "{:.0} {what} with it; its threads take {:.1} % of a core; it lags {:.0} entries \
             [{:.0}..{:.0}] at the end",
            Spread::of(self.rates).median,
            Spread::of(self.shares).median,
            lag.median,
            lag.min,
            lag.max
        );
        let line = |what: String, needs, values| Line {
            goal: Goal { what, how: how.into(), needs },
            values,
            also: also.clone(),
        };
        vec![
            line(format!("{what} with an index / without"), Needs::AtLeast(0.9), self.ratios),
            line("seconds until its lag is gone".into(), Needs::AtMost(10.0), self.gone),
        ]
    }
}

/// What is done beside an index.
#[derive(Clone, Copy)]
enum Load {
    /// Sagas of five events through four services.
    Flow,
    /// Nothing but beginnings of sagas, as many as there can be.
    Begin,
}

impl Load {
    /// Sagas per second.
    async fn run(self, plan: &Plan, stage: &Stage) -> Result<f64, Failure> {
        if let Self::Flow = self {
            let took = raw_round(stage, plan.sagas, Ends::LastStep).await?;
            return Ok(f64::from(plan.sagas) / took.wall.as_secs_f64());
        }
        let events = plan.events / 4;
        let topic = stage.topic("orders", Durability::Written).await?;
        let event = |number| Event::new("order.created").source("shop").saga(saga(number));
        let start = now();
        publish(&topic, events, |number| event(number).data(vec![7; 64])).await?;
        Ok(events as f64 / start.elapsed().as_secs_f64())
    }
}

async fn beside(plan: &Plan) -> Result<Vec<Line>, Failure> {
    let loads = [
        (
            Load::Flow,
            "sagas/s",
            "sagas of 5 events through 4 services, synced, 256 B, 1,024 in flight, dedup on",
        ),
        (
            Load::Begin,
            "published sagas/s",
            "every event begins a saga, written, batches of 64, 16 in flight, 64 B, dedup on",
        ),
    ];
    let mut lines = Vec::new();
    for (load, what, how) in loads {
        let mut beside = Beside::default();
        for round in 0..plan.rounds {
            beside.round(plan, round, load).await?;
        }
        lines.extend(beside.lines(what, how));
    }
    Ok(lines)
}

/// Publishes so many events in batches of 64.
async fn publish(topic: &Topic, events: u64, event: impl Fn(u64) -> Event) -> Result<(), Failure> {
    let mut pending = VecDeque::new();
    for first in (0..events).step_by(64) {
        let batch = (first..(first + 64).min(events)).map(&event);
        pending.push_back(topic.publish_all(batch).send().await?);
        if pending.len() > 16
            && let Some(oldest) = pending.pop_front()
        {
            oldest.await?;
        }
    }
    for answer in pending {
        answer.await?;
    }
    Ok(())
}

/// CPU seconds of the threads of this process that work for an index, as far as they live.
fn indexing_seconds() -> Result<f64, Failure> {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        // A thread that ends meanwhile has no file any more.
        let Ok(stat) = std::fs::read_to_string(task?.path().join("stat")) else { continue };
        let Some((name, rest)) = stat.rsplit_once(')') else { continue };
        if name.contains("(quadrille-index") || name.contains("(sled") {
            let numbers = rest.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
            ticks += numbers.sum::<Result<u64, _>>()?;
        }
    }
    // A tick is 10 ms wherever Linux runs on a common machine.
    Ok(ticks as f64 / 100.0)
}

/// Waits until the index has read all.
async fn caught_up(bus: &Bus) -> Result<Duration, Failure> {
    let start = now();
    while bus.info().await?.index.ok_or("there is no index")?.lag > 0 {
        tokio::task::spawn_blocking(|| pause(Duration::from_millis(2))).await?;
    }
    Ok(start.elapsed())
}

/// Sagas have so many events, and so many of them are told at a time.
const LENGTH: u64 = 10;
const AT_ONCE: u64 = 10_000;

/// Timelines of random sagas of a long log, and the index of that log made anew.
async fn long_log(plan: &Plan) -> Result<Vec<Line>, Failure> {
    let dir = TempDir::with_prefix_in("quadrille-bench-", &plan.dir)?;
    let (mut warm, mut cold, mut rates) = (vec![], vec![], vec![]);
    fill(dir.path(), plan.events).await?;
    for _ in 0..plan.rounds.min(5) {
        let index = dir.path().join("index");
        if index.exists() {
            std::fs::remove_dir_all(index)?;
        }
        let bus = open(dir.path()).await?;
        let took = caught_up(&bus).await?;
        rates.push(plan.events as f64 / took.as_secs_f64());
        bus.close(Duration::ZERO).await?;
        let bus = open(dir.path()).await?;
        cold.push(timelines(&bus, plan.events, 200).await?.1);
        timelines(&bus, plan.events, 2_000).await?;
        warm.push(timelines(&bus, plan.events, 4_000).await?.1);
        bus.close(Duration::ZERO).await?;
    }
    let folder = largest(&dir.path().join("index"))?;
    let how = format!("{} events in sagas of {LENGTH}, {AT_ONCE} at a time", plan.events);
    let also = format!("p99 of the first 200 after opening: {:.2} ms", Spread::of(cold).median);
    let size = format!("{:.0} bytes of index per saga", folder / (plan.events / LENGTH) as f64);
    let line = |what: &str, needs, values, also| Line {
        goal: Goal { what: what.into(), how: how.clone(), needs },
        values,
        also,
    };
    Ok(vec![
        line("timeline of a random saga, p99 in ms, warm", Needs::AtMost(10.0), warm, also),
        line("events/s while the index is made anew", Needs::AtLeast(500_000.0), rates, size),
    ])
}

async fn open(dir: &Path) -> Result<Bus, Failure> {
    Ok(Bus::open_with(dir, OpenOptions { index: true, ..OpenOptions::default() }).await?)
}

fn saga(number: u64) -> String {
    format!("order-{number}")
}

async fn fill(dir: &Path, events: u64) -> Result<(), Failure> {
    let bus = Bus::open(dir).await?;
    let options = TopicOptions { durability: Durability::Written, ..TopicOptions::default() };
    bus.create_topic_with("orders", options).await?;
    let groups = ["payment", "shipping", "notification"];
    for group in groups {
        let group = bus.group(group).topics(["orders"]).order_by(OrderBy::Saga);
        drop(group.start(StartAt::Beginning).subscribe().await?);
    }
    let topic = bus.topic("orders");
    let services = ["order", "inventory", "payment", "shipping"];
    let event = |number: u64| {
        let round = number / AT_ONCE;
        let saga_number = round / LENGTH * AT_ONCE + number % AT_ONCE;
        let source = services.get(usize::try_from(round % 4).unwrap_or(0)).copied();
        let event = Event::new(format!("step.{}", round % LENGTH)).saga(saga(saga_number));
        event.source(source.unwrap_or_default()).data(vec![7; 64])
    };
    publish(&topic, events, event).await?;
    bus.close(Duration::ZERO).await?;
    Ok(())
}

/// Median and p99 of so many timelines, ms.
async fn timelines(bus: &Bus, events: u64, count: u64) -> Result<(f64, f64), Failure> {
    let mut histogram = nanos_histogram();
    for _ in 0..count {
        let saga = saga(fastrand::u64(..events / LENGTH));
        let start = now();
        let timeline = bus.timeline(&saga).await?;
        record(&mut histogram, start.elapsed());
        if timeline.events.len() as u64 != LENGTH {
            return Err(format!("{saga} has {} events", timeline.events.len()).into());
        }
    }
    let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
    Ok((ms(0.5), ms(0.99)))
}

/// Bytes of the folder that the index is in.
fn largest(index: &Path) -> Result<f64, Failure> {
    let mut bytes = 0;
    for folder in std::fs::read_dir(index)? {
        bytes = bytes.max(file_bytes(&folder?.path())?);
    }
    Ok(bytes as f64)
}
