//! What handlers work on, and what is in the way of the end of it.

use std::fmt;
use std::time::Duration;

use super::player::{AtWork, Player};
use super::stage::Stage;
use crate::handlers::OWN_WAKERS;
use crate::link::{EventRef, Range};
use crate::{Position, StoredEvent};

/// What was found when nothing more could happen by itself. Prints as sentences.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settled {
    /// What handlers still work on: each waits for time to pass, or for something from outside.
    pub working: Vec<Working>,
}

/// An event that a handler works on. Prints as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Working {
    /// Whose handler.
    pub participant: String,
    /// The event's type.
    pub ty: String,
    /// Its saga.
    pub saga: String,
    /// Its place in the log.
    pub position: Position,
    /// For how long.
    pub since: Duration,
    /// How many events wait in its lane until it is done.
    pub behind: usize,
    /// How many of those were published since by the one who works.
    pub own: usize,
}

/// Likewise, with what the bus needs to know.
pub(super) struct Work {
    pub(super) group: u32,
    pub(super) event: EventRef,
    /// Since when, mono; and since when without an extension.
    pub(super) since: u64,
    pub(super) fresh: u64,
    pub(super) waits: Waits,
    pub(super) participant: String,
    behind: usize,
    pub(super) own: usize,
}

/// For what somebody waits who works on an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// A handler, for something that has its waker: a timer, a channel, a lock.
    ForSomething,
    /// A handler, for nothing: nobody has its waker.
    ForNothing,
    /// A loop of the test's own: not known, and nobody cuts it off.
    InALoop,
}

impl Stage {
    /// What all players work on.
    pub(super) fn works(&self) -> Vec<Work> {
        let works = |player: &Player| {
            let all = player.at_work().into_iter();
            all.map(|at_work| self.work(player, at_work)).collect::<Vec<_>>()
        };
        self.look(works).into_iter().flatten().collect()
    }

    fn work(&self, player: &Player, at_work: AtWork) -> Work {
        let AtWork { token, since, fresh, alarm, entry } = at_work;
        let behind = self.engine.waiting_behind(token.group, token.event);
        let own = |it: &&EventRef| {
            let at = it.at.entry;
            at >= entry && player.wrote.iter().any(|(from, to)| (*from..*to).contains(&at))
        };
        Work {
            group: token.group,
            event: token.event,
            since,
            fresh,
            waits: match alarm {
                Some(alarm) if alarm.strong_count() > OWN_WAKERS => Waits::ForSomething,
                Some(_) => Waits::ForNothing,
                None => Waits::InALoop,
            },
            participant: player.name.to_string(),
            behind: behind.len(),
            own: behind.iter().filter(own).count(),
        }
    }

    pub(super) fn describe(&self, work: &Work) -> Working {
        let stored = self.event(work.event);
        let event = stored.as_ref().map(StoredEvent::event).unwrap_or_default();
        Working {
            participant: work.participant.clone(),
            ty: event.ty.to_owned(),
            saga: event.saga_or_id().to_owned(),
            position: work.event.at.into(),
            since: Duration::from_millis(self.clock.mono().saturating_sub(work.since)),
            behind: work.behind,
            own: work.own,
        }
    }

    /// The event at a place.
    pub(super) fn event(&self, event: EventRef) -> Option<StoredEvent> {
        let (topic, from) = (event.topic, event.offset);
        self.read(Range::Topic { topic, from, to: from + 1 }).pop()
    }

    /// How long a handler of a group may work, ms.
    pub(super) fn handler_timeout(&self, group: u32) -> u64 {
        let info = self.engine.group_info(group).try_get();
        info.and_then(Result::ok).flatten().map_or(u64::MAX, |it| it.config.handler_timeout_ms)
    }
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.working.is_empty() {
            return f.write_str("nobody works on anything");
        }
        for (i, working) in self.working.iter().enumerate() {
            let line = if i > 0 { "\n" } else { "" };
            write!(f, "{line}{working}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Working {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { participant, ty, saga, position, since, behind, own } = self;
        write!(f, "{participant} has been working on {ty} ({position} of {saga}) for {since:?}")?;
        match behind {
            0 => {}
            1 => f.write_str("; 1 event waits behind it")?,
            n => write!(f, "; {n} events wait behind it")?,
        }
        match (own, behind) {
            (0, _) => Ok(()),
            (1, 1) => f.write_str(", its own"),
            (own, _) => write!(f, ", {own} of them its own"),
        }
    }
}
