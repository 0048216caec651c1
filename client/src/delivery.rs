//! An event in user code's hands: reading it, and settling it once. Nothing here waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::time::Duration;

use quadrille_proto::EventView;

use crate::hands::Hand;
use crate::link::{Delivered, Settle, Token};
use crate::settle::Settling;
use crate::step::StepBuilder;
use crate::{Position, SupersededEvent};

/// An event that a group has handed to this member, with the right to settle it once.
///
/// Each settle consumes the delivery, is recorded when it is called, and returns a [`Settling`],
/// which may be awaited to learn that the bus has it, or dropped. Dropping the *delivery* without
/// a settle counts as an attempt: the event comes back by the group's retry policy.
///
/// Its lease renews by itself up to the group's `handler_timeout`; [`Delivery::extend`] starts that
/// anew. When the lease is lost all the same, [`Delivery::lease_lost`] resolves, settling fails
/// with `lease_lost`, and the event is handed out again.
#[derive(Debug)]
pub struct Delivery {
    delivered: Delivered,
    hand: Arc<Hand>,
    /// Not settled yet.
    open: bool,
    /// A closure whose result settles what it leaves open.
    verdict: Option<Arc<Verdict>>,
}

impl Delivery {
    pub(crate) fn new(delivered: Delivered, hand: Arc<Hand>) -> Self {
        Self { delivered, hand, open: true, verdict: None }
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> EventView<'_> {
        // What cannot be parsed is not let into a topic, so this is never the empty event.
        EventView::parse(&self.delivered.bytes).unwrap_or_default()
    }

