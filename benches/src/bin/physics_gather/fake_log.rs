//! A log whose disk is a sleep, with the gathering rules that are compared. No measuring here.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quadrille_benches::{now, pause};
use tokio::sync::{mpsc, oneshot};

/// How the log waits after a sync that released n > 1 waiters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    /// At most this share of the recent sync time; 0 is no gathering.
    pub(crate) cap: f64,
    /// Counts who arrived since the release, not who is in the queue.
    pub(crate) since_release: bool,
    /// After a gathering that ran into its cap, so many syncs go without.
    pub(crate) skip: u32,
    /// The answers go through one task of the publishers' runtime, not one by one from the thread
    /// that syncs.
    pub(crate) one_wake: bool,
}

pub(crate) type Batch = Vec<oneshot::Sender<()>>;

pub(crate) fn release(batch: Batch) {
    for waiter in batch {
        // A publisher that is gone needs no answer.
        let _gone = waiter.send(());
    }
}

/// A log whose disk is a sleep.
#[derive(Default)]
pub(crate) struct FakeLog {
    state: Mutex<State>,
    arrival: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Batch,
    /// Publishes ever.
    arrived: usize,
    /// The arrival that the log waits for: no earlier one wakes it.
    wanted: usize,
    closed: bool,
}

impl FakeLog {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the loop when nobody waits any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.arrival.notify_one();
    }

    pub(crate) fn publish(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        state.waiting.push(sender);
        state.arrived += 1;
        if state.arrived >= state.wanted {
            self.arrival.notify_one();
        }
        receiver
    }

    /// Syncs until closed; returns how often, and for how long in all.
    pub(crate) fn sync_loop(
        &self,
        rule: Rule,
        sleep: Duration,
        batches: &mpsc::UnboundedSender<Batch>,
    ) -> (u32, Duration) {
        let (mut syncs, mut syncing, mut skip) = (0, Duration::ZERO, 0);
        loop {
            let mut state = self.lock();
            state.wanted = 0;
            let idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
            state = self.arrival.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
            if state.waiting.is_empty() {
                return (syncs, syncing);
            }
            let batch = std::mem::take(&mut state.waiting);
            // Who comes during a sync wakes nobody.
            state.wanted = usize::MAX;
            drop(state);
            let start = now();
            pause(sleep);
            let took = start.elapsed();
            syncs += 1;
            syncing += took;
            let released = batch.len();
            let gathers = released > 1 && rule.cap > 0.0 && skip == 0;
            skip = u32::saturating_sub(skip, 1);
            if gathers {
                let mut state = self.lock();
                let here = if rule.since_release { 0 } else { state.waiting.len() };
                state.wanted = state.arrived + released.saturating_sub(here);
            }
            if rule.one_wake {
                // Fails only after the end of the run.
                let _over = batches.send(batch);
            } else {
                release(batch);
            }
            if gathers && !self.gather(took.mul_f64(rule.cap)) {
                skip = rule.skip;
            }
        }
    }

    /// Waits for the wanted arrival, `cap` at most; whether it came.
    fn gather(&self, cap: Duration) -> bool {
        let too_few = |state: &mut State| state.arrived < state.wanted && !state.closed;
        let waited = self.arrival.wait_timeout_while(self.lock(), cap, too_few);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}
