//! Four stateless services on raw subscriptions, one step each: sagas per second. A saga is an
//! event that starts it, four steps that each settle one event and publish the next, and counts
//! when its last step is durable.
#![expect(clippy::print_stdout, reason = "a program for people")]

use clap::Parser;
use quadrille_benches::{
    Ends, Failure, Goal, Goals, Line, Needs, Options, Report, Stage, raw_round, refuse_memory,
};
use quadrille_broker::limits::Limits;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Fewer and shorter rounds, to see that it works; no numbers to keep.
    #[arg(long)]
    quick: bool,
}

fn main() -> Result<(), Failure> {
    let Arguments { options, quick } = Arguments::parse();
    refuse_memory(&options.dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (sagas, rounds) = if quick { (10_000, 3) } else { (60_000, options.rounds) };
    let json = options.json;
    let work = async move {
        let (mut rates, mut bytes) = (Vec::new(), 0.0);
        for _ in 0..rounds {
            let stage = Stage::open(&options.dir, Limits::default()).await?;
            let took = raw_round(&stage, sagas, Ends::LastStep).await?;
            rates.push(f64::from(sagas) / took.wall.as_secs_f64());
            bytes = stage.close().await? as f64 / f64::from(sagas);
        }
        Ok::<_, Failure>((rates, bytes))
    };
    let (rates, bytes) = runtime.block_on(async { tokio::spawn(work).await })??;
    let goal = Goal {
        what: "sagas/s, four stateless services, one step each".into(),
        how: "synced, 256 B, starts in batches of up to 64, 1,024 in flight, ordered by saga, \
              dedup on, each step awaited"
            .into(),
        needs: Needs::AtLeast(50_000.0),
    };
    let also = format!("{bytes:.0} file bytes per saga");
    let table = Goals(vec![Line { goal, values: rates, also }]).table();
    println!("{}", Report::new("saga_raw", vec![table]).render(json));
    Ok(())
}
