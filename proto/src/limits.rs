//! Sizes that are part of the format or of the protocol, in bytes, and the protocol's version. What a
//! broker bounds for its own sake is not here.

/// Largest encoded event.
pub const MAX_EVENT: usize = 1 << 20;

/// Longest id, type, source, saga, key, subject, cause, content type and traceparent.
pub const MAX_TEXT: usize = 255;

/// Longest name of a topic, a group or a participant.
pub const MAX_NAME: usize = 255;

/// The version of the protocol that is spoken here.
pub const VERSION: u32 = 1;

/// The features of the protocol that are understood here, a bit each.
pub const FEATURES: u64 = 0;

/// Longest frame while a connection has not said hello and been welcomed.
pub const MAX_FIRST_FRAME: usize = 4 << 10;

/// Longest frame, unless the other side says less.
pub const MAX_FRAME: usize = 8 << 20;

/// Longest frame with a request that holds no events.
pub const MAX_SMALL_FRAME: usize = 64 << 10;

/// Most fields of a request in a longer one: events, deliveries, and what else it says.
pub const MAX_FIELDS: usize = 8192;
