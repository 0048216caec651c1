//! The seam between the API and whatever serves it. Today that is an engine in this process; a
//! connection becomes a second variant of each enum here. This folder alone names the broker;
//! nothing that it takes from there shows in the public API, constructors from an engine excepted.

use std::fmt;
use std::sync::Weak;
use std::task::{Context, Poll};

pub(crate) use quadrille_broker::core::command::{
    Answer, Command, NewEvent, Publish, Receipt, Receipts, Renewal, Resolve, Settle, StartAt, Step,
};
pub(crate) use quadrille_broker::core::durable::Loss;
pub(crate) use quadrille_broker::core::info::{DeadInfo, Gauge, GroupInfo, MemberInfo};
pub(crate) use quadrille_broker::core::output::Closed as MemberClosed;
pub(crate) use quadrille_broker::core::refusal::Refusal;
pub(crate) use quadrille_broker::core::types::{
    Delivered, EventRef, Position, Run, RunId, SupersededEvent, Token,
};
pub(crate) use quadrille_broker::core::whereabouts::{Behind, Idle, Wait, Whereabouts};
pub(crate) use quadrille_broker::engine::{
    Admission, BusInfo, Engine, Exact, FetchError, Histories, IndexInfo, Keeper, Look, Member,
    MemberEvent, Options, Range, Reader, SagaEvent, Story, Ticket, Walk,
};
pub(crate) use quadrille_broker::error::{EngineError as Failure, Outcome as FailureOutcome};
pub(crate) use quadrille_broker::index::{DeadRow, Edge, OddRow, SagaRow};
#[cfg(feature = "json")]
pub(crate) use quadrille_broker::limits::Limits;
pub(crate) use quadrille_broker::log::{Gap, TailDropped};
#[cfg(feature = "test")]
pub(crate) use quadrille_broker::log::{Log, MemBlobs, MemLog, Read as LogRead};
#[cfg(feature = "test")]
pub(crate) use quadrille_broker::time::Clock;
pub(crate) use quadrille_broker::time::Now;
pub(crate) use quadrille_broker::upkeep::{Blocker, Pin, Place};

use tokio::task::JoinError;

use crate::timeline::Timeline;
use crate::{Event, Outcome, ReadError, StoredEvent, TopicOptions};

impl From<FailureOutcome> for Outcome {
    fn from(it: FailureOutcome) -> Self {
        match it {
            FailureOutcome::NotApplied => Self::NotApplied,
            FailureOutcome::Unknown => Self::Unknown,
        }
    }
}

/// What a bus talks to.
#[derive(Clone)]
pub(crate) enum Link {
    /// An engine in this process.
    Embedded(Engine),
}

impl Link {
    pub(crate) fn now(&self) -> Now {
        let Self::Embedded(engine) = self;
        engine.options().clock.now()
    }

    /// Gives an event what every event has: an id and a time, if it has none.
    pub(crate) fn seal(&self, event: &mut Event, wall: u64) {
        let Self::Embedded(engine) = self;
        event.seal_with(wall, |wall| engine.new_id(wall));
    }

    /// What the bus takes at most.
    #[cfg(feature = "json")]
    pub(crate) fn limits(&self) -> &Limits {
        let Self::Embedded(engine) = self;
        &engine.options().limits
    }

    /// Of the log that is behind it; derived ids depend on it.
    pub(crate) fn log_id(&self) -> u128 {
        let Self::Embedded(engine) = self;
        engine.opened().log_id
    }

    pub(crate) fn topic(&self, name: &str) -> Result<u32, Failure> {
        let Self::Embedded(engine) = self;
        engine.topic(name)
    }

    /// The armed timer that will append this event to a topic, if there are both.
    #[cfg(feature = "json")]
    pub(crate) fn timer_of(&self, topic: &str, source: &str, id: &str) -> Option<u64> {
        let Self::Embedded(engine) = self;
        engine.timer_of(engine.topic(topic).ok()?, source, id)
    }

    /// A topic's number. One that is missing is created with the default options: as of now, and
    /// durable before anything that is published to it. A creation that was refused is the inner
    /// error: it answers why, when that may be seen.
    pub(crate) fn topic_or_create(&self, name: &str) -> Result<Result<u32, Ticket>, Failure> {
        match self.topic(name) {
            Err(Failure::Refused(Refusal::UnknownTopic(_))) => {}
            known => return known.map(Ok),
        }
        let config = TopicOptions::default().into();
        let created = self.execute(Command::CreateTopic { name: name.to_owned(), config });
        // Refused or not: somebody else may have been faster.
        match self.topic(name) {
            Err(_) if !created.is_applied() => Ok(Err(created)),
            known => known.map(Ok),
        }
    }

    pub(crate) fn group(&self, name: &str) -> Result<u32, Failure> {
        let Self::Embedded(engine) = self;
        engine.group(name)
    }

