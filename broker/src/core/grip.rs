//! Tokens: who holds the event that one was given for, and whether it may still settle it.

use super::Core;
use super::live::{Grip, How, LiveLane, is_place};
use super::refusal::Refusal;
use super::types::{EventRef, Head, Token};

/// Who holds an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// A run of this epoch.
    Run,
    /// Nobody since an earlier epoch.
    Earlier,
}

impl Core {
    /// Who holds the event this token was given for: `None` if this very settle was made before.
    pub(super) fn grip(&self, token: &Token, how: How) -> Result<Option<Held>, Refusal> {
        let Some(live) = self.live.get(&token.group) else {
            return Err(Refusal::lost(token.event));
        };
        if token.epoch > self.epoch {
            return Err(Refusal::ForeignToken);
        }
        if token.epoch < self.epoch {
            return self.earlier_grip(token, how);
        }
        let open = live.runs.get(&token.run);
        let run = open.or_else(|| live.finished.iter().find(|run| run.id == token.run));
        match run.map_or(Grip::Lost, |run| run.grip(token)) {
            Grip::Out => Ok(Some(Held::Run)),
            Grip::Settled(How::Lost) | Grip::Lost => Err(Refusal::lost(token.event)),
            Grip::Settled(had) if had == how => Ok(None),
            Grip::Settled(had) => Err(Refusal::otherwise(token.event, had)),
        }
    }

    /// A token of an earlier epoch still settles if its event is unsettled, the first of its lane,
    /// and has not been handed out since.
    fn earlier_grip(&self, token: &Token, how: How) -> Result<Option<Held>, Refusal> {
        let lost = || Refusal::lost(token.event);
        let group = self.group(token.group)?;
        let live = self.live.get(&token.group).ok_or_else(lost)?;
        let EventRef { at, topic, offset } = token.event;
        let settled = group.topics.get(&topic).is_none_or(|it| it.contains(offset));
        let listed = group.shard(token.lane).lanes.get(&token.lane);
        if settled && listed.is_none_or(|lane| lane.first > at) {
            return if how == How::Acked { Ok(None) } else { Err(lost()) };
        }
        let ours = match self.known_head(token) {
            Some(head) => {
                let lane = live.lane_of(head);
                head.event == token.event && (lane == token.lane || is_place(token.lane))
            }
            // What supersedes must be known: its turn is taken when it is settled.
            None => !live.supersedes(),
        };
        let lane = live.lanes.get(&token.lane);
        let first = lane.and_then(LiveLane::first).is_none_or(|first| first >= at);
        let parked = group.dead_at(at).is_some();
        match ours && first && !parked && !live.handed_out(token.event) {
            true => Ok(Some(Held::Earlier)),
            false => Err(lost()),
        }
    }

    /// What memory knows of a token's event.
    pub(super) fn known_head(&self, token: &Token) -> Option<&Head> {
        self.tail.get(token.event.topic, token.event.offset).map(|event| &event.head)
    }

    /// Of a lane's run, events come to user code one at a time: one that others precede cannot have
    /// failed, or begun.
    pub(super) fn check_turn(&self, token: &Token) -> Result<(), Refusal> {
        let run = self.live.get(&token.group).and_then(|live| live.runs.get(&token.run));
        match run.is_some_and(|run| run.reachable(1 << token.index) == 0) {
            true => Err(Refusal::NotItsTurn { event: token.event.at.to_string() }),
            false => Ok(()),
        }
    }
}

impl Refusal {
    pub(super) fn lost(event: EventRef) -> Self {
        Self::LeaseLost { event: event.at.to_string() }
    }

    fn otherwise(event: EventRef, had: How) -> Self {
        Self::SettledOtherwise { event: event.at.to_string(), how: had.text() }
    }
}
