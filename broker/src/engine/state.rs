//! What the engine's one lock guards, and what is done under it: a command is executed and its
//! answer stamped, outputs go where they belong, chunks go to the log, watermarks come back.
//! Locking and waking are in `shared.rs`; nothing here waits for anything.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::DONE;
use super::fetch::{AGAIN_AFTER, Fetch};
use super::member::{Mailbox, MemberEvent};
use super::reveal::{Reveal, Stamp, Wakes};
use super::sequence::{Newest, Sequence};
use super::shared::Rings;
use super::ticket::Ticket;
use crate::core::command::{Answer, Command, Settle};
use crate::core::output::{Closed, Notice, Output};
use crate::core::refusal::Refusal;
use crate::core::types::MemberId;
use crate::core::{Core, Facts};
use crate::error::EngineError;
use crate::log::{AppendError, Chunk, Log, Watermarks};
use crate::time::Now;

/// A lazy entry is written at the latest after this, ms.
const WRITE_LAZY_AFTER: u64 = 1;
/// And asked to be durable after this, so that it is within 100 ms.
const SYNC_LAZY_AFTER: u64 = 90;
/// After the disk was full, the log is asked again after this, ms.
const RETRY_FULL_AFTER: u64 = 20;

/// Everything of an engine that changes.
pub(crate) struct State {
    pub(crate) core: Core,
    pub(crate) seq: Sequence,
    pub(crate) reveal: Reveal,
    pub(crate) members: HashMap<MemberId, Arc<Mailbox>>,
    pub(crate) fetches: VecDeque<Fetch>,
    pub(crate) wakes: Wakes,
    /// Why nothing works until `reopen()`.
    pub(crate) fenced: Option<Arc<str>>,
    /// It was closed for good: its threads are gone.
    pub(crate) closed: bool,
    /// Counts openings, so that what was begun in an earlier one is not finished in a later one.
    pub(crate) opening: u64,
    /// Where the log was at the last look.
    pub(crate) marks: Watermarks,
    /// Bytes handed to the log in this opening, and replayed by it: for the cadence of checkpoints.
    pub(crate) log_bytes: u64,
    /// What the threads wait for.
    pub(crate) awaited: Awaited,
    /// The newest entry handed to the log.
    handed: u64,
    /// The entry that opened the newest segment: until it is written the log still wants a roll.
    rolled_at: u64,
    /// The log had no room for this.
    refused: Option<(Chunk, bool)>,
    retry_at: Option<u64>,
    lazy: Lazy,
    failed: Vec<Fetch>,
    fetch_again_at: Option<u64>,
    /// What they want is not revealed yet.
    unreadable: Vec<Fetch>,
}

/// What threads wait for; each is told once, and then says it again.
#[derive(Default)]
pub(crate) struct Awaited {
    /// The clock's thread sleeps until then, mono ms.
    pub(crate) clock: Option<u64>,
    /// There is something to read.
    pub(crate) fetch: bool,
    /// Upkeep: so many bytes of log.
    pub(crate) bytes: Option<u64>,
    /// Upkeep: this entry to be durable.
    pub(crate) durable: Option<u64>,
    /// Indexing: this entry to be durable.
    pub(crate) index: Option<u64>,
    /// Upkeep: a segment has ended.
    pub(crate) sealed: bool,
    /// Somebody closes the engine and wants to know of everything.
    pub(crate) closing: bool,
}

/// When lazy entries must move, mono ms.
#[derive(Default)]
struct Lazy {
    write_at: Option<u64>,
    sync_at: Option<u64>,
    /// A sync was asked for up to here.
    asked: u64,
}

impl State {
    pub(crate) fn new(core: Core, seq: Sequence, opening: u64, marks: Watermarks) -> Self {
        let handed = marks.written;
        Self {
            core,
            seq,
            reveal: Reveal::starting_at(marks.written, marks.durable),
            members: HashMap::new(),
            fetches: VecDeque::new(),
            wakes: Wakes::default(),
            fenced: None,
            closed: false,
            opening,
            marks,
            log_bytes: 0,
            awaited: Awaited::default(),
            handed,
            rolled_at: 0,
            refused: None,
            retry_at: None,
            lazy: Lazy::default(),
            failed: Vec::new(),
            fetch_again_at: None,
            unreadable: Vec::new(),
        }
    }

    /// Executes a command; its answer comes when it may be seen.
    pub(crate) fn execute(
        &mut self,
        now: Now,
        command: Command,
        facts: Vec<Facts>,
        bytes: usize,
    ) -> Ticket {
        let lazy = is_lazy(&command);
        let before = self.seq.newest;
        self.seq.prompt = !lazy;
        let answer = self.core.execute_checked(now, command, facts, &mut self.seq);
        self.seq.prompt = false;
        let stamp = self.stamp(before, answer.is_ok() && lazy);
        self.dispatch(|core, seq| core.dispatch(now, seq));
        let answer = answer.map_err(EngineError::Refused);
        self.reveal.answer(stamp, answer, bytes, &mut self.wakes)
    }

