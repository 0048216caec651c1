//! `quadrille why`: where an event is for a group and what it waits for, in one sentence.

use clap::Args;
use quadrille::{EventAt, Position, ReadError};
use serde::Serialize;
use serde_json::Value;

use crate::at::{At, place};
use crate::cli::Failure;
use crate::out::{say, say_json};
use crate::saga::json::{Event, state};

/// Say where an event is for a group, and what it waits for, in one sentence
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  quadrille why 3310 --group payment --data demo-data")]
pub(crate) struct WhyArgs {
    /// The event: its place in the log, such as 3310, or its id
    event: String,
    /// For this group
    #[arg(long, value_name = "GROUP")]
    group: String,
    #[command(flatten)]
    pub(crate) at: At,
}

#[derive(Serialize)]
struct Answer<'a> {
    group: &'a str,
    saga: &'a str,
    event: Event<'a>,
    state: Value,
    /// The same for people.
    sentence: String,
    /// Everything up to this place in the log is in it.
    exact_to: String,
}

/// Says it.
pub(crate) fn main(args: &WhyArgs) -> Result<(), Failure> {
    args.at.run(async |session| {
        session.check_group(&args.group).await?;
        let at: Option<Position> = args.event.parse().ok();
        let id = || EventAt::Id(args.event.clone());
        let mut why = session.bus.why(&args.group, at.map_or_else(id, EventAt::Position)).await;
        // An id may look like a place.
        if at.is_some() && matches!(why, Err(ReadError::UnknownEvent { .. })) {
            why = session.bus.why(&args.group, id()).await.or(why);
        }
        let why = why.map_err(|e| session.failure(e))?.with_commands(session.option());
        if !args.at.json {
            return say(why.to_string());
        }
        say_json(&Answer {
            group: &why.group,
            saga: &why.saga,
            event: Event::from(&why.event),
            state: state(&why.state),
            sentence: why.to_string(),
            exact_to: place(why.exact_to),
        })
    })
}
