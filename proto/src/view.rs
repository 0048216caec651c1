//! A borrowed view of an encoded event: one pass, nothing allocated, any field order, any later
//! field tolerated. Reading only; building and encoding are in `event.rs`.

use std::fmt;

use crate::error::EventError;
use crate::limits::{MAX_EVENT, MAX_TEXT};
use crate::reader::{Reader, tag};

/// An event, borrowed from its bytes. Absent fields are empty or 0.
#[derive(Clone, Copy, Default)]
pub struct EventView<'a> {
    /// Unique within the source.
    pub id: &'a str,
    /// What happened, such as `order.created`; the envelope's `type`.
    pub ty: &'a str,
    /// Who says so.
    pub source: &'a str,
    /// The saga it belongs to; see [`EventView::saga_or_id`].
    pub saga: &'a str,
    /// What orders it within a group by key; see [`EventView::key_or_subject`].
    pub key: &'a str,
    /// What it is about.
    pub subject: &'a str,
    /// The turn that its producer carries along.
    pub turn: u32,
    /// Version of the type.
    pub schema: u32,
    /// Milliseconds since 1970 on the producer's clock.
    pub time: u64,
    /// Id of the event that led to this one.
    pub cause: &'a str,
    /// Media type of `data`.
    pub content_type: &'a str,
    /// W3C trace context.
    pub traceparent: &'a str,
    /// The payload.
    pub data: &'a [u8],
    /// From the first header's tag to the end of the last; validated.
    pub(crate) headers: &'a [u8],
    pub(crate) encoded_len: usize,
}

impl<'a> EventView<'a> {
    /// Reads an event in one pass. As protobuf wants it, the last of a repeated field wins, and
    /// unknown fields are skipped. Limits are not looked at here, so that old logs stay readable;
    /// see [`EventView::check`].
    ///
    /// # Errors
    /// Bytes that are cut short or not protobuf, wrong wire types, text that is not UTF-8.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EventError> {
        let mut view = Self { encoded_len: bytes.len(), ..Self::default() };
        let mut reader = Reader { rest: bytes };
        let mut headers: Option<(usize, usize)> = None;
        while !reader.rest.is_empty() {
            let start = bytes.len() - reader.rest.len();
            match reader.varint()? {
                tag::ID => view.id = reader.text("id")?,
                tag::TYPE => view.ty = reader.text("type")?,
                tag::SOURCE => view.source = reader.text("source")?,
                tag::SAGA => view.saga = reader.text("saga")?,
                tag::KEY => view.key = reader.text("key")?,
                tag::SUBJECT => view.subject = reader.text("subject")?,
                tag::TURN => view.turn = reader.varint32()?,
                tag::SCHEMA => view.schema = reader.varint32()?,
                tag::TIME => view.time = reader.varint()?,
                tag::CAUSE => view.cause = reader.text("cause")?,
                tag::CONTENT_TYPE => view.content_type = reader.text("content_type")?,
                tag::TRACEPARENT => view.traceparent = reader.text("traceparent")?,
                tag::DATA => view.data = reader.bytes()?,
                tag::HEADER => {
                    header(&mut reader)?;
                    let first = headers.map_or(start, |(first, _)| first);
                    headers = Some((first, bytes.len() - reader.rest.len()));
                }
                other => reader.skip(other, field_name)?,
            }
        }
        if let Some((first, end)) = headers {
            view.headers = bytes.get(first..end).unwrap_or_default();
        }
        Ok(view)
    }

    /// Whether this event may be published: type and id present, every text within [`MAX_TEXT`]
    /// bytes, the whole within [`MAX_EVENT`].
    ///
    /// # Errors
    /// The first limit that it breaks.
    pub fn check(&self) -> Result<(), EventError> {
        if self.encoded_len > MAX_EVENT {
            return Err(EventError::TooLarge { length: self.encoded_len });
        }
        for (field, text) in [("type", self.ty), ("id", self.id)] {
            if text.is_empty() {
                return Err(EventError::Missing { field });
            }
        }
        for (field, text) in self.texts() {
            if text.len() > MAX_TEXT {
                return Err(EventError::TooLong { field, length: text.len() });
            }
        }
        Ok(())
    }

    /// The headers in the order of the bytes; a name may occur more than once.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        Headers { reader: Reader { rest: self.headers } }
    }

    /// The value of the last header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().filter(|(n, _)| *n == name).last().map(|(_, value)| value)
    }

    /// The saga this event is of: an event without one starts a saga with its own id.
    #[must_use]
    pub fn saga_or_id(&self) -> &'a str {
        if self.saga.is_empty() { self.id } else { self.saga }
    }

    /// The key that orders it within a group by key; empty if it has neither.
    #[must_use]
    pub fn key_or_subject(&self) -> &'a str {
        if self.key.is_empty() { self.subject } else { self.key }
    }

    /// Length of the whole event's encoding in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.encoded_len
    }

    /// Every text field with its name, in the order of the field numbers.
    pub(crate) fn texts(&self) -> [(&'static str, &'a str); 9] {
        [
            ("id", self.id),
            ("type", self.ty),
            ("source", self.source),
            ("saga", self.saga),
            ("key", self.key),
            ("subject", self.subject),
            ("cause", self.cause),
            ("content_type", self.content_type),
            ("traceparent", self.traceparent),
        ]
    }
}

/// Shows what is set, and of the payload only its size: payloads do not belong in log files.
impl fmt::Debug for EventView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Event");
        for (name, text) in self.texts().into_iter().filter(|(_, text)| !text.is_empty()) {
            out.field(name, &text);
        }
        let numbers =
            [("turn", self.turn.into()), ("schema", self.schema.into()), ("time", self.time)];
        for (name, number) in numbers.into_iter().filter(|(_, number)| *number != 0) {
            out.field(name, &number);
        }
        for (name, value) in self.headers() {
            out.field(name, &String::from_utf8_lossy(value));
        }
        out.field("data_len", &self.data.len()).finish()
    }
}

/// The headers of an event; see [`EventView::headers`].
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);

    /// `parse` has validated these bytes, so an error cannot occur here; it would end the headers.
    fn next(&mut self) -> Option<Self::Item> {
        while !self.reader.rest.is_empty() {
            match self.reader.varint().ok()? {
                tag::HEADER => return header(&mut self.reader).ok(),
                // Whatever a foreign encoder has put between headers; its wire type is right.
                other => self.reader.skip(other, |_| None).ok()?,
            }
        }
        None
    }
}

fn header<'a>(reader: &mut Reader<'a>) -> Result<(&'a str, &'a [u8]), EventError> {
    let mut inner = Reader { rest: reader.bytes()? };
    let (mut name, mut value) = ("", &[][..]);
    while !inner.rest.is_empty() {
        match inner.varint()? {
            tag::HEADER_NAME => name = inner.text("header name")?,
            tag::HEADER_VALUE => value = inner.bytes()?,
            other => inner.skip(other, header_field_name)?,
        }
    }
    Ok((name, value))
}

fn field_name(number: u64) -> Option<&'static str> {
    Some(match number {
        1 => "id",
        2 => "type",
        3 => "source",
        4 => "saga",
        5 => "key",
        6 => "subject",
        7 => "turn",
        8 => "schema",
        9 => "time",
        10 => "cause",
        11 => "content_type",
        12 => "traceparent",
        13 => "headers",
        15 => "data",
        _ => return None,
    })
}

fn header_field_name(number: u64) -> Option<&'static str> {
    match number {
        1 => Some("header name"),
        2 => Some("header value"),
        _ => None,
    }
}