    /// A join; whoever asked holds the member before anybody can hand it something.
    pub(crate) fn join(
        &mut self,
        now: Now,
        command: Command,
    ) -> Result<(MemberId, Arc<Mailbox>), Refusal> {
        let joined = self.core.execute(now, command, &mut self.seq)?;
        let Answer::Joined { member } = joined else { return Err(Refusal::ShuttingDown) };
        let mailbox = Arc::<Mailbox>::default();
        self.members.insert(member, Arc::clone(&mailbox));
        self.dispatch(|core, seq| core.dispatch(now, seq));
        Ok((member, mailbox))
    }

    /// Answers when what was just looked at is safe.
    pub(crate) fn answer_read(&mut self) -> Ticket {
        let stamp = Stamp::Both(self.seq.newest.sync, self.seq.newest.prompt);
        self.reveal.answer(stamp, DONE, 0, &mut self.wakes)
    }

    /// Answers when everything so far is durable.
    pub(crate) fn answer_when_all_is_durable(&mut self) -> Ticket {
        let stamp = Stamp::Durable(self.seq.end());
        self.reveal.answer(stamp, DONE, 0, &mut self.wakes)
    }

    /// When the answer to what was just executed may be seen: when what it wrote is safe, and
    /// otherwise when all that it may have looked at is.
    fn stamp(&self, before: Newest, lazy: bool) -> Stamp {
        let after = self.seq.newest;
        if after.sync > before.sync {
            Stamp::Durable(after.sync)
        } else if lazy || after.prompt > before.prompt {
            Stamp::Written(after.prompt)
        } else {
            Stamp::Both(after.sync, after.prompt)
        }
    }

    /// Lets core hand out and decide by itself, and does what it wants done. What core hands out may
    /// be seen: it waits by itself for what that depends on.
    pub(crate) fn dispatch(&mut self, work: impl FnOnce(&mut Core, &mut Sequence)) {
        work(&mut self.core, &mut self.seq);
        while let Some(output) = self.core.poll_output() {
            self.output(output);
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Deliver { member, run } => {
                if let Some(to) = self.members.get(&member) {
                    self.wakes.wake(to.push(MemberEvent::Run(run)));
                }
            }
            Output::LeaseLost { member, run, indexes } => {
                if let Some(to) = self.members.get(&member) {
                    self.wakes.wake(to.push(MemberEvent::LeaseLost { run, indexes }));
                }
            }
            Output::MemberClosed { member, why } => {
                if let Some(to) = self.members.remove(&member) {
                    self.wakes.wake(to.close(why));
                }
            }
            Output::Notice(notice) => note(&notice),
            read => {
                self.awaited.fetch = true;
                self.fetches.extend(Fetch::new(self.opening, read));
            }
        }
    }

    /// Something could not be read; later.
    pub(crate) fn fetch_again(&mut self, fetch: Fetch, now: Now) {
        self.failed.push(fetch);
        self.fetch_again_at.get_or_insert(now.mono + AGAIN_AFTER);
    }

    /// Something cannot be read yet; when the log has moved beyond `marks`.
    pub(crate) fn fetch_once_revealed(&mut self, fetch: Fetch, marks: &Watermarks) {
        let moved = self.marks != *marks;
        if moved {
            self.awaited.fetch = true;
            self.fetches.push_back(fetch);
        } else {
            self.unreadable.push(fetch);
        }
    }

    /// The log has moved.
    pub(crate) fn advance(&mut self, now: Now, marks: Watermarks) {
        let (written, durable) = (marks.written, marks.durable);
        self.reveal.release(written, durable, &mut self.wakes);
        if let Some(why) = &marks.fenced {
            let why = Arc::clone(why);
            return self.fence(why);
        }
        self.marks = marks;
        self.awaited.fetch |= !self.unreadable.is_empty();
        self.fetches.extend(self.unreadable.drain(..));
        self.dispatch(|core, seq| core.on_watermarks(now, written, durable, seq));
        if durable >= self.seq.newest.lazy {
            self.lazy.sync_at = None;
        }
    }

    /// What is due by the clock.
    pub(crate) fn tick(&mut self, now: Now, log: &dyn Log) {
        if is_due(self.core.next_deadline(), now) {
            self.dispatch(|core, seq| core.tick(now, seq));
        }
        if is_due(self.lazy.write_at, now) {
            self.lazy.write_at = None;
            self.seq.urgent = true;
        }
        if is_due(self.lazy.sync_at, now) {
            self.lazy.sync_at = None;
            self.lazy.asked = self.seq.newest.lazy;
            log.sync_now();
        }
        if is_due(self.retry_at, now) {
            self.retry_at = None;
        }
        if is_due(self.fetch_again_at, now) {
            self.fetch_again_at = None;
            self.awaited.fetch = true;
            self.fetches.extend(self.failed.drain(..));
        }
    }

