//! A member of a group as its library holds it: a queue of runs with a waker. What is handed out
//! and when is core's.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use super::Engine;
use super::keeper::{Keeper, Kept};
use super::shared::Rings;
use super::ticket::Ticket;
use crate::core::command::Command;
use crate::core::output::Closed;
use crate::core::types::{MemberId, Run, RunId, Token};

/// What comes to a member.
#[derive(Clone, Debug)]
pub enum MemberEvent {
    /// Events to work on.
    Run(Run),
    /// These deliveries of a run are no longer the member's: stop working on them. The run itself
    /// may never have come.
    LeaseLost {
        /// The run.
        run: RunId,
        /// Places in it.
        indexes: Vec<u32>,
    },
    /// The member is out. Nothing comes after this.
    Closed(Closed),
}

/// One member of one group. Dropping it leaves the group: nothing that it was handed counts as
/// started; [`Member::leave`] says what did.
pub struct Member {
    id: MemberId,
    mailbox: Arc<Mailbox>,
    engine: Engine,
    kept: OnceLock<Arc<Kept>>,
}

impl Member {
    pub(super) fn new(id: MemberId, mailbox: Arc<Mailbox>, engine: Engine) -> Self {
        Self { id, mailbox, engine, kept: OnceLock::new() }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// The next thing that comes to it; after [`MemberEvent::Closed`], that again and again.
    /// One task polls a member.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<MemberEvent> {
        let mut inner = self.mailbox.lock();
        match inner.next() {
            Some(event) => Poll::Ready(event),
            None => {
                inner.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The next thing that is already here.
    #[must_use]
    pub fn try_next(&self) -> Option<MemberEvent> {
        self.mailbox.lock().next()
    }

    /// Whom to call for this member when it is time, which is soon; the first one counts.
    pub fn keep(&self, keeper: Weak<dyn Keeper>) {
        self.kept.get_or_init(|| self.engine.0.shared.keepers.add(keeper));
        self.engine.0.shared.bells.ring(Rings::CLOCK);
    }

    /// Asks for a call of its keeper within a millisecond.
    pub fn tick_soon(&self) {
        let shared = &self.engine.0.shared;
        if let Some(kept) = self.kept.get()
            && kept.at(shared.now().mono + 1)
        {
            shared.bells.ring(Rings::CLOCK);
        }
    }

    /// Leaves the group. What user code has seen counts as an attempt; all else comes back as new.
    pub fn leave(self, started: Vec<Token>) -> Ticket {
        self.mailbox.close(Closed::Left);
        self.engine.execute(Command::Leave { member: self.id, started })
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.mailbox.lock().closed.is_none() {
            let _answered_to_nobody =
                self.engine.execute(Command::Leave { member: self.id, started: Vec::new() });
        }
    }
}

/// The queue behind a [`Member`].
#[derive(Debug, Default)]
pub(crate) struct Mailbox(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    queue: VecDeque<MemberEvent>,
    closed: Option<Closed>,
    waker: Option<Waker>,
}

impl Mailbox {
    /// Nothing that runs under this lock can panic halfway.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds something; whom to wake.
    pub(crate) fn push(&self, event: MemberEvent) -> Option<Waker> {
        let mut inner = self.lock();
        if inner.closed.is_some() {
            return None;
        }
        inner.queue.push_back(event);
        inner.waker.take()
    }

    /// Ends it; what it has not taken yet is no longer its own. Whom to wake.
    pub(crate) fn close(&self, why: Closed) -> Option<Waker> {
        let mut inner = self.lock();
        if inner.closed.is_none() {
            inner.closed = Some(why);
            inner.queue.clear();
        }
        inner.waker.take()
    }
}

impl Inner {
    fn next(&mut self) -> Option<MemberEvent> {
        self.queue.pop_front().or_else(|| self.closed.map(MemberEvent::Closed))
    }
}
