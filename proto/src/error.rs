//! What can be wrong with an event. Decoding and limits only; what a broker refuses is its own.

use crate::limits::{MAX_EVENT, MAX_TEXT};

/// Why bytes are not an event, or not one that may be published. [`EventError::code`] is stable;
/// the text is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// The bytes end in the middle of a field.
    #[error("the event's bytes end in the middle of a field")]
    Truncated,
    /// A varint of more than 64 bits.
    #[error("the event's bytes hold a number of more than 64 bits")]
    Varint,
    /// A field number that protobuf does not know.
    #[error("the event's bytes hold an impossible field number")]
    FieldNumber,
    /// A field with another wire type than its own, or a group.
    #[error("the event's field `{field}` has the wrong wire type")]
    WireType {
        /// Its name, or `unknown`.
        field: &'static str,
    },
    /// A text field that is not UTF-8.
    #[error("the event's field `{field}` is not valid UTF-8")]
    Utf8 {
        /// Its name.
        field: &'static str,
    },
    /// A field that must not be empty is.
    #[error("the event has no `{field}`")]
    Missing {
        /// Its name.
        field: &'static str,
    },
    /// A text field of more than [`MAX_TEXT`] bytes.
    #[error("the event's field `{field}` has {length} bytes, at most {MAX_TEXT} are allowed")]
    TooLong {
        /// Its name.
        field: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// More than [`MAX_EVENT`] bytes in all.
    #[error("the event has {length} bytes encoded, at most {MAX_EVENT} are allowed")]
    TooLarge {
        /// Its encoded length in bytes.
        length: usize,
    },
}

impl EventError {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Truncated => "event_truncated",
            Self::Varint => "event_varint",
            Self::FieldNumber => "event_field_number",
            Self::WireType { .. } => "event_wire_type",
            Self::Utf8 { .. } => "event_not_utf8",
            Self::Missing { .. } => "event_field_missing",
            Self::TooLong { .. } => "event_field_too_long",
            Self::TooLarge { .. } => "event_too_large",
        }
    }
}