    pub(crate) async fn info(&self) -> Result<BusInfo, Failure> {
        let Self::Embedded(engine) = self.clone();
        // It asks the disk for its room.
        self.blocking(move || engine.info()).await.map_err(|e| gone(&e))?.await
    }

    pub(crate) async fn group_info(&self, group: u32) -> Result<GroupInfo, Failure> {
        let Self::Embedded(engine) = self;
        let unknown = || Refusal::UnknownGroup(format!("number {group}"));
        Ok(engine.group_info(group).await?.ok_or_else(unknown)?)
    }

    pub(crate) async fn dead_letters(&self, group: u32) -> Result<Vec<DeadInfo>, Failure> {
        let Self::Embedded(engine) = self;
        engine.dead_letters(group).await
    }

    /// Executes a command: it is applied when this returns.
    pub(crate) fn execute(&self, command: Command) -> Ticket {
        let Self::Embedded(engine) = self;
        engine.execute(command)
    }

    /// Room in the queue for a command of so many bytes, if there is some at once.
    pub(crate) fn try_admit(&self, bytes: usize) -> Option<Admission> {
        let Self::Embedded(engine) = self;
        engine.try_admit(bytes)
    }

    /// Waits for room in the queue.
    pub(crate) fn admit(&self, bytes: usize) -> impl Future<Output = Admission> + Send + use<> {
        let Self::Embedded(engine) = self.clone();
        async move { engine.admit(bytes).await }
    }

    pub(crate) fn execute_admitted(&self, command: Command, admission: Admission) -> Ticket {
        let Self::Embedded(engine) = self;
        engine.execute_admitted(command, admission)
    }

    pub(crate) fn join(&self, group: &str, name: &str, credit: u32) -> Result<Seat, Failure> {
        let Self::Embedded(engine) = self;
        engine.join(group, name, credit).map(Seat::Embedded)
    }

    /// Executes a command whose answer nobody is there to hear.
    pub(crate) fn tell(&self, command: Command) {
        drop(self.execute(command));
    }

    pub(crate) fn settle(&self, token: Token, how: Settle) -> Ticket {
        self.execute(Command::Settle(token, how))
    }

    pub(crate) fn read(&self, range: Range) -> Reader {
        let Self::Embedded(engine) = self;
        engine.read(range)
    }

    /// The next events of a reader; none at the end. Blocks.
    pub(crate) fn next_page(&self, reader: &mut Reader) -> Result<Vec<StoredEvent>, ReadError> {
        let Self::Embedded(engine) = self;
        let page = reader.next_page().map_err(|e| unread(&e))?;
        let stored = page.into_iter().map(|it| StoredEvent {
            topic: engine.topic_name(it.event.topic).unwrap_or_default(),
            offset: it.event.offset,
            position: it.event.at.into(),
            time: it.time,
            turn: it.turn,
            bytes: it.bytes,
        });
        Ok(stored.collect())
    }

    /// A saga as it stands, as of one moment.
    pub(crate) async fn timeline(&self, saga: &str) -> Result<Timeline, Failure> {
        let Self::Embedded(engine) = self;
        let id = saga.to_owned();
        let mut story = self
            .aside(move |engine| {
                let mut story = engine.story(&id);
                story.read().map(|()| story)
            })
            .await?;
        let mut left = LOOKS;
        let (story, look, known) = loop {
            let look = engine.look(&story).await?;
            left -= 1;
            // A saga that is never quiet is told as of the last look.
            let told = self.aside(move |engine| {
                story.read()?;
                if left > 0 && !story.is_seen_by(&look) {
                    return Ok::<_, FetchError>(Err(story));
                }
                story.cut(&look);
                let known = engine.histories(&story, &look);
                Ok(Ok((story, look, known)))
            });
            match told.await? {
                Ok(told) => break told,
                Err(not_all) => story = not_all,
            }
        };
        Ok(Timeline::new(saga, &story.events, story.more, &look, known.as_ref()))
    }

    /// A walk over sagas.
    pub(crate) fn walk(&self, newest: bool, open: bool) -> Walk {
        let Self::Embedded(engine) = self;
        engine.walk(newest, open)
    }

    /// The next sagas of a walk.
    pub(crate) async fn walk_on(
        &self,
        mut walk: crate::timeline::Walk,
        max: usize,
    ) -> Result<(crate::timeline::Walk, Vec<String>), Failure> {
        self.aside(move |_| {
            let found = match &mut walk {
                crate::timeline::Walk::Log(walk) => walk.next(max),
                crate::timeline::Walk::Of(sagas) => Ok(sagas.take(max).collect()),
            };
            found.map(|found| (walk, found))
        })
        .await
    }

