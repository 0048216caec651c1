//! The test kit: a bus on the test's own runtime, whose time stands still unless it is told to go
//! on, and whose participants are polled by nobody else. What the bus itself does is as ever.
//!
//! ```text
//! settle, advance, run_to_end (until.rs) ── turns of (stage.rs) ──┬── players (player.rs)
//!        every_fault (faults.rs) ── moments of (script.rs) ───────┘   and the engine
//! ```

mod bell;
mod clock;
mod faults;
mod look;
mod player;
mod script;
mod stage;
mod until;
mod working;

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;

pub use self::faults::{Faults, every_fault};
pub(crate) use self::player::{AtWork, seated};
use self::script::Script;
use self::stage::Stage;
pub use self::working::{Settled, Working};
use crate::hands::lock;
use crate::{Bus, Participants, Receipt, StoredEvent, Timeline, TypedEvent};

/// Of a test that does not say another.
const SEED: u64 = 7;

/// A bus for a test, with its participants: in memory, without threads, on a clock that stands
/// still.
///
/// ```
/// use quadrille::{Event, Failure, Participant, TestBus};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "order.created", topic = "orders")]
/// struct OrderCreated {
///     #[event(saga)]
///     order: String,
/// }
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(type = "inventory.reserved", topic = "inventory")]
/// struct Reserved {}
///
/// async fn reserve(_: OrderCreated) -> Result<Reserved, Failure> {
///     Ok(Reserved {})
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let t = TestBus::new().await;
/// t.run(Participant::new("inventory", ()).on(reserve));
/// t.publish(&OrderCreated { order: "order-17".into() }).await;
/// t.run_to_end().await;
/// assert_eq!(t.published::<Reserved>().len(), 1);
/// # }
/// ```
///
/// The same test does the same each time, byte for byte, as long as its handlers do. What tokio
/// calls time is stopped and belongs to the test: a `tokio::time::sleep` in a handler takes no time
/// at all, and ends exactly when it should. Events that are parked fail the test, when the bus is
/// dropped, unless that is [allowed](Self::allow_parked).
///
/// A test that awaits something of the bus itself ([`TestBus::bus`]) is served meanwhile, and time
/// passes when all wait for it. Work on other threads (`spawn_blocking`) is not seen by
/// [`settle`](Self::settle); [`advance`](Self::advance) and [`run_to_end`](Self::run_to_end) wait
/// for it, since tokio's time stands still meanwhile.
///
/// Needs a runtime of one thread, as `#[tokio::test]` makes it.
pub struct TestBus {
    stage: Arc<Stage>,
    serving: AbortHandle,
    allowed: Mutex<Allowed>,
}

#[derive(Debug, Default)]
struct Allowed {
    all: bool,
    groups: BTreeSet<String>,
}

impl TestBus {
    /// A bus whose chances are always the same.
    ///
    /// # Panics
    /// On a runtime of several threads.
    pub async fn new() -> Self {
        Self::seeded(SEED).await
    }

    /// A bus whose chances (ids, the jitter of retries) come from this seed.
    ///
    /// # Panics
    /// On a runtime of several threads.
    pub async fn seeded(seed: u64) -> Self {
        Self::scripted(seed, Script::default()).await
    }

    async fn scripted(seed: u64, script: Script) -> Self {
        let stage = Stage::new(seed, script).await;
        let serving = tokio::spawn(Arc::clone(&stage).serve()).abort_handle();
        Self { stage, serving, allowed: Mutex::default() }
    }

    /// Runs participants: one, an array, or a tuple. They have joined their groups when this
    /// returns. Their state stays what it is when the bus crashes, as a database would.
    pub fn run(&self, participants: impl Participants) {
        let mut parts = Vec::new();
        participants.add_to(self.bus(), &mut parts);
        for part in parts {
            self.stage.add_part(part);
        }
    }

