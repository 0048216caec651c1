//! Participants: services of a choreography, written as functions on events. Which event comes
//! when, and what is recorded, is the bus's; here events become calls, and their outcome a step.
//!
//! ```text
//! delivery ── decode, extract ── handler ──┬── Ok(outputs) ── one step: settle + publish + timers
//!                                          └── Err ── retry, unavailable, or park
//! ```

mod context;
mod extract;
mod failure;
mod handler;
mod inbox;
mod outputs;
mod probe;
mod run;
mod work;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::context::Ctx;
pub use self::extract::{Envelope, Extract, Handling, Headers, State, Tx, TxType};
pub use self::failure::{Failure, OrFail};
pub use self::handler::Handler;
use self::handler::{Registered, Role};
use self::inbox::AnyInbox;
pub use self::inbox::{Begun, Inbox, InboxKey};
pub use self::outputs::{Emits, Emitter, Outputs, Step};
pub(crate) use self::probe::{Point, Probe};
#[doc(hidden)]
pub use self::run::Part;
pub(crate) use self::run::Stop;
pub use self::run::{Participants, RunError, Running, run};
#[cfg(feature = "test")]
pub(crate) use self::work::panic_text;
use crate::group::CONCURRENCY;
use crate::{Bus, Group, OrderBy, RetryPolicy, StartAt};

/// A service of a choreography: a durable group with a handler for each type of event that it
/// reads.
///
/// Its events come in lanes of one saga each, in order, one at a time; many sagas at once. What a
/// handler returns in `Ok` is published and its event settled in one atomic step, with ids that are
/// derived from the event, so that a repeated handling publishes nothing twice. Saga, cause, turn
/// and traceparent are inherited, and the source is the participant. `Err` means that it could not
/// decide, see [`Failure`]; a panic counts as an attempt.
///
/// ```
/// use quadrille::{Bus, Event, Failure, Participant};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Deserialize)]
/// #[event(type = "order.created", topic = "orders")]
/// struct OrderCreated {
///     cents: u64,
/// }
///
/// #[derive(Event, Serialize)]
/// #[event(type = "payment.processed", topic = "payments")]
/// struct PaymentProcessed {
///     cents: u64,
/// }
///
/// async fn charge(order: OrderCreated) -> Result<PaymentProcessed, Failure> {
///     Ok(PaymentProcessed { cents: order.cents })
/// }
///
/// # async fn example(bus: Bus) -> Result<(), quadrille::RunError> {
/// Participant::new("payment", ()).on(charge).run(&bus).await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing happens until run()"]
pub struct Participant<S = ()> {
    name: Arc<str>,
    state: Arc<S>,
    handlers: Vec<Registered<S>>,
    inbox: Option<Arc<dyn AnyInbox>>,
    concurrency: u32,
    timeout: Option<Duration>,
    retry: RetryPolicy,
    retry_compensating: Option<RetryPolicy>,
    start: Option<StartAt>,
    update: bool,
}

