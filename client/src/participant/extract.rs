//! What a handler may ask for beside its event. An extractor is cheap: it shares what the delivery
//! holds, and reads it when it is asked.

use std::any::{Any, TypeId, type_name};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use super::{Ctx, Failure};
use quadrille_proto::view::Headers as HeaderList;

use crate::hands::lock;
use crate::{EventView, Position};

/// An argument of a handler, behind its event: [`Ctx`], [`State`], [`Envelope`], [`Headers`],
/// [`Tx`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is nothing that a handler of a participant with state `{S}` can ask for",
    label = "not an extractor",
    note = "arguments behind the event are Ctx, State<S> with the participant's own S, Envelope, \
            Headers, Tx<T>, or a type that implements quadrille::Extract"
)]
pub trait Extract<S>: Sized + Send {
    /// Takes it from what is handled.
    ///
    /// # Errors
    /// It is not there: the event fails with this.
    fn extract(from: &Handling<S>) -> Result<Self, Failure>;

    /// Whether a participant with this inbox can give it; looked at before the first event.
    ///
    /// # Errors
    /// What is missing, as a sentence.
    fn check(inbox: Option<TxType>) -> Result<(), String> {
        let _ = inbox;
        Ok(())
    }
}

/// One event in the making: what extractors take from.
#[derive(Debug)]
pub struct Handling<S> {
    pub(crate) ctx: Ctx,
    pub(crate) state: Arc<S>,
    pub(crate) slot: Slot,
}

impl<S> Handling<S> {
    /// Where the event stands.
    #[must_use]
    pub fn ctx(&self) -> &Ctx {
        &self.ctx
    }

    /// The event as it was published.
    #[must_use]
    pub fn event(&self) -> EventView<'_> {
        self.ctx.event()
    }

    /// The participant's state.
    #[must_use]
    pub fn state(&self) -> &Arc<S> {
        &self.state
    }
}

/// The participant's state.
#[derive(Debug, Default)]
pub struct State<S>(pub Arc<S>);

impl<S> State<S> {
    /// For a handler that is tested as a plain function.
    pub fn new(state: S) -> Self {
        Self(Arc::new(state))
    }
}

impl<S> Clone for State<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Deref for State<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.0
    }
}

impl<S: Send + Sync + 'static> Extract<S> for State<S> {
    fn extract(from: &Handling<S>) -> Result<Self, Failure> {
        Ok(Self(Arc::clone(&from.state)))
    }
}

impl<S> Extract<S> for Ctx {
    fn extract(from: &Handling<S>) -> Result<Self, Failure> {
        Ok(from.ctx.clone())
    }
}

/// The event's own words: who published it, when, under which id.
#[derive(Clone, Debug)]
pub struct Envelope(Ctx);

impl Envelope {
    /// Of this context, for a handler that is tested as a plain function.
    #[must_use]
    pub fn of(ctx: &Ctx) -> Self {
        Self(ctx.clone())
    }

    /// Every field of the event, the data undecoded.
    #[must_use]
    pub fn event(&self) -> EventView<'_> {
        self.0.event()
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.event().id
    }

    /// Who published it; of a participant's outputs that is its name.
    #[must_use]
    pub fn source(&self) -> &str {
        self.event().source
    }

    /// When it happened, in its publisher's words: milliseconds since 1970.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.event().time
    }

    /// Its topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.0.topic()
    }

    /// Its offset in the topic.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.0.offset()
    }

    /// Its place in the log.
    #[must_use]
    pub fn position(&self) -> Position {
        self.0.position()
    }
}

impl<S> Extract<S> for Envelope {
    fn extract(from: &Handling<S>) -> Result<Self, Failure> {
        Ok(Self(from.ctx.clone()))
    }
}

/// The event's headers.
#[derive(Clone, Debug)]
pub struct Headers(Ctx);

impl Headers {
    /// Of this context, for a handler that is tested as a plain function.
    #[must_use]
    pub fn of(ctx: &Ctx) -> Self {
        Self(ctx.clone())
    }

    /// The first header of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.event().header(name)
    }

    /// All of them, in their order; names may repeat.
    #[must_use]
    pub fn iter(&self) -> HeaderList<'_> {
        self.0.event().headers()
    }
}

impl<S> Extract<S> for Headers {
    fn extract(from: &Handling<S>) -> Result<Self, Failure> {
        Ok(Self(from.ctx.clone()))
    }
}

/// The transaction of the participant's [`Inbox`](super::Inbox), open for this event: what is done
/// in it and what the handler emits are committed together, or not at all.
///
/// It goes back when the handler drops it, at its end at the latest; the participant commits it.
pub struct Tx<T: Send + 'static> {
    open: Option<Box<T>>,
    slot: Slot,
}

impl<T: Send + 'static> Tx<T> {
    /// For a handler that is tested as a plain function: nobody commits it.
    pub fn new(transaction: T) -> Self {
        Self { open: Some(Box::new(transaction)), slot: Slot::none() }
    }
}

impl<T: Send + 'static> Deref for Tx<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.open.as_ref().expect("it is given up by drop alone")
    }
}

impl<T: Send + 'static> DerefMut for Tx<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.open.as_mut().expect("it is given up by drop alone")
    }
}

impl<T: Send + 'static> Drop for Tx<T> {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            self.slot.put(open);
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Tx<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tx<{}>", type_name::<T>())
    }
}

impl<S, T: Send + 'static> Extract<S> for Tx<T> {
    fn extract(from: &Handling<S>) -> Result<Self, Failure> {
        let open = from.slot.take().and_then(|it| it.downcast::<T>().ok());
        let none = || {
            Failure::park(format!(
                "there is no transaction {} to take: ask for it once",
                type_name::<T>()
            ))
        };
        Ok(Self { open: Some(open.ok_or_else(none)?), slot: from.slot.clone() })
    }

    fn check(inbox: Option<TxType>) -> Result<(), String> {
        match inbox {
            Some(it) if it.id == TypeId::of::<T>() => Ok(()),
            Some(it) => Err(format!(
                "a handler asks for Tx<{}>, and the inbox has transactions {}",
                type_name::<T>(),
                it.name
            )),
            None => Err(format!(
                "a handler asks for Tx<{}>, and the participant has no inbox: say .inbox(..)",
                type_name::<T>()
            )),
        }
    }
}

/// The type of an inbox's transactions.
#[derive(Clone, Copy, Debug)]
pub struct TxType {
    id: TypeId,
    name: &'static str,
}

impl TxType {
    pub(crate) fn of<T: 'static>() -> Self {
        Self { id: TypeId::of::<T>(), name: type_name::<T>() }
    }
}

/// Where a transaction lies while nobody works with it.
#[derive(Clone)]
pub(crate) struct Slot(Option<Arc<Mutex<Place>>>);

type Place = Option<Box<dyn Any + Send>>;

impl Slot {
    /// There is no inbox.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    pub(crate) fn holding(transaction: Box<dyn Any + Send>) -> Self {
        Self(Some(Arc::new(Mutex::new(Some(transaction)))))
    }

    fn put(&self, transaction: Box<dyn Any + Send>) {
        let Some(slot) = &self.0 else { return };
        let before = lock(slot).replace(transaction);
        drop(before);
    }

    pub(crate) fn take(&self) -> Option<Box<dyn Any + Send>> {
        lock(self.0.as_ref()?).take()
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}
