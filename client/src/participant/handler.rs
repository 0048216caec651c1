//! Functions as handlers: an async function of its event, and of what it asks for beside it.

use std::future::ready;
use std::sync::Arc;

use futures_core::future::BoxFuture;
use serde::de::DeserializeOwned;

use super::extract::TxType;
use super::outputs::{Emits, Emitter};
use super::{Extract, Failure, Handling, Outputs};
use crate::typed::{TypedEvent, unreadable};

/// What comes of handling one event.
pub(crate) type Outcome = Result<Emitter, Failure>;

/// A handler of a participant with state `S`: `async fn(E, ..) -> Result<impl Outputs, Failure>`,
/// the event first, then up to eight of what implements [`Extract`].
///
/// `#[quadrille::handler]` on the function says which argument is in the way if it is none.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler of a participant with state `{S}`",
    label = "not a handler",
    note = "a handler is `async fn(event, ..) -> Result<impl Outputs, Failure>`: the first argument \
            derives Event and Deserialize, the others are Ctx, State<S>, Envelope, Headers or Tx<T>",
    note = "write #[quadrille::handler] above the function to see which argument is in the way; if it says \
            nothing, the S of a State<S> is not the state that Participant::new was given"
)]
pub trait Handler<S, Args>: Send + Sync + 'static {
    /// What it handles.
    type Event: TypedEvent + DeserializeOwned;
    /// What it emits.
    type Outputs: Outputs;

    /// Whether a participant with this inbox can call it.
    ///
    /// # Errors
    /// What is missing, as a sentence.
    fn check(inbox: Option<TxType>) -> Result<(), String>;

    /// Handles an event.
    fn call(&self, handling: &Handling<S>) -> BoxFuture<'static, Outcome>;
}

macro_rules! handlers {
    ($($argument:ident)*) => {
        impl<F, Fut, S, E, O, $($argument,)*> Handler<S, (E, $($argument,)*)> for F
        where
            F: Fn(E, $($argument,)*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<O, Failure>> + Send + 'static,
            E: TypedEvent + DeserializeOwned,
            O: Outputs,
            $($argument: Extract<S>,)*
        {
            type Event = E;
            type Outputs = O;

            fn check(inbox: Option<TxType>) -> Result<(), String> {
                let _ = inbox;
                $($argument::check(inbox)?;)*
                Ok(())
            }

            fn call(&self, handling: &Handling<S>) -> BoxFuture<'static, Outcome> {
                // The event first: what cannot be read needs nothing else.
                let event = match handling.event().json::<E>() {
                    Ok(event) => event,
                    Err(why) => return refused(Failure::park(unreadable::<E>(&why))),
                };
                $(
                    #[expect(non_snake_case, reason = "a name for each argument")]
                    let $argument = match $argument::extract(handling) {
                        Ok(it) => it,
                        Err(why) => return refused(why),
                    };
                )*
                let running = self(event, $($argument,)*);
                Box::pin(async move {
                    let mut emitter = Emitter::default();
                    running.await?.emit(&mut emitter)?;
                    Ok(emitter)
                })
            }
        }
    };
}

handlers!();
handlers!(A1);
handlers!(A1 A2);
handlers!(A1 A2 A3);
handlers!(A1 A2 A3 A4);
handlers!(A1 A2 A3 A4 A5);
handlers!(A1 A2 A3 A4 A5 A6);
handlers!(A1 A2 A3 A4 A5 A6 A7);
handlers!(A1 A2 A3 A4 A5 A6 A7 A8);

fn refused(why: Failure) -> BoxFuture<'static, Outcome> {
    Box::pin(ready(Err(why)))
}

/// How a group treats a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Forward,
    /// Forward, and also when its turn has passed.
    Late,
    Compensating,
}

/// A handler whose types are forgotten.
pub(crate) struct Registered<S> {
    pub(crate) reads: Emits,
    pub(crate) role: Role,
    pub(crate) emits: Vec<Emits>,
    pub(crate) check: fn(Option<TxType>) -> Result<(), String>,
    pub(crate) call: Arc<Call<S>>,
}

type Call<S> = dyn Fn(&Handling<S>) -> BoxFuture<'static, Outcome> + Send + Sync;

impl<S: 'static> Registered<S> {
    pub(crate) fn new<Args: 'static, H: Handler<S, Args>>(handler: H, role: Role) -> Self {
        let mut emits = Vec::new();
        H::Outputs::contracts(&mut emits);
        Self {
            reads: Emits::of::<H::Event>(),
            role,
            emits,
            check: H::check,
            call: Arc::new(move |handling| handler.call(handling)),
        }
    }
}

impl<S> Clone for Registered<S> {
    fn clone(&self) -> Self {
        Self { emits: self.emits.clone(), call: Arc::clone(&self.call), ..*self }
    }
}