    /// When [`State::tick`] has something to do, mono ms.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        if self.fenced.is_some() {
            return None;
        }
        let mine = [self.lazy.write_at, self.lazy.sync_at, self.retry_at, self.fetch_again_at];
        mine.into_iter().flatten().chain(self.core.next_deadline()).min()
    }

    /// Everything that is recorded so far goes to the log now, and nothing waits in the engine.
    pub(crate) fn hand_over_all(&mut self, now: Now, log: &dyn Log) {
        self.seq.urgent |= !self.seq.is_empty();
        self.handed = self.marks.written;
        self.hand_over(now, log);
    }

    /// Hands chunks to the log: full ones at once, the one being built when somebody waits for it
    /// and the log has nothing else to write. Begins a segment when the log wants one.
    pub(crate) fn hand_over(&mut self, now: Now, log: &dyn Log) {
        if self.fenced.is_some() || self.retry_at.is_some() {
            return;
        }
        while let Some(chunk) = self.refused.take().or_else(|| self.seq.take_full()) {
            if !self.append(now, log, chunk) {
                return;
            }
        }
        if self.seq.urgent && self.handed <= self.marks.written {
            self.lazy.write_at = None;
            if self.seq.newest.lazy > self.lazy.asked.max(self.marks.durable) {
                self.lazy.sync_at.get_or_insert(now.mono + SYNC_LAZY_AFTER);
            }
            if let Some(chunk) = self.seq.take()
                && !self.append(now, log, chunk)
            {
                return;
            }
        }
        if self.seq.is_empty() && self.wants_segment() {
            let catalog = self.core.catalog();
            self.rolled_at = self.seq.end() + 1;
            self.seq.open_segment(now.wall, catalog);
            self.awaited.sealed = true;
        } else if !self.seq.is_empty() && !self.seq.urgent {
            self.lazy.write_at.get_or_insert(now.mono + WRITE_LAZY_AFTER);
        }
    }

    fn wants_segment(&self) -> bool {
        self.marks.written >= self.rolled_at && (self.marks.want_roll || self.seq.index_is_large())
    }

    fn append(&mut self, now: Now, log: &dyn Log, (chunk, starts_segment): (Chunk, bool)) -> bool {
        let last = chunk.first + u64::from(chunk.entries) - 1;
        let bytes = chunk.body.len() as u64;
        match log.append(chunk, starts_segment) {
            Ok(()) => {
                self.handed = last;
                self.log_bytes += bytes;
                true
            }
            Err(AppendError::Full(chunk)) => {
                self.refused = Some((*chunk, starts_segment));
                self.retry_at = Some(now.mono + RETRY_FULL_AFTER);
                false
            }
            Err(AppendError::Fenced(why)) => {
                self.fence(why);
                false
            }
        }
    }

    /// Whom to wake.
    pub(crate) fn rings(&mut self) -> Rings {
        let (it, marks) = (&mut self.awaited, &self.marks);
        let upkeep = it.bytes.take_if(|at| *at <= self.log_bytes).is_some()
            | it.durable.take_if(|at| *at <= marks.durable).is_some()
            | std::mem::take(&mut it.sealed);
        let index = it.index.take_if(|at| *at <= marks.durable).is_some();
        let fetch = std::mem::take(&mut it.fetch);
        let close = it.closing;
        let next = self.next_deadline();
        let sleeping = &mut self.awaited.clock;
        let clock = next.is_some_and(|next| sleeping.take_if(|until| next < *until).is_some());
        Rings { clock, fetch, upkeep, index, close }
    }

    pub(crate) fn close_members(&mut self, why: Closed) {
        for (_, member) in self.members.drain() {
            self.wakes.wake(member.close(why));
        }
    }

    /// Nothing works from here on; everybody is told.
    pub(crate) fn fence(&mut self, why: Arc<str>) {
        if self.fenced.is_some() {
            return;
        }
        tracing::error!(%why, waiting = self.reveal.len(), "the engine is fenced");
        self.reveal.drain(&why, &mut self.wakes);
        self.close_members(Closed::Fenced);
        self.fetches.clear();
        self.fenced = Some(why);
    }
}

/// Nobody waits for what these record.
fn is_lazy(command: &Command) -> bool {
    matches!(
        command,
        Command::Ack(_)
            | Command::Settle(_, Settle::Release)
            | Command::Renew { .. }
            | Command::Leave { .. }
            | Command::Drain { .. }
    )
}

fn is_due(deadline: Option<u64>, now: Now) -> bool {
    deadline.is_some_and(|at| at <= now.mono)
}

fn note(notice: &Notice) {
    match notice {
        Notice::Parked { group, event, attempts, reason, blocking } => {
            let event = event.at.to_string();
            tracing::warn!(group, event, attempts, reason, blocking, "an event is parked");
        }
        Notice::Saturated { group, lanes, yes } => {
            tracing::warn!(group, lanes, saturated = yes, "unfinished lanes");
        }
        Notice::ClockJumped { by_ms } => tracing::warn!(by_ms, "the wall clock has jumped"),
    }
}
