//! Synced publishing: against the disk alone, and over many topics.

use std::time::Duration;

use quadrille::{Durability, Topic};
use quadrille_benches::{
    Failure, FileKind, Goal, Line, Needs, Stage, SyncRate, now, raw_sync_rate,
};
use quadrille_broker::limits::Limits;

use crate::Plan;
use crate::load::{Load, median, publish_by, rate};

const MIB: usize = 1 << 20;

/// The disk alone, on a file that is prepared like the log's segments.
async fn raw(plan: &Plan, bytes: usize, lasting: Duration) -> Result<SyncRate, Failure> {
    let dir = plan.dir.clone();
    let measure = move || raw_sync_rate(&dir, bytes, FileKind::Fallocated, lasting);
    Ok(tokio::task::spawn_blocking(measure).await??)
}

/// What the rounds of one number of batches in flight have found.
#[derive(Default)]
struct Bulk {
    payload: Vec<f64>,
    file: Vec<f64>,
    megabytes: Vec<f64>,
}

pub(crate) async fn bulk(plan: &Plan) -> Result<Vec<Line>, Failure> {
    let load = Load::new(1024, 1024);
    let batches = plan.scaled(200);
    let lasting = Duration::from_millis(plan.scaled(150));
    let (mut by_flight, mut raws) = ([(4, 0.9), (1, 0.75)].map(|it| (it, Bulk::default())), vec![]);
    for _ in 0..plan.rounds {
        for ((in_flight, _), found) in &mut by_flight {
            let before = raw(plan, MIB, lasting).await?.megabytes_per_second();
            let stage = Stage::open(&plan.dir, Limits::default()).await?;
            let topic = [stage.topic("t", Durability::Synced).await?];
            publish_by(1, &topic, &load, 8, *in_flight).await?;
            let took = publish_by(1, &topic, &load, batches, *in_flight).await?;
            let file = stage.close().await? as f64 / (batches + 8) as f64;
            let after = raw(plan, MIB, lasting).await?.megabytes_per_second();
            let disk = f64::midpoint(before, after);
            let per_second = rate(batches, took) / 1e6;
            found.payload.push(per_second * MIB as f64 / disk);
            found.file.push(per_second * file / disk);
            found.megabytes.push(per_second * MIB as f64);
            raws.push(disk);
        }
    }
    let line = |((in_flight, needs), found): ((usize, f64), Bulk)| {
        let how = "synced, 1,024 x 1 KiB per batch, dedup on, against raw 1 MiB write+fdatasync";
        let also = format!(
            "bus {:.0} MB/s payload; raw {:.0} MB/s",
            median(&found.megabytes),
            median(&raws)
        );
        [("payload", found.payload), ("file", found.file)].map(|(bytes, values)| Line {
            goal: Goal {
                what: format!("1 MiB batches, {in_flight} in flight, {bytes} bytes / raw"),
                how: how.into(),
                needs: Needs::AtLeast(needs),
            },
            values,
            also: also.clone(),
        })
    };
    Ok(by_flight.into_iter().flat_map(line).collect())
}

pub(crate) async fn singles(plan: &Plan) -> Result<Vec<Line>, Failure> {
    const TASKS: u64 = 64;
    let load = Load::new(128, 1);
    let stage = Stage::open(&plan.dir, Limits::default()).await?;
    let topic = [stage.topic("t", Durability::Synced).await?];
    let lasting = Duration::from_millis(plan.scaled(200));
    let (mut ratios, mut rates, mut disks) = (vec![], vec![], vec![]);
    for _ in 0..plan.rounds {
        let before = raw(plan, 4096, lasting).await?.syncs_per_second();
        let (mut events, start) = (0, now());
        while start.elapsed() < lasting * 2 {
            events += TASKS * 512;
            publish_by(TASKS, &topic, &load, TASKS * 512, 1).await?;
        }
        let per_second = rate(events, start.elapsed());
        let after = raw(plan, 4096, lasting).await?.syncs_per_second();
        let disk = f64::midpoint(before, after);
        ratios.push(per_second / (TASKS as f64 * disk));
        rates.push(per_second);
        disks.push(disk);
    }
    drop(stage);
    let also = format!("bus {:.0} events/s; raw {:.0} fdatasync/s", median(&rates), median(&disks));
    Ok(vec![Line {
        goal: Goal {
            what: "64 tasks, one event each in flight / (64 x raw fdatasync/s)".into(),
            how: "synced, batch 1, 128 B, dedup on, raw writes of 4 KiB".into(),
            needs: Needs::AtLeast(0.7),
        },
        values: ratios,
        also,
    }])
}

pub(crate) async fn topics(plan: &Plan) -> Result<Vec<Line>, Failure> {
    const TASKS: u64 = 100;
    let load = Load::new(128, 64);
    let batches = TASKS * plan.scaled(80);
    let (mut ratios, mut ones, mut many) = (vec![], vec![], vec![]);
    for round in 0..plan.rounds {
        let mut rates = [0.0; 2];
        let turns: [usize; 2] = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for turn in turns {
            let stage = Stage::open(&plan.dir, Limits::default()).await?;
            let mut topics: Vec<Topic> = Vec::new();
            for number in 0..if turn == 0 { 1 } else { TASKS } {
                topics.push(stage.topic(&format!("t{number}"), Durability::Synced).await?);
            }
            publish_by(TASKS, &topics, &load, TASKS * 4, 1).await?;
            let took = publish_by(TASKS, &topics, &load, batches, 1).await?;
            let found = rate(batches * load.batch, took);
            if let Some(rate) = rates.get_mut(turn) {
                *rate = found;
            }
        }
        let [one, hundred] = rates;
        ratios.push(hundred / one);
        ones.push(one);
        many.push(hundred);
    }
    Ok(vec![Line {
        goal: Goal {
            what: "100 topics / 1 topic".into(),
            how: "synced, 100 tasks, each one batch of 64 x 128 B in flight, dedup on".into(),
            needs: Needs::AtLeast(0.9),
        },
        values: ratios,
        also: format!("{:.0} / {:.0} events/s", median(&many), median(&ones)),
    }])
}
