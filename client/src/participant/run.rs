//! Running participants: joining their groups, handling what comes, and stopping in order.

use std::fmt;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::future::BoxFuture;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::work::Crew;
use super::{Participant, Probe};
use crate::{Bus, Closed, ErrorKind, SubscribeError};

/// Runs participants on a bus until they are stopped: an array or `Vec` of one type, a tuple of
/// several. All join before the first of them handles anything; then each has a task of its own.
///
/// When one ends by itself, the others are stopped in order, and what ended first is the answer: a
/// bus that closes is no error, a deleted group and a log that failed are.
pub fn run<P: Participants>(bus: &Bus, participants: P) -> Running {
    let mut parts = Vec::new();
    participants.add_to(bus, &mut parts);
    Running { parts, stop: None, going: None }
}

/// One or several participants; see [`run`].
pub trait Participants {
    #[doc(hidden)]
    fn add_to(self, bus: &Bus, parts: &mut Vec<Part>);
}

/// A participant whose state is forgotten, ready to join; in a test also again.
#[doc(hidden)]
pub struct Part {
    #[cfg(feature = "test")]
    pub(crate) name: Arc<str>,
    join: Box<Join>,
}

type Join = dyn Fn(Option<Arc<dyn Probe>>) -> Joining + Send + Sync;
type Joining = BoxFuture<'static, Result<Joined, RunError>>;

/// One that has joined; handles events until it is to stop.
type Joined = Box<dyn FnOnce(Stop) -> BoxFuture<'static, Result<Closed, RunError>> + Send>;

impl<S: Send + Sync + 'static> Participants for Participant<S> {
    fn add_to(self, bus: &Bus, parts: &mut Vec<Part>) {
        let bus = bus.clone();
        parts.push(Part {
            #[cfg(feature = "test")]
            name: Arc::clone(&self.name),
            join: Box::new(move |probe| Box::pin(join(self.clone(), bus.clone(), probe))),
        });
    }
}

impl<P: Participants, const N: usize> Participants for [P; N] {
    fn add_to(self, bus: &Bus, parts: &mut Vec<Part>) {
        self.into_iter().for_each(|it| it.add_to(bus, parts));
    }
}

impl<P: Participants> Participants for Vec<P> {
    fn add_to(self, bus: &Bus, parts: &mut Vec<Part>) {
        self.into_iter().for_each(|it| it.add_to(bus, parts));
    }
}

macro_rules! tuples {
    ($($name:ident)+) => {
        impl<$($name: Participants),+> Participants for ($($name,)+) {
            fn add_to(self, bus: &Bus, parts: &mut Vec<Part>) {
                #[expect(non_snake_case, reason = "a name for each place of the tuple")]
                let ($($name,)+) = self;
                $($name.add_to(bus, parts);)+
            }
        }
    };
}

tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);
tuples!(A B C D E F G);
tuples!(A B C D E F G H);

/// Participants that run when this is awaited; a future, to be spawned or joined with others.
///
/// Dropping it drops running handlers where they wait, soon after, which counts as an attempt for
/// each.
#[must_use = "nothing happens until this is awaited"]
pub struct Running {
    parts: Vec<Part>,
    stop: Option<BoxFuture<'static, ()>>,
    going: Option<BoxFuture<'static, Result<Closed, RunError>>>,
}

impl Running {
    /// Stops in order when `signal` is ready, such as `tokio::signal::ctrl_c()`: takes no new
    /// events, lets running handlers end and settle, gives back what was not begun.
    pub fn with_graceful_shutdown<F>(mut self, signal: F) -> Self
    where
        F: Future + Send + 'static,
    {
        self.stop = Some(Box::pin(async move { drop(signal.await) }));
        self
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("participants", &self.parts.len()).finish_non_exhaustive()
    }
}

impl Future for Running {
    type Output = Result<Closed, RunError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { parts, stop, going } = self.get_mut();
        let begin = || -> BoxFuture<'static, Self::Output> {
            let stop = stop.take().unwrap_or_else(|| Box::pin(pending()));
            Box::pin(all(std::mem::take(parts), stop))
        };
        going.get_or_insert_with(begin).as_mut().poll(cx)
    }
}

async fn all(parts: Vec<Part>, mut stop: BoxFuture<'static, ()>) -> Result<Closed, RunError> {
    let mut joined = Vec::new();
    for part in parts {
        let joining = (part.join)(None);
        joined.push(joining.await?);
    }
    let (stopping, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    for serve in joined {
        tasks.spawn(serve(Stop::at(stopped.clone())));
    }
    let mut first = None;
    loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                None => return first.unwrap_or(Ok(Closed::Left)),
                Some(ended) => {
                    let gone = |e: JoinError| Err(RunError::Gone(e.to_string()));
                    first.get_or_insert_with(|| ended.unwrap_or_else(gone));
                }
            },
            () = &mut stop, if !*stopping.borrow() => {}
        }
        // Whoever ended, or said so: now all do.
        stopping.send_replace(true);
    }
}

