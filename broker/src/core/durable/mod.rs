//! What the log says: the half of core that records change, and nothing else does.
//!
//! `apply` never decides. A record carries results; applying it touches sections that do not look
//! at one another, so that a checkpoint may hold each section as of another position and replay may
//! start at the smallest: a section skips what it already contains.

use std::collections::{BTreeMap, VecDeque};

use quadrille_proto::record::Kind;

mod group;
mod lane;
mod sessions;
mod snapshot;
mod timers;
mod topics;

pub use group::Group;
pub(crate) use lane::lane_id;
pub use lane::{Dead, Head, Lane, SHARDS, Shard, Status, shard_of};
pub use sessions::{Session, Sessions};
pub use snapshot::{Section, SnapshotError};
pub(crate) use snapshot::{halves, lane_record};
pub use timers::{Timer, Timers};
pub use topics::{Topic, Topics};

use super::types::{GroupId, Position};

/// A loss that was recorded: damage, truncation, an accepted gap.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// The record's place.
    pub at: Position,
    /// Its broker time.
    pub time: u64,
    /// The record.
    pub record: Kind,
}

/// How many losses are kept in reach; the log has all.
const LOSSES: usize = 1024;

/// The durable state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durable {
    /// Topics and the next numbers of everything.
    pub topics: Topics,
    /// Groups by number.
    pub groups: BTreeMap<GroupId, Group>,
    /// Armed timers.
    pub timers: Timers,
    /// Sessions and their receipts.
    pub sessions: Sessions,
    /// What was lost, newest last.
    pub losses: VecDeque<Loss>,
}

/// Up to where a section already contains the log; what lies at or before is skipped.
/// Not part of the state: equal to every other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gate(pub Position);

impl PartialEq for Gate {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Gate {
    fn passes(self, at: Position) -> bool {
        at > self.0
    }
}

impl Durable {
    /// Applies one record. Records of a kind that holds no state here change nothing.
    pub fn apply(&mut self, at: Position, time: u64, kind: &Kind) {
        match kind {
            Kind::EventAppended(it) => {
                self.topics.appended(at, it);
                if it.timer != 0 {
                    self.timers.remove(at, it.timer);
                }
            }
            Kind::TopicCreated(it) => self.topics.created(at, it),
            Kind::TopicChanged(it) => self.topics.changed(at, it),
            Kind::TopicDeleted(it) => {
                self.topics.deleted(at, it.topic);
                self.groups.values_mut().for_each(|group| group.forget_topic(at, it.topic));
            }
            Kind::TopicTrimmed(it) => self.topics.trimmed(at, it),
            Kind::TimerArmed(it) => {
                self.topics.timer_numbered(at, it.timer);
                self.timers.armed(at, it);
            }
            Kind::TimerCancelled(it) => self.timers.remove(at, it.timer),
            Kind::SessionReceipt(it) => self.sessions.receipt(at, time, it),
            Kind::SessionEnded(it) => self.sessions.ended(at, it),
            Kind::EpochStarted(it) => {
                if it.dropped_bytes > 0 || !it.gaps.is_empty() {
                    self.lost(at, time, kind);
                }
            }
            Kind::GroupCreated(it) => {
                self.topics.group_numbered(at, it.group);
                self.groups.entry(it.group).or_insert_with(|| Group::created(at, it));
            }
            Kind::GroupDeleted(it) => {
                self.groups.remove(&it.group);
            }
            _ => self.apply_to_group(at, time, kind),
        }
    }

    fn apply_to_group(&mut self, at: Position, time: u64, kind: &Kind) {
        let (Kind::GroupChanged(record::GroupChanged { group, .. })
        | Kind::GroupPaused(record::GroupPaused { group, .. })
        | Kind::GroupResumed(record::GroupResumed { group, .. })
        | Kind::Settled(record::Settled { group, .. })
        | Kind::CursorMoved(record::CursorMoved { group, .. })
        | Kind::Held(record::Held { group, .. })
        | Kind::Parked(record::Parked { group, .. })
        | Kind::Resolved(record::Resolved { group, .. })
        | Kind::Superseded(record::Superseded { group, .. })
        | Kind::HandedOut(record::HandedOut { group, .. })
        | Kind::Released(record::Released { group, .. })
        | Kind::TurnsEvicted(record::TurnsEvicted { group, .. })
        | Kind::Truncated(record::Truncated { group, .. })) = kind
        else {
            return;
        };
        if let Some(group) = self.groups.get_mut(group) {
            group.apply(at, time, kind);
        }
        if matches!(kind, Kind::Truncated(_)) {
            self.lost(at, time, kind);
        }
    }

    fn lost(&mut self, at: Position, time: u64, kind: &Kind) {
        if self.losses.back().is_some_and(|last| last.at >= at) {
            return;
        }
        self.losses.push_back(Loss { at, time, record: kind.clone() });
        if self.losses.len() > LOSSES {
            self.losses.pop_front();
        }
    }
}

use quadrille_proto::record;