    /// What the index has counted of a saga, if it knows all of it.
    pub(crate) async fn saga_row(
        &self,
        saga: &str,
    ) -> Result<Option<(SagaRow, Vec<String>)>, Failure> {
        let saga = saga.to_owned();
        let row = self.aside(move |engine| fine(engine.saga_row(&saga))).await?;
        Ok(row.filter(|it| it.whole).and_then(|it| it.value))
    }

    /// Unresolved dead letters of all groups.
    pub(crate) async fn all_dead_letters(&self) -> Result<(Vec<(String, DeadInfo)>, u64), Failure> {
        let Self::Embedded(engine) = self;
        engine.all_dead_letters().await
    }

    /// All dead letters that the index knows.
    pub(crate) async fn dead_rows(&self) -> Result<Option<Exact<Vec<DeadRow>>>, Failure> {
        self.aside(|engine| fine(engine.dead_rows())).await
    }

    /// Which types have led to which.
    pub(crate) async fn edges(&self) -> Result<Option<Exact<Vec<Edge>>>, Failure> {
        self.aside(|engine| fine(engine.edges())).await
    }

    /// The event at a place, and where it is for the groups.
    pub(crate) async fn story_of(&self, at: Position) -> Result<ToldStory, Failure> {
        let Self::Embedded(engine) = self;
        let story = self.aside(move |engine| engine.story_of(at)).await?;
        let look = engine.look(&story).await?;
        self.aside(move |engine| {
            let known = engine.histories(&story, &look);
            fine((story, look, known))
        })
        .await
    }

    /// Looks for an event of a group by its id.
    pub(crate) async fn find_event(
        &self,
        group: u32,
        id: String,
    ) -> Result<Option<Position>, Failure> {
        self.aside(move |engine| engine.find_event(group, &id)).await
    }

    /// Runs what reads files where that harms nobody: an engine without threads has nobody to harm.
    async fn aside<T: Send + 'static, E: fmt::Display + Send + 'static>(
        &self,
        work: impl FnOnce(&Engine) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Failure> {
        let Self::Embedded(engine) = self.clone();
        let done = self.blocking(move || work(&engine)).await.map_err(|e| gone(&e))?;
        done.map_err(|e| unread(&e))
    }

    /// Runs what may block, on the runtime's threads for that; here, if nothing has threads.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        match self.has_threads() {
            true => blocking(work).await,
            false => Ok(work()),
        }
    }

    /// Whether anything happens on other threads than the caller's.
    pub(crate) fn has_threads(&self) -> bool {
        let Self::Embedded(engine) = self;
        engine.options().threads
    }

    /// The number of the log's next entry.
    #[cfg(feature = "test")]
    pub(crate) fn end(&self) -> u64 {
        let Self::Embedded(engine) = self;
        engine.end()
    }

    /// Answers when all that was executed before is durable.
    pub(crate) fn flush(&self) -> Ticket {
        let Self::Embedded(engine) = self;
        engine.flush()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

/// A member's place in its group; given up when dropped.
#[derive(Debug)]
pub(crate) enum Seat {
    /// At an engine in this process.
    Embedded(Member),
}

impl Seat {
    /// The next thing that comes to this member.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<MemberEvent> {
        let Self::Embedded(member) = self;
        member.poll_next(cx)
    }

    /// Whose `tick` is to be called.
    pub(crate) fn keep(&self, keeper: Weak<dyn Keeper>) {
        let Self::Embedded(member) = self;
        member.keep(keeper);
    }

    /// Asks for a tick within a millisecond.
    pub(crate) fn tick_soon(&self) {
        let Self::Embedded(member) = self;
        member.tick_soon();
    }

    pub(crate) fn renew(&self, link: &Link, runs: Vec<Renewal>) {
        let Self::Embedded(member) = self;
        link.tell(Command::Renew { member: member.id(), runs })
    }

    /// Gives back what user code has not seen; nothing more is handed out to this member.
    pub(crate) fn drain(&self, link: &Link) {
        let Self::Embedded(member) = self;
        link.tell(Command::Drain { member: member.id() })
    }
}

/// Runs what may block on the runtime's threads for that.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    tokio::task::spawn_blocking(work).await
}

/// How often a saga is looked at that goes on meanwhile.
const LOOKS: u32 = 8;

/// What cannot fail.
fn fine<T>(it: T) -> Result<T, std::convert::Infallible> {
    Ok(it)
}

/// Events, where they are, and how they were dealt with.
pub(crate) type ToldStory = (Story, Look, Option<Exact<Histories>>);

/// Something could not be read.
fn unread(error: &dyn fmt::Display) -> Failure {
    let why = error.to_string().into();
    Failure::Unavailable { why, outcome: FailureOutcome::NotApplied }
}

/// The runtime ended before the work did, or the work panicked.
pub(crate) fn gone(error: &JoinError) -> Failure {
    Failure::Unavailable { why: error.to_string().into(), outcome: FailureOutcome::Unknown }
}
