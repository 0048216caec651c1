//! Sizes that are part of the format, in bytes. What a broker bounds for its own sake is not here.

/// Largest encoded event.
pub const MAX_EVENT: usize = 1 << 20;

/// Longest id, type, source, saga, key, subject, cause, content type and traceparent.
pub const MAX_TEXT: usize = 255;

/// Longest name of a topic, a group or a participant.
pub const MAX_NAME: usize = 255;
