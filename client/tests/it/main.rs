//! The embedded bus as its users see it, in one binary. Time stands still unless a test moves it;
//! the engine has no threads and is driven by [`stage::Stage`].

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cancel_safety;
mod groups;
mod info;
mod macros;
mod messages;
mod participants;
mod publishing;
mod reading;
mod sagas;
mod settling;
mod slow_log;
mod stage;
mod steps;
mod testbus;
mod timeline;
