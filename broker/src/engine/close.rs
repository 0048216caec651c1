//! The orderly end: stop handing out, wait for what is out, give the rest back, checkpoint, close.

use std::sync::Arc;

use super::Engine;
use super::shared::Shared;
use super::state::State;
use crate::core::output::Closed;
use crate::error::EngineError;
use crate::log::Work;

/// How long threads may take to make the last entries durable before a checkpoint of the very end
/// is given up, ms. Closing the log waits for them anyway.
const LAST_SYNC: u64 = 10_000;

/// How an orderly end went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseReport {
    /// Deliveries that were still out at the deadline; they come again, and that does not count as
    /// an attempt.
    pub released: usize,
    /// Whether the next opening starts from a checkpoint of the very end.
    pub checkpointed: bool,
}

impl Engine {
    /// Stops handing out, waits up to `deadline_ms` for deliveries to be settled (without threads:
    /// not at all), releases the rest, writes a checkpoint and closes the log in order. Blocks.
    ///
    /// # Errors
    /// The engine was fenced before or on the way; the log is as safe as after a crash.
    pub fn close(&self, deadline_ms: u64) -> Result<CloseReport, EngineError> {
        let shared = &self.0.shared;
        let threads = self.0.threads.are_running();
        self.while_open(|state| {
            state.awaited.closing = true;
            state.core.shutting_down();
        })?;
        if threads {
            shared.wait_until(deadline_ms, |state| state.core.out() as usize == 0);
        }
        let released = self.while_open(|state| {
            let released = state.core.out() as usize;
            let now = shared.now();
            state.dispatch(|core, _| core.release_all());
            state.close_members(Closed::ShuttingDown);
            state.hand_over_all(now, &*shared.log);
            released
        })?;
        let checkpointed =
            shared.make_durable(threads) && shared.upkeep().checkpoint_of_the_end(shared);
        self.0.threads.stop(shared);
        shared.close_index();
        // From here on nothing may be recorded; what is on its way is written by the log.
        let closed = self.while_open(|state| {
            state.hand_over_all(shared.now(), &*shared.log);
            shared.log.close_epoch()
        })?;
        let why: Arc<str> = match &closed {
            Ok(()) => "the bus is closed".into(),
            Err(error) => format!("the bus did not close in order: {error}").into(),
        };
        shared.look(|state| {
            state.closed = true;
            state.fence(Arc::clone(&why));
        });
        match closed {
            Ok(()) => Ok(CloseReport { released, checkpointed }),
            Err(_) => Err(EngineError::unknown(&why)),
        }
    }

    fn while_open<R>(&self, work: impl FnOnce(&mut State) -> R) -> Result<R, EngineError> {
        let done = self.0.shared.section(|state, _| work(state));
        done.map_err(|(why, _)| EngineError::unknown(&why))
    }
}

impl Shared {
    /// Waits, looking whenever something has changed.
    fn wait_until(&self, ms: u64, is_so: impl Fn(&State) -> bool) {
        let deadline = self.now().mono + ms;
        loop {
            let now = self.now().mono;
            if now >= deadline || self.look(|state| state.fenced.is_some() || is_so(state)) {
                return;
            }
            self.bells.close.wait(Some(deadline - now));
        }
    }

    /// Lets the log make everything durable, by its threads or here.
    fn make_durable(&self, threads: bool) -> bool {
        let is_durable = |state: &State| state.marks.durable >= state.seq.end();
        self.log.sync_now();
        if threads {
            self.wait_until(LAST_SYNC, is_durable);
        } else {
            let now = self.now();
            while self.log.step(Work::Append, now) || self.log.step(Work::Sync, now) {}
        }
        self.look(|state| is_durable(state))
    }
}
