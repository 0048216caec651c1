//! A step: settle deliveries, publish, arm and cancel timers, all or nothing. What it emits
//! inherits from what it settles, and has ids derived from it, so that a repeat emits the same.

use std::borrow::Cow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quadrille_proto::{EventView, ids};

use crate::delivery::millis;
use crate::link::{Answer, Command, Failure, Link, NewEvent, Refusal, Step, Ticket, Token};
use crate::{Delivery, Event, Receipts, StepError, TimerId, Unsettled};

/// Builds a step; see [`Delivery::step`].
///
/// What is published inherits saga, cause, turn and traceparent from the delivery (of several, the
/// one with the lowest position) unless the event says otherwise; an event without an id gets one
/// that is derived from that delivery, its type and its number among the step's outputs of that
/// type. So a step that is done again after a crash publishes the same events again, and the bus
/// knows them.
#[derive(Debug)]
#[must_use = "nothing happens until commit()"]
pub struct StepBuilder {
    deliveries: Vec<Delivery>,
    outputs: Vec<Output>,
    /// Of a participant: their topics are created if they are missing.
    sealed: Vec<Sealed>,
    cancel: Vec<u64>,
}

#[derive(Debug)]
struct Output {
    topic: Cow<'static, str>,
    event: Event,
    after: Option<Duration>,
}

/// The same with all that it inherits, encoded: it is published so, and nothing is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) topic: Cow<'static, str>,
    pub(crate) bytes: Bytes,
    pub(crate) after: Option<Duration>,
}

impl StepBuilder {
    pub(crate) fn new(delivery: Delivery) -> Self {
        Self {
            deliveries: vec![delivery],
            outputs: Vec::new(),
            sealed: Vec::new(),
            cancel: Vec::new(),
        }
    }

    /// Settles this delivery of the same group too.
    pub fn with(mut self, delivery: Delivery) -> Self {
        self.deliveries.push(delivery);
        self
    }

    /// Publishes an event, at most 256 in a step.
    pub fn publish(mut self, topic: impl Into<String>, event: Event) -> Self {
        self.outputs.push(Output { topic: Cow::Owned(topic.into()), event, after: None });
        self
    }

    /// Publishes these as they are, before all others.
    #[cfg(feature = "json")]
    pub(crate) fn publish_sealed(mut self, sealed: Vec<Sealed>) -> Self {
        self.sealed = sealed;
        self
    }

    /// Makes a timer of what was published last: it is appended after this time.
    ///
    /// # Panics
    /// If nothing was published before.
    pub fn after(mut self, delay: Duration) -> Self {
        let last = self.outputs.last_mut();
        last.expect("after() delays the event that was published last").after = Some(delay);
        self
    }

    /// Disarms a timer. One that has fired or was cancelled is passed over.
    pub fn cancel(mut self, timer: TimerId) -> Self {
        self.cancel.push(timer.0);
        self
    }

    /// Records the step. Awaiting what it returns tells that it is durable; dropping that takes
    /// nothing back.
    pub fn commit(mut self) -> Committing {
        let state = self.record();
        if let State::Asked(ticket) = &state
            && ticket.is_applied()
        {
            for delivery in &mut self.deliveries {
                delivery.set_open(false);
                delivery.hand().go_on(delivery.token());
            }
        }
        Committing { deliveries: self.deliveries, state }
    }

    fn record(&mut self) -> State {
        let settles: Vec<Token> = self.deliveries.iter().map(Delivery::token).collect();
        let outputs = std::mem::take(&mut self.outputs);
        let Some(input) = self.deliveries.iter().min_by_key(|it| it.token().event.at) else {
            return State::Failed(Refusal::Empty.into());
        };
        let sealed = std::mem::take(&mut self.sealed);
        let events = address(input, sealed, topic_or_create).and_then(|mut events| {
            let drafts = outputs.iter().map(|it| Draft {
                topic: it.topic.clone(),
                event: it.event.view(),
                after: it.after,
            });
            events.extend(address(input, seal(input, drafts.collect()), Link::topic)?);
            Ok(events)
        });
        let events = match events {
            Ok(events) => events,
            Err(failure) => return State::Failed(failure),
        };
        let hands = &input.hand().hands;
        hands.flush();
        let cancel = std::mem::take(&mut self.cancel);
        let step = Step { session: None, settles, events, cancel };
        State::Asked(hands.link.execute(Command::Step(step)))
    }
}

/// What a step publishes, borrowed from whatever holds it.
pub(crate) struct Draft<'a> {
    pub(crate) topic: Cow<'static, str>,
    pub(crate) event: EventView<'a>,
    pub(crate) after: Option<Duration>,
}