    /// Runs something else on the bus, such as a loop over a subscription. It is begun again by
    /// every [crash](Self::crash_and_restart).
    pub fn spawn<F, Fut>(&self, name: &str, play: F)
    where
        F: Fn(Bus) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let bus = self.bus().clone();
        self.stage.add(name, move || {
            let playing = play(bus.clone());
            Box::pin(async move {
                playing.await;
                Ok(())
            })
        });
    }

    /// The bus. It goes on working after a crash; subscriptions that a test itself has made end
    /// there.
    #[must_use]
    pub fn bus(&self) -> &Bus {
        &self.stage.bus
    }

    /// Publishes an event to the topic of its type.
    ///
    /// # Panics
    /// If the bus refuses it.
    pub async fn publish<E: TypedEvent + Serialize>(&self, event: &E) -> Receipt {
        let published = self.bus().publish(event).await;
        published.unwrap_or_else(|why| panic!("{} cannot be published: {why}", E::TYPE))
    }

    /// Lets everything happen that can happen without time passing, and returns what handlers
    /// still work on then: what waits for time, or for something from outside. Tasks that the test
    /// itself has spawned on the runtime get a few turns after that; who needs more of them is not
    /// waited for ([`spawn`](Self::spawn) is).
    ///
    /// # Panics
    /// If a handler that nothing can wake has published what waits in its own lane behind it; if
    /// somebody never comes to rest, or a participant has ended with an error.
    pub async fn settle(&self) -> Settled {
        self.stage.settle().await
    }

    /// Lets time pass, and everything happen that is due until then, each at its time.
    ///
    /// # Panics
    /// If somebody never comes to rest, or a participant has ended with an error.
    pub async fn advance(&self, by: Duration) {
        self.stage.advance(by).await;
    }

    /// Lets time pass until no timer is armed, no event is held for a retry, and no handler works.
    ///
    /// # Panics
    /// As [`settle`](Self::settle); and if there is no end: something arms timers again and again,
    /// nothing can wake a handler until its time is up; it waits until then for its own lane; or
    /// the time for one event is up a hundred times. A handler that is too slow is no reason: its
    /// event comes again, as it does on any bus.
    pub async fn run_to_end(&self) {
        self.stage.run_to_end().await;
    }

    /// The process dies here: what handlers work on is dropped where it stands, and acks that the
    /// bus has had for less than a millisecond are forgotten. Then it comes back, and all
    /// participants with it.
    pub async fn crash_and_restart(&self) {
        self.stage.die_and_come_back();
        self.stage.turn();
        tokio::task::yield_now().await;
    }

    /// From now on every event is handled twice. When a participant's handler (and its inbox) is
    /// done with an event for the first time, what it has come to is thrown away, and the event is
    /// delivered again as it came: as after a death of the process between the effect and the step.
    pub fn deliver_twice(&self) {
        lock(&self.stage.script).twice = true;
    }

    /// Parked events do not fail this test.
    pub fn allow_parked(&self) {
        lock(&self.allowed).all = true;
    }

    /// Events that this group has parked do not fail this test.
    pub fn allow_parked_in(&self, group: &str) {
        lock(&self.allowed).groups.insert(group.to_owned());
    }

    /// All events of a type, in the order of the log.
    ///
    /// # Panics
    /// If one of them cannot be read as `E`.
    #[must_use]
    pub fn published<E: TypedEvent + DeserializeOwned>(&self) -> Vec<E> {
        self.stage.published()
    }

    /// All events, in the order of the log.
    #[must_use]
    pub fn events(&self) -> Vec<StoredEvent> {
        self.stage.events()
    }

    /// What has become of a saga.
    #[must_use]
    pub fn saga(&self, saga: &str) -> SagaLog<'_> {
        SagaLog { stage: &self.stage, saga: saga.to_owned() }
    }

    /// The whole log in bytes: the same in every run of the same test.
    #[must_use]
    pub fn trace(&self) -> Vec<u8> {
        self.stage.trace()
    }

    /// The end, said aloud; dropping it is the same.
    ///
    /// # Panics
    /// If events are parked that may not be.
    pub fn finish(self) {}

    /// What fails a test at its end.
    fn complaint(&self) -> Option<String> {
        let troubles = self.stage.take_troubles();
        if !troubles.is_empty() {
            return Some(troubles.join("\n"));
        }
        let allowed = lock(&self.allowed);
        if allowed.all {
            return None;
        }
        let parked = self.stage.parked(|group| allowed.groups.contains(group));
        (!parked.is_empty()).then(|| {
            let (lines, sagas): (Vec<_>, Vec<_>) = parked.into_iter().unzip();
            let timeline = sagas.first().map(|saga| self.saga(saga).timeline().to_string());
            format!(
                "{} parked, and nothing allows that (allow_parked(), allow_parked_in(group)):\n\
                 {}\n{}",
                if lines.len() == 1 { "An event is" } else { "Events are" },
                lines.join("\n"),
                timeline.unwrap_or_default()
            )
        })
    }
}

impl Drop for TestBus {
    fn drop(&mut self) {
        self.serving.abort();
        if std::thread::panicking() {
            // What has failed is often only what follows from this. A second panic would be the end.
            let complaint = catch_unwind(AssertUnwindSafe(|| self.complaint()));
            if let Ok(Some(complaint)) = complaint {
                say_beside(&complaint);
            }
            return self.stage.close();
        }
        let complaint = self.complaint();
        self.stage.close();
        if let Some(complaint) = complaint {
            panic!("{complaint}");
        }
    }
}

/// Beside a panic that is under way, where the test's output is.
#[expect(clippy::print_stderr, reason = "a test says why it fails")]
fn say_beside(complaint: &str) {
    eprintln!("{complaint}");
}

impl fmt::Debug for TestBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestBus").field("seed", &self.stage.seed).finish_non_exhaustive()
    }
}

/// A saga on a test bus.
pub struct SagaLog<'a> {
    stage: &'a Stage,
    saga: String,
}

impl SagaLog<'_> {
    /// Its events, what led to each, and what has become of it in every group. As text it is the
    /// same in every run: for snapshots.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        self.stage.timeline(&self.saga)
    }
}

impl fmt::Debug for SagaLog<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.timeline(), f)
    }
}
