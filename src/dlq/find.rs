//! Which dead letters are meant: those of a filter, or the ones at places that somebody names, and
//! how many events wait behind each. Nothing is changed here.

use std::fmt;

use quadrille::{DeadLetter, DeadLetterQuery, DeadLetterRow, EventState, Position, StoredEvent};
use serde::Serialize;

use super::Filter;
use crate::at::{Session, place};
use crate::cli::Failure;
use crate::out::{age, plain};

/// How many places a sentence names.
const NAMED: usize = 5;

/// A dead letter of a group.
pub(super) struct Letter {
    pub(super) group: String,
    pub(super) dead: DeadLetter,
    /// How many events of its lane wait for it, once it was asked; `None` if none can.
    pub(super) behind: Option<Behind>,
}

/// How many wait behind a dead letter. Prints as `2`, or `2+`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Behind {
    known: usize,
    /// There may be more.
    more: bool,
}

impl Letter {
    /// Its place, as it is typed.
    pub(super) fn place(&self) -> String {
        place(self.dead.position)
    }

    pub(super) fn is_overtaken(&self) -> bool {
        self.dead.superseded_by.is_some()
    }

    /// The command that does this about it.
    pub(super) fn command(&self, session: &Session, how: &str, more: &[&str]) -> String {
        let place = self.place();
        session.command(&[&["dlq", how, &self.group, &place], more].concat())
    }

    /// Its event.
    pub(super) async fn event(&self, session: &Session) -> Result<StoredEvent, Failure> {
        let (topic, offset) = (&self.dead.topic, self.dead.offset);
        let mut read = session.bus.read(topic).from(offset).to(offset + 1);
        let event = read.next().await.ok_or_else(|| {
            let text = format!("the event at {} is no longer in the log", self.dead.position);
            Failure::Coded { code: "event_gone", exit: 1, text }
        })?;
        event.map_err(|e| session.failure(e))
    }

    /// Counts what waits behind it. Exact where lanes are sagas.
    pub(super) async fn count_behind(&mut self, session: &Session) -> Result<(), Failure> {
        let Some(known) = self.dead.blocks.filter(|_| !self.is_overtaken()) else {
            return Ok(());
        };
        let timeline = session.bus.timeline(&self.dead.saga).await;
        let timeline = timeline.map_err(|e| session.failure(e))?;
        let event = timeline.events.iter().find(|it| it.position == self.dead.position);
        let mut groups = event.into_iter().flat_map(|it| &it.groups);
        let state = groups.find(|it| it.group == self.group).map(|it| &it.state);
        self.behind = Some(match state {
            Some(EventState::Parked { behind: Some(count), .. }) => {
                Behind { known: count.known, more: count.more }
            }
            _ => Behind { known, more: true },
        });
        Ok(())
    }
}

impl Behind {
    /// Behind all of these.
    pub(super) fn sum(letters: &[Letter]) -> Self {
        let all = letters.iter().filter_map(|it| it.behind);
        all.fold(Self::default(), |sum, it| Self {
            known: sum.known + it.known,
            more: sum.more || it.more,
        })
    }

    pub(super) fn is_none(self) -> bool {
        self == Self::default()
    }

    /// `nothing`, `1 event`, `2+ events`.
    pub(super) fn events(self) -> String {
        match self {
            Self { known: 0, more: false } => "nothing".to_owned(),
            Self { known: 0, more: true } => "not known".to_owned(),
            Self { known: 1, more: false } => "1 event".to_owned(),
            many => format!("{many} events"),
        }
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.known, if self.more { "+" } else { "" })
    }
}

impl Filter {
    /// Whether it says anything.
    pub(super) fn is_some(&self) -> bool {
        let Self { group, ty, saga, reason, older } = self;
        [group, ty, saga, reason].iter().any(|it| it.is_some()) || older.is_some()
    }

    /// All dead letters that it lets through, in the order of the log.
    pub(super) async fn find(&self, session: &Session) -> Result<Vec<Letter>, Failure> {
        let Self { group, ty, saga, reason, older } = self;
        let mut query = session.bus.dead_letters_of_all();
        if let Some(group) = group {
            session.check_group(group).await?;
            query = query.group(group);
        }
        if let Some(ty) = ty {
            query = query.ty(ty);
        }
        if let Some(saga) = saga {
            query = query.saga(saga);
        }
        if let Some(part) = reason {
            query = query.reason(part);
        }
        if let Some(age) = older {
            query = query.older_than(*age);
        }
        found(session, query).await
    }
}

