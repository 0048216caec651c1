//! The end-to-end tests, one binary. Each module holds one subject; nothing else lives here.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::indexing_slicing, reason = "likewise")]

mod bad_input;
mod behind;
mod commands;
mod damage;
mod demo;
mod full;
mod handlers;
mod index;
mod kill;
mod open;
mod power;
mod readme;
mod resends;
mod stage;
mod tidy;
