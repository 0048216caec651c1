//! Events per second: written, and through a group.

use quadrille::{Durability, OrderBy};
use quadrille_benches::{Failure, Goal, Line, Needs, Stage};
use quadrille_broker::limits::Limits;

use crate::Plan;
use crate::load::{self, Load, median, publish_by, rate, subscribe};

pub(crate) async fn written(plan: &Plan) -> Result<Vec<Line>, Failure> {
    let load = Load::new(128, 64);
    let batches = plan.scaled(15_000);
    let mut found = [(1, vec![]), (2, vec![])];
    let mut file = 0.0;
    for _ in 0..plan.rounds {
        for (tasks, rates) in &mut found {
            let stage = Stage::open(&plan.dir, Limits::default()).await?;
            let topic = [stage.topic("t", Durability::Written).await?];
            let took = publish_by(*tasks, &topic, &load, batches, 8).await?;
            let events = batches / *tasks * *tasks * load.batch;
            rates.push(rate(events, took));
            file = stage.close().await? as f64 / events as f64;
        }
    }
    let line = |(tasks, values): (u64, Vec<f64>)| Line {
        goal: Goal {
            what: format!("published, events/s, {tasks} task(s)"),
            how: "written, batches of 64, 8 in flight per task, 128 B, dedup on".into(),
            needs: Needs::AtLeast(2e6),
        },
        values,
        also: format!("{file:.0} file bytes per event"),
    };
    Ok(found.into_iter().map(line).collect())
}

pub(crate) async fn flow(plan: &Plan) -> Result<Vec<Line>, Failure> {
    const KINDS: [Durability; 2] = [Durability::Written, Durability::Synced];
    let load = Load::new(128, 64);
    let events = plan.scaled(6_400) * load.batch;
    let mut lines = Vec::new();
    // All that is not acknowledged yet, or only what is in the member's hands.
    for (window, said) in [(512, "published"), (8192, "delivered")] {
        let (mut ratios, mut rates) = (vec![], [vec![], vec![]]);
        let mut file = 0.0;
        for round in 0..plan.rounds {
            let mut pair = [0.0; 2];
            for turn in 0..2 {
                let at = (turn + round as usize) % 2;
                let Some(durability) = KINDS.get(at) else { continue };
                let stage = Stage::open(&plan.dir, Limits::default()).await?;
                let topic = stage.topic("t", *durability).await?;
                let consumer = subscribe(&stage, &topic, "g", OrderBy::Nothing, 512).await?;
                let took = load::flow(&topic, consumer, &load, events, window).await?;
                file = stage.close().await? as f64 / events as f64;
                if let (Some(it), Some(rates)) = (pair.get_mut(at), rates.get_mut(at)) {
                    *it = rate(events, took);
                    rates.push(*it);
                }
            }
            let [written, synced] = pair;
            ratios.push(synced / written);
        }
        let how = format!("batches of 64, 128 B, 512 {said} and not acked, dedup on, unordered");
        let [written, synced] = rates;
        let also = format!("synced {:.0} events/s; {file:.0} file bytes/event", median(&synced));
        let line = |what: &str, needs, values| Line {
            goal: Goal { what: what.into(), how: how.clone(), needs: Needs::AtLeast(needs) },
            values,
            also: also.clone(),
        };
        lines.push(line("publish, deliver, ack: events/s written", 1e6, written));
        lines.push(line("publish, deliver, ack: synced / written", 0.8, ratios));
    }
    Ok(lines)
}