    /// The event's id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.event().id
    }

    /// The event's type, such as `order.created`.
    #[must_use]
    pub fn ty(&self) -> &str {
        self.event().ty
    }

    /// The event's saga: its own id if it starts one.
    #[must_use]
    pub fn saga(&self) -> &str {
        self.event().saga_or_id()
    }

    /// The event's key, or its subject; empty if it has neither.
    #[must_use]
    pub fn key(&self) -> &str {
        self.event().key_or_subject()
    }

    /// The event's payload.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.event().data
    }

    /// The event's payload, read as JSON.
    ///
    /// # Errors
    /// A payload that is not JSON, or not of this shape.
    #[cfg(feature = "json")]
    pub fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, crate::JsonError> {
        self.event().json()
    }

    /// The whole event as it was published, encoded.
    #[must_use]
    pub fn bytes(&self) -> &bytes::Bytes {
        &self.delivered.bytes
    }

    /// The topic it is in; empty if the group has got that topic after this member joined.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.hand.hands.topic(self.delivered.token.event.topic).map_or("", |name| name)
    }

    /// The group it was handed out for.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.hand.hands.group
    }

    /// Its offset in its topic.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.delivered.token.event.offset
    }

    /// Its place in the log.
    #[must_use]
    pub fn position(&self) -> Position {
        self.delivered.token.event.at.into()
    }

    /// When the bus took it, milliseconds since 1970.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.delivered.time
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.delivered.attempt
    }

    /// How often its saga has turned back. A step hands it on; what is published outside a step
    /// because of this event carries it along with [`Event::turn`](crate::Event::turn).
    #[must_use]
    pub fn turn(&self) -> u32 {
        self.delivered.turn
    }

    /// Whether its turn has passed, and the group asked for such events.
    #[must_use]
    pub fn late(&self) -> bool {
        self.delivered.late
    }

    /// Whether an operator has replaced the event for this group.
    #[must_use]
    pub fn replaced(&self) -> bool {
        self.delivered.replaced
    }

    /// What this compensation has overtaken. The handlers of these may have had effects: accept
    /// "nothing to undo" and "half done".
    pub fn superseded(&self) -> impl Iterator<Item = SupersededEvent> + '_ {
        self.delivered.superseded.iter().flat_map(|list| list.iter()).map(SupersededEvent::from)
    }

    /// It is done.
    pub fn ack(mut self) -> Settling {
        self.open = false;
        self.hand.ack(self.token());
        Settling::acked(self)
    }

    /// It failed: counts as an attempt, comes back by the group's retry policy, and is parked after
    /// `max_attempts`.
    pub fn retry(self, reason: impl Into<String>) -> Settling {
        self.settle(Settle::Retry { reason: reason.into(), after_ms: None })
    }

    /// [`Delivery::retry`] after a time of its own (a number of milliseconds).
    pub fn retry_after(self, after: Duration, reason: impl Into<String>) -> Settling {
        self.settle(Settle::Retry { reason: reason.into(), after_ms: Some(millis(after)) })
    }

    /// Not now, and not a failure: it comes back after this time. Does not count.
    pub fn defer(self, after: Duration) -> Settling {
        self.settle(Settle::Defer { after_ms: millis(after) })
    }

    /// Something that this handler needs is down: the lane holds. Does not count.
    pub fn unavailable(self, reason: impl Into<String>) -> Settling {
        self.settle(Settle::Unavailable { reason: reason.into() })
    }

    /// Never again without a human. What becomes of the lane is the group's `on_exhausted`.
    pub fn dead_letter(self, reason: impl Into<String>) -> Settling {
        self.settle(Settle::DeadLetter { reason: reason.into() })
    }

    /// Gives it back as it came. Does not count.
    pub fn release(self) -> Settling {
        self.settle(Settle::Release)
    }

    /// What had it is gone, for this reason: counts as an attempt.
    #[cfg(feature = "json")]
    pub(crate) fn dropped(self, reason: String) -> Settling {
        self.settle(Settle::Dropped { reason })
    }

    /// Begins a step: settle this, publish, arm and cancel timers, all or nothing.
    pub fn step(self) -> StepBuilder {
        StepBuilder::new(self)
    }

    /// Its `handler_timeout` starts again. Says so at the next renewal, and never fails.
    pub fn extend(&self) {
        self.hand.extend(self.token());
    }

    /// Resolves when this delivery is no longer this member's: whatever works on it may stop.
    pub fn lease_lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let (hand, token) = (Arc::clone(&self.hand), self.token());
        async move {
            loop {
                let changed = hand.hands.changed();
                hand.hands.pump();
                if hand.is_lost(token) {
                    return;
                }
                changed.await;
            }
        }
    }

    pub(crate) fn token(&self) -> Token {
        self.delivered.token
    }

    pub(crate) fn hand(&self) -> &Arc<Hand> {
        &self.hand
    }

    /// Whether dropping it counts as an attempt.
    pub(crate) fn set_open(&mut self, open: bool) {
        self.open = open;
    }

    /// What it leaves open when dropped is settled by `verdict`.
    pub(crate) fn leave_to(&mut self, verdict: &Arc<Verdict>) {
        self.verdict = Some(Arc::clone(verdict));
    }

    fn settle(mut self, how: Settle) -> Settling {
        let ticket = self.hand.settle(self.token(), how);
        self.open = !ticket.is_applied();
        Settling::asked(self, ticket)
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let panicking = std::thread::panicking();
        if !panicking && self.verdict.as_ref().is_some_and(|it| it.leave()) {
            return;
        }
        let reason = if panicking { "panicked" } else { "dropped without a settle" };
        drop_unsettled(&self.hand, self.token(), reason);
    }
}

/// Counts as an attempt, unless the event is no longer ours.
pub(crate) fn drop_unsettled(hand: &Arc<Hand>, token: Token, reason: &str) {
    if hand.is_lost(token) {
        hand.stop(token);
    } else {
        // Nobody is left to hear the answer.
        drop(hand.settle(token, Settle::Dropped { reason: reason.into() }));
    }
}

/// Who settles a delivery that a closure got: the closure, or its result.
#[derive(Debug, Default)]
pub(crate) struct Verdict(AtomicU8);

impl Verdict {
    const RUNNING: u8 = 0;
    const LEFT: u8 = 1;
    const OVER: u8 = 2;

    /// The delivery is dropped unsettled; whether the closure's result will settle it.
    fn leave(&self) -> bool {
        self.0.compare_exchange(Self::RUNNING, Self::LEFT, SeqCst, SeqCst).is_ok()
    }

    /// The closure is over; whether its result is to settle the delivery.
    pub(crate) fn over(&self) -> bool {
        self.0.swap(Self::OVER, SeqCst) == Self::LEFT
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