/// Gives outputs of a step what they inherit from its input, and encodes them.
pub(crate) fn seal(input: &Delivery, drafts: Vec<Draft<'_>>) -> Vec<Sealed> {
    let hands = &input.hand().hands;
    let (now, cause, token) = (hands.link.now().wall, input.event(), input.token());
    let mut buffer = BytesMut::new();
    let mut sealed = Vec::with_capacity(drafts.len());
    for (at, draft) in drafts.iter().enumerate() {
        let mut event = draft.event;
        let derived;
        if event.id.is_empty() {
            let before = drafts.iter().take(at).filter(|it| it.event.ty == event.ty).count();
            let ordinal = u32::try_from(before).unwrap_or(u32::MAX);
            let (topic, offset) = (token.event.topic, token.event.offset);
            derived = ids::derived(hands.log_id, topic, offset, token.group, 0, event.ty, ordinal);
            event.id = &derived;
        }
        inherit(&mut event, &cause, input.turn(), now);
        event.encode(&mut buffer);
        sealed.push(Sealed {
            topic: draft.topic.clone(),
            bytes: buffer.split().freeze(),
            after: draft.after,
        });
    }
    sealed
}

/// Whether the bus would take these in one step, as far as that does not depend on what it holds.
///
/// # Errors
/// What it would refuse, as a sentence.
#[cfg(feature = "json")]
pub(crate) fn check(input: &Delivery, outputs: &[Sealed]) -> Result<(), String> {
    let limits = input.hand().hands.link.limits();
    let bytes: usize = outputs.iter().map(|it| it.bytes.len()).sum();
    if outputs.len() > limits.step_events || bytes > limits.command_bytes {
        return Err(format!(
            "what it emits is too much for one step: {} events, {bytes} bytes; at most {} and {}",
            outputs.len(),
            limits.step_events,
            limits.command_bytes
        ));
    }
    for Sealed { bytes, after, .. } in outputs {
        let event = EventView::parse(bytes).map_err(|e| e.to_string())?;
        let faulty = |why: String| format!("{} cannot be published: {why}", event.ty);
        event.check().map_err(|e| faulty(e.to_string()))?;
        if bytes.len() > limits.event_bytes {
            return Err(faulty(format!(
                "it has {} bytes, {} at most",
                bytes.len(),
                limits.event_bytes
            )));
        }
        if after.is_some_and(|it| millis(it) > limits.timer_delay_ms) {
            return Err(faulty(format!("its delay is over {} ms", limits.timer_delay_ms)));
        }
    }
    Ok(())
}

/// What an output does not say itself.
fn inherit<'a>(event: &mut EventView<'a>, cause: &EventView<'a>, turn: u32, now: u64) {
    let or = |said: &'a str, inherited: &'a str| if said.is_empty() { inherited } else { said };
    event.saga = or(event.saga, cause.saga_or_id());
    event.cause = or(event.cause, cause.id);
    event.traceparent = or(event.traceparent, cause.traceparent);
    if event.turn == 0 {
        event.turn = turn;
    }
    if event.time == 0 {
        event.time = now;
    }
}

/// Topics get their numbers, delays their time.
fn address(
    input: &Delivery,
    outputs: Vec<Sealed>,
    number: impl Fn(&Link, &str) -> Result<u32, Failure>,
) -> Result<Vec<NewEvent>, Failure> {
    let link = &input.hand().hands.link;
    let now = link.now().wall;
    let new = |Sealed { topic, bytes, after }| {
        let due = after.map(|after| now.saturating_add(millis(after)));
        Ok(NewEvent { topic: number(link, &topic)?, bytes, due })
    };
    outputs.into_iter().map(new).collect()
}

fn topic_or_create(link: &Link, name: &str) -> Result<u32, Failure> {
    // Why it was refused comes later than this is needed; the next attempt meets it again.
    link.topic_or_create(name)?.map_err(|_| Refusal::UnknownTopic(name.to_owned()).into())
}

/// A step that is recorded. Its output has a receipt for every event, in their order.
#[derive(Debug)]
pub struct Committing {
    deliveries: Vec<Delivery>,
    state: State,
}

#[derive(Debug)]
enum State {
    Failed(Failure),
    Asked(Ticket),
}

impl Committing {
    /// Whether it was applied, before its answer.
    #[cfg(feature = "json")]
    pub(crate) fn is_applied(&self) -> bool {
        matches!(&self.state, State::Asked(ticket) if ticket.is_applied())
    }
}

impl Future for Committing {
    type Output = Result<Receipts, Unsettled<StepError>>;

    /// # Panics
    /// If polled after it has answered.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { deliveries, state } = self.get_mut();
        let answered = match state {
            State::Failed(failure) => Err(failure.clone()),
            State::Asked(ticket) => ready!(Pin::new(ticket).poll(cx)),
        };
        let mut deliveries = std::mem::take(deliveries);
        let failure = match answered {
            Ok(Answer::Published(receipts)) => return Poll::Ready(Ok(receipts.into())),
            Ok(_) => return Poll::Ready(Ok(Receipts::default())),
            Err(failure) => failure,
        };
        let why = StepError::from(failure);
        for delivery in &mut deliveries {
            delivery.set_open(true);
        }
        let delivery = Box::new(deliveries.remove(0));
        Poll::Ready(Err(Unsettled { why, delivery, others: deliveries }))
    }
}
