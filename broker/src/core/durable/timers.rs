//! Armed timers. A timer owns its bytes by the place of its record; they are read at firing.

use std::collections::{BTreeMap, BTreeSet};

use quadrille_proto::record;

use super::Gate;
use crate::core::types::{Position, TimerId, TopicId};

/// One armed timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// The topic its event will be appended to.
    pub topic: TopicId,
    /// When, wall ms.
    pub due: u64,
    /// The turn to stamp.
    pub turn: u32,
    /// The place of the record that holds its bytes; a pin.
    pub at: Position,
    /// The event's id hash, present in the id window's sense while it is armed.
    pub id: u128,
}

/// All armed timers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timers {
    by_id: BTreeMap<TimerId, Timer>,
    due: BTreeSet<(u64, TimerId)>,
    pub(super) gate: Gate,
}

impl Timers {
    /// A timer by number.
    pub fn get(&self, timer: TimerId) -> Option<&Timer> {
        self.by_id.get(&timer)
    }

    /// How many are armed.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// True if none is armed.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// By number.
    pub fn iter(&self) -> impl Iterator<Item = (TimerId, &Timer)> {
        self.by_id.iter().map(|(id, timer)| (*id, timer))
    }

    /// Those due at `wall` or before, earliest first.
    pub fn due(&self, wall: u64) -> impl Iterator<Item = (TimerId, &Timer)> {
        self.due
            .range(..=(wall, TimerId::MAX))
            .filter_map(|(_, id)| Some((*id, self.by_id.get(id)?)))
    }

    /// When each is due, wall ms, and its number; earliest first.
    pub fn by_due(&self) -> impl Iterator<Item = (u64, TimerId)> {
        self.due.iter().copied()
    }

    /// The lowest place of an armed timer's bytes.
    pub fn oldest(&self) -> Option<Position> {
        self.by_id.values().map(|timer| timer.at).min()
    }

    pub(super) fn armed(&mut self, at: Position, it: &record::TimerArmed) {
        if self.gate.passes(at) {
            let id = u128::from(it.id_hi) << 64 | u128::from(it.id_lo);
            let (topic, due, turn) = (it.topic, it.due, it.turn);
            self.insert(it.timer, Timer { topic, due, turn, at, id });
        }
    }

    pub(super) fn insert(&mut self, id: TimerId, timer: Timer) {
        self.due.insert((timer.due, id));
        self.by_id.insert(id, timer);
    }

    pub(super) fn remove(&mut self, at: Position, timer: TimerId) {
        if self.gate.passes(at)
            && let Some(it) = self.by_id.remove(&timer)
        {
            self.due.remove(&(it.due, timer));
        }
    }
}
