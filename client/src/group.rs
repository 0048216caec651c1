//! A group: describing it, subscribing to it, running handlers on it, managing it.

use std::fmt;
use std::time::Duration;

use quadrille_proto::record::{self, GroupConfig};

use crate::delivery::millis;
use crate::hands::Hands;
use crate::link::{Command, Failure, Link, Refusal};
use crate::{
    AdminError, Closed, DeadLetter, Delivery, GroupInfo, OnExhausted, OrderBy, RetryPolicy,
    StartAt, SubscribeError, Subscription,
};

/// Events handed out to a member ahead of its handlers, unless it says otherwise.
const CREDIT: u32 = 512;
/// Handlers that [`Group::run`] runs at once, unless it is told otherwise.
pub(crate) const CONCURRENCY: u32 = 64;
const LEASE: Duration = Duration::from_secs(30);
const HANDLER_TIMEOUT: Duration = Duration::from_secs(300);
/// Events of a group that may be in members' hands.
const MAX_IN_FLIGHT: u32 = 4096;

/// A durable subscription: describe it and [`subscribe`](Group::subscribe), which creates it if it
/// is not there. Every event of its topics reaches each group at least once, until it is settled.
///
/// A group that names no topics is one that must be there already.
#[derive(Clone, Debug)]
#[must_use = "nothing happens until subscribe(), run(), or what manages it"]
pub struct Group {
    link: Link,
    name: String,
    config: GroupConfig,
    on_exhausted: OnExhausted,
    start: Option<StartAt>,
    update: bool,
    member: String,
    concurrency: u32,
    credit: Option<u32>,
}

impl Group {
    pub(crate) fn new(link: Link, name: &str) -> Self {
        let config = GroupConfig {
            lease_ms: millis(LEASE),
            handler_timeout_ms: millis(HANDLER_TIMEOUT),
            max_in_flight: MAX_IN_FLIGHT,
            ..GroupConfig::default()
        };
        let it = Self {
            link,
            name: name.to_owned(),
            config,
            on_exhausted: OnExhausted::default(),
            start: None,
            update: false,
            member: format!("process-{}", std::process::id()),
            concurrency: CONCURRENCY,
            credit: None,
        };
        it.order_by(OrderBy::default()).retry(RetryPolicy::default())
    }

