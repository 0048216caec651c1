//! One run of a scenario to count the moments at which something can go wrong, then one run for
//! each moment and each thing that can go wrong there.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use super::script::{Fault, Moment, Script};
use super::stage::said;
use super::{SEED, TestBus, lock};

/// Names what is to go wrong: `crash@17 seed=7`; both parts are optional.
const VARIABLE: &str = "QUADRILLE_FAULT";

/// What [`every_fault`] has tried. Prints as a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Faults {
    /// Moments at which something can go wrong.
    pub points: usize,
    /// Runs in which something did.
    pub runs: usize,
    kinds: BTreeMap<&'static str, usize>,
}

/// Runs a scenario again and again, each time on a bus of its own, and each time something else
/// goes wrong. What the scenario asserts must hold whatever happens.
///
/// The first run, in which nothing goes wrong, counts the moments: an event is about to be handled;
/// its inbox has opened a transaction; the handler is done and that is not committed; it is handled
/// (or has failed) and not settled; it is settled and the participant does not know it; a hold ends
/// or a timer fires; everything is settled. Then, for each moment,
///
/// - `crash`: the process dies there, and comes back;
/// - `twice`: what the handler has come to is lost, and the event is handled again;
/// - `late`: nothing happens there for ten seconds;
/// - `timeout`: the handler waits there until its time is up, and the event comes again.
///
/// Loops that [`TestBus::spawn`] runs have no moments of their own while they handle something; and
/// what happens while time passes because the scenario awaits something itself, and not the bus
/// (a `sleep`), is not counted as due or settled.
///
/// A scenario that is to hold ends with [`TestBus::run_to_end`] before it asserts. If it does not
/// hold, the panic says what went wrong where, and how to run that alone:
/// `QUADRILLE_FAULT="crash@17 seed=7" cargo test NAME`.
///
/// ```
/// # use quadrille::{Event, Failure, Participant, TestBus, every_fault};
/// # #[derive(Event, serde::Serialize, serde::Deserialize)]
/// # #[event(type = "order.created", topic = "orders")]
/// # struct OrderCreated {}
/// # #[derive(Event, serde::Serialize, serde::Deserialize)]
/// # #[event(type = "inventory.reserved", topic = "inventory")]
/// # struct Reserved {}
/// # async fn reserve(_: OrderCreated) -> Result<Reserved, Failure> { Ok(Reserved {}) }
/// async fn scenario(t: &TestBus) {
///     t.run(Participant::new("inventory", ()).on(reserve));
///     t.publish(&OrderCreated {}).await;
///     t.run_to_end().await;
///     assert_eq!(t.published::<Reserved>().len(), 1);
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// println!("{}", every_fault(scenario).await);
/// # }
/// ```
///
/// # Panics
/// If the scenario fails, or is not the same in two runs.
pub async fn every_fault(scenario: impl AsyncFn(&TestBus)) -> Faults {
    let said = env::var(VARIABLE).unwrap_or_default();
    let wanted = Wanted::parse(&said).unwrap_or_else(|| {
        panic!("{VARIABLE}={said:?} says nothing: write {VARIABLE}=\"crash@17 seed=7\"")
    });
    let counted = play(&scenario, wanted.seed, Script::counting()).await;
    if let Err(why) = counted.result {
        panic!("the scenario fails although nothing goes wrong: {why}");
    }
    let moments = counted.moments;
    let all = (1..)
        .zip(&moments)
        .flat_map(|(at, moment)| moment.faults().iter().map(move |fault| (*fault, at, moment)));
    let mut faults = Faults { points: moments.len(), ..Faults::default() };
    for (fault, at, moment) in all {
        if wanted.fault.is_some_and(|wanted| wanted != (fault, at)) {
            continue;
        }
        let seed = wanted.seed;
        let played = play(&scenario, seed, Script::meaning(fault, at)).await;
        let name = std::thread::current().name().unwrap_or("NAME").to_owned();
        let again = format!("{VARIABLE}=\"{fault}@{at} seed={seed}\" cargo test {name}");
        assert!(
            played.happened.as_ref() == Some(moment),
            "the scenario is not the same in two runs: moment {at} was `{moment}` and is now \
             `{}`\n{again}",
            played.happened.map_or_else(|| "never".to_owned(), |it| it.to_string()),
        );
        if let Err(why) = played.result {
            let of = moments.len();
            panic!("{fault} at moment {at} of {of} ({moment}) breaks the scenario: {why}\n{again}");
        }
        faults.runs += 1;
        *faults.kinds.entry(fault.name()).or_default() += 1;
    }
    if let (Some((fault, at)), 0) = (wanted.fault, faults.runs) {
        panic!("{VARIABLE}={said:?}: there is no {fault} at moment {at} of {}", faults.points);
    }
    faults
}

/// How a run went.
struct Played {
    result: Result<(), String>,
    moments: Vec<Moment>,
    happened: Option<Moment>,
}

async fn play(scenario: &impl AsyncFn(&TestBus), seed: u64, script: Script) -> Played {
    let bus = TestBus::scripted(seed, script).await;
    let result = {
        let mut playing = pin!(scenario(&bus));
        poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| playing.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(said(&*panic))),
        })
        .await
    };
    let result = match (result, bus.complaint()) {
        (result, None) => result,
        (Ok(()), Some(complaint)) => Err(complaint),
        (Err(why), Some(complaint)) => Err(format!("{why}\n{complaint}")),
    };
    // It has said what there is to say.
    bus.allow_parked();
    let mut script = lock(&bus.stage.script);
    let (moments, happened) = (std::mem::take(&mut script.moments), script.happened.take());
    Played { result, moments, happened }
}

/// What is to go wrong.
struct Wanted {
    fault: Option<(Fault, usize)>,
    seed: u64,
}

impl Wanted {
    fn parse(said: &str) -> Option<Self> {
        let mut wanted = Self { fault: None, seed: SEED };
        for word in said.split_whitespace() {
            match (word.split_once('@'), word.split_once('=')) {
                (Some((fault, at)), _) => {
                    wanted.fault = Some((Fault::parse(fault)?, at.parse().ok()?));
                }
                (_, Some(("seed", seed))) => wanted.seed = seed.parse().ok()?,
                _ => return None,
            }
        }
        Some(wanted)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} moments, {} runs:", self.points, self.runs)?;
        for (i, (fault, runs)) in self.kinds.iter().enumerate() {
            write!(f, "{} {runs} {fault}", if i > 0 { "," } else { "" })?;
        }
        f.write_str("; the scenario holds in each")
    }
}
