//! A timeline as text: stable, so that it can be compared, and aligned, so that it can be read.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::tree::{Node, hang};
use super::{
    Count, EventState, HoldCause, ParkCause, SagaStatus, Timeline, TimelineEvent, WaitsFor,
};
use crate::Position;

/// Between the columns.
const GAPS: [usize; 2] = [6, 3];
/// More of a reason does not help in a line.
const REASON: usize = 200;

impl Display for Timeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", plain(&self.saga), self.status)?;
        if let (Some(first), Some(last)) = (self.events.first(), self.events.last()) {
            let end = match self.status {
                SagaStatus::AtRest { .. } => last.time,
                _ => self.now,
            };
            write!(f, "  {}", Short::ms(end.saturating_sub(first.time)))?;
        }
        if let Some(wher) = self.open_at() {
            write!(f, "   {wher}")?;
        }
        if self.more {
            f.write_str("   (its newest events are left out)")?;
        }
        self.lines().iter().try_for_each(|line| write!(f, "\n{line}"))
    }
}

impl Timeline {
    /// Whose turn it is.
    fn open_at(&self) -> Option<String> {
        let parked = self.status == SagaStatus::NeedsAttention;
        let is_open = |it: &EventState| match parked {
            true => matches!(it, EventState::Parked { .. }),
            false => !it.is_over(),
        };
        let mut names: Vec<&str> = Vec::new();
        let mut out = false;
        for it in self.events.iter().flat_map(|it| &it.groups).filter(|it| is_open(&it.state)) {
            out |= matches!(it.state, EventState::Out { .. });
            if !names.contains(&&*it.group) {
                names.push(&it.group);
            }
        }
        let word = if out { "at" } else { "waiting at" };
        (!names.is_empty()).then(|| format!("{word} {}", names.join(", ")))
    }

    fn lines(&self) -> Vec<String> {
        let hung = hang(self);
        let stems = hung.iter().map(|it| stem(&it.follows));
        let labels = hung.iter().map(|it| match it.node {
            Node::Event(event) => &*event.ty,
            Node::Group(_, group) => &*group.group,
        });
        let left: Vec<_> =
            stems.zip(labels).map(|(stem, label)| format!("{stem}{}", plain(label))).collect();
        let wide = |it: &str| it.chars().count();
        let width = left.iter().map(|it| wide(it)).max().unwrap_or(0) + GAPS[0];
        let sources = self.events.iter().map(|it| wide(&plain(&it.source)));
        let source_width = sources.max().unwrap_or(0) + GAPS[1];
        let places = self.events.iter().map(|it| wide(&it.position.to_string()));
        let place_width = places.max().unwrap_or(0) + GAPS[1];
        let mut lines = Vec::new();
        for (left, it) in left.iter().zip(&hung) {
            let right = match it.node {
                Node::Event(event) => {
                    let (source, place) = (plain(&event.source), event.position.to_string());
                    format!("{source:source_width$}{place:place_width$}{}", note(event))
                }
                Node::Group(_, group) => group.state.to_string(),
            };
            lines.push(format!("{left:width$}{right}").trim_end().to_owned());
            if let (Node::Group(event, group), Some(place)) = (&it.node, &self.commands)
                && let EventState::Parked { .. } = group.state
            {
                let commands = commands(&group.group, event.position, place);
                lines.push(format!("{}{commands}", below(&it.follows)));
            }
        }
        lines
    }
}

/// How what led to an event went, if not at once.
fn note(event: &TimelineEvent) -> String {
    match event.attempt {
        Some(attempt @ 2..) => format!("done at attempt {attempt}"),
        _ => String::new(),
    }
}

fn stem(follows: &[bool]) -> String {
    let (last, above) = follows.split_last().unwrap_or((&false, &[]));
    let turn = if *last { "├─ " } else { "└─ " };
    below(above) + turn
}

fn below(follows: &[bool]) -> String {
    follows.iter().map(|goes_on| if *goes_on { "│  " } else { "   " }).collect()
}

/// The commands that look at a dead letter and resolve it.
fn commands(group: &str, at: Position, place: &str) -> String {
    let at = at.to_string();
    let at = at.trim_start_matches('#');
    format!(
        "quadrille dlq show {group} {at} {place} · dlq retry {group} {at} … · dlq skip {group} {at} …"
    )
}

