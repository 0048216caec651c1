//! Wire and disk vocabulary of Quadrille: the event and its borrowed view, ids and hashes, the
//! records of the log, and what clients and servers say to each other. Nothing here knows files,
//! clocks, topics' state or sockets.

#[expect(
    missing_docs,
    reason = "generated from proto/*.proto, where the comments are"
)]
#[rustfmt::skip]
mod generated;

pub mod actions;
pub mod codes;
mod error;
pub mod event;
#[cfg(feature = "codec")]
pub mod frame;
pub mod hash;
pub mod ids;
pub mod limits;
pub mod name;
mod reader;
pub mod record;
pub mod view;

pub use error::EventError;
pub use event::Event;
pub use generated::wire;
pub use hash::Hasher128;
pub use view::EventView;
