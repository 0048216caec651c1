//! The event as its producer builds it: owned, encoded once. Reading encoded events is `view.rs`.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{encode_varint, encoded_len_varint};

use crate::error::EventError;
use crate::ids;
use crate::reader::tag;
use crate::view::EventView;

/// An event. Methods named like fields set them; [`Event::view`] reads them.
///
/// ```
/// # use quadrille_proto::Event;
/// let event = Event::new("order.created").source("shop").key("order-17").data("{}");
/// assert_eq!(event.view().key, "order-17");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Event {
    id: String,
    ty: String,
    source: String,
    saga: String,
    key: String,
    subject: String,
    turn: u32,
    schema: u32,
    time: u64,
    cause: String,
    content_type: String,
    traceparent: String,
    /// Encoded fields, as they stand in the event's bytes.
    headers: Vec<u8>,
    data: Bytes,
}

impl Event {
    /// An event of that type, such as `order.created`. Everything else is empty.
    #[must_use]
    pub fn new(ty: impl Into<String>) -> Self {
        Self { ty: ty.into(), ..Self::default() }
    }

    /// Sets the id, unique within the source. Without one, [`Event::seal`] gives it a UUIDv7.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Sets who says so. Repeats are recognised by source and id.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = source.into();
        self
    }

    /// Sets the saga it belongs to. Without one it starts a saga with its own id.
    #[must_use]
    pub fn saga(mut self, saga: impl Into<String>) -> Self {
        self.saga = saga.into();
        self
    }

    /// Sets the key: events of one key are in order within a group by key. Defaults to the subject.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// Sets what it is about.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// Sets the turn of its saga, as carried along from its cause.
    #[must_use]
    pub fn turn(mut self, turn: u32) -> Self {
        self.turn = turn;
        self
    }

    /// Sets the version of the type.
    #[must_use]
    pub fn schema(mut self, schema: u32) -> Self {
        self.schema = schema;
        self
    }

    /// Sets when it happened, in milliseconds since 1970. [`Event::seal`] sets it otherwise.
    #[must_use]
    pub fn time(mut self, unix_ms: u64) -> Self {
        self.time = unix_ms;
        self
    }

    /// Sets the id of the event that led to this one.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = cause.into();
        self
    }

    /// Sets the W3C trace context.
    #[must_use]
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.traceparent = traceparent.into();
        self
    }

    /// Adds a header. Names may repeat; the order stays.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> Self {
        let (name, value) = (name.as_ref().as_bytes(), value.as_ref());
        let length = field_len(name.len()) + field_len(value.len());
        encode_varint(tag::HEADER, &mut self.headers);
        encode_varint(length as u64, &mut self.headers);
        put(tag::HEADER_NAME, name, &mut self.headers);
        put(tag::HEADER_VALUE, value, &mut self.headers);
        self
    }

    /// Sets the payload, which nobody on the way looks into.
    #[must_use]
    pub fn data(mut self, data: impl Into<Bytes>) -> Self {
        self.data = data.into();
        self
    }

    /// Sets the media type of the payload.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = content_type.into();
        self
    }

    /// Gives it an id and a time if it has none: ready to encode. Ids made here rise within the
    /// process, whichever thread makes them.
    pub fn seal(&mut self, now_ms: u64) {
        self.seal_with(now_ms, |now| ids::new_id(now, fastrand::u64(..)));
    }

    /// [`Event::seal`] with ids of one's own, for a bus that must repeat itself exactly.
    pub fn seal_with(&mut self, now_ms: u64, id: impl FnOnce(u64) -> String) {
        if self.time == 0 {
            self.time = now_ms;
        }
        if self.id.is_empty() {
            self.id = id(now_ms);
        }
    }

    /// Reads it: every field under its name, headers and limits included.
    #[must_use]
    pub fn view(&self) -> EventView<'_> {
        let mut view = EventView {
            id: &self.id,
            ty: &self.ty,
            source: &self.source,
            saga: &self.saga,
            key: &self.key,
            subject: &self.subject,
            turn: self.turn,
            schema: self.schema,
            time: self.time,
            cause: &self.cause,
            content_type: &self.content_type,
            traceparent: &self.traceparent,
            data: &self.data,
            headers: &self.headers,
            encoded_len: 0,
        };
        view.encoded_len = encoded_len(&view);
        view
    }

    /// Length of what [`Event::encode`] appends, in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.view().encoded_len
    }

    /// Appends its bytes, fields in the order of their numbers, which is the order of routing.
    pub fn encode(&self, out: &mut BytesMut) {
        self.view().encode(out);
    }

    /// An owned copy of an encoded event. Unknown fields are not kept: forward bytes, not copies.
    ///
    /// # Errors
    /// As [`EventView::parse`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EventError> {
        EventView::parse(bytes).map(Self::from)
    }
}

