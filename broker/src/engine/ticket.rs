//! The promise of an answer: [`Ticket`], and [`Stamped`] for what was read from core. What releases
//! them is in `reveal.rs`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use crate::core::command::Answer;
use crate::error::{EngineError, Outcome};

/// What a command came to.
pub type Outcomes = Result<Answer, EngineError>;

/// The answer to a command that is already applied; it comes when what it says is safe.
///
/// Dropping it changes nothing: the command is applied.
#[derive(Debug)]
#[must_use = "the answer says whether the command was applied and is safe"]
pub struct Ticket {
    inner: Inner,
    applied: bool,
}

#[derive(Debug)]
enum Inner {
    Ready(Option<Box<Outcomes>>),
    Waiting(oneshot::Receiver<Outcomes>),
}

impl Ticket {
    pub(crate) fn ready(answer: Outcomes) -> Self {
        Self { applied: answer.is_ok(), inner: Inner::Ready(Some(Box::new(answer))) }
    }

    /// Of a command that is `applied`, or refused.
    pub(crate) fn waiting(applied: bool) -> (oneshot::Sender<Outcomes>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self { applied, inner: Inner::Waiting(receiver) })
    }

    /// Whether the command was applied, before the answer may be seen. For libraries that keep
    /// their own books; what they show to anybody waits for the answer.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        self.applied
    }

    /// The answer, if it is there; once.
    pub fn try_get(&mut self) -> Option<Outcomes> {
        match &mut self.inner {
            Inner::Ready(answer) => answer.take().map(|answer| *answer),
            Inner::Waiting(receiver) => match receiver.try_recv() {
                Ok(answer) => Some(answer),
                Err(oneshot::error::TryRecvError::Empty) => None,
                Err(oneshot::error::TryRecvError::Closed) => Some(Err(gone())),
            },
        }
    }
}

impl Future for Ticket {
    type Output = Outcomes;

    /// # Panics
    /// If polled after it has answered.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcomes> {
        match &mut self.inner {
            Inner::Ready(answer) => Poll::Ready(*answer.take().expect("a ticket answers once")),
            Inner::Waiting(receiver) => {
                let answer = ready!(Pin::new(receiver).poll(cx));
                Poll::Ready(answer.unwrap_or_else(|_| Err(gone())))
            }
        }
    }
}

fn gone() -> EngineError {
    EngineError::Unavailable { why: "the engine was dropped".into(), outcome: Outcome::Unknown }
}

/// What was read from core, as soon as all that it shows is safe.
#[derive(Debug)]
#[must_use = "a future that holds what was read"]
pub struct Stamped<T> {
    ticket: Ticket,
    value: Option<T>,
}

impl<T> Stamped<T> {
    pub(crate) fn new(ticket: Ticket, value: Option<T>) -> Self {
        Self { ticket, value }
    }

    /// What was read, if it may be seen; once.
    pub fn try_get(&mut self) -> Option<Result<T, EngineError>> {
        match self.ticket.try_get()? {
            Ok(_) => self.value.take().map(Ok),
            Err(e) => Some(Err(e)),
        }
    }
}

impl<T: Unpin> Future for Stamped<T> {
    type Output = Result<T, EngineError>;

    /// # Panics
    /// If polled after it has answered.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.ticket).poll(cx));
        Poll::Ready(answer.map(|_| self.value.take().expect("a good answer has a value")))
    }
}
