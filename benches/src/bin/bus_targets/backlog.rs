//! Memory with a group far behind. Filling and draining are processes of their own, so that the
//! memory of one does not count for the other.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use quadrille::{Bus, Durability, TopicOptions};
use quadrille_benches::{Failure, Goal, Line, Needs, file_bytes, now, resident};
use tempfile::TempDir;

use crate::Plan;
use crate::load::{Load, median, publish};

pub(crate) async fn backlog(plan: &Plan) -> Result<Vec<Line>, Failure> {
    let events = plan.scaled(10_000_000) / 64 * 64;
    let dir = TempDir::with_prefix_in("quadrille-bench-", &plan.dir)?;
    let (filling, published) = child(dir.path(), "fill", events).await?;
    let bytes = file_bytes(&dir.path().join("log"))? as f64 / events as f64;
    let (mut most, mut drained) = (vec![], vec![]);
    for _ in 0..plan.rounds.min(3) {
        let (mib, rate) = child(dir.path(), "drain", events / 10).await?;
        most.push(mib);
        drained.push(rate);
    }
    let how = format!("written, {events} x 16 B, 10,000 keys in order, {bytes:.0} file bytes each");
    let goal =
        |what: &str| Goal { what: what.into(), how: how.clone(), needs: Needs::AtMost(200.0) };
    let rate = median(&drained);
    Ok(vec![
        Line {
            goal: goal("group 10,000,000 behind: most MiB resident while draining a tenth"),
            values: most,
            also: format!("in a new process; {rate:.0} events/s"),
        },
        Line {
            goal: goal("group 10,000,000 behind: most MiB resident while filling"),
            values: vec![filling],
            also: format!("{published:.0} events/s, batches of 64, 8 in flight"),
        },
    ])
}

/// Runs a part of this in a process of its own: its memory in MiB, and events per second.
async fn child(dir: &Path, part: &str, events: u64) -> Result<(f64, f64), Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--dir").arg(dir).args(["child", part, &events.to_string()]);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let text = String::from_utf8(output.stdout)?;
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    match (numbers.next(), numbers.next()) {
        (Some(mib), Some(rate)) if output.status.success() => Ok((mib?, rate?)),
        _ => Err(format!("{part}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

pub(crate) async fn fill(dir: &Path, events: u64) -> Result<(), Failure> {
    let bus = Bus::open(dir).await?;
    let options = TopicOptions { durability: Durability::Written, ..TopicOptions::default() };
    bus.create_topic_with("t", options).await?;
    drop(bus.group("g").topics(["t"]).subscribe().await?);
    let keys = (0..10_000).map(|key| format!("key-{key}").into()).collect();
    let load = Load::new(16, 64).with_keys(keys);
    let start = now();
    publish(&bus.topic("t"), &load, events / load.batch, 8).await?;
    report(events, start.elapsed())?;
    bus.close(Duration::from_secs(10)).await?;
    Ok(())
}

pub(crate) async fn drain(dir: &Path, events: u64) -> Result<(), Failure> {
    let bus = Bus::open(dir).await?;
    let start = now();
    let mut member = bus.group("g").subscribe().await?;
    for _ in 0..events {
        drop(member.next().await.ok_or("the subscription has ended")?.ack());
    }
    report(events, start.elapsed())?;
    drop(member);
    bus.close(Duration::from_secs(10)).await?;
    Ok(())
}

fn report(events: u64, took: Duration) -> Result<(), Failure> {
    let (most, _) = resident()?;
    println!("{most:.1} {:.0}", events as f64 / took.as_secs_f64());
    Ok(())
}
