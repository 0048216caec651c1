//! Reading without a group: a range of a topic, one key of it, one saga. It settles nothing and
//! moves no cursor. Pages are read from files on the runtime's blocking threads, or at once if
//! nothing has threads.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use quadrille_proto::EventView;
use tokio::task::JoinHandle;

use crate::link::{Link, Range, Reader, gone};
use crate::{Position, ReadError};

/// An event as it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredEvent {
    /// Its topic.
    pub topic: String,
    /// Its offset there.
    pub offset: u64,
    /// Its place in the log.
    pub position: Position,
    /// When the bus took it, milliseconds since 1970.
    pub time: u64,
    /// How often its saga had turned back.
    pub turn: u32,
    /// The event as it was published, encoded.
    pub bytes: Bytes,
}

impl StoredEvent {
    /// The event.
    #[must_use]
    pub fn event(&self) -> EventView<'_> {
        // What cannot be parsed is not let into a topic, so this is never the empty event.
        EventView::parse(&self.bytes).unwrap_or_default()
    }
}

/// Reads events: a `Stream` that ends with what is there now. Only what consumers may see is read.
#[must_use = "a stream reads when it is polled"]
pub struct Read {
    link: Link,
    what: What,
    from: u64,
    to: u64,
    page: VecDeque<StoredEvent>,
    state: State,
}

enum What {
    Topic(String),
    Key(String, String),
    Saga(String),
}

enum State {
    New,
    Reading(JoinHandle<(Reader, Result<Vec<StoredEvent>, ReadError>)>),
    Between(Reader),
    Ended,
}

impl Read {
    pub(crate) fn topic(link: Link, topic: &str) -> Self {
        Self::new(link, What::Topic(topic.to_owned()))
    }

    pub(crate) fn saga(link: Link, saga: &str) -> Self {
        Self::new(link, What::Saga(saga.to_owned()))
    }

    fn new(link: Link, what: What) -> Self {
        Self { link, what, from: 0, to: u64::MAX, page: VecDeque::new(), state: State::New }
    }

    /// Begins at this offset; of a saga it means the offset in each topic.
    pub fn from(mut self, offset: u64) -> Self {
        self.from = offset;
        self
    }

    /// Ends before this offset.
    pub fn to(mut self, offset: u64) -> Self {
        self.to = offset;
        self
    }

    /// Only events of this key (or, if they have none, of this subject). A saga has no keys: there
    /// it changes nothing.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        if let What::Topic(topic) | What::Key(topic, _) = self.what {
            self.what = What::Key(topic, key.into());
        }
        self
    }

    /// The next event; `None` at the end.
    ///
    /// # Errors
    /// The topic does not exist; the log cannot be read.
    pub async fn next(&mut self) -> Option<Result<StoredEvent, ReadError>> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// All of them. Mind the memory.
    ///
    /// # Errors
    /// As of [`next`](Self::next).
    pub async fn all(mut self) -> Result<Vec<StoredEvent>, ReadError> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event?);
        }
        Ok(all)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<StoredEvent, ReadError>>> {
        loop {
            if let Some(event) = self.page.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            // An error ends it.
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::New => match self.range() {
                    Ok(range) => self.state = State::Between(self.link.read(range)),
                    Err(e) => return Poll::Ready(Some(Err(e))),
                },
                State::Between(mut reader) if !self.link.has_threads() => {
                    match self.link.next_page(&mut reader) {
                        Ok(page) => self.take_in(reader, page),
                        Err(e) => return Poll::Ready(Some(Err(e))),
                    }
                }
                State::Between(mut reader) => {
                    let link = self.link.clone();
                    self.state = State::Reading(tokio::task::spawn_blocking(move || {
                        let page = link.next_page(&mut reader);
                        (reader, page)
                    }));
                }
                State::Reading(mut reading) => {
                    let Poll::Ready(read) = Pin::new(&mut reading).poll(cx) else {
                        self.state = State::Reading(reading);
                        return Poll::Pending;
                    };
                    match read {
                        Ok((reader, Ok(page))) => self.take_in(reader, page),
                        Ok((_, Err(e))) => return Poll::Ready(Some(Err(e))),
                        Err(e) => return Poll::Ready(Some(Err(gone(&e).into()))),
                    }
                }
            }
        }
    }

    fn range(&self) -> Result<Range, ReadError> {
        Ok(match &self.what {
            What::Topic(topic) => {
                let topic = self.link.topic(topic)?;
                Range::Topic { topic, from: self.from, to: self.to }
            }
            What::Key(topic, key) => {
                Range::Key { topic: self.link.topic(topic)?, key: key.clone() }
            }
            What::Saga(saga) => Range::Saga { saga: saga.clone() },
        })
    }

    fn take_in(&mut self, reader: Reader, page: Vec<StoredEvent>) {
        if !page.is_empty() {
            self.state = State::Between(reader);
        }
        let range = self.from..self.to;
        self.page.extend(page.into_iter().filter(|it| range.contains(&it.offset)));
    }
}

impl Stream for Read {
    type Item = Result<StoredEvent, ReadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll(cx)
    }
}

impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Read")
            .field("from", &self.from)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}
