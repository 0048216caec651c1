//! What is done beside the traffic, in small steps: side files, checkpoints, retention, and how
//! much room the disk has. What may go is decided in `crate::upkeep`, what a file looks like in
//! `crate::checkpoint` and `crate::sidecar`.

use super::shared::Shared;
use super::state::State;
use crate::checkpoint::{Checkpoints, Section};
use crate::core::types::Position;
use crate::log::LogError;
use crate::sidecar;
use crate::time::Now;
use crate::upkeep::{Blocker, Input, Plan, Segment, plan};

/// How often retention looks, ms; also after every checkpoint.
const RETIRE_EVERY: u64 = 60_000;
/// How often the disk is asked for its room, ms: while there is plenty, and while there is little.
const SPACE_EVERY: u64 = 5_000;
const LITTLE_SPACE_EVERY: u64 = 500;
/// And after so many bytes of log.
const SPACE_EVERY_BYTES: u64 = 16 << 20;
/// After a failure, ms.
const REST: u64 = 10_000;

/// The state of background work; one step at a time.
pub(crate) struct Upkeep {
    checkpoints: Checkpoints,
    /// Copied, and waiting for the log to be durable as far.
    copied: Option<Vec<Section>>,
    /// The next checkpoint, in bytes of log.
    checkpoint_at: u64,
    space_at: u64,
    space_at_bytes: u64,
    retire_at: u64,
    /// The log may be trimmed before the first, once the second is durable.
    trim: Option<(u64, u64)>,
    rests_until: u64,
    blocked: Vec<Blocker>,
}

/// Why a piece of upkeep failed. Nothing is lost by that; it is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpkeepError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Index(#[from] sidecar::Error),
    #[error("{0}")]
    Unavailable(std::sync::Arc<str>),
}

impl Upkeep {
    /// `soon`: there should be a checkpoint now (what was replayed must not be needed again).
    pub(crate) fn new(checkpoints: Checkpoints, checkpoint_bytes: u64, soon: bool) -> Self {
        Self {
            checkpoints,
            copied: None,
            checkpoint_at: if soon { 0 } else { checkpoint_bytes },
            space_at: 0,
            space_at_bytes: 0,
            retire_at: 0,
            trim: None,
            rests_until: 0,
            blocked: Vec::new(),
        }
    }

    /// Does one piece of work; false if there is nothing to do now.
    pub(crate) fn step(&mut self, shared: &Shared, now: Now) -> bool {
        if now.mono < self.rests_until {
            return false;
        }
        let done = self.piece(shared, now);
        done.unwrap_or_else(|error| {
            tracing::warn!(%error, "upkeep failed; it is tried again");
            self.rests_until = now.mono + REST;
            false
        })
    }

    /// When time alone gives it something to do, mono ms.
    pub(crate) fn next_deadline(&self) -> u64 {
        self.space_at.min(self.retire_at).max(self.rests_until)
    }

    /// Who was in the way of retention when it looked last.
    pub(crate) fn blocked(&self) -> &[Blocker] {
        &self.blocked
    }

    fn piece(&mut self, shared: &Shared, now: Now) -> Result<bool, UpkeepError> {
        if shared.look(|state| state.fenced.is_some()) {
            return Ok(false);
        }
        Ok(self.space(shared, now)?
            || self.checkpoint(shared)?
            || self.retire(shared, now)?
            || shared.place().index.step()?)
    }

    fn space(&mut self, shared: &Shared, now: Now) -> Result<bool, UpkeepError> {
        let bytes = shared.look(|state| state.log_bytes);
        if now.mono < self.space_at && bytes < self.space_at_bytes {
            return Ok(false);
        }
        let (free, marks) = (shared.log.space().free, shared.options.limits.disk_marks);
        in_section(shared, |state, _| state.core.on_space(free))?;
        let little = marks.iter().any(|mark| free < mark.saturating_mul(2));
        self.space_at = now.mono + if little { LITTLE_SPACE_EVERY } else { SPACE_EVERY };
        self.space_at_bytes = bytes + SPACE_EVERY_BYTES;
        Ok(true)
    }

