//! How far a test goes: until nothing more happens by itself, for a time, to the end. Each names
//! what is in its way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::lock;
use super::script::OfGroup;
use super::stage::{Front, Stage};
use super::working::{Settled, Waits, Work};
use crate::delivery::millis;

/// Holds and timers that go off in one run to the end, and how long that may take: what has no end
/// is found out by this.
const FIRINGS: u32 = 20_000;
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// An event whose handlers are too slow so often has no end.
const TIMES: u32 = 100;
/// A handler that a fault has made late is waited for so long.
const PATIENCE: u64 = 3_600_000;

/// Since when whoever was too slow last has worked on an event, and how many were.
type Overdue = HashMap<OfGroup, (u64, u32)>;

impl Stage {
    /// See [`super::TestBus::settle`].
    pub(super) async fn settle(&self) -> Settled {
        let _front = Front::new(self);
        self.rest().await;
        self.await_late().await;
        let works = self.works();
        self.raise(&works);
        Settled { working: works.iter().map(|work| self.describe(work)).collect() }
    }

    /// See [`super::TestBus::advance`].
    pub(super) async fn advance(&self, by: Duration) {
        let _front = Front::new(self);
        let by = millis(by.saturating_add(Duration::from_nanos(999_999)));
        let end = self.clock.mono().saturating_add(by);
        loop {
            self.rest().await;
            if self.clock.mono() >= end {
                return self.raise(&[]);
            }
            self.step(end).await;
        }
    }

    /// See [`super::TestBus::run_to_end`].
    pub(super) async fn run_to_end(&self) {
        let _front = Front::new(self);
        let (begun, first) = (self.clock.mono(), self.engine.end());
        let mut firings = 0;
        let mut overdue = Overdue::default();
        loop {
            self.rest().await;
            let works = self.works();
            self.raise(&works);
            let armed = self.engine.next_armed();
            if armed.is_none() && works.is_empty() {
                return;
            }
            let now = self.clock.mono();
            let late = lock(&self.script).late;
            let mut until = u64::MAX;
            for work in works.iter().filter(|work| late != Some(of_group(work))) {
                let end = work.fresh.saturating_add(self.handler_timeout(work.group));
                match now < end {
                    true => until = until.min(end),
                    false => self.is_overdue(work, &mut overdue),
                }
            }
            assert!(
                firings < FIRINGS && now - begun < millis(LONGEST),
                "there is no end: {firings} holds and timers have gone off in {:?}.\n{}",
                Duration::from_millis(now - begun),
                self.what_goes_on(first)
            );
            self.step(until).await;
            firings += u32::from(armed.is_some_and(|armed| armed <= self.clock.mono()));
        }
    }

    /// Its time is up. The bus takes the event from a handler, and delivers it again: that is no
    /// fault of the test, unless it leads nowhere.
    fn is_overdue(&self, work: &Work, overdue: &mut Overdue) {
        if work.own > 0 {
            self.waits_for_its_lane(work);
        }
        let (last, times) = overdue.entry(of_group(work)).or_default();
        *times += u32::from(*last != work.since);
        *last = work.since;
        assert!(
            work.waits == Waits::ForSomething,
            "{}, and nothing has woken it in all that time: it hangs",
            self.describe(work)
        );
        assert!(
            *times < TIMES,
            "{}, and its time was up {times} times: it hangs",
            self.describe(work)
        );
    }

    /// All that can happen now happens.
    async fn rest(&self) {
        loop {
            self.quiesce().await;
            if !self.is_settled() {
                return;
            }
        }
    }

    /// Time passes, to the next moment at which something is to be done, and not beyond `until`.
    async fn step(&self, until: u64) {
        let rings = self.rings();
        let armed = self.engine.next_armed();
        let soon = self.clock.mono() + 1;
        let wake = self.engine.next_wake().unwrap_or(u64::MAX).max(soon).min(until);
        self.wait(rings, (wake < u64::MAX).then_some(wake)).await;
        if armed.is_some_and(|armed| armed <= self.clock.mono()) {
            self.is_due().await;
        }
    }

    /// A handler that a fault has made late is through when its event is settled or parked.
    async fn await_late(&self) {
        let end = self.clock.mono().saturating_add(PATIENCE);
        loop {
            let late = lock(&self.script).late;
            let Some((group, event)) = late else { return };
            let parked = self.parked_in(group).iter().any(|it| it.event == event);
            if parked || self.engine.is_settled(group, event) || self.clock.mono() >= end {
                lock(&self.script).late = None;
                return;
            }
            self.step(end).await;
            self.rest().await;
        }
    }

    /// Says what has gone wrong, if something has.
    ///
    /// # Panics
    /// Then.
    fn raise(&self, works: &[Work]) {
        let troubles = self.take_troubles();
        assert!(troubles.is_empty(), "{}", troubles.join("\n"));
        let stuck = |work: &&Work| work.own > 0 && work.waits == Waits::ForNothing;
        if let Some(work) = works.iter().find(stuck) {
            self.waits_for_its_lane(work);
        }
    }

    fn waits_for_its_lane(&self, work: &Work) -> ! {
        let own = match work.own {
            1 => "1 event of its own saga that it has published itself waits".to_owned(),
            n => format!("{n} events of its own saga that it has published itself wait"),
        };
        panic!(
            "{}.\nIt waits for its own lane: {own} behind the one in its hands, and nobody can \
             handle what waits there before that is settled. Let the handler return what it \
             publishes, or not wait for what comes of it.",
            self.describe(work)
        );
    }

    /// What was published since an entry, and what is held: for whoever looks for an end.
    fn what_goes_on(&self, since: u64) -> String {
        let mut types = BTreeMap::<String, usize>::new();
        for stored in self.events().iter().filter(|it| it.position.entry >= since) {
            *types.entry(stored.event().ty.to_owned()).or_default() += 1;
        }
        let mut types: Vec<_> = types.into_iter().collect();
        types.sort_by_key(|(_, count)| Reverse(*count));
        let published = types.into_iter().take(5).map(|(ty, n)| format!("  {n} × {ty}"));
        let held = self.held().into_iter().take(5);
        let lines: Vec<_> = published.chain(held).collect();
        format!("Published since, and held now:\n{}", lines.join("\n"))
    }
}

fn of_group(work: &Work) -> OfGroup {
    (work.group, work.event)
}
