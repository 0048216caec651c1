//! The engine: a [`Core`] and a [`Log`], put together so that a command is
//! applied at once and its answer seen when it is safe. Handles and options are here.
//!
//! The publish path: `Engine::execute` here, `state.rs` (execute, stamp, hand over), `reveal.rs`.
//! The deliver path: `state.rs` (dispatch, output), `member.rs`.

mod close;
mod driver;
mod fetch;
mod indexing;
mod info;
mod keeper;
mod member;
mod open;
mod read;
mod reveal;
mod sagas;
mod sequence;
mod shared;
mod state;
mod ticket;
mod timeline;
mod upkeep;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::close::CloseReport;
use self::driver::Threads;
pub use self::fetch::FetchError;
use self::indexing::Indexing;
pub use self::indexing::{Exact, IndexInfo};
pub use self::info::BusInfo;
pub use self::keeper::Keeper;
pub use self::member::{Member, MemberEvent};
pub use self::read::{Range, Reader, StoredEvent};
pub use self::sagas::{Counted, Histories, History, Walk};
use self::shared::Shared;
#[cfg(feature = "index")]
pub(crate) use self::shared::message;
use self::state::State;
pub use self::ticket::{Outcomes, Stamped, Ticket};
pub use self::timeline::{GroupName, Look, SagaEvent, Story};
use crate::core::Core;
use crate::core::command::{Answer, Command};
use crate::core::refusal::Refusal;
use crate::core::types::{GroupId, TimerId, Token, TopicId};
use crate::disk::{Disk, RealDisk};
use crate::error::{EngineError, OpenError};
use crate::limits::Limits;
use crate::log::{
    Blobs, FileBlobs, FileLog, Gap, Log, LogOptions, MemBlobs, MemLog, Recovered, TailDropped,
};
use crate::time::{Clock, SystemClock};

/// How an engine is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Every bound.
    pub limits: Limits,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Threads do the work; without them, [`Engine::drive`] does.
    pub threads: bool,
    /// Seeds every decision that is left to chance.
    pub seed: u64,
    /// Keep an index of sagas and dead letters: in the directory, if this was built with the feature
    /// `index`; of a log that is not in a directory, in memory.
    pub index: bool,
    /// Go on although entries are lost that no checkpoint covers; recorded.
    pub accept_gap: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            clock: Arc::new(SystemClock::new()),
            threads: true,
            seed: fastrand::u64(..),
            index: false,
            accept_gap: false,
        }
    }
}

/// What an opening has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The log's random number.
    pub log_id: u128,
    /// The epoch that has begun.
    pub epoch: u32,
    /// The number of the next entry when it began.
    pub end: u64,
    /// Whether the last one was closed in order.
    pub clean: bool,
    /// What is missing in the log.
    pub gaps: Vec<Gap>,
    /// What of that no checkpoint covered, and was accepted.
    pub accepted: Vec<Gap>,
    /// What was cut off at the end.
    pub dropped: Option<TailDropped>,
    /// What could not be used or is not known, for people.
    pub notes: Vec<String>,
}

impl Opened {
    fn new(found: Recovered, accepted: Vec<Gap>, notes: Vec<String>) -> Self {
        Self {
            log_id: found.log_id,
            epoch: found.epoch,
            end: found.end,
            clean: found.clean,
            gaps: found.gaps,
            accepted,
            dropped: found.dropped,
            notes,
        }
    }
}