impl<S: Send + Sync + 'static> Participant<S> {
    /// A participant of that name, which is its group's and the source of what it publishes.
    /// Handlers get `state` by [`State`].
    pub fn new(name: &str, state: S) -> Self {
        Self {
            name: name.into(),
            state: Arc::new(state),
            handlers: Vec::new(),
            inbox: None,
            concurrency: CONCURRENCY,
            timeout: None,
            retry: RetryPolicy::default(),
            retry_compensating: None,
            start: None,
            update: false,
        }
    }

    /// Handles events of this handler's type.
    pub fn on<Args: 'static>(self, handler: impl Handler<S, Args>) -> Self {
        self.with(Registered::new(handler, Role::Forward))
    }

    /// Likewise, also those whose saga has turned back meanwhile: a charge that answers when the
    /// order is cancelled. Others are settled as late, visibly. [`Ctx::late`] tells which it is.
    pub fn on_late<Args: 'static>(self, handler: impl Handler<S, Args>) -> Self {
        self.with(Registered::new(handler, Role::Late))
    }

    /// Undoes by this handler: events of its type overtake held and parked ones of their saga,
    /// which are then settled as superseded; see [`Ctx::superseded`].
    pub fn compensate<Args: 'static>(self, handler: impl Handler<S, Args>) -> Self {
        self.with(Registered::new(handler, Role::Compensating))
    }

    /// Remembers in the service's own database what was handled, and what follows from it.
    pub fn inbox(mut self, inbox: impl Inbox) -> Self {
        self.inbox = Some(Arc::new(inbox));
        self
    }

    /// How many handlers run at once; 64 if this is not said. They run on one task: what computes
    /// for long belongs into `spawn_blocking`, or into several members (`[it.clone(), it]`).
    pub fn concurrency(mut self, handlers: u32) -> Self {
        self.concurrency = handlers.max(1);
        self
    }

    /// How long a handler may work on one event without [`Ctx::extend`]; 5 min if this is not said.
    /// Then it is dropped where it waits, which counts as an attempt. Looked at four times in that
    /// time, or more often.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// When failed events come back.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// When failed compensations come back, if not like all others.
    pub fn retry_compensating(mut self, policy: RetryPolicy) -> Self {
        self.retry_compensating = Some(policy);
        self
    }

    /// Where it starts the first time, if there are events already.
    pub fn start(mut self, at: StartAt) -> Self {
        self.start = Some(at);
        self
    }

    /// If its group exists with another configuration, change that.
    pub fn update(mut self) -> Self {
        self.update = true;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its handlers get.
    #[must_use]
    pub fn state(&self) -> State<S> {
        State(Arc::clone(&self.state))
    }

    /// Its contract: what it reads, and what it may emit.
    #[must_use]
    pub fn contract(&self) -> Contract {
        let emits = self.handlers.iter().flat_map(|it| it.emits.iter().copied()).collect();
        Contract { reads: self.handlers.iter().map(|it| it.reads).collect(), emits }
    }

    /// Joins its group and handles events until it is stopped; await it, or say first what stops
    /// it.
    pub fn run(self, bus: &Bus) -> Running {
        run(bus, self)
    }

    fn with(mut self, handler: Registered<S>) -> Self {
        self.handlers.push(handler);
        self
    }

    fn group(&self, bus: &Bus) -> Group {
        let read = self.handlers.iter().map(|it| it.reads);
        // Sorted, so that the order of handlers is no other configuration.
        let topics: BTreeSet<_> = read.clone().map(|it| it.topic).collect();
        let types: BTreeSet<_> = read.map(|it| it.ty).collect();
        let of = |role| {
            let of = self.handlers.iter().filter(move |it| it.role == role);
            of.map(|it| it.reads.ty).collect::<BTreeSet<_>>()
        };
        let mut group = bus.group(&self.name).topics(topics).types(types);
        group = group.order_by(OrderBy::Saga).concurrency(self.concurrency).retry(self.retry);
        group = group.superseding(of(Role::Compensating)).late(of(Role::Late));
        if let Some(policy) = self.retry_compensating {
            group = group.retry_compensating(policy);
        }
        if let Some(timeout) = self.timeout {
            group = group.handler_timeout(timeout);
        }
        if let Some(at) = self.start {
            group = group.start(at);
        }
        if self.update { group.update() } else { group }
    }
}

impl<S> Clone for Participant<S> {
    fn clone(&self) -> Self {
        Self {
            name: Arc::clone(&self.name),
            state: Arc::clone(&self.state),
            handlers: self.handlers.clone(),
            inbox: self.inbox.clone(),
            ..*self
        }
    }
}

impl<S> fmt::Debug for Participant<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reads: Vec<_> = self.handlers.iter().map(|it| it.reads.ty).collect();
        f.debug_struct("Participant")
            .field("name", &self.name)
            .field("reads", &reads)
            .finish_non_exhaustive()
    }
}

/// What a participant reads and emits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contract {
    /// Types that it handles.
    pub reads: Vec<Emits>,
    /// Types that it may emit at once; what it delays is not known before.
    pub emits: Vec<Emits>,
}
