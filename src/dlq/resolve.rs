//! `quadrille dlq retry` and `skip`: what is named, or what a filter finds, after a look at how
//! much that is. Either all of it is there, or nothing is done.

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal, Write};

use quadrille::Resolve;
use serde_json::json;

use super::find::{self, Behind, Letter};
use super::{Record, ResolveArgs, Row};
use crate::at::Session;
use crate::cli::Failure;
use crate::out::{Look, count, plain, say, say_json, table};

/// How many kinds of dead letters people are shown before they decide.
const KINDS: usize = 20;

/// What becomes of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Retry,
    Skip,
}

impl How {
    fn word(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Skip => "skip",
        }
    }
}

/// Resolves them.
pub(super) async fn resolve(
    session: &Session,
    args: &ResolveArgs,
    how: How,
) -> Result<(), Failure> {
    let filtered = args.filter.is_some();
    let mut letters = match &args.of {
        Some(group) => find::at(session, group, &args.places).await?,
        None if filtered => args.filter.find(session).await?,
        None => {
            let text = "say which: GROUP PLACE..., or a filter such as --group GROUP";
            return Err(Failure::Coded { code: "nothing_named", exit: 2, text: text.to_owned() });
        }
    };
    match filtered {
        true => letters.retain(|it| !it.is_overtaken() || args.record.overtaken),
        false => letters.iter().try_for_each(|it| check_overtaken(it, how, &args.record))?,
    }
    if how == How::Skip || args.at.json {
        for letter in &mut letters {
            letter.count_behind(session).await?;
        }
    }
    if filtered && !args.at.json {
        kinds(Look::of_stdout(), &letters)?;
    }
    if filtered && !args.dry_run && !args.yes && !letters.is_empty() {
        confirm(&letters, how, args.at.json).await?;
    }
    let letters_left = if args.dry_run { &[] } else { &letters[..] };
    for (done, letter) in letters_left.iter().enumerate() {
        let resolve = args.record.on(session, letter);
        let result = match how {
            How::Retry => resolve.retry().await,
            How::Skip => resolve.skip().await,
        };
        result.map_err(|e| of_these(session.failure(e), done, letters.len()))?;
    }
    if args.at.json {
        let dead_letters: Vec<_> = letters.iter().map(Row::from).collect();
        return say_json(&json!({
            "how": how.word(), "dry_run": args.dry_run, "count": letters.len(),
            "dead_letters": dead_letters,
        }));
    }
    if !filtered {
        let row = |it: &Letter| {
            vec![it.group.clone(), it.place(), plain(&it.dead.ty), plain(&it.dead.saga)]
        };
        table(&letters.iter().map(row).collect::<Vec<_>>(), &[]).iter().try_for_each(say)?;
    }
    match args.dry_run {
        true => say(format!("{} would be resolved; nothing was done", number(&letters))),
        false => say(said(&letters, how)),
    }
}

impl Record {
    /// The resolution of a dead letter, with who and why.
    pub(super) fn on(&self, session: &Session, letter: &Letter) -> Resolve {
        let resolve = session.bus.resolve(&letter.group, letter.dead.position);
        let resolve = resolve.by(&self.by).comment(&self.comment);
        if self.overtaken { resolve.override_superseded() } else { resolve }
    }
}

/// What was overtaken is not handed out again by an oversight.
pub(super) fn check_overtaken(letter: &Letter, how: How, record: &Record) -> Result<(), Failure> {
    let Some(by) = letter.dead.superseded_by.filter(|_| how == How::Retry && !record.overtaken)
    else {
        return Ok(());
    };
    let text = format!(
        "{} {} was overtaken by the compensation {by}: its effects may be undone already; say \
         --override to hand it out all the same",
        letter.group,
        letter.place()
    );
    Err(Failure::Coded { code: "was_superseded", exit: 1, text })
}

fn number(letters: &[Letter]) -> String {
    count(letters.len() as u64, "dead letter", "dead letters")
}

/// What goes on when these are skipped.
fn without(letters: &[Letter]) -> String {
    let behind = Behind::sum(letters);
    let it = if letters.len() == 1 { "it" } else { "them" };
    match behind.is_none() {
        true => String::new(),
        false => format!("; going on without {it}: {}", behind.events()),
    }
}

/// The dry run: what was found, by kind.
fn kinds(look: Look, letters: &[Letter]) -> Result<(), Failure> {
    let mut kinds: BTreeMap<_, u64> = BTreeMap::new();
    for it in letters {
        *kinds.entry((&it.group, &it.dead.ty, &it.dead.reason)).or_default() += 1;
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for ((group, ty, reason), count) in kinds.iter().take(KINDS) {
        let line = format!("{count:>6}  {group}  {}  ", plain(ty));
        say(format!("{line}{}", look.bad(&look.fitted(reason, line.chars().count()))))?;
    }
    match kinds.len().saturating_sub(KINDS) {
        0 => Ok(()),
        more => say(format!("        and {more} more kinds")),
    }
}

/// Asks, if somebody is there to answer.
async fn confirm(letters: &[Letter], how: How, json: bool) -> Result<(), Failure> {
    let (number, word) = (number(letters), how.word());
    if json || !io::stdin().is_terminal() {
        let text = format!("the filter finds {number}; say --yes to {word} all of them");
        return Err(Failure::Coded { code: "not_confirmed", exit: 2, text });
    }
    let question = match how {
        How::Retry => format!("Retry {number}? [y/N] "),
        How::Skip => format!("Skip {number}, never to be handled{}? [y/N] ", without(letters)),
    };
    let answer = tokio::task::spawn_blocking(move || {
        let mut answer = String::new();
        write!(io::stderr(), "{question}")?;
        io::stdin().lock().read_line(&mut answer).map(|_| answer)
    });
    let answer = answer.await.map_err(Failure::run)?.map_err(Failure::run)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Stopped("nothing was done".to_owned())),
    }
}

fn said(letters: &[Letter], how: How) -> String {
    if letters.is_empty() {
        return "no dead letters match; nothing was done".to_owned();
    }
    let number = number(letters);
    match how {
        How::Retry => {
            format!("{number} retried: handed out again, with all attempts, to the next member")
        }
        How::Skip => format!("{number} skipped, never to be handled{}", without(letters)),
    }
}

/// A failure in the middle says how far it came.
fn of_these(failure: Failure, done: usize, all: usize) -> Failure {
    match failure {
        Failure::Coded { code, exit, text } if all > 1 => Failure::Coded {
            code,
            exit,
            text: format!("{text} ({done} of {all} were done before)"),
        },
        other => other,
    }
}
