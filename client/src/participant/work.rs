//! One delivery, from the bus to the step that settles it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::future::BoxFuture;

use super::extract::Slot;
use super::failure::Class;
use super::handler::{Outcome, Registered};
use super::inbox::{self, AnyInbox, Begun};
use super::outputs::Emitter;
use super::{Ctx, Failure, Handling, Participant, Point, Probe};
use crate::step::{self, Sealed};
use crate::{Delivery, ErrorKind, StepError, TimerId, Unsettled};

/// What all handlings of one participant share.
pub(crate) struct Crew<S> {
    name: Arc<str>,
    state: Arc<S>,
    /// A few: looked through.
    handlers: Vec<Registered<S>>,
    inbox: Option<Arc<dyn AnyInbox>>,
    probe: Option<Arc<dyn Probe>>,
}

/// What a step publishes and cancels.
type Effects = (Vec<Sealed>, Vec<TimerId>);

impl<S: Send + Sync + 'static> Crew<S> {
    pub(crate) fn new(of: Participant<S>, probe: Option<Arc<dyn Probe>>) -> Self {
        Self { name: of.name, state: of.state, handlers: of.handlers, inbox: of.inbox, probe }
    }

    /// Handles a delivery, and settles it.
    pub(crate) async fn work(self: Arc<Self>, delivery: Delivery) {
        let ctx = Ctx::of(&self.name, &delivery);
        self.reach(Point::Delivered, &ctx).await;
        match self.effects(&ctx, &delivery).await {
            Ok((outputs, cancel)) => self.settle(&ctx, delivery, outputs, cancel).await,
            Err(stopped) => self.fail(&ctx, delivery, stopped).await,
        }
    }

    /// What is to be published: of the handler, or of the inbox that knows the event.
    async fn effects(&self, ctx: &Ctx, delivery: &Delivery) -> Result<Effects, Stopped> {
        if let Some(inbox) = &self.inbox {
            // Boxed: every handling has room for its future, with an inbox or without.
            return Box::pin(self.remembered(&**inbox, ctx, delivery)).await;
        }
        let emitted = self.call(ctx, &Slot::none()).await?;
        Ok(emitted.seal(&self.name, delivery))
    }

    async fn remembered(
        &self,
        inbox: &dyn AnyInbox,
        ctx: &Ctx,
        delivery: &Delivery,
    ) -> Result<Effects, Stopped> {
        let key = ctx.inbox_key();
        let tx = match inbox.begin(&key).await? {
            Begun::New(tx) => tx,
            Begun::Known(stored) => {
                let unknown = || Failure::park("the inbox holds outputs of another form");
                return Ok(inbox::load(stored).ok_or_else(unknown)?);
            }
        };
        self.reach(Point::Begun, ctx).await;
        let slot = Slot::holding(tx);
        let emitted = self.call(ctx, &slot).await?;
        let kept = || Failure::retry("the handler has ended and kept its transaction");
        let tx = slot.take().ok_or_else(kept)?;
        let (outputs, cancel) = emitted.seal(&self.name, delivery);
        // What the bus would refuse must not be in the database.
        step::check(delivery, &outputs).map_err(Failure::park)?;
        self.reach(Point::BeforeInbox, ctx).await;
        inbox.commit(tx, &key, inbox::store(&outputs, &cancel)).await?;
        Ok((outputs, cancel))
    }

    async fn call(&self, ctx: &Ctx, slot: &Slot) -> Result<Emitter, Stopped> {
        let (ty, topic) = (ctx.event().ty, ctx.topic());
        let is_it = |it: &&Registered<S>| (it.reads.ty, it.reads.topic) == (ty, topic);
        let Some(handler) = self.handlers.iter().find(is_it) else {
            // Another version of it may have one.
            let reason = format!("{} has no handler for {ty} of {topic}", self.name);
            return Err(Failure::unavailable(reason).into());
        };
        let (ctx, state, slot) = (ctx.clone(), Arc::clone(&self.state), slot.clone());
        let handling = Handling { ctx, state, slot };
        let running = caught(|| (handler.call)(&handling))?;
        // Its transaction is held by what runs alone, and goes back with it.
        drop(handling);
        Ok(Caught(running).await??)
    }

    async fn settle(
        &self,
        ctx: &Ctx,
        delivery: Delivery,
        outputs: Vec<Sealed>,
        cancel: Vec<TimerId>,
    ) {
        self.reach(Point::BeforeCommit, ctx).await;
        if outputs.is_empty() && cancel.is_empty() {
            let acked = delivery.ack();
            self.reach(Point::AfterCommit, ctx).await;
            // It is gathered with others: nobody needs to wait for it.
            return drop(acked);
        }
        let mut step = delivery.step().publish_sealed(outputs);
        for timer in cancel {
            step = step.cancel(timer);
        }
        let committing = step.commit();
        if committing.is_applied() {
            self.reach(Point::AfterCommit, ctx).await;
        }
        if let Err(unsettled) = committing.await {
            refused(unsettled);
        }
    }

    /// Settles what a handler could not decide. Whether the bus has it is not waited for: it is
    /// recorded.
    async fn fail(&self, ctx: &Ctx, delivery: Delivery, stopped: Stopped) {
        self.reach(Point::BeforeFail, ctx).await;
        let failed = match stopped {
            Stopped::Panicked(reason) => delivery.dropped(reason),
            Stopped::Failed(Failure { class, reason }) => match class {
                Class::Retry => delivery.retry(reason),
                Class::Unavailable => delivery.unavailable(reason),
                Class::Park => delivery.dead_letter(reason),
            },
        };
        if failed.is_applied() {
            self.reach(Point::AfterFail, ctx).await;
        }
    }

    async fn reach(&self, point: Point, ctx: &Ctx) {
        if let Some(probe) = &self.probe {
            probe.reach(point, ctx).await;
        }
    }
}

/// Why there is nothing to publish.
enum Stopped {
    Failed(Failure),
    /// In the panic's words.
    Panicked(String),
}

impl From<Failure> for Stopped {
    fn from(it: Failure) -> Self {
        Self::Failed(it)
    }
}

/// None of the step has happened.
fn refused(unsettled: Unsettled<StepError>) {
    let Unsettled { why, delivery, .. } = unsettled;
    let reason = format!("what it emits was refused: {why}");
    match why.kind() {
        // Somebody else has it, or will.
        ErrorKind::LeaseLost => {}
        // A topic that is not there could not be created: there is no room for it now.
        ErrorKind::Limit | ErrorKind::Unavailable | ErrorKind::NotFound => {
            drop(delivery.unavailable(reason));
        }
        // It would be refused again.
        _ => drop(delivery.dead_letter(reason)),
    }
}

fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Stopped> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic_text(&*panic);
        let reason = text.map_or_else(|| "panicked".to_owned(), |text| format!("panicked: {text}"));
        Stopped::Panicked(reason)
    })
}

/// What a panic said, if it was text.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> Option<&str> {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
}

/// A handler that runs, and whose panic stays here.
struct Caught(BoxFuture<'static, Outcome>);

impl Future for Caught {
    type Output = Result<Outcome, Stopped>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match caught(|| self.0.as_mut().poll(cx)) {
            Ok(Poll::Ready(outcome)) => Poll::Ready(Ok(outcome)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(stopped) => Poll::Ready(Err(stopped)),
        }
    }
}
