//! Runs: events in one member's hands.

use bytes::Bytes;
use quadrille_proto::record;

use super::super::types::{EventRef, LaneId, MemberId, RunId, Token};
use super::Slot;

/// A run that was handed out.
#[derive(Debug)]
pub(crate) struct LiveRun {
    pub(crate) id: RunId,
    pub(crate) member: MemberId,
    /// The lane of all its events; `None` if they are unordered.
    pub(crate) lane: Option<LaneId>,
    pub(crate) slots: Vec<RunSlot>,
    /// Bit i: the event at i is no longer in the member's hands.
    pub(crate) settled: u64,
    /// Bit i: user code has seen the event at i.
    pub(crate) started: u64,
    /// When its lease ends, in lease time.
    pub(crate) deadline: u64,
    /// When it was handed out, mono.
    pub(crate) since: u64,
    pub(crate) careful: bool,
}

/// One event of a run.
#[derive(Debug)]
pub(crate) struct RunSlot {
    pub(crate) event: EventRef,
    pub(crate) saga: LaneId,
    pub(crate) time: u64,
    pub(crate) turn: u32,
    pub(crate) superseding: bool,
    pub(crate) late_ok: bool,
    /// How it left the member's hands.
    pub(crate) how: How,
    /// Its bytes while it is out: what is parked is told with its type and id.
    pub(crate) bytes: Bytes,
}

/// What a token points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grip {
    /// The event is in the member's hands.
    Out,
    /// It was settled, and how.
    Settled(How),
    /// It is not this run's.
    Lost,
}

/// How an event left a member's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Acked,
    Stepped,
    Retried,
    Deferred,
    Unavailable,
    DeadLettered,
    Released,
    Dropped,
    /// Not by the member, or not yet.
    Lost,
}

impl How {
    /// In words that complete "was already ...".
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Acked => "acknowledged",
            Self::Stepped => "settled by a step",
            Self::Retried => "given back for a retry",
            Self::Deferred => "deferred",
            Self::Unavailable => "given back as unavailable",
            Self::DeadLettered => "dead-lettered",
            Self::Released => "released",
            Self::Dropped => "dropped",
            Self::Lost => "taken back",
        }
    }
}

impl LiveRun {
    /// Events still in the member's hands.
    pub(crate) fn open(&self) -> u64 {
        all(self.slots.len()) & !self.settled
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.open() == 0
    }

    /// The lane of the event at an index.
    pub(crate) fn lane_at(&self, index: usize) -> LaneId {
        match (self.lane, self.slots.get(index)) {
            (Some(lane), _) => lane,
            (None, Some(slot)) => super::place_lane(slot.event),
            (None, None) => 0,
        }
    }

    pub(crate) fn grip(&self, token: &Token) -> Grip {
        let Some(slot) = self.slots.get(token.index as usize) else { return Grip::Lost };
        match () {
            () if slot.event != token.event || self.lane_at(token.index as usize) != token.lane => {
                Grip::Lost
            }
            () if self.settled & 1 << token.index != 0 => Grip::Settled(slot.how),
            () => Grip::Out,
        }
    }

    /// Of these open events, those that user code can have had: of a lane only the first.
    pub(crate) fn reachable(&self, indexes: u64) -> u64 {
        let open = self.open();
        match self.lane {
            Some(_) => indexes & open & open.wrapping_neg(),
            None => indexes & open,
        }
    }

    /// From this event on: of a lane all that follow, else only itself.
    pub(crate) fn from(&self, index: u32) -> u64 {
        match self.lane {
            Some(_) => self.open() & !((1 << index) - 1),
            None => self.open() & 1 << index,
        }
    }
}

impl RunSlot {
    pub(crate) fn of(slot: &Slot) -> Self {
        Self {
            event: slot.event,
            saga: slot.saga,
            time: slot.time,
            turn: slot.turn,
            superseding: slot.superseding,
            late_ok: slot.late_ok,
            how: How::Lost,
            bytes: slot.bytes.clone().unwrap_or_default(),
        }
    }

    /// Back to waiting; its bytes are read again when it is handed out again.
    pub(crate) fn waiting(&self) -> Slot {
        Slot {
            event: self.event,
            saga: self.saga,
            time: self.time,
            turn: self.turn,
            superseding: self.superseding,
            late_ok: self.late_ok,
            bytes: None,
        }
    }
}

/// The lowest `n` bits.
pub(crate) fn all(n: usize) -> u64 {
    match n {
        64.. => u64::MAX,
        n => (1 << n) - 1,
    }
}

/// The indexes of the set bits, lowest first.
pub(crate) fn bits(mut set: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let index = (set != 0).then(|| set.trailing_zeros())?;
        set &= set - 1;
        Some(index)
    })
}

/// Offsets as ranges, fewest.
pub(crate) fn forward_ranges(offsets: &mut [(u32, u64)]) -> Vec<record::OffsetRange> {
    offsets.sort_unstable();
    let mut ranges: Vec<record::OffsetRange> = Vec::new();
    for (topic, offset) in offsets.iter().copied() {
        match ranges.last_mut() {
            Some(last) if last.topic == topic && last.to == offset => last.to += 1,
            _ => ranges.push(record::OffsetRange { topic, from: offset, to: offset + 1 }),
        }
    }
    ranges
}