/// Resolves when it is time to stop.
pub(crate) struct Stop(BoxFuture<'static, ()>);

impl Stop {
    fn at(mut told: watch::Receiver<bool>) -> Self {
        // Without a sender there is nobody left to stop for.
        Self(Box::pin(async move { drop(told.wait_for(|told| *told).await) }))
    }

    pub(crate) fn as_mut(&mut self) -> Pin<&mut (dyn Future<Output = ()> + Send)> {
        self.0.as_mut()
    }
}

#[cfg(feature = "test")]
impl Part {
    /// Runs on the caller's task until it ends by itself; `probe` may step in.
    pub(crate) fn play(
        &self,
        probe: Arc<dyn Probe>,
    ) -> BoxFuture<'static, Result<Closed, RunError>> {
        let joining = (self.join)(Some(probe));
        Box::pin(async move { joining.await?(Stop(Box::pin(pending()))).await })
    }
}

async fn join<S: Send + Sync + 'static>(
    participant: Participant<S>,
    bus: Bus,
    probe: Option<Arc<dyn Probe>>,
) -> Result<Joined, RunError> {
    check(&participant)?;
    let failed = |why| RunError::Subscribe { participant: participant.name.to_string(), why };
    let contract = participant.contract();
    for used in contract.reads.iter().chain(&contract.emits) {
        bus.need_topic(used.topic).await.map_err(|why| failed(why.into()))?;
    }
    let subscription = participant.group(&bus).subscribe().await.map_err(failed)?;
    let (limit, name) = (participant.concurrency as usize, Arc::clone(&participant.name));
    let crew = Arc::new(Crew::new(participant, probe));
    let work = move |delivery| Arc::clone(&crew).work(delivery);
    Ok(Box::new(move |stop| {
        Box::pin(async move {
            match subscription.serve(limit, work, stop).await {
                why @ (Closed::Fenced | Closed::GroupDeleted) => {
                    Err(RunError::Ended { participant: name.to_string(), why })
                }
                asked => Ok(asked),
            }
        })
    }))
}

fn check<S>(participant: &Participant<S>) -> Result<(), RunError> {
    let name = || participant.name.to_string();
    if participant.handlers.is_empty() {
        return Err(RunError::NoHandlers { participant: name() });
    }
    let inbox = participant.inbox.as_ref().map(|it| it.tx_type());
    for (at, handler) in participant.handlers.iter().enumerate() {
        let ty = handler.reads.ty;
        if participant.handlers.iter().take(at).any(|it| it.reads.ty == ty) {
            return Err(RunError::TwoHandlers { participant: name(), ty });
        }
        (handler.check)(inbox).map_err(|why| RunError::Argument {
            participant: name(),
            ty,
            why,
        })?;
    }
    Ok(())
}

/// Why participants do not run. `Debug` is the sentence too: that is what a `main` shows that
/// returns it.
#[derive(Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RunError {
    /// It would never do anything.
    #[error("participant {participant:?} has no handler: say .on(..) or .compensate(..)")]
    NoHandlers {
        /// Its name.
        participant: String,
    },
    /// Which of them an event is for could not be said.
    #[error(
        "participant {participant:?} has two handlers for {ty}: give one of them to a participant of its own, or do both in one"
    )]
    TwoHandlers {
        /// Its name.
        participant: String,
        /// The type.
        ty: &'static str,
    },
    /// A handler asks for what this participant does not have.
    #[error("participant {participant:?} cannot call its handler for {ty}: {why}")]
    Argument {
        /// Its name.
        participant: String,
        /// The type that the handler is for.
        ty: &'static str,
        /// What is missing.
        why: String,
    },
    /// It cannot join its group.
    #[error("participant {participant:?}: {why}")]
    Subscribe {
        /// Its name.
        participant: String,
        /// Why.
        why: SubscribeError,
    },
    /// It has ended though nobody stopped it.
    #[error("participant {participant:?} has ended: {why}")]
    Ended {
        /// Its name.
        participant: String,
        /// Why.
        why: Closed,
    },
    /// Its task is gone: it panicked outside of any handler, or the runtime is shutting down.
    #[error("a participant's task has ended: {0}")]
    Gone(String),
}

impl fmt::Debug for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({})", self.code())
    }
}

impl RunError {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoHandlers { .. } => "no_handlers",
            Self::TwoHandlers { .. } => "two_handlers",
            Self::Argument { .. } => "handler_argument",
            Self::Subscribe { why, .. } => why.code(),
            Self::Ended { .. } => "participant_ended",
            Self::Gone(_) => "participant_gone",
        }
    }

    /// What one can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Subscribe { why, .. } => why.kind(),
            Self::Ended { why: Closed::GroupDeleted, .. } => ErrorKind::NotFound,
            Self::Ended { .. } | Self::Gone(_) => ErrorKind::Unavailable,
            _ => ErrorKind::Input,
        }
    }
}
