//! Tests of the formats as a whole: generated code, record numbers, golden bytes, hostile bytes, and
//! what is said on the wire.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::indexing_slicing, reason = "likewise")]

mod fixtures;
#[cfg(feature = "codec")]
mod frames;
mod generated;
mod messages;
mod protocol;
mod records;
mod samples;
mod schema;
mod view;
