//! Opening again after kill -9 with a long log: how long until a group has its next event.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use quadrille::{Bus, Event, Subscription};
use quadrille_benches::{Failure, Goal, Line, Needs, file_bytes, now};
use tempfile::TempDir;

use crate::Plan;
use crate::load::{Load, median, publish};

/// What is published again between two openings: more than a checkpoint's worth.
const AGAIN_MIB: u64 = 160;
/// Nobody waits longer for it to be killed.
const FOR_EVER: u64 = 1 << 20;

pub(crate) async fn reopen(plan: &Plan) -> Result<Vec<Line>, Failure> {
    let dir = TempDir::with_prefix_in("quadrille-bench-", &plan.dir)?;
    let mut mib = plan.mib;
    let (mut near, mut behind, mut opening) = (vec![], vec![], vec![]);
    for _ in 0..plan.rounds.min(if plan.quick { 2 } else { 9 }) {
        let path = dir.path().to_owned();
        tokio::task::spawn_blocking(move || kill_in_the_middle(&path, mib)).await??;
        mib = AGAIN_MIB;
        let [opened, first, oldest] = open(dir.path()).await?;
        opening.push(opened);
        near.push(first);
        behind.push(oldest);
    }
    let gib = file_bytes(&dir.path().join("log"))? as f64 / f64::from(1 << 30);
    let how = format!(
        "killed while publishing, synced, batches of 64 x 1 KiB, dedup on; {gib:.1} GiB of log \
         at the end, in the page cache"
    );
    let also = format!("{:.2} s of it until the bus is open", median(&opening));
    let line = |what: &str, values| Line {
        goal: Goal { what: what.into(), how: how.clone(), needs: Needs::AtMost(1.0) },
        values,
        also: also.clone(),
    };
    Ok(vec![
        line("kill -9: seconds to the first delivery, a group at the end", near),
        line("kill -9: seconds to the first delivery, a group at the beginning", behind),
    ])
}

/// Lets a process of its own publish so much and then go on, and kills it.
fn kill_in_the_middle(dir: &Path, mib: u64) -> Result<(), Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--dir").arg(dir).args(["child", "work", &mib.to_string()]);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    child.kill()?;
    child.wait()?;
    match line.trim() {
        "ready" => Ok(()),
        _ => Err("the process that was to be killed has ended by itself".into()),
    }
}

/// Seconds until the bus is open, the group at the end has an event, and the one at the beginning.
async fn open(dir: &Path) -> Result<[f64; 3], Failure> {
    let start = now();
    let bus = Bus::open(dir).await?;
    let opened = start.elapsed();
    let mut near = bus.group("near").subscribe().await?;
    // It may have had everything.
    let one_more = bus.topic("t").publish(Event::new("order.created").source("bench"));
    let (delivery, published) = tokio::join!(near.next(), one_more);
    published?;
    let delivery = delivery.ok_or("the subscription has ended")?;
    let first = start.elapsed();
    drop(delivery.release());
    let again = now();
    let mut behind = bus.group("behind").subscribe().await?;
    let delivery = behind.next().await.ok_or("the subscription has ended")?;
    let oldest = opened + again.elapsed();
    if delivery.offset() != 0 {
        return Err(format!("it began with offset {}", delivery.offset()).into());
    }
    drop(delivery.release());
    // Like a crash: the next process opens without a clean end.
    drop((near, behind, bus));
    Ok([opened, first, oldest].map(|it| it.as_secs_f64()))
}

/// Publishes and consumes until it is killed; says when `mib` are published.
pub(crate) async fn work(dir: &Path, mib: u64) -> Result<(), Failure> {
    let bus = Bus::open(dir).await?;
    bus.create_topic("t").await?;
    drop(bus.group("behind").topics(["t"]).subscribe().await?);
    let near = bus.group("near").topics(["t"]).subscribe().await?;
    let consuming = tokio::spawn(consume(near));
    let load = Load::new(1024, 64);
    let topic = bus.topic("t");
    publish(&topic, &load, mib * 16, 8).await?;
    println!("ready");
    publish(&topic, &load, FOR_EVER, 8).await?;
    consuming.await?;
    bus.close(Duration::ZERO).await?;
    Ok(())
}

async fn consume(mut member: Subscription) {
    while let Some(delivery) = member.next().await {
        drop(delivery.ack());
    }
}
