//! `quadrille saga show`: the tree of a saga.

use serde::Serialize;

use super::ShowArgs;
use super::json::{Event, status};
use crate::at::{Session, place};
use crate::cli::Failure;
use crate::out::{Look, say, say_json};

#[derive(Serialize)]
struct Shown<'a> {
    saga: &'a str,
    status: &'static str,
    turned_back: bool,
    events: Vec<Event<'a>>,
    /// The newest events are left out.
    more: bool,
    /// Everything up to this place in the log is in it.
    exact_to: String,
}

/// Shows it.
pub(super) async fn show(session: &Session, args: &ShowArgs) -> Result<(), Failure> {
    let timeline = session.bus.timeline(&args.saga).await.map_err(|e| session.failure(e))?;
    let timeline = timeline.with_commands(session.option());
    if timeline.events.is_empty() {
        let text = format!("no event of a saga {:?} is in {}", args.saga, session.name());
        return Err(Failure::Coded { code: "unknown_saga", exit: 1, text });
    }
    if args.mermaid {
        return say(timeline.mermaid().trim_end());
    }
    if !args.at.json {
        return tree(&timeline.to_string());
    }
    say_json(&Shown {
        saga: &timeline.saga,
        status: status(timeline.status),
        turned_back: timeline.events.iter().any(|it| it.turn > 0),
        events: timeline.events.iter().map(Event::from).collect(),
        more: timeline.more,
        exact_to: place(timeline.exact_to),
    })
}

fn tree(text: &str) -> Result<(), Failure> {
    let look = Look::of_stdout();
    for (number, line) in text.lines().enumerate() {
        // The lines of the tree are drawn; what can be typed is not.
        let from = line.find(|c: char| !" │├└─".contains(c)).unwrap_or(0);
        let (stem, words) = line.split_at(from);
        match number {
            0 => say(look.head(line))?,
            _ if words.starts_with("quadrille ") => say(format!("{stem}{}", look.typed(words)))?,
            _ => say(line)?,
        }
    }
    Ok(())
}
