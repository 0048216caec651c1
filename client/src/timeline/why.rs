//! Why an event is where it is, for one group, as a sentence.

use std::fmt::{self, Display, Formatter};

use super::text::{After, Because, Short, plain};
use super::{EventState, HoldCause, TimelineEvent, WaitsFor};
use crate::Position;
use crate::link::{SagaEvent, ToldStory};

/// Which event is meant: by its place in the log, or by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventAt {
    /// The event at this place; if that is the place of something else, the first of its entry.
    Position(Position),
    /// An event with this id that the group reads: the first one that it has not settled, or else
    /// one that it has. May read the whole log.
    Id(String),
}

/// Where an event is for a group, and what it waits for. `Display` is a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Why {
    /// The group.
    pub group: String,
    /// The event.
    pub event: TimelineEvent,
    /// The saga it is of.
    pub saga: String,
    /// Where it is for the group.
    pub state: EventState,
    /// Everything up to this place in the log is in the answer.
    pub exact_to: Position,
    commands: Option<String>,
}

impl From<Position> for EventAt {
    fn from(it: Position) -> Self {
        Self::Position(it)
    }
}

/// `#3310` is a place; everything else is an id.
impl From<&str> for EventAt {
    fn from(it: &str) -> Self {
        let place = it.starts_with('#').then(|| it.parse().ok()).flatten();
        place.map_or_else(|| Self::Id(it.to_owned()), Self::Position)
    }
}

impl From<String> for EventAt {
    fn from(it: String) -> Self {
        it.as_str().into()
    }
}

impl Why {
    /// `None` if the group is not there any more.
    pub(crate) fn new(group: &str, raw: &SagaEvent, (_, look, known): &ToldStory) -> Option<Self> {
        look.groups.iter().find(|it| it.name == group)?;
        let event = TimelineEvent::new(raw, 0, look, known.as_ref());
        let state = event.groups.iter().find(|it| it.group == group).map(|it| it.state.clone());
        Some(Self {
            group: group.to_owned(),
            event,
            saga: super::convert::view(raw).saga_or_id().to_owned(),
            state: state.unwrap_or(EventState::NotForIt),
            exact_to: super::convert::exact_to(look, known.as_ref()),
            commands: None,
        })
    }

    /// How the command finds this bus, such as `--data demo-data`: the sentence then ends with the
    /// command that helps.
    #[must_use]
    pub fn with_commands(mut self, place: impl Into<String>) -> Self {
        self.commands = Some(place.into());
        self
    }

    fn resolve(&self, at: Position) -> String {
        let at = at.to_string();
        match &self.commands {
            Some(place) => format!(
                "; resolve it with `quadrille dlq retry {} {} {place}`",
                self.group,
                at.trim_start_matches('#')
            ),
            None => String::new(),
        }
    }
}

impl Display for Why {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { group, event, saga, .. } = self;
        write!(f, "{} {}", plain(&event.ty), event.position)?;
        if *saga != event.id {
            write!(f, " of {}", plain(saga))?;
        }
        match &self.state {
            EventState::NotForIt => {
                write!(f, " is not for {group}, which does not read its topic or its type")
            }
            EventState::Settled { attempt: Some(attempt @ 2..) } => {
                write!(f, " is done in {group}, at attempt {attempt}")
            }
            EventState::Settled { .. } => {
                write!(f, " is done in {group}, or lies before its beginning")
            }
            skipped @ EventState::Skipped { .. } => write!(f, " was {skipped} (in {group})"),
            EventState::Late => {
                write!(f, " was late in {group}: its saga had turned back before it came")
            }
            EventState::Waiting { behind: Some(first), ahead, .. } => {
                let (at, told) = (first.position, Told(&first.state));
                write!(f, " waits in {group} behind ")?;
                match ahead.known {
                    0 | 1 => write!(f, "{at}, which {told}")?,
                    _ => write!(f, "{ahead} events, the first of which, {at}, {told}")?,
                }
                match first.state {
                    EventState::Parked { .. } => f.write_str(&self.resolve(at)),
                    _ => Ok(()),
                }
            }
            state @ EventState::Parked { .. } => {
                write!(f, " {} in {group}{}", Verb(state), Rest(state))?;
                f.write_str(&self.resolve(event.position))
            }
            state => write!(f, " {} in {group}{}", Verb(state), Rest(state)),
        }
    }
}

/// `is parked after 5 attempts: ..`.
struct Told<'a>(&'a EventState);

impl Display for Told<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Verb(self.0), Rest(self.0))
    }
}

/// What comes before the name of the group.
struct Verb<'a>(&'a EventState);

impl Display for Verb<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            EventState::Parked { behind: Some(_), .. } => "is parked",
            EventState::Parked { .. } => "is a dead letter",
            EventState::Held { .. } => "is held",
            EventState::Out { started: true, .. } => "is being worked on",
            EventState::Out { .. } => "is handed out",
            EventState::Superseded { .. } => "was superseded",
            EventState::Waiting { .. } => "waits",
            EventState::Late => "was late",
            EventState::Skipped { .. } => "was skipped",
            EventState::Settled { .. } => "is done",
            EventState::NotForIt => "is not for it",
        })
    }
}

/// What comes behind it.
struct Rest<'a>(&'a EventState);

impl Display for Rest<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            EventState::Parked { reason, attempts, .. } => {
                write!(f, "{}{}", After(*attempts), Because(reason))
            }
            EventState::Superseded { by, attempts, reason, .. } => {
                write!(f, " by {by}{}{}", After(*attempts), Because(reason))
            }
            EventState::Out { member, since, attempt, .. } => {
                write!(f, " by {} since {}", plain(member), Short(*since))?;
                if *attempt > 1 { write!(f, ", attempt {attempt}") } else { Ok(()) }
            }
            EventState::Held { left, cause, reason, attempts, .. } => {
                write!(f, " for {} more{}", Short(*left), After(*attempts))?;
                match cause {
                    HoldCause::Unavailable => write!(f, " (unavailable){}", Because(reason)),
                    HoldCause::Defer => f.write_str(" (deferred)"),
                    _ => write!(f, "{}", Because(reason)),
                }
            }
            EventState::Waiting { waits_for, .. } => match waits_for {
                WaitsFor::Nothing => f.write_str(" and comes next"),
                WaitsFor::Resume(why) => write!(f, ", which is paused{}", Because(why)),
                WaitsFor::Member => f.write_str(", which has no member"),
                WaitsFor::Room => f.write_str(", whose members are all busy"),
                WaitsFor::Lanes => f.write_str(", which has too many unfinished lanes"),
            },
            EventState::Late
            | EventState::Skipped { .. }
            | EventState::Settled { .. }
            | EventState::NotForIt => Ok(()),
        }
    }
}
