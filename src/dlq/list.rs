//! `quadrille dlq list`: what waits for somebody, the oldest first, and what to type next.

use serde_json::json;

use super::find::{Behind, Letter};
use super::{ListArgs, Row};
use crate::at::Session;
use crate::cli::Failure;
use crate::out::{Look, age, count, plain, say, say_json, table};

/// How many people are shown.
const SHOWN: usize = 50;

/// Lists what the filter lets through.
pub(super) async fn list(session: &Session, args: &ListArgs) -> Result<(), Failure> {
    let mut found = args.filter.find(session).await?;
    let superseded = found.iter().filter(|it| it.is_overtaken()).count();
    if !args.all {
        found.retain(|it| !it.is_overtaken());
    }
    let count = found.len();
    found.truncate(args.limit.unwrap_or(if args.at.json { usize::MAX } else { SHOWN }));
    for letter in &mut found {
        letter.count_behind(session).await?;
    }
    if args.at.json {
        let listed: Vec<_> = found.iter().map(Row::from).collect();
        return say_json(
            &json!({ "count": count, "superseded": superseded, "dead_letters": listed }),
        );
    }
    let look = Look::of_stdout();
    if !found.is_empty() {
        rows(session, look, &found)?;
        say("")?;
    }
    say(summary(&found, count, if args.all { 0 } else { superseded }))?;
    match found.first() {
        Some(first) => say(look.typed(&first.command(session, "show", &[]))),
        None => Ok(()),
    }
}

/// Two lines each: a reason is a sentence.
fn rows(session: &Session, look: Look, letters: &[Letter]) -> Result<(), Failure> {
    let head = ["GROUP", "PLACE", "TYPE", "ATTEMPTS", "SINCE", "BEHIND", "SAGA"];
    let row = |it: &Letter| {
        vec![
            it.group.clone(),
            it.place(),
            plain(&it.dead.ty),
            it.dead.attempts.to_string(),
            age(session.now.saturating_sub(it.dead.time)),
            it.behind.map_or_else(|| "-".to_owned(), |it| it.to_string()),
            plain(&it.dead.saga),
        ]
    };
    let head = head.map(str::to_owned).to_vec();
    let lines =
        table(&[head].into_iter().chain(letters.iter().map(row)).collect::<Vec<_>>(), &[3, 4, 5]);
    let mut lines = lines.iter();
    if let Some(head) = lines.next() {
        say(look.head(head))?;
    }
    for (line, letter) in lines.zip(letters) {
        say(line)?;
        let overtaken = letter.dead.superseded_by;
        let overtaken = overtaken.map_or_else(String::new, |by| format!("overtaken by {by}; "));
        say(format!(
            "  {}{}",
            overtaken,
            look.bad(&look.fitted(&letter.dead.reason, 2 + overtaken.len()))
        ))?;
    }
    Ok(())
}

fn summary(shown: &[Letter], found: usize, hidden: usize) -> String {
    let mut text = match found {
        0 => "no dead letters".to_owned(),
        _ => count(found as u64, "dead letter", "dead letters"),
    };
    let behind = Behind::sum(shown);
    if shown.len() < found {
        text += &format!(", the {} oldest shown (--limit N for more)", shown.len());
    } else if !behind.is_none() {
        text += &format!("; waiting behind: {}", behind.events());
    }
    if hidden > 0 {
        text += &format!("; {hidden} overtaken, not shown (--all)");
    }
    text
}
