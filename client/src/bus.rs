//! The bus: opening, closing, topics, and the way to everything else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::dead_letters::DeadLetterQuery;
use crate::delivery::millis;
use crate::group::Group;
#[cfg(feature = "json")]
use crate::link::Failure;
use crate::link::{Command, Engine, Link, Options, blocking, gone};
use crate::publish::Topic;
use crate::timeline::{Edge, EventAt, SagaQuery, Timeline, Why};
use crate::{
    AdminError, BusInfo, DeadLetter, GroupInfo, Position, Read, ReadError, Resolve, TimerId,
    TopicOptions,
};

/// An event bus. Cheap to clone: all clones are one bus.
///
/// Dropping the last clone, topic and subscription closes it without waiting: what was acknowledged
/// is safe, and the next opening takes a little longer. [`Bus::close`] is the orderly way.
#[derive(Clone, Debug)]
pub struct Bus {
    link: Link,
}

impl Bus {
    /// A bus that lives in memory and ends with the process.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn memory() -> Result<Self, OpenError> {
        Self::open_engine(|| Engine::memory(Default::default())).await
    }

    /// A bus in a directory, which is created if it is missing. One process at a time has it open.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(dir: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(dir, OpenOptions::default()).await
    }

    /// A bus in a directory, opened as `options` say.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = std::env::temp_dir().join(format!("quadrille-open-with-{}", std::process::id()));
    /// use quadrille::{Bus, OpenOptions};
    ///
    /// let options = OpenOptions { accept_gap: true, ..OpenOptions::default() };
    /// let bus = Bus::open_with(&dir, options).await?;
    /// for loss in bus.info().await?.losses {
    ///     eprintln!("{loss}");
    /// }
    /// # bus.close(std::time::Duration::ZERO).await?;
    /// # std::fs::remove_dir_all(&dir)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open_with(dir: impl AsRef<Path>, options: OpenOptions) -> Result<Self, OpenError> {
        let dir: PathBuf = dir.as_ref().into();
        let OpenOptions { accept_gap, index } = options;
        if index && !cfg!(feature = "index") {
            return Err(OpenError::NoIndex);
        }
        let options = Options { accept_gap, index, ..Options::default() };
        Self::open_engine(move || Engine::open(&dir, options)).await
    }

    /// A bus at an address: `memory:`, or `file:` and a directory.
    ///
    /// # Errors
    /// Another address; see [`OpenError`].
    pub async fn at(address: &str) -> Result<Self, OpenError> {
        match address.split_once(':') {
            Some(("memory", "")) => Self::memory().await,
            Some(("file", dir)) if !dir.is_empty() => Self::open(dir).await,
            _ => Err(OpenError::BadAddress { address: address.to_owned() }),
        }
    }

    /// A bus on an engine that was opened with options of its own. Embedded buses only.
    #[must_use]
    pub fn on(engine: Engine) -> Self {
        Self { link: Link::Embedded(engine) }
    }

    /// Stops handing out, waits up to `deadline` for what is in handlers' hands, gives the rest
    /// back as it came, and closes the log, so that the next opening is quick. Subscriptions end.
    /// How many deliveries were given back is the answer.
    ///
    /// # Errors
    /// The bus was not available; what was acknowledged is safe all the same.
    pub async fn close(&self, deadline: Duration) -> Result<usize, AdminError> {
        let Link::Embedded(engine) = self.link.clone();
        let closed = self.link.blocking(move || engine.close(millis(deadline))).await;
        Ok(closed.map_err(|e| gone(&e))??.released)
    }

    /// Comes back after a failure of the disk: reads the log again and goes on. Nothing happens to
    /// a bus that works. Subscriptions have ended and are to be made again.
    ///
    /// # Errors
    /// See [`OpenError`]; it can be tried again.
    pub async fn reopen(&self) -> Result<(), OpenError> {
        let Link::Embedded(engine) = self.link.clone();
        self.link.blocking(move || engine.reopen()).await??;
        Ok(())
    }

    /// Waits until everything that was done before is durable: acks, and publishes to `written`
    /// topics.
    ///
    /// # Errors
    /// The bus is not available.
    pub async fn flush(&self) -> Result<(), AdminError> {
        self.link.flush().await?;
        Ok(())
    }

    /// The bus at a glance: what opening it found, everything that was ever lost, what keeps the
    /// log from getting shorter, and what is used of every limit.
    ///
    /// # Errors
    /// The bus is not available.
    pub async fn info(&self) -> Result<BusInfo, AdminError> {
        Ok(self.link.info().await?.into())
    }

    /// A topic to publish to. Whether it exists turns out then.
    #[must_use]
    pub fn topic(&self, name: &str) -> Topic {
        Topic::new(self.link.clone(), name)
    }

    /// Creates a topic, synced and with the default retention, unless it is there.
    ///
    /// # Errors
    /// A name that is not allowed; a topic of that name with another durability.
    pub async fn create_topic(&self, name: &str) -> Result<(), AdminError> {
        self.create_topic_with(name, TopicOptions::default()).await
    }

    /// Creates a topic, unless it is there with the same options.
    ///
    /// # Errors
    /// A name or options that are not allowed; a topic of that name with other options.
    pub async fn create_topic_with(
        &self,
        name: &str,
        options: TopicOptions,
    ) -> Result<(), AdminError> {
        let command = Command::CreateTopic { name: name.to_owned(), config: options.into() };
        self.link.execute(command).await?;
        Ok(())
    }

    /// Deletes a topic and its events. `discard` also if groups still need them.
    ///
    /// # Errors
    /// There is no such topic; groups need it.
    pub async fn delete_topic(&self, name: &str, discard: bool) -> Result<(), AdminError> {
        let topic = self.link.topic(name)?;
        self.link.execute(Command::DeleteTopic { topic, discard }).await?;
        Ok(())
    }

    /// Disarms a timer.
    ///
    /// # Errors
    /// It has fired, was cancelled, or never was.
    pub async fn cancel_timer(&self, timer: TimerId) -> Result<(), AdminError> {
        self.link.execute(Command::CancelTimer { timer: timer.0 }).await?;
        Ok(())
    }

    /// A group: to subscribe to it, or to look at it and manage it.
    pub fn group(&self, name: &str) -> Group {
        Group::new(self.link.clone(), name)
    }

    /// All groups, as operators see them, in the order of their creation.
    ///
    /// # Errors
    /// The bus is not available.
    pub async fn groups(&self) -> Result<Vec<GroupInfo>, AdminError> {
        let info = self.link.info().await?;
        Ok(info.groups.into_iter().map(GroupInfo::from).collect())
    }

    /// Reads a topic without a group: from its first event to what is there now, unless it is told
    /// otherwise.
    pub fn read(&self, topic: &str) -> Read {
        Read::topic(self.link.clone(), topic)
    }

    /// Reads all events of a saga, in all topics, in their order.
    pub fn saga(&self, saga: &str) -> Read {
        Read::saga(self.link.clone(), saga)
    }

    /// A saga as it stands: its events, what caused what, and where each of them is for each group.
    /// Prints as a tree.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use quadrille::{Bus, Event};
    ///
    /// let bus = Bus::memory().await?;
    /// bus.create_topic("orders").await?;
    /// let order = Event::new("order.created").source("order").saga("order-17");
    /// bus.topic("orders").publish(order).await?;
    /// let timeline = bus.timeline("order-17").await?;
    /// assert_eq!(timeline.events[0].ty, "order.created");
    /// println!("{timeline}");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The log cannot be read; the bus is not available.
    pub async fn timeline(&self, saga: &str) -> Result<Timeline, ReadError> {
        Ok(self.link.timeline(saga).await?)
    }

    /// Where an event is for a group, and what it waits for. Prints as a sentence. An event is named
    /// by its place in the log, or by its id, which takes longer to find.
    ///
    /// # Errors
    /// There is no such group or event; the log cannot be read.
    pub async fn why(&self, group: &str, event: impl Into<EventAt>) -> Result<Why, ReadError> {
        let number = self.link.group(group)?;
        let event = event.into();
        let unknown = || ReadError::UnknownEvent {
            event: match &event {
                EventAt::Position(at) => at.to_string(),
                EventAt::Id(id) => format!("{id:?}"),
            },
            group: group.to_owned(),
        };
        let at = match &event {
            EventAt::Position(at) => Some((*at).into()),
            EventAt::Id(id) => self.link.find_event(number, id.clone()).await?,
        };
        let told = self.link.story_of(at.ok_or_else(unknown)?).await?;
        let event = told.0.events.first().ok_or_else(unknown)?;
        Why::new(group, event, &told)
            .ok_or_else(|| ReadError::UnknownGroup { group: group.to_owned() })
    }

    /// Which sagas there are, each with how it stands: say `needs_attention()`, `open()` or nothing,
    /// and await it.
    pub fn sagas(&self) -> SagaQuery {
        SagaQuery::new(self.link.clone())
    }

    /// What the groups could not process: say which, and await it.
    pub fn dead_letters_of_all(&self) -> DeadLetterQuery {
        DeadLetterQuery::new(self.link.clone())
    }

    /// Which types of events have led to which, most often first, and up to which place in the log
    /// that is counted; `None` if it takes an index and there is none, or it is not ready.
    ///
    /// # Errors
    /// The bus is not available.
    pub async fn choreography(&self) -> Result<Option<(Vec<Edge>, Position)>, ReadError> {
        let edges = self.link.edges().await?;
        let edge = |it: crate::link::Edge| Edge { from: it.from, to: it.to, count: it.count };
        Ok(edges.map(|it| {
            let to = Position { entry: it.to, index: 0 };
            (it.value.into_iter().map(edge).collect(), to)
        }))
    }

    /// What a group could not process; see [`Group::dead_letters`].
    ///
    /// # Errors
    /// There is no such group.
    pub async fn dead_letters(&self, group: &str) -> Result<Vec<DeadLetter>, AdminError> {
        self.group(group).dead_letters().await
    }

    /// Resolves a dead letter of a group: the event at this place in the log.
    pub fn resolve(&self, group: &str, position: Position) -> Resolve {
        Resolve::new(self.link.clone(), group, position)
    }

    /// Creates a topic with the default options if it is not there.
    #[cfg(feature = "json")]
    pub(crate) async fn need_topic(&self, name: &str) -> Result<(), Failure> {
        match self.link.topic_or_create(name)? {
            Ok(_) => Ok(()),
            Err(refused) => refused.await.map(drop),
        }
    }

    async fn open_engine(
        open: impl FnOnce() -> Result<Engine, quadrille_broker::error::OpenError> + Send + 'static,
    ) -> Result<Self, OpenError> {
        Ok(Self::on(blocking(open).await??))
    }
}

/// How a bus in a directory is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Go on although entries of the log are lost that no checkpoint covers: what they settled
    /// comes again, what they created is gone. Without it, such a log does not open. What was
    /// accepted is recorded, and listed by [`Bus::info`].
    pub accept_gap: bool,
    /// Keep an index of sagas and dead letters in the directory's folder `index`: timelines are
    /// found without looking through the whole log, and tell what is long over. It reads the log
    /// behind everybody's back, at its ease, and may be deleted at any time the bus is closed.
    /// Needs the feature `index`.
    pub index: bool,
}

/// Why a bus does not open.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// An address that is none.
    #[error("{address:?} is not the address of a bus; there are memory: and file:<directory>")]
    BadAddress {
        /// As given.
        address: String,
    },
    /// An index was asked for that is not there.
    #[error("this program was built without an index: build quadrille with the feature `index`")]
    NoIndex,
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] quadrille_broker::error::OpenError),
    /// The runtime is shutting down.
    #[error("the runtime is shutting down: {0}")]
    Runtime(#[from] tokio::task::JoinError),
}
