//! Publishing: one event or a batch, at once or later. The publish path reads from here to the
//! engine's `execute`.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;

use crate::delivery::millis;
use crate::link::{self, Admission, Answer, Command, Failure, Link, NewEvent, Refusal, Ticket};
use crate::{Event, PublishError, Receipt, Receipts};

/// A topic to publish to. Cheap to make, cheaper to keep: it remembers the topic's number (one that
/// is deleted and created again needs a new handle).
#[derive(Clone, Debug)]
pub struct Topic {
    link: Link,
    name: Arc<str>,
    number: Option<u32>,
}

impl Topic {
    pub(crate) fn new(link: Link, name: &str) -> Self {
        let number = link.topic(name).ok();
        Self { link, name: name.into(), number }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Publishes an event. Nothing happens until it is awaited, or sent.
    ///
    /// An event without an id gets a new one (UUIDv7), one without a time the present.
    pub fn publish(&self, mut event: Event) -> Publish<Receipt> {
        self.link.seal(&mut event, self.link.now().wall);
        let mut buffer = BytesMut::with_capacity(event.encoded_len());
        event.encode(&mut buffer);
        let new = NewEvent { topic: 0, bytes: buffer.freeze(), due: None };
        Publish::new(self.clone(), vec![new])
    }

    /// Publishes what was encoded from a type, if it could be; creates the topic if need be.
    #[cfg(feature = "json")]
    pub(crate) fn publish_typed(self, event: Result<Event, crate::JsonError>) -> Publish<Receipt> {
        let event = match event {
            Ok(event) => event,
            Err(why) => {
                let failed =
                    PublishError::Invalid { index: 0, code: why.code(), why: why.to_string() };
                return Publish { failed: Some(failed), ..Publish::new(self, Vec::new()) };
            }
        };
        Publish { create: true, ..self.publish(event) }
    }

    /// Publishes a batch: all or none, with a receipt for each. At most 1,024 events and 4 MiB.
    pub fn publish_all(&self, events: impl IntoIterator<Item = Event>) -> Publish<Receipts> {
        let now = self.link.now().wall;
        let mut events: Vec<Event> = events.into_iter().collect();
        events.iter_mut().for_each(|event| self.link.seal(event, now));
        // One buffer for the batch.
        let len = events.iter().map(Event::encoded_len).sum();
        let mut buffer = BytesMut::with_capacity(len);
        let encode = |event: Event| {
            event.encode(&mut buffer);
            NewEvent { topic: 0, bytes: buffer.split().freeze(), due: None }
        };
        let events = events.into_iter().map(encode).collect();
        Publish::new(self.clone(), events)
    }
}

/// A publish that has not happened yet: await it, or [`send`](Self::send) it.
#[must_use = "nothing is published until this is awaited or sent"]
pub struct Publish<R> {
    topic: Topic,
    events: Vec<NewEvent>,
    after: Option<Duration>,
    /// A topic that is not there is created.
    create: bool,
    /// There is no event to publish.
    failed: Option<PublishError>,
    returns: PhantomData<fn() -> R>,
}

impl<R> Publish<R> {
    fn new(topic: Topic, events: Vec<NewEvent>) -> Self {
        Self { topic, events, after: None, create: false, failed: None, returns: PhantomData }
    }

    /// Makes a timer of it: it is appended after this time, and survives restarts until then.
    pub fn after(mut self, delay: Duration) -> Self {
        self.after = Some(delay);
        self
    }

    /// Publishes without waiting for the disk: what comes back is a future of the receipt. What is
    /// sent first comes first. Waits only while the bus's queue is full.
    pub fn send(self) -> Sending<R> {
        Sending { publish: Some(self), admission: None }
    }

    fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.bytes.len()).sum()
    }

    fn execute(mut self, admission: Admission) -> Result<Pending<R>, PublishError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let Topic { link, name, number } = &self.topic;
        let number = match number {
            Some(number) => *number,
            None if self.create => match link.topic_or_create(name)? {
                Ok(number) => number,
                Err(ticket) => {
                    return Ok(Pending { ticket, topic: Arc::clone(name), returns: PhantomData });
                }
            },
            None => link.topic(name)?,
        };
        let due = self.after.map(|after| link.now().wall.saturating_add(millis(after)));
        for event in &mut self.events {
            event.topic = number;
            event.due = due;
        }
        let publish = Command::Publish(link::Publish { session: None, events: self.events });
        let ticket = link.execute_admitted(publish, admission);
        Ok(Pending { ticket, topic: Arc::clone(name), returns: PhantomData })
    }
}

impl<R> fmt::Debug for Publish<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = self.events.len();
        f.debug_struct("Publish").field("topic", &self.topic.name).field("events", &events).finish()
    }
}

impl<R: From<Receipts>> IntoFuture for Publish<R> {
    type Output = Result<R, PublishError>;
    type IntoFuture = Publishing<R>;

    fn into_future(self) -> Publishing<R> {
        Publishing::Sending(self.send())
    }
}

/// A publish on its way into the bus's queue; see [`Publish::send`].
#[must_use = "nothing is published until this is awaited"]
pub struct Sending<R> {
    publish: Option<Publish<R>>,
    admission: Option<Pin<Box<dyn Future<Output = Admission> + Send>>>,
}

impl<R> Future for Sending<R> {
    type Output = Result<Pending<R>, PublishError>;

    /// # Panics
    /// If polled after it has answered.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { publish, admission } = self.get_mut();
        let waiting = publish.as_ref().expect("a publish is sent once");
        let (link, bytes) = (&waiting.topic.link, waiting.bytes());
        let admitted = match admission {
            None => link.try_admit(bytes),
            Some(_) => None,
        };
        let admitted = match admitted {
            Some(admitted) => admitted,
            None => {
                let admission = admission.get_or_insert_with(|| Box::pin(link.admit(bytes)));
                ready!(admission.as_mut().poll(cx))
            }
        };
        let publish = publish.take().expect("it was there");
        Poll::Ready(publish.execute(admitted))
    }
}

/// A publish that is awaited for its receipt.
#[must_use = "nothing is published until this is awaited"]
#[derive(Debug)]
pub enum Publishing<R> {
    /// On its way into the queue.
    Sending(Sending<R>),
    /// Applied, and not answered yet.
    Pending(Pending<R>),
}

impl<R: From<Receipts>> Future for Publishing<R> {
    type Output = Result<R, PublishError>;

    /// # Panics
    /// If polled after it has answered.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            match this {
                Self::Sending(sending) => {
                    *this = Self::Pending(ready!(Pin::new(sending).poll(cx))?);
                }
                Self::Pending(pending) => return Pin::new(pending).poll(cx),
            }
        }
    }
}

/// What was published, until the bus answers for it. Dropping it takes nothing back.
#[must_use = "only the receipt says that it is safe"]
pub struct Pending<R> {
    ticket: Ticket,
    topic: Arc<str>,
    returns: PhantomData<fn() -> R>,
}

impl<R: From<Receipts>> Future for Pending<R> {
    type Output = Result<R, PublishError>;

    /// # Panics
    /// If polled after it has answered.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { ticket, topic, .. } = self.get_mut();
        Poll::Ready(match ready!(Pin::new(ticket).poll(cx)) {
            Ok(Answer::Published(receipts)) => Ok(Receipts::from(receipts).into()),
            Ok(_) => Ok(Receipts::default().into()),
            Err(Failure::Refused(Refusal::UnknownTopicNumber(_))) => {
                Err(PublishError::UnknownTopic { topic: topic.to_string() })
            }
            Err(failure) => Err(failure.into()),
        })
    }
}

impl<R> fmt::Debug for Sending<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sending").field(&self.publish).finish()
    }
}

impl<R> fmt::Debug for Pending<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("topic", &self.topic).finish()
    }
}

impl From<Receipts> for Receipt {
    /// Of a publish of one event.
    fn from(it: Receipts) -> Self {
        it.get(0).expect("a publish of one event has one receipt")
    }
}
