//! What the id window costs: a full one against one that holds 14 ids (`dedup_bytes: 0`, the
//! smallest that the engine makes).

use quadrille::Durability;
use quadrille_benches::{Failure, Goal, Line, Needs, Stage};
use quadrille_broker::limits::Limits;

use crate::Plan;
use crate::load::{Load, median, publish_by, rate};

pub(crate) async fn dedup(plan: &Plan) -> Result<Vec<Line>, Failure> {
    let load = Load::new(128, 64);
    let preloaded = plan.scaled(1_000_000) / load.batch;
    let batches = plan.scaled(400_000) / load.batch;
    let on = Stage::open(&plan.dir, Limits::default()).await?;
    let off = Stage::open(&plan.dir, Limits { dedup_bytes: 0, ..Limits::default() }).await?;
    let mut sides = Vec::new();
    for stage in [&on, &off] {
        let topic = [stage.topic("t", Durability::Written).await?];
        publish_by(1, &topic, &load, preloaded, 8).await?;
        stage.bus.flush().await?;
        sides.push((topic, Vec::new()));
    }
    for round in 0..plan.rounds {
        for turn in 0..2 {
            let at = (turn + round as usize) % 2;
            let Some((topic, rates)) = sides.get_mut(at) else { continue };
            let took = publish_by(1, topic, &load, batches, 8).await?;
            rates.push(rate(batches * load.batch, took));
        }
    }
    let rates: Vec<Vec<f64>> = sides.into_iter().map(|(_, rates)| rates).collect();
    let [with, without] = rates.as_slice() else { return Err("two sides".into()) };
    Ok(vec![Line {
        goal: Goal {
            what: "1 M ids in the window, all new / dedup off".into(),
            how: "written, batches of 64, 8 in flight, 1 task, 128 B; off: dedup_bytes 0".into(),
            needs: Needs::AtLeast(0.85),
        },
        values: with.iter().zip(without).map(|(with, without)| with / without).collect(),
        also: format!("{:.0} / {:.0} events/s", median(with), median(without)),
    }])
}
