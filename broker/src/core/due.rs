//! What becomes due: leases, holds, timers, silent sessions; and the watch over the clocks.

use quadrille_proto::record::{self, Kind, Resolution};

use super::durable::Timer;
use super::live::{Block, LaneState};
use super::output::{Notice, Output};
use super::plan::Plan;
use super::types::{GroupId, TimerId};
use super::{Core, Sequencer};
use crate::time::Now;

/// The last reading of both clocks, to notice when one of them jumps or the process stood still.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClockWatch {
    last: Now,
    /// When core was last called at all, and since when it had not been when it was again, mono.
    seen: u64,
    quiet_since: Option<u64>,
    flushed: u64,
    housekept: u64,
}

impl ClockWatch {
    pub(super) fn at(now: Now) -> Self {
        Self {
            last: now,
            seen: now.mono,
            quiet_since: None,
            flushed: now.mono,
            housekept: now.mono,
        }
    }
}

/// A tick that comes later than this means that the process, or the machine, stood still.
const STOOD_STILL_MS: u64 = 1000;
/// A wall clock that moves this much against the monotonic one has jumped.
const JUMP_MS: u64 = 60_000;
/// How often passed-over offsets are recorded, at most.
const FLUSH_MS: u64 = 100;
/// How often silent sessions and old turns are looked for.
const HOUSEKEEPING_MS: u64 = 10_000;
/// How many timers are read back at a time.
const TIMERS: usize = 256;
/// How many superseded events are taken off a list at a time.
const EVICTED: usize = 4096;
/// How many turns are evicted at a time.
const TURNS: usize = 1024;

impl Core {
    /// Does what is due. To be called at [`Core::next_deadline`]; a spurious call does nothing.
    pub fn tick(&mut self, now: Now, seq: &mut dyn Sequencer) {
        self.watch_clocks(now, seq);
        self.expire_leases(now, seq);
        self.end_holds(now);
        self.read_timers(now);
        if now.mono >= self.clock.flushed + FLUSH_MS {
            self.clock.flushed = now.mono;
            let groups: Vec<GroupId> = self.live.keys().copied().collect();
            for group in groups {
                self.record_passed(now, group, true, seq);
            }
        }
        if now.mono >= self.clock.housekept + HOUSEKEEPING_MS {
            self.clock.housekept = now.mono;
            self.expire_sessions(now, seq);
            self.evict_turns(now, seq);
            self.evict_superseded(now, seq);
        }
        self.dispatch(now, seq);
    }

    /// When [`Core::tick`] has something to do, mono ms. May change after every other call. Timers
    /// run on the wall clock, and only a tick looks at it: on a real clock, tick every few seconds
    /// even if nothing is due.
    pub fn next_deadline(&self) -> Option<u64> {
        let passed = self.live.values().any(|live| !live.passed.is_empty());
        let passed = passed.then_some(self.clock.flushed + FLUSH_MS);
        let sessions = !self.durable.sessions.by_id.is_empty();
        let sessions = sessions.then_some(self.clock.housekept + HOUSEKEEPING_MS);
        [self.next_due(), passed, sessions].into_iter().flatten().min()
    }

    /// When something ends that was given a time, mono ms.
    fn next_due(&self) -> Option<u64> {
        let ends = |live: &super::live::LiveGroup| live.leases.first().map(|(due, _)| *due);
        let leases = self.live.values().filter_map(ends);
        let leases = leases.map(|due| due.saturating_add(self.lease_shift));
        leases.chain(self.next_armed()).min()
    }

    /// When a hold ends or a timer fires, mono ms: what happens though nobody does anything.
    pub fn next_armed(&self) -> Option<u64> {
        let holds = self.live.values().filter_map(|live| live.due.first().map(|(due, _)| *due));
        let last = self.clock.last;
        let timers = self.next_timers(u64::MAX).next();
        let timers =
            timers.map(|(_, timer)| last.mono.saturating_add(timer.due.saturating_sub(last.wall)));
        holds.chain(timers).min()
    }

    /// Core is called. Cheap: what a long silence means is for the next tick to say.
    pub(super) fn called(&mut self, now: Now) {
        let seen = std::mem::replace(&mut self.clock.seen, now.mono);
        if now.mono.saturating_sub(seen) > STOOD_STILL_MS {
            self.clock.quiet_since = Some(seen);
        }
    }

