//! A subscription to one type of event. What cannot be read never reaches the program.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_core::future::BoxFuture;
use serde::de::DeserializeOwned;

use super::TypedEvent;
use crate::{Bus, Closed, Delivery, Group, SubscribeError, Subscription};

/// A typed subscription that is not joined yet: await it.
#[must_use = "nothing happens until this is awaited"]
pub struct Subscribe<E> {
    bus: Bus,
    group: Group,
    of: PhantomData<fn() -> E>,
}

impl<E: TypedEvent> Subscribe<E> {
    pub(super) fn new(bus: Bus, group: &str) -> Self {
        let group = bus.group(group).topics([E::TOPIC]).types([E::TYPE]);
        Self { bus, group, of: PhantomData }
    }

    /// Says more of the group: its order, its retries, where it starts.
    ///
    /// ```
    /// # use quadrille::{Bus, Event, OrderBy, StartAt};
    /// # #[derive(Event, serde::Deserialize)]
    /// # #[event(type = "order.created", topic = "orders")]
    /// # struct OrderCreated {}
    /// # async fn example(bus: Bus) -> Result<(), quadrille::SubscribeError> {
    /// let orders = bus.subscribe::<OrderCreated>("report");
    /// let orders = orders.group(|it| it.order_by(OrderBy::Saga).start(StartAt::Beginning)).await?;
    /// # Ok(()) }
    /// ```
    pub fn group(mut self, say: impl FnOnce(Group) -> Group) -> Self {
        self.group = say(self.group);
        self
    }
}

impl<E> fmt::Debug for Subscribe<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subscribe").field(&self.group).finish()
    }
}

impl<E: TypedEvent + DeserializeOwned> IntoFuture for Subscribe<E> {
    type Output = Result<TypedSubscription<E>, SubscribeError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.bus.need_topic(E::TOPIC).await?;
            let subscription = self.group.subscribe().await?;
            Ok(TypedSubscription { subscription, of: PhantomData })
        })
    }
}

/// The events of one type for one member of a group, each with its delivery.
///
/// A `Stream` of `(E, Delivery)` that ends when the member is out; see [`Subscription`].
#[must_use = "dropping a subscription leaves the group"]
pub struct TypedSubscription<E> {
    subscription: Subscription,
    of: PhantomData<fn() -> E>,
}

impl<E: TypedEvent + DeserializeOwned> TypedSubscription<E> {
    /// The next event; `None` when the member is out.
    pub async fn next(&mut self) -> Option<(E, Delivery)> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// Why the stream has ended; `None` while it has not.
    #[must_use]
    pub fn closed(&self) -> Option<Closed> {
        self.subscription.closed()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<(E, Delivery)>> {
        loop {
            let Ok(delivery) = ready!(self.subscription.poll_delivery(cx, 1)) else {
                return Poll::Ready(None);
            };
            match delivery.json() {
                Ok(event) => return Poll::Ready(Some((event, delivery))),
                // Recorded when it is called; nobody waits for the answer.
                Err(why) => drop(delivery.dead_letter(unreadable::<E>(&why))),
            }
        }
    }
}

impl<E: TypedEvent + DeserializeOwned> Stream for TypedSubscription<E> {
    type Item = (E, Delivery);

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll(cx)
    }
}

impl<E> fmt::Debug for TypedSubscription<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedSubscription").field(&self.subscription).finish()
    }
}

/// Why an event of the right type is none for this program.
pub(crate) fn unreadable<E: TypedEvent>(why: &dyn fmt::Display) -> String {
    format!("cannot be read as {} (schema {}): {why}", E::TYPE, E::SCHEMA)
}
