//! The Quadrille engine: commands in, one log, a pure core, and everything else derived from it.
//!
//! # Layout
//! - [`core`]: the pure state machine: topics, groups, lanes, dedup, timers, sessions. No I/O, no
//!   clock.
//! - [`engine`]: commands in, records to the log, answers and deliveries out when they may be seen.
//! - [`error`]: why an engine does not open, and why a command has no good answer.
//! - [`log`]: chunks of entries, recovery, reading; bytes only. Every byte is in `FORMAT.md`.
//! - [`disk`]: files behind a trait: those of the system, and (feature `sim`) faulty ones.
//! - [`index`]: rows of sagas and dead letters, derived from the log, disposable.
//! - [`limits`]: every bound, in one table.
//! - [`sidecar`]: where events are: by offset, time, key, saga; and their ids.
//! - [`checkpoint`]: files that hold a copy of core, so that replay is short.
//! - [`upkeep`]: what of the log may go.
//! - [`time`]: both clocks as one value.

pub mod checkpoint;
pub mod core;
pub mod disk;
pub mod engine;
pub mod error;
pub mod index;
pub mod limits;
pub mod log;
pub mod sidecar;
pub mod time;
pub mod upkeep;
