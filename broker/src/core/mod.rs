//! The pure state machine. It knows neither time nor disk nor network: `now` is a parameter, what
//! it decides is written by a [`Sequencer`], what it wants done is drained as [`Output`].
//!
//! ```text
//!  command ─▶ decide ─▶ records ─▶ Sequencer::entry ─▶ apply ─▶ Durable   (live and in replay alike)
//!                                                        └────▶ Live      (starts empty)
//!  facts (on_*, tick) ─▶ dispatch ─▶ Output
//! ```
//!
//! Four kinds of method: getters (`&self`), facts (`on_*`, `tick`: a spurious call does nothing),
//! commands ([`Core::execute`]), and [`Core::poll_output`], to be drained after each of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hashbrown::{HashMap, HashSet};
use quadrille_proto::record::Kind;
use quadrille_proto::{EventView, Hasher128};

mod admin;
pub mod command;
mod cursor;
mod dead_letter;
mod dedup;
mod due;
pub mod durable;
mod facts;
mod fail;
mod grip;
pub mod info;
mod live;
pub mod output;
mod plan;
mod publish;
pub mod refusal;
mod sessions;
mod settle;
pub mod settled;
mod shell;
mod step;
mod tail;
pub mod types;
pub mod whereabouts;

pub use admin::DEAD_LETTERS;

use crate::limits::Limits;
use crate::time::Now;
use command::{Answer, Command};
use dedup::IdWindow;
use durable::Durable;
pub use facts::Facts;
use live::LiveGroup;
use output::{Notice, Output};
pub use plan::Appended;
use plan::Plan;
use refusal::Refusal;
use tail::Tail;
use types::{
    EventRef, GroupId, Head, MemberId, Position, RunId, Stamp, TailEvent, TimerId, TopicId,
};

/// Turns decided records into entries of the log. Given to core by the engine.
pub trait Sequencer {
    /// Writes one entry that holds these records, and returns its number. Answers of a `sync` entry
    /// wait until it is durable, others until it is written.
    fn entry(&mut self, time: u64, sync: bool, records: &[Kind]) -> u64;

    /// Told of the events that the last entry appended, so that they can be found again.
    fn appended(&mut self, events: &[Appended]);
}

/// What a core is made from.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// The key of the hash of ids, lanes, keys and sagas; the log's for ever.
    pub hash_key: u128,
    /// The epoch of this opening; tokens carry it.
    pub epoch: u32,
    /// The limits.
    pub limits: Limits,
    /// Seeds the jitter of retries.
    pub seed: u64,
}

/// Up to where the log may be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revealed {
    /// Entries of the `written` class.
    pub written: u64,
    /// Entries of the sync class.
    pub durable: u64,
}

impl Revealed {
    fn covers(self, head: &Head) -> bool {
        let watermark = if head.sync { self.durable } else { self.written };
        head.event.at.entry <= watermark
    }
}

/// How a core starts after replay.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The last opening ended with a shutdown.
    pub clean: bool,
    /// The number of the first entry that was not recovered.
    pub end: u64,
}

/// The state machine.
#[derive(Debug)]
pub struct Core {
    durable: Durable,
    limits: Limits,
    hasher: Hasher128,
    hash_key: u128,
    epoch: u32,
    rng: fastrand::Rng,
    ids: IdWindow,
    tail: Tail,
    // What follows starts empty: the live half.
    live: BTreeMap<GroupId, LiveGroup>,
    members: BTreeMap<MemberId, GroupId>,
    next_member: MemberId,
    next_run: RunId,
    /// Derived of the durable half: ids of armed timers, superseding types, readers of topics.
    armed: HashMap<u128, TimerId>,
    superseding: HashSet<u64>,
    readers: BTreeMap<TopicId, BTreeSet<GroupId>>,
    reading_timers: BTreeSet<TimerId>,
    /// When sessions were last heard of, mono; those of before the start are as old as it.
    heard: BTreeMap<u128, u64>,
    started: u64,
    revealed: Revealed,
    unrevealed_sync: VecDeque<(u64, TopicId)>,
    unrevealed_written: VecDeque<(u64, TopicId)>,
    /// Groups to look at, and groups with lanes that wait for durability.
    dirty: BTreeSet<GroupId>,
    waiting: BTreeSet<GroupId>,
    outputs: VecDeque<Output>,
    last_time: u64,
    last_sync: u64,
    clock: due::ClockWatch,
    lease_shift: u64,
    free: u64,
    shutting_down: bool,
}

