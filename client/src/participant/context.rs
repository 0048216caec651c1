//! Where a handler stands: whose saga, which attempt, what was overtaken.

use std::fmt;
use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use quadrille_proto::Hasher128;

use super::InboxKey;
use crate::hands::Hand;
use crate::link::Token;
use crate::{Delivery, Event, EventView, Position, SupersededEvent};

/// Where a handler stands. Cheap to clone.
#[derive(Clone)]
pub struct Ctx(Arc<Facts>);

#[derive(Clone)]
struct Facts {
    participant: Arc<str>,
    bytes: Bytes,
    topic: Arc<str>,
    offset: u64,
    position: Position,
    attempt: u32,
    turn: u32,
    late: bool,
    replaced: bool,
    superseded: Vec<SupersededEvent>,
    /// Weak: whoever keeps a context does not keep the member.
    hand: Option<(Weak<Hand>, Token)>,
}

impl Ctx {
    pub(crate) fn of(participant: &Arc<str>, delivery: &Delivery) -> Self {
        let (hand, token) = (delivery.hand(), delivery.token());
        Self(Arc::new(Facts {
            participant: Arc::clone(participant),
            bytes: delivery.bytes().clone(),
            topic: hand.hands.topic(token.event.topic).cloned().unwrap_or_default(),
            offset: delivery.offset(),
            position: delivery.position(),
            attempt: delivery.attempt(),
            turn: delivery.turn(),
            late: delivery.late(),
            replaced: delivery.replaced(),
            superseded: delivery.superseded().collect(),
            hand: Some((Arc::downgrade(hand), token)),
        }))
    }

    /// The context of a first attempt in this saga, for a handler that is tested as a plain
    /// function.
    #[must_use]
    pub fn test(saga: &str) -> Self {
        Self::test_of(Event::new("test").id(saga).saga(saga))
    }

    /// The context of a first attempt on this event, for a handler that is tested as a plain
    /// function and looks at more than its saga.
    #[must_use]
    pub fn test_of(event: Event) -> Self {
        let mut bytes = BytesMut::new();
        event.encode(&mut bytes);
        Self(Arc::new(Facts {
            participant: "test".into(),
            bytes: bytes.freeze(),
            topic: "test".into(),
            offset: 0,
            position: Position { entry: 1, index: 0 },
            attempt: 1,
            turn: 0,
            late: false,
            replaced: false,
            superseded: Vec::new(),
            hand: None,
        }))
    }

    /// Likewise, at this attempt.
    #[must_use]
    pub fn with_attempt(self, attempt: u32) -> Self {
        self.with(|facts| facts.attempt = attempt)
    }

    /// Likewise, late.
    #[must_use]
    pub fn with_late(self) -> Self {
        self.with(|facts| facts.late = true)
    }

    /// Likewise, of a compensation that has overtaken an event at its attempt, held or parked for
    /// this reason.
    #[must_use]
    pub fn with_superseded(self, attempts: u32, reason: &str) -> Self {
        self.with(|facts| {
            let (position, reason) = (facts.position, reason.to_owned());
            facts.superseded.push(SupersededEvent { position, attempts, reason });
        })
    }

    fn with(mut self, change: impl FnOnce(&mut Facts)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// The saga: its first event's id, if nobody named it.
    #[must_use]
    pub fn saga(&self) -> &str {
        self.event().saga_or_id()
    }

    /// The id of the event that led to this one; empty if nothing did.
    #[must_use]
    pub fn cause(&self) -> &str {
        self.event().cause
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// How often the saga has turned back.
    #[must_use]
    pub fn turn(&self) -> u32 {
        self.0.turn
    }

    /// Whether the saga has turned back since this event was published; see
    /// [`Participant::on_late`](super::Participant::on_late).
    #[must_use]
    pub fn late(&self) -> bool {
        self.0.late
    }

    /// Whether an operator has replaced the event.
    #[must_use]
    pub fn replaced(&self) -> bool {
        self.0.replaced
    }

    /// What this compensation has overtaken. The handlers of these may have had effects: accept
    /// "nothing to undo" and "half done".
    #[must_use]
    pub fn superseded(&self) -> &[SupersededEvent] {
        &self.0.superseded
    }

    /// Whose handler this is.
    #[must_use]
    pub fn participant(&self) -> &str {
        &self.0.participant
    }

    /// For effects outside the bus, at somebody who knows such keys: the same for every attempt on
    /// this event by this participant, also after restarts; 32 hexadecimal digits.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        digits_of(&self.inbox_key().to_string())
    }

    /// Under what an [`Inbox`](super::Inbox) remembers this event.
    #[must_use]
    pub fn inbox_key(&self) -> InboxKey {
        let event = self.event();
        InboxKey {
            group: self.participant().to_owned(),
            topic: self.topic().to_owned(),
            source: event.source.to_owned(),
            id: event.id.to_owned(),
            generation: 0,
        }
    }

    /// The time that the handler has starts again; see [`Delivery::extend`].
    pub fn extend(&self) {
        if let Some((hand, token)) = self.hand() {
            hand.extend(token);
        }
    }

    /// The delivery behind it, while there is one.
    pub(crate) fn hand(&self) -> Option<(Arc<Hand>, Token)> {
        let (hand, token) = self.0.hand.as_ref()?;
        Some((hand.upgrade()?, *token))
    }

    pub(crate) fn event(&self) -> EventView<'_> {
        // What cannot be parsed is not let into a topic, so this is never the empty event.
        EventView::parse(&self.0.bytes).unwrap_or_default()
    }

    pub(crate) fn topic(&self) -> &str {
        &self.0.topic
    }

    pub(crate) fn offset(&self) -> u64 {
        self.0.offset
    }

    pub(crate) fn position(&self) -> Position {
        self.0.position
    }
}

/// A text of any length as 32 hexadecimal digits, the same on every bus.
pub(super) fn digits_of(text: &str) -> String {
    format!("{:032x}", Hasher128::new(0).key(text))
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx")
            .field("participant", &self.0.participant)
            .field("event", &self.event())
            .field("attempt", &self.0.attempt)
            .finish_non_exhaustive()
    }
}
