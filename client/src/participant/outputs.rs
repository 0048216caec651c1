//! What a handler gives back: nothing, events, or a step with delays and cancelled timers. Here it
//! is only collected; ids and what is inherited come with the delivery.

use std::borrow::Cow;
use std::time::Duration;

use quadrille_proto::event;
use serde::Serialize;

use super::Failure;
use super::context::digits_of;
use crate::step::{self, Draft, Sealed};
use crate::typed::TypedEvent;
use crate::{Delivery, EventView, TimerId};

/// What a handler may return in `Ok`: `()`, an event, an `Option`, a `Vec`, a tuple of these, an
/// enum with [`derive(Outputs)`](derive@crate::Outputs), or a [`Step`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is nothing that a handler can emit",
    label = "not an output",
    note = "outputs are (), an event (derive Event and Serialize), Option, Vec, tuples of these, \
            Step, or an enum with #[derive(quadrille::Outputs)]"
)]
pub trait Outputs: Sized + Send {
    /// The types that it may emit; their topics are there before the first event is handled.
    fn contracts(into: &mut Vec<Emits>);

    /// Hands over what is emitted, in order.
    ///
    /// # Errors
    /// An event that has no JSON form.
    fn emit(self, into: &mut Emitter) -> Result<(), Failure>;

    /// A step of these outputs, to add delayed events and to cancel timers.
    fn into_step(self) -> Step<Self> {
        let (later, cancel, cancel_named) = (Vec::new(), Vec::new(), Vec::new());
        Step { now: self, later, cancel, cancel_named, failed: None }
    }
}

/// A type of event that somebody emits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emits {
    /// Its type.
    pub ty: &'static str,
    /// Its topic.
    pub topic: &'static str,
    /// The version of the type.
    pub schema: u32,
    /// The types that it undoes.
    pub undoes: &'static [&'static str],
}

impl Emits {
    /// Of this type.
    #[must_use]
    pub fn of<E: TypedEvent>() -> Self {
        Self { ty: E::TYPE, topic: E::TOPIC, schema: E::SCHEMA, undoes: E::UNDOES }
    }
}

/// Collects what a handler emits.
#[derive(Debug, Default)]
pub struct Emitter {
    outputs: Vec<Output>,
    cancel: Vec<TimerId>,
    cancel_named: Vec<NamedTimer>,
}