impl EventView<'_> {
    /// Appends the bytes of an event with these fields; see [`Event::encode`].
    pub fn encode(&self, out: &mut BytesMut) {
        out.reserve(encoded_len(self));
        put_unless_empty(tag::ID, self.id.as_bytes(), out);
        put_unless_empty(tag::TYPE, self.ty.as_bytes(), out);
        put_unless_empty(tag::SOURCE, self.source.as_bytes(), out);
        put_unless_empty(tag::SAGA, self.saga.as_bytes(), out);
        put_unless_empty(tag::KEY, self.key.as_bytes(), out);
        put_unless_empty(tag::SUBJECT, self.subject.as_bytes(), out);
        put_unless_zero(tag::TURN, self.turn.into(), out);
        put_unless_zero(tag::SCHEMA, self.schema.into(), out);
        put_unless_zero(tag::TIME, self.time, out);
        put_unless_empty(tag::CAUSE, self.cause.as_bytes(), out);
        put_unless_empty(tag::CONTENT_TYPE, self.content_type.as_bytes(), out);
        put_unless_empty(tag::TRACEPARENT, self.traceparent.as_bytes(), out);
        out.put_slice(self.headers);
        put_unless_empty(tag::DATA, self.data, out);
    }
}

impl From<EventView<'_>> for Event {
    fn from(view: EventView<'_>) -> Self {
        let event = Self {
            id: view.id.into(),
            ty: view.ty.into(),
            source: view.source.into(),
            saga: view.saga.into(),
            key: view.key.into(),
            subject: view.subject.into(),
            turn: view.turn,
            schema: view.schema,
            time: view.time,
            cause: view.cause.into(),
            content_type: view.content_type.into(),
            traceparent: view.traceparent.into(),
            headers: Vec::new(),
            data: Bytes::copy_from_slice(view.data),
        };
        view.headers().fold(event, |event, (name, value)| event.header(name, value))
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

/// A value that could not be written as JSON, or data that is not the JSON asked for.
#[cfg(feature = "json")]
#[derive(Debug, thiserror::Error)]
#[error("the event's data and JSON do not go together: {0}")]
pub struct JsonError(#[from] serde_json::Error);

#[cfg(feature = "json")]
impl JsonError {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "event_json"
    }
}

/// The media type of [`json`] payloads.
#[cfg(feature = "json")]
pub const JSON: &str = "application/json";

/// `value` as a payload in JSON.
///
/// # Errors
/// A value that has no JSON form, such as a map whose keys are not text.
#[cfg(feature = "json")]
pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, JsonError> {
    Ok(serde_json::to_vec(value)?)
}

#[cfg(feature = "json")]
impl Event {
    /// Sets the payload to `value` as JSON, and the media type to `application/json`.
    ///
    /// # Errors
    /// A value that has no JSON form, such as a map whose keys are not text.
    pub fn json<T: serde::Serialize + ?Sized>(self, value: &T) -> Result<Self, JsonError> {
        Ok(self.data(json(value)?).content_type(JSON))
    }
}

#[cfg(feature = "json")]
impl<'a> EventView<'a> {
    /// Reads the payload as JSON, whatever its media type says.
    ///
    /// # Errors
    /// A payload that is not JSON, or not of this shape.
    pub fn json<T: serde::Deserialize<'a>>(&self) -> Result<T, JsonError> {
        Ok(serde_json::from_slice(self.data)?)
    }
}

/// Every tag of an event is one byte.
fn field_len(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

fn encoded_len(view: &EventView<'_>) -> usize {
    let of_bytes = |length: usize| if length == 0 { 0 } else { field_len(length) };
    let of_number = |n: u64| if n == 0 { 0 } else { 1 + encoded_len_varint(n) };
    let texts: usize = view.texts().iter().map(|(_, text)| of_bytes(text.len())).sum();
    let numbers =
        of_number(view.turn.into()) + of_number(view.schema.into()) + of_number(view.time);
    texts + numbers + view.headers.len() + of_bytes(view.data.len())
}

fn put(tag: u64, value: &[u8], out: &mut impl BufMut) {
    match (u8::try_from(tag), u8::try_from(value.len())) {
        // Tag and length in one piece: a third of the time of two varints.
        (Ok(tag), Ok(length @ ..=0x7f)) => out.put_slice(&[tag, length]),
        _ => {
            encode_varint(tag, out);
            encode_varint(value.len() as u64, out);
        }
    }
    out.put_slice(value);
}

fn put_unless_empty(tag: u64, value: &[u8], out: &mut BytesMut) {
    if !value.is_empty() {
        put(tag, value, out);
    }
}

fn put_unless_zero(tag: u64, value: u64, out: &mut BytesMut) {
    if value != 0 {
        encode_varint(tag, out);
        encode_varint(value, out);
    }
}
