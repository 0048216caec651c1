//! What waits to be seen: two queues, one for each watermark, and what is released at once after
//! the lock is given back. Nothing here decides a stamp; see `state.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use tokio::sync::oneshot;

use super::ticket::{Outcomes, Ticket};
use crate::error::EngineError;

/// When something may be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// When this entry is durable.
    Durable(u64),
    /// When this entry is written.
    Written(u64),
    /// When the first is durable and the second is written.
    Both(u64, u64),
}

/// An answer that waits, and the bytes of the queue that its command holds.
struct Waiter {
    to: oneshot::Sender<Outcomes>,
    answer: Outcomes,
    bytes: usize,
}

/// The two queues. Stamps rise in each; one that comes late waits for those before it.
#[derive(Default)]
pub(crate) struct Reveal {
    durable: VecDeque<(u64, u64, Waiter)>,
    written: VecDeque<(u64, Waiter)>,
    at: (u64, u64),
}

/// What is to be done after the lock is given back.
#[derive(Default)]
pub(crate) struct Wakes {
    answers: Vec<(oneshot::Sender<Outcomes>, Outcomes)>,
    wakers: Vec<Waker>,
    /// Bytes that have left the queue.
    pub(crate) bytes: usize,
}

impl Reveal {
    /// How far the log was at the last [`Reveal::release`].
    pub(crate) fn starting_at(written: u64, durable: u64) -> Self {
        Self { at: (written, durable), ..Self::default() }
    }

    /// Whether nothing has to wait for this.
    pub(crate) fn is_past(&self, stamp: Stamp) -> bool {
        let (written, durable) = self.at;
        match stamp {
            Stamp::Durable(d) => d <= durable,
            Stamp::Written(w) => w <= written,
            Stamp::Both(d, w) => d <= durable && w <= written,
        }
    }

    /// Gives an answer when its stamp is reached; at once, without a queue, if it is.
    pub(crate) fn answer(
        &mut self,
        stamp: Stamp,
        answer: Outcomes,
        bytes: usize,
        wakes: &mut Wakes,
    ) -> Ticket {
        if self.is_past(stamp) {
            wakes.bytes += bytes;
            return Ticket::ready(answer);
        }
        let (to, ticket) = Ticket::waiting(answer.is_ok());
        let waiter = Waiter { to, answer, bytes };
        match stamp {
            Stamp::Durable(d) => self.durable.push_back((d, 0, waiter)),
            Stamp::Both(d, w) => self.durable.push_back((d, w, waiter)),
            Stamp::Written(w) => self.written.push_back((w, waiter)),
        }
        ticket
    }

    /// Releases what the watermarks have reached.
    pub(crate) fn release(&mut self, written: u64, durable: u64, wakes: &mut Wakes) {
        self.at = (written, durable);
        while self.durable.front().is_some_and(|(d, ..)| *d <= durable) {
            let Some((_, w, waiter)) = self.durable.pop_front() else { break };
            if w > written {
                self.written.push_back((w, waiter));
            } else {
                waiter.release(wakes);
            }
        }
        while self.written.front().is_some_and(|(w, _)| *w <= written) {
            let Some((_, waiter)) = self.written.pop_front() else { break };
            waiter.release(wakes);
        }
    }

    /// Tells everybody that waits that nobody knows.
    pub(crate) fn drain(&mut self, why: &Arc<str>, wakes: &mut Wakes) {
        let durable = self.durable.drain(..).map(|(.., waiter)| waiter);
        for waiter in durable.chain(self.written.drain(..).map(|(_, waiter)| waiter)) {
            wakes.bytes += waiter.bytes;
            wakes.answers.push((waiter.to, Err(EngineError::unknown(why))));
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.durable.len() + self.written.len()
    }
}

impl Waiter {
    fn release(self, wakes: &mut Wakes) {
        wakes.bytes += self.bytes;
        wakes.answers.push((self.to, self.answer));
    }
}

impl Wakes {
    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        self.wakers.extend(waker);
    }

    /// Answers and wakes. Answers first: a member that is woken may ask for one.
    pub(crate) fn go(self) {
        for (to, answer) in self.answers {
            // Nobody may be waiting any more.
            let _ = to.send(answer);
        }
        for waker in self.wakers {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::command::Answer;

    #[test]
    fn neither_queue_waits_for_the_other() {
        let (mut reveal, mut wakes) = (Reveal::default(), Wakes::default());
        let mut durable = reveal.answer(Stamp::Durable(1), Ok(Answer::Done), 1, &mut wakes);
        let mut written = reveal.answer(Stamp::Written(2), Ok(Answer::Done), 2, &mut wakes);
        let mut both = reveal.answer(Stamp::Both(1, 3), Ok(Answer::Done), 4, &mut wakes);
        reveal.release(2, 0, &mut wakes);
        assert_eq!(wakes.bytes, 2);
        std::mem::take(&mut wakes).go();
        assert!(written.try_get().is_some() && durable.try_get().is_none());
        reveal.release(2, 2, &mut wakes);
        std::mem::take(&mut wakes).go();
        assert!(durable.try_get().is_some() && both.try_get().is_none());
        reveal.release(3, 2, &mut wakes);
        std::mem::take(&mut wakes).go();
        assert!(both.try_get().is_some() && reveal.len() == 0);
        assert!(reveal.is_past(Stamp::Both(2, 3)) && !reveal.is_past(Stamp::Durable(3)));
    }

    #[test]
    fn a_fence_tells_everybody_unknown_and_gives_the_bytes_back() {
        let (mut reveal, mut wakes) = (Reveal::default(), Wakes::default());
        let mut tickets = [Stamp::Durable(1), Stamp::Written(1)]
            .map(|stamp| reveal.answer(stamp, Ok(Answer::Done), 5, &mut wakes));
        let why = Arc::from("the disk failed");
        reveal.drain(&why, &mut wakes);
        assert_eq!(wakes.bytes, 10);
        wakes.go();
        for ticket in &mut tickets {
            assert_eq!(ticket.try_get(), Some(Err(EngineError::unknown(&why))));
        }
    }
}