/// The topic of a delayed event, and the name that it was given.
type NamedTimer = (&'static str, String);

/// An event that a handler emits: what its type says of it, and its data.
#[derive(Debug)]
pub(crate) struct Output {
    ty: &'static str,
    topic: &'static str,
    schema: u32,
    key: String,
    saga: String,
    data: Vec<u8>,
    after: Option<Duration>,
    /// Of a timer that is to be found again.
    name: Option<String>,
    /// What follows from that name; empty without one, and before it is sealed.
    id: String,
}

/// The id of a delayed event that has a name: the same whoever computes it.
fn named_id(participant: &str, saga: &str, name: &str) -> String {
    digits_of(&format!("{participant}/{}/{name}/{saga}", name.len()))
}

impl Output {
    fn of<E: TypedEvent + Serialize>(event: &E, after: Option<Duration>) -> Result<Self, Failure> {
        // It would be the same again.
        let none = |why| Failure::park(format!("cannot emit {}: {why}", E::TYPE));
        let data = event::json(event).map_err(none)?;
        let (ty, topic, schema) = (E::TYPE, E::TOPIC, E::SCHEMA);
        Ok(Self {
            ty,
            topic,
            schema,
            key: event.key(),
            saga: event.saga(),
            data,
            after,
            name: None,
            id: String::new(),
        })
    }

    /// As an event of this source.
    fn draft<'a>(&'a self, source: &'a str) -> Draft<'a> {
        let mut event = EventView::default();
        (event.id, event.ty, event.source, event.schema) = (&self.id, self.ty, source, self.schema);
        (event.key, event.saga) = (&self.key, &self.saga);
        (event.content_type, event.data) = (event::JSON, &self.data);
        Draft { topic: Cow::Borrowed(self.topic), event, after: self.after }
    }
}

impl Emitter {
    /// An event, now or after a time.
    ///
    /// # Errors
    /// It has no JSON form.
    pub fn event<E: TypedEvent + Serialize>(
        &mut self,
        event: &E,
        after: Option<Duration>,
    ) -> Result<(), Failure> {
        self.outputs.push(Output::of(event, after)?);
        Ok(())
    }

    /// What was emitted, to look at in a test of an `Outputs`: type, data, delay.
    pub fn events(&self) -> impl Iterator<Item = (&'static str, &[u8], Option<Duration>)> {
        self.outputs.iter().map(|it| (it.ty, &*it.data, it.after))
    }

    /// Seals it for a delivery: what the step publishes, and the timers that it disarms.
    pub(crate) fn seal(
        mut self,
        participant: &str,
        delivery: &Delivery,
    ) -> (Vec<Sealed>, Vec<TimerId>) {
        let (saga, link) = (delivery.saga(), &delivery.hand().hands.link);
        for output in &mut self.outputs {
            if let Some(name) = &output.name {
                output.id = named_id(participant, saga, name);
            }
        }
        let drafts = self.outputs.iter().map(|it| it.draft(participant));
        let armed = self.cancel_named.iter().filter_map(|(topic, name)| {
            link.timer_of(topic, participant, &named_id(participant, saga, name)).map(TimerId)
        });
        let cancel = self.cancel.iter().copied().chain(armed).collect();
        (step::seal(delivery, drafts.collect()), cancel)
    }
}

/// Outputs with delayed events and cancelled timers; see [`Outputs::into_step`].
#[derive(Debug)]
#[must_use = "a step is what a handler returns"]
pub struct Step<O = ()> {
    now: O,
    later: Vec<Output>,
    cancel: Vec<TimerId>,
    cancel_named: Vec<NamedTimer>,
    failed: Option<Failure>,
}

impl<O: Outputs> Step<O> {
    /// Emits an event after this time: a timer that is armed with the step, and survives restarts.
    pub fn after<E: TypedEvent + Serialize>(mut self, delay: Duration, event: &E) -> Self {
        match Output::of(event, Some(delay)) {
            Ok(output) => self.later.push(output),
            Err(failure) => self.failed = Some(failure),
        }
        self
    }

    /// Likewise, under a name by which a later step of the same saga finds the timer; see
    /// [`cancel_named`](Self::cancel_named). A name is for one timer of a saga: its event has an id
    /// that follows from it, so that a second one is a repeat of the first.
    pub fn after_named<E: TypedEvent + Serialize>(
        mut self,
        name: impl Into<String>,
        delay: Duration,
        event: &E,
    ) -> Self {
        self = self.after(delay, event);
        if let Some(last) = self.later.last_mut().filter(|_| self.failed.is_none()) {
            last.name = Some(name.into());
        }
        self
    }

    /// Disarms the timer of this name that this participant has armed in this saga for an event of
    /// this type. One that was never armed, has fired or was cancelled is passed over.
    pub fn cancel_named<E: TypedEvent>(mut self, name: impl Into<String>) -> Self {
        self.cancel_named.push((E::TOPIC, name.into()));
        self
    }

    /// Disarms a timer. One that has fired or was cancelled is passed over.
    pub fn cancel(mut self, timer: TimerId) -> Self {
        self.cancel.push(timer);
        self
    }
}

impl<O: Outputs> Outputs for Step<O> {
    fn contracts(into: &mut Vec<Emits>) {
        O::contracts(into);
    }

    fn emit(self, into: &mut Emitter) -> Result<(), Failure> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        self.now.emit(into)?;
        into.outputs.extend(self.later);
        into.cancel.extend(self.cancel);
        into.cancel_named.extend(self.cancel_named);
        Ok(())
    }
}

#[diagnostic::do_not_recommend]
impl<E: TypedEvent + Serialize> Outputs for E {
    fn contracts(into: &mut Vec<Emits>) {
        into.push(Emits::of::<E>());
    }

    fn emit(self, into: &mut Emitter) -> Result<(), Failure> {
        into.event(&self, None)
    }
}

impl Outputs for () {
    fn contracts(_: &mut Vec<Emits>) {}

    fn emit(self, _: &mut Emitter) -> Result<(), Failure> {
        Ok(())
    }
}

impl<O: Outputs> Outputs for Option<O> {
    fn contracts(into: &mut Vec<Emits>) {
        O::contracts(into);
    }

    fn emit(self, into: &mut Emitter) -> Result<(), Failure> {
        self.map_or(Ok(()), |it| it.emit(into))
    }
}

impl<O: Outputs> Outputs for Vec<O> {
    fn contracts(into: &mut Vec<Emits>) {
        O::contracts(into);
    }

    fn emit(self, into: &mut Emitter) -> Result<(), Failure> {
        self.into_iter().try_for_each(|it| it.emit(into))
    }
}

macro_rules! tuples {
    ($($name:ident)+) => {
        impl<$($name: Outputs),+> Outputs for ($($name,)+) {
            fn contracts(into: &mut Vec<Emits>) {
                $($name::contracts(into);)+
            }

            fn emit(self, into: &mut Emitter) -> Result<(), Failure> {
                #[expect(non_snake_case, reason = "a name for each place of the tuple")]
                let ($($name,)+) = self;
                $($name.emit(into)?;)+
                Ok(())
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