impl Core {
    /// A core that has seen nothing.
    pub fn new(config: CoreConfig) -> Self {
        Self {
            durable: Durable::default(),
            hasher: Hasher128::new(config.hash_key),
            hash_key: config.hash_key,
            epoch: config.epoch,
            rng: fastrand::Rng::with_seed(config.seed),
            ids: IdWindow::new(config.limits.dedup_bytes),
            tail: Tail::new(config.limits.tail_bytes),
            live: BTreeMap::new(),
            members: BTreeMap::new(),
            next_member: 1,
            next_run: 1,
            armed: HashMap::new(),
            superseding: HashSet::new(),
            readers: BTreeMap::new(),
            reading_timers: BTreeSet::new(),
            heard: BTreeMap::new(),
            started: 0,
            revealed: Revealed::default(),
            unrevealed_sync: VecDeque::new(),
            unrevealed_written: VecDeque::new(),
            dirty: BTreeSet::new(),
            waiting: BTreeSet::new(),
            outputs: VecDeque::new(),
            last_time: 0,
            last_sync: 0,
            clock: due::ClockWatch::default(),
            lease_shift: 0,
            free: u64::MAX,
            shutting_down: false,
            limits: config.limits,
        }
    }

    /// Takes a section of a checkpoint, as of `at`; before any replay, groups before their shards.
    ///
    /// # Errors
    /// The section does not decode.
    pub fn import(
        &mut self,
        kind: u16,
        at: Position,
        bytes: &[u8],
    ) -> Result<(), durable::SnapshotError> {
        self.durable.import(kind, at, bytes)
    }

    /// Applies a record that the log held already.
    pub fn replay(&mut self, at: Position, time: u64, sync: bool, kind: &Kind) {
        self.durable.apply(at, time, kind);
        self.last_time = self.last_time.max(time);
        let Kind::EventAppended(it) = kind else { return };
        let event = EventRef { at, topic: it.topic, offset: it.offset };
        let Ok(view) = EventView::parse(&it.event) else { return };
        let stamp = Stamp { event, turn: it.turn, time, sync };
        let head = Head::of(&view, &self.hasher, stamp);
        let id = self.hasher.id(view.source, view.id, it.topic);
        self.ids.insert(id, self.hasher.digest(view.ty, view.data), it.offset);
        self.tail.push(TailEvent { head, bytes: it.event.clone() });
    }

    /// Refills the id window with what was appended before the replayed part; oldest first, and
    /// before any replay.
    pub fn remember_id(&mut self, id: u128, digest: u64, offset: u64) {
        self.ids.insert(id, digest, offset);
    }

    /// The log is replayed: the live half begins.
    pub fn start(&mut self, now: Now, start: Start) {
        let end = start.end.saturating_sub(1);
        self.revealed = Revealed { written: end, durable: end };
        self.clock = due::ClockWatch::at(now);
        self.started = now.mono;
        self.armed = self.durable.timers.iter().map(|(id, timer)| (timer.id, id)).collect();
        self.learn_superseding();
        let groups: Vec<GroupId> = self.durable.groups.keys().copied().collect();
        for group in groups {
            self.revive_group(now, group, (!start.clean).then_some(start.end));
        }
    }

    /// Decides a command, records what it comes to, applies it, and answers. The answer may be
    /// shown once the entries written so far are durable (or written, by their class).
    ///
    /// # Errors
    /// The command was refused and changed nothing.
    pub fn execute(
        &mut self,
        now: Now,
        command: Command,
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        self.execute_checked(now, command, Vec::new(), seq)
    }