    /// Copies core's sections, each between two commands; writes them once the log is durable as
    /// far as they go.
    fn checkpoint(&mut self, shared: &Shared) -> Result<bool, UpkeepError> {
        let Some(sections) = &self.copied else {
            let due = shared.look(|state| {
                let due = state.log_bytes >= self.checkpoint_at;
                state.awaited.bytes = Some(self.checkpoint_at.min(self.space_at_bytes));
                due
            });
            if due {
                self.copied = Some(self.copy(shared)?);
            }
            return Ok(due);
        };
        let last = sections.iter().map(|it| it.at.entry).max().unwrap_or_default();
        let ready = shared.look(|state| {
            let ready = state.marks.durable >= last && state.fenced.is_none();
            state.awaited.durable = (!ready).then_some(last);
            ready
        });
        if !ready {
            return Ok(false);
        }
        self.checkpoints.write(sections)?;
        self.copied = None;
        shared.log.release_old_tail()?;
        self.retire_at = 0;
        Ok(true)
    }

    fn copy(&mut self, shared: &Shared) -> Result<Vec<Section>, UpkeepError> {
        let mut sections = Vec::new();
        let one = |state: &mut State, section: crate::core::durable::Section| {
            // It holds all that is recorded so far.
            let at = Position { entry: state.seq.end(), index: u32::MAX };
            Some((at, state.core.durable().export(section)?))
        };
        // The list and the first copy are of one moment: what is created later than that lies
        // behind the position from which replay begins.
        let (all, mut first) = in_section(shared, |state, _| {
            let all = state.core.durable().sections();
            let first = all.first().and_then(|first| one(state, *first));
            (all, Some(first))
        })?;
        for (range, section) in (0..).zip(all) {
            let copied = match first.take() {
                Some(first) => first,
                None => in_section(shared, |state, _| one(state, section))?,
            };
            sections.extend(copied.map(|(at, payload)| Section {
                kind: section.kind(),
                range,
                at,
                payload: payload.into(),
            }));
        }
        let bytes = in_section(shared, |state, now| {
            state.hand_over_all(now, &*shared.log);
            state.log_bytes
        })?;
        shared.log.sync_now();
        self.checkpoint_at = bytes + shared.options.limits.checkpoint_bytes;
        Ok(sections)
    }

    /// A checkpoint of the very end, before closing; false if it cannot be.
    pub(crate) fn checkpoint_of_the_end(&mut self, shared: &Shared) -> bool {
        let done = self.copy(shared).and_then(|sections| {
            self.copied = Some(sections);
            self.checkpoint(shared)
        });
        done.unwrap_or_else(|error| {
            tracing::warn!(%error, "no checkpoint at the end; the next opening replays more");
            false
        })
    }

    fn retire(&mut self, shared: &Shared, now: Now) -> Result<bool, UpkeepError> {
        if let Some((before, recorded)) = self.trim {
            let durable = shared.look(|state| {
                let durable = state.marks.durable >= recorded;
                state.awaited.durable = (!durable).then_some(recorded);
                durable
            });
            if durable {
                self.trim = None;
                let first = shared.log.trim(before)?;
                shared.place().index.drop_before(first)?;
            }
            return Ok(durable);
        }
        if now.mono < self.retire_at {
            return Ok(false);
        }
        self.retire_at = now.mono + RETIRE_EVERY;
        let plan = self.plan(shared, now)?;
        self.blocked = plan.blocked;
        let Some(before) = plan.trim_before else { return Ok(true) };
        tracing::info!(before, bytes = plan.frees, "retiring the oldest events");
        let recorded = in_section(shared, |state, now| {
            let (trimmed, truncated) = (plan.trimmed, plan.truncated);
            state.dispatch(|core, seq| core.retire(now, trimmed, truncated, before, seq));
            state.seq.end()
        })?;
        self.trim = Some((before, recorded));
        Ok(true)
    }

    fn plan(&self, shared: &Shared, now: Now) -> Result<Plan, UpkeepError> {
        let held = shared.place().index.segments()?;
        let bytes = shared.log.segments();
        let segments: Vec<_> = held
            .iter()
            .map(|it| Segment {
                first: it.first,
                end: it.end,
                bytes: bytes.iter().find(|b| b.first == it.first).map_or(0, |b| b.bytes),
                topics: &it.topics,
            })
            .collect();
        let (topics, pins) =
            in_section(shared, |state, _| (state.core.retention(), state.core.pins()))?;
        let keep_from = self.checkpoints.keep_from();
        Ok(plan(&Input {
            segments: &segments,
            topics: &topics,
            pins: &pins,
            keep_from,
            now: now.wall,
        }))
    }
}

fn in_section<R>(
    shared: &Shared,
    work: impl FnOnce(&mut State, Now) -> R,
) -> Result<R, UpkeepError> {
    shared.section(work).map_err(|(why, _)| UpkeepError::Unavailable(why))
}
