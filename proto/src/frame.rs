//! Frames on a stream of bytes: four bytes of length (little endian), then that many bytes of one
//! protobuf message. A length is checked before anything is made of it, and what a frame's fields
//! would come to in memory before they are read. What a frame means is not here.

use std::io;
use std::marker::PhantomData;

use bytes::{Buf, BufMut, BytesMut};
use prost::Message;
use thiserror::Error;
use tokio_util::codec::{Decoder, Encoder};

use crate::limits::{MAX_FIELDS, MAX_FIRST_FRAME, MAX_SMALL_FRAME};
use crate::reader::Reader;
use crate::wire::{self, ToClient, ToServer};

/// Why there is no frame to read, or none may be written. [`FrameError::code`] is stable; the text
/// is for people.
#[derive(Debug, Error)]
pub enum FrameError {
    /// It is longer than allowed. When written, nothing of it was.
    #[error("a frame has {bytes} bytes, at most {max} are allowed here")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// What is allowed.
        max: usize,
    },
    /// It has more fields than any request needs.
    #[error("a frame has more than {max} fields")]
    TooComplex {
        /// What is allowed.
        max: usize,
    },
    /// It is not the message that it should be.
    #[error("a frame cannot be read: {why}")]
    Malformed {
        /// What was wrong with it.
        why: String,
    },
    /// The stream has ended within it.
    #[error("the connection has ended in the middle of a frame")]
    Truncated,
    /// The stream has failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl FrameError {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "frame_too_large",
            Self::TooComplex { .. } => "frame_too_complex",
            Self::Malformed { .. } => "frame_malformed",
            Self::Truncated => "frame_truncated",
            Self::Io(_) => "unavailable",
        }
    }
}

/// What the other side is told of it.
impl From<&FrameError> for wire::Error {
    fn from(it: &FrameError) -> Self {
        let error = Self::new(it.code(), it.to_string());
        match it {
            FrameError::TooLarge { bytes, max } => {
                error.with_number("bytes", *bytes as u64).with_number("max", *max as u64)
            }
            FrameError::TooComplex { max } => error.with_number("max", *max as u64),
            FrameError::Malformed { why } => error.with_text("why", why),
            FrameError::Io(why) => error.with_text("why", why.to_string()),
            FrameError::Truncated => error,
        }
    }
}

/// Reads frames of one kind and writes those of the other. Event bytes are not copied out of what
/// was read: they keep the buffer of their frame alive.
#[derive(Debug)]
pub struct Codec<In, Out> {
    incoming: usize,
    outgoing: usize,
    check: fn(&[u8]) -> Result<(), FrameError>,
    speaks: PhantomData<fn(Out) -> In>,
}

/// The server's end.
pub type ServerCodec = Codec<ToServer, ToClient>;
/// The client's end.
pub type ClientCodec = Codec<ToClient, ToServer>;

impl Default for ServerCodec {
    /// That of a connection on which nothing was said yet.
    fn default() -> Self {
        Self::new(check_request)
    }
}

impl Default for ClientCodec {
    /// That of a connection on which nothing was said yet.
    fn default() -> Self {
        // A client believes its server.
        Self::new(|_| Ok(()))
    }
}

impl<In, Out> Codec<In, Out> {
    fn new(check: fn(&[u8]) -> Result<(), FrameError>) -> Self {
        let (incoming, outgoing) = (MAX_FIRST_FRAME, MAX_FIRST_FRAME);
        Self { incoming, outgoing, check, speaks: PhantomData }
    }

    /// How long frames may be from now on, in bytes: those that are read, those that are written.
    pub fn set_limits(&mut self, incoming: usize, outgoing: usize) {
        (self.incoming, self.outgoing) = (incoming, outgoing);
    }
}

impl<In: Message + Default, Out> Decoder for Codec<In, Out> {
    type Item = In;
    type Error = FrameError;

    fn decode(&mut self, from: &mut BytesMut) -> Result<Option<In>, FrameError> {
        let Some(length) = from.first_chunk() else { return Ok(None) };
        let bytes = u32::from_le_bytes(*length) as usize;
        if bytes > self.incoming {
            return Err(FrameError::TooLarge { bytes, max: self.incoming });
        }
        // Nothing is reserved: the buffer grows with what comes, not with what is announced.
        if from.len() - length.len() < bytes {
            return Ok(None);
        }
        from.advance(size_of::<u32>());
        let frame = from.split_to(bytes).freeze();
        (self.check)(&frame)?;
        let read = In::decode(frame);
        read.map(Some).map_err(|why| FrameError::Malformed { why: why.to_string() })
    }

    fn decode_eof(&mut self, from: &mut BytesMut) -> Result<Option<In>, FrameError> {
        match self.decode(from)? {
            None if !from.is_empty() => Err(FrameError::Truncated),
            frame => Ok(frame),
        }
    }
}

impl<In, Out: Message> Encoder<&Out> for Codec<In, Out> {
    type Error = FrameError;

    fn encode(&mut self, frame: &Out, to: &mut BytesMut) -> Result<(), FrameError> {
        let (bytes, max) = (frame.encoded_len(), self.outgoing);
        let too_large = FrameError::TooLarge { bytes, max };
        let length = u32::try_from(bytes).ok().filter(|_| bytes <= max).ok_or(too_large)?;
        to.reserve(size_of::<u32>() + bytes);
        to.put_u32_le(length);
        frame.encode_raw(to);
        Ok(())
    }
}

/// A byte or two of a frame can become a hundred in memory, once it is read. So only requests that
/// hold events may be long, and those have few fields; a short frame can do no harm.
fn check_request(frame: &[u8]) -> Result<(), FrameError> {
    if frame.len() <= MAX_SMALL_FRAME {
        return Ok(());
    }
    let mut count = 0;
    each_field(frame, |tag, request| {
        // Also twice in a frame: what is repeated adds up.
        let body = match tag {
            PUBLISH | STEP | RESOLVE => request,
            ID | NEEDS => &[],
            _ => return Err(FrameError::TooLarge { bytes: frame.len(), max: MAX_SMALL_FRAME }),
        };
        each_field(body, |_, _| {
            count += 1;
            let max = MAX_FIELDS;
            if count > max { Err(FrameError::TooComplex { max }) } else { Ok(()) }
        })
    })
}

/// Tags of [`ToServer`]: number and wire type.
const ID: u64 = 1 << 3;
const NEEDS: u64 = 2 << 3;
const PUBLISH: u64 = 3 << 3 | 2;
const STEP: u64 = 4 << 3 | 2;
const RESOLVE: u64 = 45 << 3 | 2;

/// Tag and value of each field; a value without a length is empty here.
fn each_field(
    message: &[u8],
    mut take: impl FnMut(u64, &[u8]) -> Result<(), FrameError>,
) -> Result<(), FrameError> {
    let mut reader = Reader { rest: message };
    let malformed = |_| FrameError::Malformed { why: "it is not protobuf".to_owned() };
    while !reader.rest.is_empty() {
        let tag = reader.varint().map_err(malformed)?;
        let value = match tag & 7 {
            2 => reader.bytes().map_err(malformed)?,
            _ => {
                reader.skip(tag, |_| None).map_err(malformed)?;
                &[]
            }
        };
        take(tag, value)?;
    }
    Ok(())
}
