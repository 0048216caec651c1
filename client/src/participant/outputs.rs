//! What a handler gives back: nothing, events, or a step with delays and cancelled timers. Here it
//! is only collected; ids and what is inherited come with the delivery.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

use super::Failure;
use crate::step::Output;
use crate::typed::TypedEvent;
use crate::{Event, TimerId};

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
        Step { now: self, later: Vec::new(), cancel: Vec::new(), failed: None }
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
        self.outputs.push(output(event, after)?);
        Ok(())
    }

    /// What was emitted, to look at in a test of a handler: topic, event, delay.
    pub fn events(&self) -> impl Iterator<Item = (&str, &Event, Option<Duration>)> {
        self.outputs.iter().map(|it| (&*it.topic, &it.event, it.after))
    }

    pub(crate) fn into_parts(self) -> (Vec<Output>, Vec<TimerId>) {
        (self.outputs, self.cancel)
    }
}

fn output<E: TypedEvent + Serialize>(
    event: &E,
    after: Option<Duration>,
) -> Result<Output, Failure> {
    // It would be the same again.
    let encoded =
        event.event().map_err(|e| Failure::park(format!("cannot emit {}: {e}", E::TYPE)))?;
    Ok(Output { topic: Cow::Borrowed(E::TOPIC), event: encoded, after })
}

/// Outputs with delayed events and cancelled timers; see [`Outputs::into_step`].
#[derive(Debug)]
#[must_use = "a step is what a handler returns"]
pub struct Step<O = ()> {
    now: O,
    later: Vec<Output>,
    cancel: Vec<TimerId>,
    failed: Option<Failure>,
}

impl<O: Outputs> Step<O> {
    /// Emits an event after this time: a timer that is armed with the step, and survives restarts.
    pub fn after<E: TypedEvent + Serialize>(mut self, delay: Duration, event: &E) -> Self {
        match output(event, Some(delay)) {
            Ok(output) => self.later.push(output),
            Err(failure) => self.failed = Some(failure),
        }
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