    /// The topics it reads, merged in the order of the log.
    pub fn topics<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.config.topics = topics.into_iter().map(T::into).collect();
        self
    }

    /// Only events of these types; all, if this is not said.
    pub fn types<T: Into<String>>(mut self, types: impl IntoIterator<Item = T>) -> Self {
        self.config.types = types.into_iter().map(T::into).collect();
        self
    }

    /// What is kept in order; by key, if this is not said. Cannot be changed later.
    pub fn order_by(mut self, order: OrderBy) -> Self {
        self.config.order_by = record::OrderBy::from(order).into();
        self
    }

    /// Types that compensate: their events overtake held and parked ones of their saga, which are
    /// then settled as superseded. Needs [`OrderBy::Saga`].
    pub fn superseding<T: Into<String>>(mut self, types: impl IntoIterator<Item = T>) -> Self {
        self.config.superseding = types.into_iter().map(T::into).collect();
        self
    }

    /// Forward types that are delivered even if their saga has turned back meanwhile.
    pub fn late<T: Into<String>>(mut self, types: impl IntoIterator<Item = T>) -> Self {
        self.config.late = types.into_iter().map(T::into).collect();
        self
    }

    /// When failed events come back.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.config.forward = Some(policy.into());
        self.config.compensating = Some(policy.into());
        self
    }

    /// When failed compensations come back, if not like all others. Say it after
    /// [`retry`](Self::retry).
    pub fn retry_compensating(mut self, policy: RetryPolicy) -> Self {
        self.config.compensating = Some(policy.into());
        self
    }

    /// How many attempts an event has, 5 if this is not said. Say it after [`retry`](Self::retry).
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        for policy in [&mut self.config.forward, &mut self.config.compensating] {
            policy.get_or_insert_default().max_attempts = attempts;
        }
        self
    }

    /// What becomes of a lane whose event is out of attempts.
    pub fn on_exhausted(mut self, what: OnExhausted) -> Self {
        self.on_exhausted = what;
        self
    }

    /// After this time without a sign of life a member's events go to another; 30 s if this is not
    /// said.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.config.lease_ms = millis(lease);
        self
    }

    /// How long a handler may work on one event without [`Delivery::extend`]; 5 min if this is not
    /// said. Looked at four times in that time, or more often.
    pub fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.config.handler_timeout_ms = millis(timeout);
        self
    }

    /// How many events may be in its members' hands; 4,096 if this is not said.
    pub fn max_in_flight(mut self, events: u32) -> Self {
        self.config.max_in_flight = events;
        self
    }

    /// How many handlers [`run`](Self::run) runs at once; 64 if this is not said.
    pub fn concurrency(mut self, handlers: u32) -> Self {
        self.concurrency = handlers;
        self
    }

    /// How many events this member may hold; 512 if this is not said, and never less than
    /// [`concurrency`](Self::concurrency).
    pub fn credit(mut self, events: u32) -> Self {
        self.credit = Some(events);
        self
    }

    /// What operators see of this member; `process-` and its number, if this is not said.
    pub fn member(mut self, name: impl Into<String>) -> Self {
        self.member = name.into();
        self
    }

    /// Where it starts, if it is new and there are events already.
    pub fn start(mut self, at: StartAt) -> Self {
        self.start = Some(at);
        self
    }

    /// If it exists with another configuration, change that, for all its members.
    pub fn update(mut self) -> Self {
        self.update = true;
        self
    }

    /// Joins the group, creating it if it names topics.
    ///
    /// # Errors
    /// A topic or group that is not there, a configuration that is not allowed or not the group's,
    /// a start that must be said.
    pub async fn subscribe(mut self) -> Result<Subscription, SubscribeError> {
        self.settle_config();
        if self.config.topics.is_empty() {
            let group = self.link.group(&self.name)?;
            self.config = self.link.group_info(group).await?.config;
        } else {
            self.create().await?;
        }
        let named = |name: &String| Ok((self.link.topic(name)?, name.as_str().into()));
        let topics = self.config.topics.iter().map(named).collect::<Result<_, Failure>>()?;
        let credit = self.credit.unwrap_or(CREDIT).max(self.concurrency);
        let seat = self.link.join(&self.name, &self.member, credit)?;
        let (lease, timeout) = (self.config.lease_ms, self.config.handler_timeout_ms);
        Ok(Subscription::new(Hands::new(self.link, &self.name, topics, seat, lease, timeout)))
    }

    /// Joins the group and runs `handler` on every delivery, up to
    /// [`concurrency`](Self::concurrency) at once, until the member is out. `Ok` acknowledges what
    /// the handler has not settled itself, `Err` retries it, a panic counts as an attempt.
    ///
    /// # Errors
    /// As of [`subscribe`](Self::subscribe).
    pub async fn run<F, Fut, E>(self, handler: F) -> Result<Closed, SubscribeError>
    where
        F: FnMut(Delivery) -> Fut,
        Fut: Future<Output = Result<(), E>>,
        E: fmt::Display,
    {
        let limit = self.concurrency.max(1) as usize;
        Ok(self.subscribe().await?.run(limit, handler).await)
    }

    /// Stops handing out, for all members; the reason is shown to whoever looks.
    ///
    /// # Errors
    /// There is no such group.
    pub async fn pause(&self, reason: impl Into<String>) -> Result<(), AdminError> {
        let group = self.link.group(&self.name)?;
        self.link.execute(Command::Pause { group, reason: reason.into() }).await?;
        Ok(())
    }

    /// Hands out again.
    ///
    /// # Errors
    /// There is no such group.
    pub async fn resume(&self) -> Result<(), AdminError> {
        let group = self.link.group(&self.name)?;
        self.link.execute(Command::Resume { group }).await?;
        Ok(())
    }

    /// Deletes the group; its members are out. `discard` also if it has unsettled events or dead
    /// letters, which are then lost to it.
    ///
    /// # Errors
    /// There is no such group; it still has something to do.
    pub async fn delete(&self, discard: bool) -> Result<(), AdminError> {
        let group = self.link.group(&self.name)?;
        self.link.execute(Command::DeleteGroup { group, discard }).await?;
        Ok(())
    }

    /// How it is doing.
    ///
    /// # Errors
    /// There is no such group.
    pub async fn info(&self) -> Result<GroupInfo, AdminError> {
        let group = self.link.group(&self.name)?;
        Ok(self.link.group_info(group).await?.into())
    }

    /// What it could not process, in the order of the log; also what was superseded.
    ///
    /// # Errors
    /// There is no such group.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, AdminError> {
        let group = self.link.group(&self.name)?;
        let dead = self.link.dead_letters(group).await?;
        Ok(dead.into_iter().map(DeadLetter::from).collect())
    }

    fn settle_config(&mut self) {
        let ordered = self.config.order_by() != record::OrderBy::Nothing;
        let what = match self.on_exhausted {
            OnExhausted::Park => record::OnExhausted::Park,
            OnExhausted::ByOrder if ordered => record::OnExhausted::Park,
            OnExhausted::DeadLetter | OnExhausted::ByOrder => record::OnExhausted::DeadLetter,
        };
        self.config.on_exhausted = what.into();
    }

    async fn create(&self) -> Result<(), SubscribeError> {
        let (name, config) = (self.name.clone(), self.config.clone());
        let start = self.start.map(Into::into);
        let created = self.link.execute(Command::CreateGroup { name, config, start }).await;
        match created {
            Err(Failure::Refused(Refusal::GroupConfigConflict { .. })) if self.update => {
                let group = self.link.group(&self.name)?;
                let config = self.config.clone();
                self.link.execute(Command::AlterGroup { group, config }).await?;
            }
            created => drop(created?),
        }
        Ok(())
    }
}
