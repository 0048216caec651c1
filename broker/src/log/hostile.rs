//! A log that keeps the contract and nothing more: it answers late, fails as "unknown", and is claimed by others.
//! For tests of whoever stands on a log; it has no disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    AppendError, Chunk, ClaimError, Limits, Log, LogError, MemLog, Read, ReadError, Recovered,
    SegmentInfo, Space, Watermarks, Work,
};
use crate::time::Now;

/// See the module. Nothing moves by itself: each `step` writes or syncs at most one chunk, and only if not held.
pub struct HostileLog {
    /// What is written. What is appended lies in `queued` first.
    below: MemLog,
    state: Mutex<State>,
    claims_to_fail: AtomicU64,
}

#[derive(Default)]
struct State {
    queued: Vec<(Chunk, bool)>,
    epoch: u32,
    end: u64,
    written: u64,
    durable: u64,
    held: bool,
    full: bool,
    fenced: Option<Arc<str>>,
    wake: Option<Arc<dyn Fn() + Send + Sync>>,
    rng: Option<fastrand::Rng>,
}

impl HostileLog {
    /// An empty log. `seed` decides what survives its failures.
    pub fn new(seed: u64) -> Self {
        let rng = Some(fastrand::Rng::with_seed(seed));
        let fenced = Some("not claimed yet".into());
        let state = State { rng, fenced, ..State::default() };
        Self {
            below: MemLog::new(seed),
            state: Mutex::new(state),
            claims_to_fail: AtomicU64::new(0),
        }
    }

    /// While held, nothing is written and nothing becomes durable.
    pub fn hold(&self, held: bool) {
        self.state().held = held;
    }

    /// While full, appends are refused with `Full`.
    pub fn fill(&self, full: bool) {
        self.state().full = full;
    }

    /// Fails now, as an unknown: everything up to `durable` survives; of what was queued or written behind it, the
    /// seed decides how many whole chunks do.
    pub fn fail(&self, reason: &str) {
        let mut state = self.state();
        let mut queued = std::mem::take(&mut state.queued);
        let survivors = state.rng.as_mut().map_or(0, |rng| rng.usize(..=queued.len()));
        queued.truncate(survivors);
        for (chunk, starts) in queued {
            // The log below is claimed in the same epoch, and numbers are dense.
            let _ = self.below.append(chunk, starts);
        }
        state.fenced = Some(reason.into());
        Self::wake(state);
    }

    /// Somebody else claims the log now: a higher epoch, of which this claimant learns by its next append.
    pub fn usurp(&self) {
        let mut state = self.state();
        state.queued.clear();
        let claimed = self.below.claim(Now::default());
        let by = claimed.map_or(0, |recovered| recovered.epoch);
        state.fenced = Some(format!("epoch {by} has been claimed").into());
        Self::wake(state);
    }

    /// The next `count` claims fail.
    pub fn fail_claims(&self, count: u64) {
        self.claims_to_fail.store(count, Ordering::SeqCst);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(state: MutexGuard<'_, State>) {
        let wake = state.wake.clone();
        drop(state);
        if let Some(wake) = wake {
            wake();
        }
    }
}

impl Log for HostileLog {
    fn claim(&self, now: Now) -> Result<Recovered, ClaimError> {
        let mut state = self.state();
        state.queued.clear();
        let fail = |n: u64| n.checked_sub(1);
        if self.claims_to_fail.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fail).is_ok() {
            return Err(ClaimError::Taken("another claimant".to_owned()));
        }
        let recovered = self.below.claim(now)?;
        state.epoch = recovered.epoch;
        state.end = recovered.end;
        state.written = recovered.end - 1;
        state.durable = recovered.end - 1;
        state.fenced = None;
        Ok(recovered)
    }

    fn append(&self, chunk: Chunk, starts_segment: bool) -> Result<(), AppendError> {
        let mut state = self.state();
        if let Some(reason) = &state.fenced {
            return Err(AppendError::Fenced(reason.clone()));
        }
        if chunk.epoch != state.epoch {
            return Err(AppendError::Fenced("a later epoch has been claimed".into()));
        }
        if state.full {
            return Err(AppendError::Full(Box::new(chunk)));
        }
        assert_eq!(chunk.first, state.end, "a chunk must start at the end of the log");
        state.end += u64::from(chunk.entries);
        state.queued.push((chunk, starts_segment));
        Ok(())
    }

    fn watermarks(&self) -> Watermarks {
        let state = self.state();
        let backlog = state.queued.iter().map(|(chunk, _)| chunk.body.len() as u64).sum();
        let want_roll = self.below.watermarks().want_roll;
        Watermarks {
            written: state.written,
            durable: state.durable,
            fenced: state.fenced.clone(),
            backlog,
            want_roll,
        }
    }

    fn set_waker(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.state().wake = Some(wake);
    }

    fn read(&self, from: u64, max_bytes: usize) -> Result<Read, ReadError> {
        if from > self.state().written {
            return Ok(Read::NotYet);
        }
        self.below.read(from, max_bytes)
    }

    fn trim(&self, before: u64) -> Result<u64, LogError> {
        self.below.trim(before)
    }

    fn release_old_tail(&self) -> Result<(), LogError> {
        self.below.release_old_tail()
    }

    fn segments(&self) -> Vec<SegmentInfo> {
        self.below.segments()
    }

    fn space(&self) -> Space {
        self.below.space()
    }

    fn limits(&self) -> Limits {
        self.below.limits()
    }

    fn sync_now(&self) {}

    fn close_epoch(&self) -> Result<(), LogError> {
        let held = std::mem::take(&mut self.state().held);
        while self.step(Work::Append, Now::default()) || self.step(Work::Sync, Now::default()) {}
        let mut state = self.state();
        state.held = held;
        if let Some(reason) = state.fenced.replace("closed".into()) {
            return Err(LogError::Fenced(reason));
        }
        self.below.close_epoch()
    }

    fn step(&self, work: Work, _now: Now) -> bool {
        let mut state = self.state();
        if state.held || state.fenced.is_some() {
            return false;
        }
        match work {
            Work::Append if !state.queued.is_empty() => {
                let (chunk, starts) = state.queued.remove(0);
                state.written = chunk.first + u64::from(chunk.entries) - 1;
                if let Err(e) = self.below.append(chunk, starts) {
                    state.fenced = Some(e.to_string().into());
                }
            }
            Work::Sync if state.durable < state.written => state.durable = state.written,
            _ => return false,
        }
        Self::wake(state);
        true
    }
}
