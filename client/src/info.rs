//! The bus at a glance: what its last opening found, what was lost, and what takes up room. Plain
//! data with a sentence each, and its conversions from what the link speaks.

use std::fmt;

use quadrille_proto::record;

use crate::Position;
use crate::link;

/// A bus, as operators see it. See [`Bus::info`](crate::Bus::info).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusInfo {
    /// How often the log was opened, this time included.
    pub epoch: u32,
    /// Whether it had been closed in order before that.
    pub clean: bool,
    /// What this opening found missing in the log.
    pub gaps: Vec<Gap>,
    /// What it cut off at the log's end.
    pub dropped: Option<DroppedTail>,
    /// What else it could not use or does not know, for people.
    pub notes: Vec<String>,
    /// Everything that was lost in the life of this log, newest last; of many, the last 1024
    /// records of it.
    pub losses: Vec<Loss>,
    /// What must stay in the log, and for whom.
    pub pins: Vec<Pin>,
    /// What retention would take were it not for these, worst first, as of its last look.
    pub blocked: Vec<Blocked>,
    /// What is used of every limit.
    pub limits: Vec<Gauge>,
    /// How far the index is, if there is one.
    pub index: Option<IndexInfo>,
}

/// The index of sagas and dead letters. Prints as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexInfo {
    /// The number of the last entry that is in.
    pub position: u64,
    /// How many entries that are safe on disk are not.
    pub lag: u64,
    /// The first entry that may be in; what came before was retired before it was read.
    pub from: u64,
    /// How often it was made anew since the bus was opened.
    pub rebuilt: u64,
    /// Why it was made anew last, or does not work.
    pub note: Option<String>,
}

/// Damage in the log. Prints as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The number of the first entry that is lost.
    pub from: u64,
    /// The first entry behind that is there again; `from` if the damaged bytes held none.
    pub to: u64,
    /// How many bytes are damaged.
    pub bytes: u64,
    /// Where and what, for people.
    pub reason: String,
    /// No checkpoint was newer, and the bus was told to go on without them, so what they settled or
    /// created is not known; see [`OpenOptions::accept_gap`](crate::OpenOptions::accept_gap).
    pub accepted: bool,
}

/// The end of a log that did not survive a crash. Prints as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DroppedTail {
    /// The number that the first dropped entry had, or would have had. It is given out again.
    pub from: u64,
    /// How many bytes were dropped.
    pub bytes: u64,
    /// False only if it is certain that nobody had been told that they are safe.
    pub may_contain_acknowledged: bool,
    /// Where the bytes are kept, relative to the directory; known to the opening that dropped them.
    pub quarantine: Option<String>,
}

/// A loss that is on record. Prints as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// Where in the log it is on record.
    pub position: Position,
    /// Since when, milliseconds since 1970.
    pub time: u64,
    /// What was lost.
    pub what: Lost,
}

/// What was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// Entries of the log.
    Gap(Gap),
    /// The log's end.
    Tail(DroppedTail),
    /// Events that a group had not settled: retention took them, or they went with a gap.
    Unsettled {
        /// The group; `number 7` if it was deleted since.
        group: String,
        /// How many.
        count: u64,
    },
}

/// A reason why events stay in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pin {
    /// Whose: `group payment`, `dead letter #3310 of payment`, `timer 7`.
    pub what: String,
    /// The topic whose events stay; `None`: entries of the log, of all topics.
    pub topic: Option<String>,
    /// From this offset of the topic on, or from this entry of the log.
    pub from: u64,
}

/// A pin without which, and without later ones, more of the log could go.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Blocked {
    /// Whose it is; see [`Pin::what`].
    pub what: String,
    /// How many bytes retention would give back.
    pub bytes: u64,
    /// When the oldest event that it may be about was published, milliseconds since 1970.
    pub since: u64,
}

/// A limit, and what is used of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gauge {
    /// The limit's name.
    pub name: &'static str,
    /// Used.
    pub used: u64,
    /// Allowed.
    pub max: u64,
}

impl fmt::Display for IndexInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, lag, rebuilt, note, .. } = self;
        write!(f, "the index is at entry #{position}, {lag} behind")?;
        match note {
            Some(note) => write!(f, "; it was made anew {rebuilt} times, last because {note}"),
            None => Ok(()),
        }
    }
}

impl From<link::IndexInfo> for IndexInfo {
    fn from(it: link::IndexInfo) -> Self {
        let link::IndexInfo { position, lag, from, rebuilt, note } = it;
        Self { position, lag, from, rebuilt, note }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, bytes, reason, accepted } = self;
        if from == to {
            return write!(f, "{bytes} damaged bytes before entry #{from} held no entry: {reason}");
        }
        write!(f, "entries #{from} to #{} are lost: {reason}", to.saturating_sub(1))?;
        if *accepted {
            f.write_str("; accepted, though what they settled or created is not known")?;
        }
        Ok(())
    }
}

