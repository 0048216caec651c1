//! Wire and disk vocabulary of Quadrille: the event and its borrowed view, ids and hashes, and the
//! records of the log. Nothing here knows files, clocks, topics' state or the network.

#[expect(
    missing_docs,
    reason = "generated from proto/*.proto, where the comments are"
)]
#[rustfmt::skip]
mod generated;

mod error;
pub mod event;
pub mod hash;
pub mod ids;
pub mod limits;
pub mod name;
mod reader;
pub mod record;
pub mod view;

pub use error::EventError;
pub use event::Event;
pub use hash::Hasher128;
pub use view::EventView;