/// An open engine; cheap to clone. When the last handle and member are gone, its threads stop; what
/// was answered is in the log.
#[derive(Clone)]
pub struct Engine(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    threads: Threads,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("opened", &self.opened()).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine whose log lives in memory.
    ///
    /// # Errors
    /// See [`Engine::start`].
    pub fn memory(options: Options) -> Result<Self, OpenError> {
        let log = Arc::new(MemLog::new(options.seed));
        Self::start(log, Arc::new(MemBlobs::default()), options)
    }

    /// An engine whose log lives in this directory, which is made if it is missing.
    ///
    /// # Errors
    /// The directory is not ours, in use, or cannot be used; and see [`Engine::start`].
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let disk: Arc<dyn Disk> =
            Arc::new(RealDisk::open(dir).map_err(crate::log::OpenError::from)?);
        let log = FileLog::open(
            Arc::clone(&disk),
            LogOptions {
                accept_missing_segments: options.accept_gap,
                seed: options.seed,
                ..LogOptions::default()
            },
        )?;
        if options.threads {
            log.spawn(Arc::clone(&options.clock)).map_err(OpenError::Threads)?;
        }
        let indexing = (options.index && cfg!(feature = "index"))
            .then(|| Indexing::new(Some(dir.join("index"))));
        Self::start_with(Arc::new(log), Arc::new(FileBlobs::new(disk)), options, indexing)
    }

    /// An engine over this log, which nobody else uses. With `threads`, the log has threads of its
    /// own; without, [`Engine::drive`] also does the log's work ([`Log::step`]).
    ///
    /// # Errors
    /// The log cannot be claimed or replayed, or lacks what must not be lost.
    pub fn start(
        log: Arc<dyn Log>,
        blobs: Arc<dyn Blobs>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let indexing = options.index.then(|| Indexing::new(None));
        Self::start_with(log, blobs, options, indexing)
    }

    fn start_with(
        log: Arc<dyn Log>,
        blobs: Arc<dyn Blobs>,
        options: Options,
        indexing: Option<Indexing>,
    ) -> Result<Self, OpenError> {
        let threads = options.threads;
        let opened = open::open(&log, &blobs, &options, 1)?;
        let shared = Arc::new(Shared::new(log, blobs, options, opened, indexing));
        let waker = Arc::downgrade(&shared);
        shared.log.set_waker(Arc::new(move || {
            if let Some(shared) = waker.upgrade() {
                shared.moved();
            }
        }));
        let threads = match threads {
            true => Threads::start(&shared).map_err(OpenError::Threads)?,
            false => Threads::none(),
        };
        shared.moved();
        Ok(Self(Arc::new(Handle { shared, threads })))
    }

    /// What the last opening has found.
    #[must_use]
    pub fn opened(&self) -> Opened {
        self.0.shared.place().opened
    }

    /// A fresh id for an event. An engine without threads repeats itself: the same seed on the same
    /// log makes the same ids, in every epoch others.
    #[must_use]
    pub fn new_id(&self, now_ms: u64) -> String {
        match &self.0.shared.ids {
            Some(ids) => ids.next(now_ms),
            None => quadrille_proto::ids::new_id(now_ms, fastrand::u64(..)),
        }
    }

    /// The options it was opened with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.0.shared.options
    }

    /// Executes a command: it is applied when this returns, and the ticket answers when what the
    /// answer says is safe. Never waits; see [`Engine::admit`].
    pub fn execute(&self, command: Command) -> Ticket {
        self.run(command, 0)
    }

    /// Waits, in turn, until the engine's queue has room for a command of so many bytes
    /// (`queue_bytes`). Cancelling the wait changes nothing.
    pub async fn admit(&self, bytes: usize) -> Admission {
        let permits = self.permits(bytes);
        match Arc::clone(&self.0.shared.queue).acquire_many_owned(permits).await {
            Ok(permit) => Admission(permit),
            Err(_) => unreachable!("the queue is never closed"),
        }
    }

    /// Room in the queue, if there is some now and nobody waits for it.
    #[must_use]
    pub fn try_admit(&self, bytes: usize) -> Option<Admission> {
        let permits = self.permits(bytes);
        Arc::clone(&self.0.shared.queue).try_acquire_many_owned(permits).ok().map(Admission)
    }

    /// Executes a command that was admitted: it holds its room in the queue until it is answered.
    pub fn execute_admitted(&self, command: Command, admission: Admission) -> Ticket {
        let bytes = admission.0.num_permits();
        admission.0.forget();
        self.run(command, bytes)
    }

    fn run(&self, command: Command, bytes: usize) -> Ticket {
        let shared = &self.0.shared;
        // What needs no lock is done before it; who is refused then has still waited his turn.
        let facts = match &command {
            Command::Publish(it) => shared.facts(&it.events),
            Command::Step(it) => shared.facts(&it.events),
            _ => Vec::new(),
        };
        let deletes = matches!(command, Command::DeleteTopic { .. });
        let done = shared.section(|state, now| {
            let ticket = state.execute(now, command, facts, bytes);
            if deletes {
                shared.topics().clear();
            }
            ticket
        });
        match done {
            Ok(ticket) => ticket,
            Err((why, begun)) => {
                shared.queue.add_permits(bytes);
                let error = if begun { EngineError::unknown } else { EngineError::not_applied };
                Ticket::ready(Err(error(&why)))
            }
        }
    }

    fn permits(&self, bytes: usize) -> u32 {
        let most = self.0.shared.options.limits.queue_bytes.min(Semaphore::MAX_PERMITS);
        u32::try_from(bytes.min(most)).unwrap_or(u32::MAX)
    }

    /// Acknowledges deliveries.
    pub fn acks(&self, tokens: Vec<Token>) -> Ticket {
        self.execute(Command::Ack(tokens))
    }

    /// Answers when everything that was executed before is durable.
    pub fn flush(&self) -> Ticket {
        let shared = &self.0.shared;
        let ticket = shared.section(|state, now| {
            state.hand_over_all(now, &*shared.log);
            shared.log.sync_now();
            state.answer_when_all_is_durable()
        });
        ticket.unwrap_or_else(|(why, _)| Ticket::ready(Err(EngineError::unknown(&why))))
    }

    /// A topic's number.
    ///
    /// # Errors
    /// There is none of that name, or the engine is fenced.
    pub fn topic(&self, name: &str) -> Result<TopicId, EngineError> {
        // Every step asks for the topics it publishes to: not under the one lock each time.
        if let Some(topic) = self.0.shared.topics().get(name) {
            return Ok(*topic);
        }
        self.find(|core| {
            let topic = core.topic_id(name);
            let topic = topic.ok_or_else(|| Refusal::UnknownTopic(name.to_owned()))?;
            self.0.shared.topics().insert(name.to_owned(), topic);
            Ok(topic)
        })
    }

    /// The armed timer that will append this event, if there is one.
    #[must_use]
    pub fn timer_of(&self, topic: TopicId, source: &str, id: &str) -> Option<TimerId> {
        let found = self.0.shared.section(|state, _| state.core.timer_of(topic, source, id));
        found.ok().flatten()
    }

    /// A group's number.
    ///
    /// # Errors
    /// There is none of that name, or the engine is fenced.
    pub fn group(&self, name: &str) -> Result<GroupId, EngineError> {
        self.find(|core| core.group_id(name).ok_or_else(|| Refusal::UnknownGroup(name.to_owned())))
    }

    fn find<T>(&self, look: impl FnOnce(&Core) -> Result<T, Refusal>) -> Result<T, EngineError> {
        let found = self.0.shared.section(|state, _| look(&state.core));
        Ok(found.map_err(|(why, _)| EngineError::not_applied(&why))??)
    }

    /// Joins a group; at most `credit` events are handed out to the member at a time.
    ///
    /// # Errors
    /// There is no such group, it is being deleted, or the engine is fenced or shutting down.
    pub fn join(&self, group: &str, name: &str, credit: u32) -> Result<Member, EngineError> {
        let joined = self.0.shared.section(|state, now| {
            let unknown = || Refusal::UnknownGroup(group.to_owned());
            let group = state.core.group_id(group).ok_or_else(unknown)?;
            state.join(now, Command::Join { group, name: name.to_owned(), credit })
        });
        let joined = joined.map_err(|(why, _)| EngineError::not_applied(&why))?;
        let (id, mailbox) = joined?;
        Ok(Member::new(id, mailbox, self.clone()))
    }

    /// Reads something from core; it comes when all that it shows is safe.
    pub(crate) fn view<T>(&self, look: impl FnOnce(&Core) -> T) -> Stamped<T> {
        self.view_state(|state| look(&state.core))
    }

    fn view_state<T>(&self, look: impl FnOnce(&State) -> T) -> Stamped<T> {
        let viewed = self.0.shared.section(|state, _| {
            let value = look(state);
            (state.answer_read(), value)
        });
        match viewed {
            Ok((ticket, value)) => Stamped::new(ticket, Some(value)),
            Err((why, _)) => Stamped::new(Ticket::ready(Err(EngineError::not_applied(&why))), None),
        }
    }

    /// Reads events without a group, in pages; only what is revealed.
    #[must_use]
    pub fn read(&self, range: Range) -> Reader {
        Reader::new(Arc::clone(&self.0.shared), range)
    }

    /// Ends this opening as the death of the process would: what the log was not given is gone, and
    /// whoever waits is told that nobody knows. [`Engine::reopen`] comes back. For tests.
    pub fn crash(&self) {
        self.0.shared.look(|state| state.fence("the process has died".into()));
    }

    /// Comes back from a fence: claims the log again and rebuilds all from it. Members have been
    /// closed; they join again. Nothing happens if the engine works.
    ///
    /// # Errors
    /// As of [`Engine::start`]; the engine stays fenced and this can be called again.
    pub fn reopen(&self) -> Result<(), OpenError> {
        let shared = &self.0.shared;
        let mut upkeep = shared.upkeep();
        if shared.look(|state| state.closed) {
            return Err(OpenError::Closed);
        }
        let Some(opening) = shared.look(|s| s.fenced.is_some().then_some(s.opening + 1)) else {
            return Ok(());
        };
        let (state, place, fresh) =
            open::open(&shared.log, &shared.blobs, &shared.options, opening)?;
        *upkeep = fresh;
        drop(upkeep);
        shared.replace(state, place);
        Ok(())
    }
}

impl Drop for Handle {
    /// Stops the threads. What was recorded is given to the log first; what it makes of it after a
    /// drop without a close is its own business.
    fn drop(&mut self) {
        let log = &*self.shared.log;
        // A fenced engine has nothing to give.
        let _ = self.shared.section(|state, now| state.hand_over_all(now, log));
        self.threads.stop(&self.shared);
        self.shared.close_index();
        // Somebody may still read, and one of the log's threads be about to tell of its last work;
        // the next opening does not wait for them.
        log.abandon();
    }
}

/// Room in the engine's queue, given back when it is dropped or when its command is answered.
#[derive(Debug)]
pub struct Admission(OwnedSemaphorePermit);

/// A good answer that says nothing more.
const DONE: Outcomes = Ok(Answer::Done);