impl fmt::Display for DroppedTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, bytes, may_contain_acknowledged, quarantine } = self;
        write!(f, "{bytes} bytes from entry #{from} on were cut off at the end of the log, ")?;
        f.write_str(match may_contain_acknowledged {
            true => "and may hold what somebody was told is safe",
            false => "none of which anybody was told is safe",
        })?;
        match quarantine {
            Some(place) => write!(f, "; they are kept in {place}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Lost::Gap(gap) => gap.fmt(f),
            Lost::Tail(tail) => tail.fmt(f),
            Lost::Unsettled { group, count } => {
                write!(f, "group {group} has lost {count} events that it had not settled")
            }
        }
    }
}

impl From<link::BusInfo> for BusInfo {
    fn from(it: link::BusInfo) -> Self {
        let opened = it.opened;
        let topic = |id| it.topics.iter().find(|it| it.id == id).map(|it| it.name.clone());
        let pin = |pin: link::Pin| match pin.from {
            link::Place::Entry(from) => Pin { what: pin.what, topic: None, from },
            link::Place::Offset(id, from) => {
                let topic = topic(id).or_else(|| Some(format!("number {id}")));
                Pin { what: pin.what, topic, from }
            }
        };
        Self {
            epoch: opened.epoch,
            clean: opened.clean,
            gaps: merged(opened.gaps, opened.accepted),
            dropped: opened.dropped.map(DroppedTail::from),
            notes: opened.notes,
            losses: it.losses.into_iter().flat_map(|loss| losses(loss, &it.groups)).collect(),
            pins: it.pins.into_iter().map(pin).collect(),
            blocked: it.blocked.into_iter().map(Blocked::from).collect(),
            limits: it.limits.into_iter().map(Gauge::from).collect(),
            index: it.index.map(IndexInfo::from),
        }
    }
}

/// One record may tell of several losses.
fn losses(loss: link::Loss, groups: &[link::GroupInfo]) -> Vec<Loss> {
    let what = match loss.record {
        record::Kind::EpochStarted(it) => {
            let tail = (it.dropped_bytes > 0).then_some(DroppedTail {
                from: it.dropped_from,
                bytes: it.dropped_bytes,
                may_contain_acknowledged: it.may_contain_acknowledged,
                quarantine: None,
            });
            let gaps = merged(it.gaps, it.accepted).into_iter().map(Lost::Gap);
            gaps.chain(tail.map(Lost::Tail)).collect()
        }
        record::Kind::Truncated(it) => {
            let name = groups.iter().find(|group| group.id == it.group).map(|it| it.name.clone());
            let group = name.unwrap_or_else(|| format!("number {}", it.group));
            vec![Lost::Unsettled { group, count: it.count }]
        }
        // Core records a loss by no other.
        _ => Vec::new(),
    };
    let (position, time) = (loss.at.into(), loss.time);
    what.into_iter().map(|what| Loss { position, time, what }).collect()
}

/// Gaps, and which of them were accepted. One that only replay has noticed is in the second list
/// alone.
fn merged<T: Into<Gap>>(gaps: Vec<T>, accepted: Vec<T>) -> Vec<Gap> {
    let mut all: Vec<Gap> = gaps.into_iter().map(T::into).collect();
    for gap in accepted.into_iter().map(T::into) {
        match all.iter_mut().find(|it| it.from < gap.to && gap.from < it.to) {
            Some(known) => known.accepted = true,
            None => all.push(Gap { accepted: true, ..gap }),
        }
    }
    all
}

impl From<link::Gap> for Gap {
    fn from(it: link::Gap) -> Self {
        let link::Gap { from, to, bytes, reason } = it;
        Self { from, to, bytes, reason, accepted: false }
    }
}

impl From<record::Gap> for Gap {
    fn from(it: record::Gap) -> Self {
        let record::Gap { from_entry: from, to_entry: to, bytes, reason } = it;
        Self { from, to, bytes, reason, accepted: false }
    }
}

impl From<link::TailDropped> for DroppedTail {
    fn from(it: link::TailDropped) -> Self {
        let link::TailDropped { from, bytes, may_contain_acknowledged, quarantine } = it;
        Self { from, bytes, may_contain_acknowledged, quarantine: Some(quarantine) }
    }
}

impl From<link::Blocker> for Blocked {
    fn from(it: link::Blocker) -> Self {
        Self { what: it.what, bytes: it.bytes, since: it.since }
    }
}

impl From<link::Gauge> for Gauge {
    fn from(it: link::Gauge) -> Self {
        Self { name: it.name, used: it.used, max: it.max }
    }
}