    /// A tick that is late means that nobody could renew a lease for as long as core was not
    /// called: running leases get that time back. By the lateness alone, the lease whose end was
    /// missed would end in this very tick.
    fn watch_clocks(&mut self, now: Now, seq: &mut dyn Sequencer) {
        self.called(now);
        let quiet_since = self.clock.quiet_since.take();
        if let Some(due) =
            self.next_due().filter(|due| now.mono > due.saturating_add(STOOD_STILL_MS))
        {
            self.lease_shift += now.mono - quiet_since.unwrap_or(due).min(due);
        }
        let last = std::mem::replace(&mut self.clock.last, now);
        let expected = last.wall.saturating_add(now.mono.saturating_sub(last.mono));
        if expected.abs_diff(now.wall) > JUMP_MS && last.wall > 0 {
            let by_ms = now.wall.wrapping_sub(expected).cast_signed();
            let record = Kind::ClockJumped(record::ClockJumped { by_ms });
            self.commit(now, seq, Plan::lazy(vec![record]));
            self.outputs.push_back(Output::Notice(Notice::ClockJumped { by_ms }));
        }
    }

    fn end_holds(&mut self, now: Now) {
        let groups: Vec<GroupId> = self.live.keys().copied().collect();
        for id in groups {
            while let Some(live) = self.live.get_mut(&id)
                && let Some((due, lane_id)) = live.due.first().copied()
                && due <= now.mono
            {
                live.due.pop_first();
                let Some(lane) = live.lanes.get_mut(&lane_id) else { continue };
                if lane.block == Some(Block::Held(due)) {
                    lane.block = None;
                }
                if lane.state == LaneState::Unrevealed {
                    continue;
                }
                self.make_ready(id, lane_id);
            }
        }
    }

    /// Timers due at `wall` or before that may be read now: their own records are durable, and not
    /// too many are being read.
    fn next_timers(&self, wall: u64) -> impl Iterator<Item = (TimerId, &Timer)> {
        let room = TIMERS.saturating_sub(self.reading_timers.len());
        let due = self.durable.timers.due(wall).take(2 * TIMERS);
        due.filter(|(id, timer)| {
            timer.at.entry <= self.revealed.durable && !self.reading_timers.contains(id)
        })
        .take(room)
    }

    fn read_timers(&mut self, now: Now) {
        let due = self.next_timers(now.wall);
        let timers: Vec<(TimerId, _)> = due.map(|(id, timer)| (id, timer.at)).collect();
        if !timers.is_empty() {
            self.reading_timers.extend(timers.iter().map(|(id, _)| *id));
            self.outputs.push_back(Output::TimersDue { timers });
        }
    }

    /// The table of turns is bounded: above the limit the oldest go, and it is recorded which.
    fn evict_turns(&mut self, now: Now, seq: &mut dyn Sequencer) {
        let mut records = Vec::new();
        for group in self.durable.groups.values() {
            let turns = group.shards.iter().map(|shard| shard.turns.len()).sum::<usize>();
            let over = turns.saturating_sub(self.limits.turns).min(TURNS);
            if over == 0 {
                continue;
            }
            let young = now.wall.saturating_sub(self.limits.turn_min_age_ms);
            let all = group.shards.iter().flat_map(|shard| &shard.turns);
            let mut old: Vec<_> = all
                .filter(|(_, (_, time))| *time < young || turns > 2 * self.limits.turns)
                .map(|(saga, (_, time))| (*time, *saga))
                .collect();
            old.sort_unstable();
            old.truncate(over);
            let sagas = old.into_iter().map(|(_, saga)| super::durable::lane_record(saga));
            let record = record::TurnsEvicted { group: group.id, sagas: sagas.collect() };
            if !record.sagas.is_empty() {
                records.push(Kind::TurnsEvicted(record));
            }
        }
        if !records.is_empty() {
            self.commit(now, seq, Plan::lazy(records));
        }
    }

    /// The list of what compensations overtook is bounded: above the limit the oldest go.
    fn evict_superseded(&mut self, now: Now, seq: &mut dyn Sequencer) {
        let mut records = Vec::new();
        for group in self.durable.groups.values() {
            let all = group.shards.iter().map(|shard| shard.dead.len()).sum::<usize>();
            if all <= self.limits.superseded_listed {
                continue;
            }
            let listed: Vec<_> =
                group.dead().filter(|(_, dead)| dead.superseded_by.is_some()).collect();
            let over = listed.len().saturating_sub(self.limits.superseded_listed);
            records.extend(listed.iter().take(over.min(EVICTED)).map(|(_, dead)| {
                Kind::Resolved(record::Resolved {
                    group: group.id,
                    event: dead.parked.event,
                    how: Resolution::ResolveSkip.into(),
                    by: "quadrille".to_owned(),
                    comment: "superseded_listed".to_owned(),
                    ..Default::default()
                })
            }));
        }
        if !records.is_empty() {
            self.commit(now, seq, Plan::lazy(records));
        }
    }
}