async fn found(session: &Session, query: DeadLetterQuery) -> Result<Vec<Letter>, Failure> {
    let list = query.await.map_err(|e| session.failure(e))?;
    let letter = |it: DeadLetterRow| Letter { group: it.group, dead: it.letter, behind: None };
    Ok(list.rows.into_iter().map(letter).collect())
}

/// The dead letters of a group at these places.
///
/// # Errors
/// There is no such group; at a place there is none, or more than one.
pub(super) async fn at(
    session: &Session,
    group: &str,
    places: &[Position],
) -> Result<Vec<Letter>, Failure> {
    session.check_group(group).await?;
    let mut there = found(session, session.bus.dead_letters_of_all().group(group)).await?;
    let mut wanted: Vec<Position> = Vec::new();
    for asked in places {
        let all = || there.iter().map(|it| it.dead.position);
        match &all().filter(|it| means(*asked, *it)).collect::<Vec<_>>()[..] {
            _ if all().any(|it| it == *asked) => wanted.push(*asked),
            [one] => wanted.push(*one),
            [] => return Err(nothing_at(session, group, *asked, &there).await?),
            many => {
                let text = format!("{group} has {} in that entry; say which", places_of(many));
                return Err(Failure::Coded { code: "ambiguous_place", exit: 1, text });
            }
        }
    }
    there.retain(|it| wanted.contains(&it.dead.position));
    Ok(there)
}

/// A place without an index may also be that of another one in its entry.
fn means(asked: Position, at: Position) -> bool {
    asked == at || asked.index == 0 && asked.entry == at.entry
}

/// Says what became of it, or what is there instead.
async fn nothing_at(
    session: &Session,
    group: &str,
    asked: Position,
    there: &[Letter],
) -> Result<Failure, Failure> {
    let all = session.bus.dead_letters_of_all().with_resolved();
    let all = all.await.map_err(|e| session.failure(e))?.rows;
    let all = || all.iter().filter(|it| means(asked, it.letter.position));
    let here = all().filter(|it| it.group == group).filter_map(|it| it.resolved.as_ref());
    if let Some(it) = here.max_by_key(|it| it.time) {
        let ago = age(session.now.saturating_sub(it.time));
        let mut text = format!("{group} {} was resolved {ago} ago", place(asked));
        for (before, said) in [(" by ", &*it.by), (": ", it.how), (", ", &it.comment)] {
            if !said.is_empty() {
                text += &format!("{before}{}", plain(said));
            }
        }
        return Ok(Failure::Coded { code: "resolved", exit: 1, text });
    }
    let known: Vec<_> = there.iter().map(|it| it.dead.position).collect();
    let mut text = match &known[..] {
        [] => format!("{group} has no dead letters"),
        some => format!("{group} has {}, and none at {}", places_of(some), place(asked)),
    };
    let others: Vec<_> = all().filter(|it| it.resolved.is_none()).map(|it| &*it.group).collect();
    if !others.is_empty() {
        text += &format!("; there is one of {}", others.join(", "));
    }
    Ok(Failure::Coded { code: "no_dead_letter", exit: 1, text })
}

/// `a dead letter at 7`, `dead letters at 7, 8.1 and 3 more`.
fn places_of(all: &[Position]) -> String {
    let mut some: Vec<_> = all.iter().take(NAMED).map(|it| place(*it)).collect();
    let more = all.len() - some.len();
    let last = match (more, some.len()) {
        (0, 1) => return format!("a dead letter at {}", some.concat()),
        (0, _) => some.pop().unwrap_or_default(),
        (more, _) => format!("{more} more"),
    };
    format!("dead letters at {} and {last}", some.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_named_up_to_a_few() {
        let at = |entry| Position { entry, index: 0 };
        assert_eq!(places_of(&[at(7)]), "a dead letter at 7");
        assert_eq!(places_of(&[at(7), at(9)]), "dead letters at 7 and 9");
        let many: Vec<_> = (1..=8).map(at).collect();
        assert_eq!(places_of(&many), "dead letters at 1, 2, 3, 4, 5 and 3 more");
    }
}