impl Display for EventState {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotForIt => f.write_str("not for it"),
            Self::Settled { attempt: Some(attempt @ 2..) } => {
                write!(f, "done at attempt {attempt}")
            }
            Self::Settled { .. } => f.write_str("done"),
            Self::Late => f.write_str("late: the saga had turned back"),
            Self::Skipped { by, comment } => {
                f.write_str("skipped")?;
                if !by.is_empty() {
                    write!(f, " by {}", plain(by))?;
                }
                write!(f, "{}", Because(comment))
            }
            Self::Waiting { behind, ahead, seen, attempts, waits_for } => {
                f.write_str("waiting")?;
                match behind {
                    Some(first) => write!(f, " behind {}{}", first.position, Between(*ahead))?,
                    None => waits(f, waits_for, *seen)?,
                }
                write!(f, "{}", After(*attempts))
            }
            Self::Out { member, since, started, attempt } => {
                let word = if *started { "out with" } else { "handed to" };
                write!(f, "{word} {} since {}", plain(member), Short(*since))?;
                match attempt {
                    2.. => write!(f, ", attempt {attempt}"),
                    _ => Ok(()),
                }
            }
            Self::Held { left, cause, reason, attempts, unavailable, .. } => {
                write!(f, "held for {} more", Short(*left))?;
                match cause {
                    HoldCause::Unavailable => write!(f, ", unavailable {}", Times(*unavailable))?,
                    _ => write!(f, "{}", After(*attempts))?,
                }
                let said = match cause {
                    HoldCause::Defer => "deferred",
                    HoldCause::LeaseExpired => "its lease ran out",
                    HoldCause::Dropped if reason.is_empty() => "it was dropped",
                    HoldCause::MemberLost => "its member went away",
                    _ => reason,
                };
                write!(f, "{}", Because(said))
            }
            Self::Parked { cause, reason, attempts, behind, .. } => {
                f.write_str(if behind.is_some() { "parked" } else { "dead letter" })?;
                if *cause != ParkCause::CrashesConsumer {
                    write!(f, "{}", After(*attempts))?;
                }
                write!(f, "{}", Because(reason))?;
                behind.map_or(Ok(()), |behind| write!(f, "     behind it: {behind}"))
            }
            Self::Superseded { by, attempts, reason, .. } => {
                write!(f, "superseded by {by}")?;
                write!(f, "{}", After(*attempts))?;
                write!(f, "{}", Because(reason))
            }
        }
    }
}

fn waits(f: &mut Formatter<'_>, what: &WaitsFor, seen: bool) -> fmt::Result {
    match what {
        WaitsFor::Nothing if seen => Ok(()),
        WaitsFor::Nothing => f.write_str(" to be looked at"),
        WaitsFor::Resume(why) => {
            f.write_str(": the group is paused")?;
            write!(f, "{}", Because(why))
        }
        WaitsFor::Member => f.write_str(": the group has no member"),
        WaitsFor::Room => f.write_str(": all members are busy"),
        WaitsFor::Lanes => f.write_str(": the group has too many unfinished lanes"),
    }
}

/// ` after 5 attempts`, or nothing.
pub(super) struct After(pub(super) u32);

impl Display for After {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(" after 1 attempt"),
            n => write!(f, " after {n} attempts"),
        }
    }
}

/// `: the reason`, or nothing.
pub(super) struct Because<'a>(pub(super) &'a str);

impl Display for Because<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            reason => write!(f, ": {}", plain(reason)),
        }
    }
}

/// One line of text that does nothing to a terminal.
pub(super) fn plain(text: &str) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut out: String = chars.by_ref().take(REASON).collect();
    if chars.next().is_some() {
        out.push('…');
    }
    out
}

impl Display for Count {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.known, if self.more { "+" } else { "" })
    }
}

/// How many come between an event and the first of its lane.
struct Between(Count);

impl Display for Between {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Count { known, more } = self.0;
        match known.saturating_sub(1) {
            0 if more => f.write_str(" and others"),
            0 => Ok(()),
            known => write!(f, " and {} more", Count { known, more }),
        }
    }
}

struct Times(u32);

impl Display for Times {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("once"),
            n => write!(f, "{n} times in a row"),
        }
    }
}

impl Display for SagaStatus {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown: no event of it is in the log",
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::NeedsAttention => "needs attention",
            Self::AtRest { turned_back: false } => "at rest",
            Self::AtRest { turned_back: true } => "at rest, turned back",
        })
    }
}

/// A duration in two units at most.
pub(super) struct Short(pub(super) Duration);

impl Short {
    fn ms(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }
}

impl Display for Short {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (seconds, ms) = (self.0.as_secs(), self.0.subsec_millis());
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
        match () {
            () if seconds == 0 => write!(f, "{ms}ms"),
            () if seconds < 10 => write!(f, "{seconds}.{}s", ms / 100),
            () if minutes == 0 => write!(f, "{seconds}s"),
            () if hours == 0 => write!(f, "{minutes}m{:02}s", seconds % 60),
            () if days == 0 => write!(f, "{hours}h{:02}m", minutes % 60),
            () => write!(f, "{days}d{:02}h", hours % 24),
        }
    }
}
