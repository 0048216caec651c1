//! A member's stream of deliveries, and the two ways to run handlers on it.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::delivery::{Verdict, drop_unsettled};
use crate::handlers::Handlers;
use crate::hands::{Hand, Hands};
use crate::link::{Command, Delivered, Settle, Ticket, Token};
#[cfg(feature = "json")]
use crate::participant::Stop;
use crate::{Closed, Delivery};

/// The deliveries of one member of a group.
///
/// A `Stream` that ends only when the member is out; [`Subscription::closed`] then says why.
/// Dropping it leaves the group: what was not yielded goes to another member as it came, and what
/// was yielded can still be settled.
#[derive(Debug)]
#[must_use = "dropping a subscription leaves the group"]
pub struct Subscription {
    hands: Arc<Hands>,
    /// The unordered run that is being yielded.
    current: Option<Arc<Hand>>,
    /// Careful events, asked for and not answered yet.
    starting: VecDeque<(Delivered, Arc<Hand>, Ticket)>,
}

impl Subscription {
    pub(crate) fn new(hands: Arc<Hands>) -> Self {
        Self { hands, current: None, starting: VecDeque::new() }
    }

    /// Why the stream has ended; `None` while it has not.
    #[must_use]
    pub fn closed(&self) -> Option<Closed> {
        self.hands.closed()
    }

    /// The next delivery; `None` when the member is out.
    pub async fn next(&mut self) -> Option<Delivery> {
        std::future::poll_fn(|cx| self.poll_delivery(cx, 1)).await.ok()
    }

    /// Runs `handler` on every delivery, up to `limit` at once, until the member is out; then
    /// waits for the running ones and says why. Events of one lane still come one by one.
    ///
    /// The handler settles its delivery. One that loses its lease is dropped where it waits; one
    /// that panics, or drops its delivery, has failed an attempt, and harms nobody else. Dropping
    /// this future drops the running handlers too, and counts as an attempt for each.
    ///
    /// # Panics
    /// If `limit` is 0.
    pub async fn for_each_concurrent<F, Fut>(mut self, limit: usize, handler: F) -> Closed
    where
        F: FnMut(Delivery) -> Fut,
        Fut: Future<Output = ()>,
    {
        assert!(limit > 0, "at least one handler must be allowed to run");
        let mut handlers = Handlers::new(limit, handler);
        std::future::poll_fn(|cx| handlers.poll(cx, &mut self)).await
    }

    /// [`Subscription::for_each_concurrent`] with handlers whose result settles what they leave
    /// open: `Ok` acknowledges, `Err` retries with its message as the reason.
    ///
    /// # Panics
    /// If `limit` is 0.
    pub async fn run<F, Fut, E>(self, limit: usize, mut handler: F) -> Closed
    where
        F: FnMut(Delivery) -> Fut,
        Fut: Future<Output = Result<(), E>>,
        E: fmt::Display,
    {
        self.for_each_concurrent(limit, move |mut delivery| {
            let open = Open::new(&mut delivery);
            let running = handler(delivery);
            async move { open.settle(running.await) }
        })
        .await
    }

    /// Runs `handler` on every delivery as [`for_each_concurrent`](Self::for_each_concurrent) does,
    /// until it is to stop: then nothing new is begun, and what runs is waited for.
    #[cfg(feature = "json")]
    pub(crate) async fn serve<F, Fut>(mut self, limit: usize, handler: F, mut stop: Stop) -> Closed
    where
        F: FnMut(Delivery) -> Fut,
        Fut: Future<Output = ()>,
    {
        let mut handlers = Handlers::new(limit, handler);
        let ended = std::future::poll_fn(|cx| match stop.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => handlers.poll(cx, &mut self).map(Some),
        });
        if let Some(why) = ended.await {
            return why;
        }
        self.give_back();
        std::future::poll_fn(|cx| handlers.poll_rest(cx, &self)).await;
        self.closed().unwrap_or(Closed::Left)
    }

    pub(crate) fn hands(&self) -> &Arc<Hands> {
        &self.hands
    }

    /// The next delivery that may go to user code. Of careful runs up to `wanted` events are
    /// announced to core ahead.
    pub(crate) fn poll_delivery(
        &mut self,
        cx: &mut Context<'_>,
        wanted: usize,
    ) -> Poll<Result<Delivery, Closed>> {
        loop {
            if let Some(delivery) = self.poll_started(cx) {
                return Poll::Ready(Ok(delivery));
            }
            if self.starting.len() >= wanted {
                if self.hands.listen(cx) {
                    return Poll::Pending;
                }
                continue;
            }
            let hand = match self.current.take() {
                Some(hand) => hand,
                None => match self.hands.poll_ready(cx) {
                    Poll::Ready(Ok(hand)) => hand,
                    Poll::Ready(Err(_)) if !self.starting.is_empty() => return Poll::Pending,
                    Poll::Ready(Err(why)) => return Poll::Ready(Err(why)),
                    Poll::Pending => return Poll::Pending,
                },
            };
            let Some(delivered) = hand.next() else {
                continue;
            };
            if !hand.ordered() {
                self.current = Some(Arc::clone(&hand));
            }
            if !hand.careful {
                return Poll::Ready(Ok(Delivery::new(delivered, hand)));
            }
            // What was acked before comes before.
            self.hands.flush();
            let answer = self.hands.link.execute(Command::Start(delivered.token));
            self.starting.push_back((delivered, hand, answer));
        }
    }

    /// The first announced event that core has recorded.
    fn poll_started(&mut self, cx: &mut Context<'_>) -> Option<Delivery> {
        loop {
            let (_, _, answer) = self.starting.front_mut()?;
            let Poll::Ready(answer) = Pin::new(answer).poll(cx) else {
                return None;
            };
            let (delivered, hand, _) = self.starting.pop_front()?;
            match answer {
                Ok(_) => return Some(Delivery::new(delivered, hand)),
                // Parked as one that crashes its consumer, or lost.
                Err(_) => hand.stop(delivered.token),
            }
        }
    }
}

impl Stream for Subscription {
    type Item = Delivery;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        self.get_mut().poll_delivery(cx, 1).map(Result::ok)
    }
}

impl Subscription {
    /// Nothing more is taken, and what nobody has seen goes back as it came.
    fn give_back(&mut self) {
        for (delivered, hand, _) in self.starting.drain(..) {
            drop(hand.settle(delivered.token, Settle::Release));
        }
        self.current = None;
        self.hands.end();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// What a closure's result settles, if the closure has not.
struct Open {
    hand: Arc<Hand>,
    token: Token,
    verdict: Arc<Verdict>,
}

impl Open {
    fn new(delivery: &mut Delivery) -> Self {
        let verdict = Arc::default();
        delivery.leave_to(&verdict);
        Self { hand: Arc::clone(delivery.hand()), token: delivery.token(), verdict }
    }

    fn settle<E: fmt::Display>(self, result: Result<(), E>) {
        if self.verdict.over() {
            match result {
                Ok(()) => self.hand.ack(self.token),
                Err(e) => {
                    let how = Settle::Retry { reason: e.to_string(), after_ms: None };
                    drop(self.hand.settle(self.token, how));
                }
            }
        }
    }
}

impl Drop for Open {
    /// The closure is cut off before it has a result.
    fn drop(&mut self) {
        if self.verdict.over() {
            let reason = if std::thread::panicking() { "panicked" } else { "cancelled" };
            drop_unsettled(&self.hand, self.token, reason);
        }
    }
}