    /// Likewise, with the facts of the command's events, if its caller has found them out already.
    ///
    /// # Errors
    /// The command was refused and changed nothing.
    pub fn execute_checked(
        &mut self,
        now: Now,
        command: Command,
        facts: Vec<Facts>,
        seq: &mut dyn Sequencer,
    ) -> Result<Answer, Refusal> {
        self.called(now);
        match command {
            Command::Publish(publish) => self.publish(now, publish, facts, seq),
            Command::Step(step) => self.step(now, step, facts, seq),
            Command::Ack(tokens) => self.ack(now, &tokens, seq),
            Command::Settle(token, how) => self.settle(now, &token, how, seq),
            Command::Start(token) => self.start_delivery(now, &token, seq),
            Command::Renew { member, runs } => self.renew(now, member, &runs, seq),
            Command::CreateTopic { name, config } => self.create_topic(now, name, config, seq),
            Command::AlterTopic { topic, config } => self.alter_topic(now, topic, config, seq),
            Command::DeleteTopic { topic, discard } => self.delete_topic(now, topic, discard, seq),
            Command::CreateGroup { name, config, start } => {
                self.create_group(now, name, config, start, seq)
            }
            Command::AlterGroup { group, config } => self.alter_group(now, group, config, seq),
            Command::DeleteGroup { group, discard } => self.delete_group(now, group, discard, seq),
            Command::Pause { group, reason } => self.pause(now, group, reason, seq),
            Command::Resume { group } => self.resume(now, group, seq),
            Command::Join { group, name, credit } => self.join(now, group, name, credit),
            Command::Leave { member, started } => self.leave(now, member, &started, seq),
            Command::Drain { member } => self.drain(member),
            Command::Resolve(resolve) => self.resolve(now, resolve, seq),
            Command::CancelTimer { timer } => self.cancel_timer(now, timer, seq),
            Command::Fire(timers) => Ok(self.fire(now, timers, seq)),
            Command::EndSession { session } => {
                self.end_session(now, session, seq);
                Ok(Answer::Done)
            }
        }
    }

    /// Writes records that the engine has found out: an epoch, a trimmed topic, a truncation.
    pub fn record(&mut self, now: Now, sync: bool, records: Vec<Kind>, seq: &mut dyn Sequencer) {
        let plan = if sync { Plan::sync(records) } else { Plan::lazy(records) };
        self.commit(now, seq, plan);
    }

    /// The log has come this far: what waited for it goes on.
    pub fn on_watermarks(&mut self, now: Now, written: u64, durable: u64, seq: &mut dyn Sequencer) {
        self.called(now);
        self.revealed.written = self.revealed.written.max(written);
        self.revealed.durable = self.revealed.durable.max(durable);
        for (queue, watermark) in [
            (&mut self.unrevealed_sync, self.revealed.durable),
            (&mut self.unrevealed_written, self.revealed.written),
        ] {
            while let Some((entry, topic)) = queue.front().copied()
                && entry <= watermark
            {
                queue.pop_front();
                for group in self.readers.get(&topic).into_iter().flatten() {
                    self.dirty.insert(*group);
                    if let Some(live) = self.live.get_mut(group) {
                        live.scans.iter_mut().for_each(live::Scan::look_again);
                    }
                }
            }
        }
        for group in std::mem::take(&mut self.waiting) {
            self.reveal_lanes(group);
            if self.live.get(&group).is_some_and(|live| !live.unrevealed.is_empty()) {
                self.waiting.insert(group);
            }
        }
        self.dispatch(now, seq);
    }

    /// Events of a topic, read back for a group that is behind: the answer to `ReadTopic`. Dense
    /// from the first one; a hole before it is taken for lost. Empty if nothing can be read yet.
    pub fn on_window(
        &mut self,
        now: Now,
        group: GroupId,
        topic: TopicId,
        from: u64,
        events: Vec<TailEvent>,
        seq: &mut dyn Sequencer,
    ) {
        self.window(now, group, (topic, from), events, seq);
        self.dispatch(now, seq);
    }

    /// How much room the disk has, bytes.
    pub fn on_space(&mut self, free: u64) {
        self.free = free;
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn note_saturation(&mut self, id: GroupId) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let yes = live.lanes.len() >= self.limits.lanes_unfinished;
        if std::mem::replace(&mut live.said_saturated, yes) != yes {
            let lanes = live.lanes.len();
            let group = self.durable.groups.get(&id).map(|group| group.name.clone());
            let group = group.unwrap_or_default();
            self.outputs.push_back(Output::Notice(Notice::Saturated { group, lanes, yes }));
        }
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
