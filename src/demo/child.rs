//! The process that runs the bus and the services. It does what it is told on its standard input,
//! reports on its standard output, and may be killed at any moment: nothing is remembered here. A
//! second start finds in the order store what is open, publishes it under the same ids, and the bus
//! and the inboxes know what they have had.

use std::io::{self, BufRead};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quadrille::{Bus, OpenError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::data::DataDir;
use super::options::{Plan, RunArgs};
use super::payment::CHARGE_LIMIT;
use super::payment::provider::Slow;
use super::report::{Direction, Report, say};
use super::shop::{Shop, Stores, Taken, create_topics};
use super::stage::{LOOK_EVERY, Stage};
use super::store::StoreError;
use super::{order, orders};
use crate::cli::Failure;
use crate::out::quoted;

/// How long a service that is stopped may take for what it has in its hands.
const CLOSING: Duration = Duration::from_secs(5);

/// How often whoever had the directory before is given time to go.
const TRIES: u32 = 1000;

/// The answer of the slow charge comes so long after it is asked for: after its limit.
const SLOW_ANSWER: Duration = CHARGE_LIMIT.saturating_add(Duration::from_millis(500));

/// Does what it is told until it is told to stop.
///
/// # Errors
/// Nobody directs it. What could not be done is reported.
pub(crate) async fn main() -> Result<(), Failure> {
    // Who stops the run tells the process that directs, which tells this one.
    drop(tokio::spawn(async { while tokio::signal::ctrl_c().await.is_ok() {} }));
    let mut directions = directions();
    let Some(Direction::Start { args, data }) = directions.recv().await else {
        return Err(Failure::Input("this is for `quadrille demo` to use".to_owned()));
    };
    let done = run(&args, &data, &mut directions).await;
    let input = matches!(done, Err(Failure::Input(_)));
    let said = match done {
        Ok(()) => Report::Closed,
        Err(
            Failure::Input(text)
            | Failure::Run(text)
            | Failure::Stopped(text)
            | Failure::Coded { text, .. },
        ) => Report::Failed { input, text },
    };
    say(io::stdout(), &said)
}

/// What comes on the standard input. Its end is the end of who directs: then there is nobody to
/// work for, and this process ends as that one did.
fn directions() -> mpsc::Receiver<Direction> {
    let (said, heard) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let Ok(direction) = serde_json::from_str(&line) else { break };
            if said.blocking_send(direction).is_err() {
                return;
            }
        }
        std::process::exit(1);
    });
    heard
}

async fn run(
    args: &RunArgs,
    path: &Path,
    directions: &mut mpsc::Receiver<Direction>,
) -> Result<(), Failure> {
    let data = DataDir::existing(path)?;
    let orders = orders::load(args.orders.as_deref())?;
    let stores = patiently(async || Stores::open(&data.stores()), |e| *e == StoreError::InUse);
    let stores = stores.await.map_err(data.failure())?;
    let plan = args.plan(order::plan(&stores.order).map_err(data.failure())?, &orders)?;
    let taken = stores.prepare(&plan, &orders).await.map_err(data.failure())?;
    let order_store = Arc::clone(&stores.order);
    let served = serve(args, plan, &data, stores, taken, directions).await;
    order::leave(&order_store).await.map_err(data.failure())?;
    served
}

/// Opens bus and services, has them work as directed, and closes them.
async fn serve(
    args: &RunArgs,
    plan: Plan,
    data: &DataDir,
    stores: Stores,
    taken: Taken,
    directions: &mut mpsc::Receiver<Direction>,
) -> Result<(), Failure> {
    let is_locked =
        |e: &OpenError| matches!(e, OpenError::Log(e) if e.code() == "directory_locked");
    let bus = patiently(async || Bus::open(&data.path).await, is_locked).await;
    let bus = bus.map_err(Failure::run)?;
    create_topics(&bus).await.map_err(Failure::run)?;
    let chance = plan.chance(args.crash_rate);
    let slow = plan.cast(&taken.ids()).slow.map(|order| Slow { order, answers_after: SLOW_ANSWER });
    let shop = Shop::new(&bus, stores, chance, slow);
    let (stop, stopped) = oneshot::channel::<()>();
    let running = quadrille::run(&bus, shop.participants()).with_graceful_shutdown(stopped);
    let mut services = tokio::spawn(running.into_future());
    let place = format!("--data {}", quoted(&data.path.display().to_string()));
    let mut stage = Stage::new(&bus, shop, plan, taken, place);
    let worked = tokio::select! {
        worked = stage.obey(directions) => worked,
        ended = &mut services => {
            let why = ended.map_err(Failure::run)?.map_err(Failure::run)?;
            return Err(Failure::run(format!("a service has left: {why}")));
        }
    };
    drop(stop);
    let ended = services.await.map_err(Failure::run)?;
    let closed = bus.close(CLOSING).await;
    // What went wrong first explains the rest.
    worked?;
    ended.map_err(Failure::run)?;
    closed.map_err(Failure::run)?;
    Ok(())
}

/// A process that was killed a moment ago may still hold what is opened.
async fn patiently<T, E>(
    mut open: impl AsyncFnMut() -> Result<T, E>,
    is_held: impl Fn(&E) -> bool,
) -> Result<T, E> {
    for _ in 0..TRIES {
        match open().await {
            Err(e) if is_held(&e) => sleep(LOOK_EVERY).await,
            opened => return opened,
        }
    }
    open().await
}
