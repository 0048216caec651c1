//! Builds a segment's index by reading the log: for segments whose sidecar is missing or wrong,
//! and for the active segment at the start.

use quadrille_proto::hash::Hasher128;
use quadrille_proto::record::{self, Kind};
use quadrille_proto::view::EventView;

use super::active::Active;
use super::index::Error;
use crate::core::types::{EventRef, Head, Position, Stamp};
use crate::log::{ENTRY_SYNC, Entry, Log, RawRecord, Read};

const READ_BYTES: usize = 1 << 20;

/// The index of the entries `first..end`, or of all from `first` on. What is damaged or retired is
/// not in it.
pub(super) fn read(
    log: &dyn Log,
    hasher: &Hasher128,
    first: u64,
    end: Option<u64>,
) -> Result<Active, Error> {
    let mut active = Active::new(first);
    let mut next = first;
    while end.is_none_or(|end| next < end) {
        match log.read(next, READ_BYTES).map_err(|source| Error::Log { first, source })? {
            Read::Entries(entries) => {
                for entry in entries.iter().take_while(|e| end.is_none_or(|end| e.number < end)) {
                    add_entry(&mut active, hasher, entry)?;
                }
                next = entries.last().map_or(next, |entry| entry.number) + 1;
            }
            Read::Retired { first: to } | Read::Gap { to, .. } => next = to.max(next + 1),
            Read::NotYet => break,
        }
    }
    Ok(active)
}

fn add_entry(active: &mut Active, hasher: &Hasher128, entry: &Entry) -> Result<(), Error> {
    for record in entry.records() {
        let malformed = |reason: String| Error::Record { entry: entry.number, reason };
        let record = record.map_err(|error| malformed(error.to_string()))?;
        if record.kind == EVENT_APPENDED {
            add_event(active, hasher, entry, record).map_err(malformed)?;
        }
    }
    Ok(())
}

fn add_event(
    active: &mut Active,
    hasher: &Hasher128,
    entry: &Entry,
    raw: RawRecord,
) -> Result<(), String> {
    let kind = record::decode(raw.kind, true, raw.body).map_err(|error| error.to_string())?;
    let Some(Kind::EventAppended(it)) = kind else {
        return Ok(());
    };
    let view = EventView::parse(&it.event).map_err(|error| error.to_string())?;
    let at = Position { entry: entry.number, index: raw.index };
    let stamp = Stamp {
        event: EventRef { at, topic: it.topic, offset: it.offset },
        turn: it.turn,
        time: entry.time,
        sync: entry.flags & ENTRY_SYNC != 0,
    };
    let id = hasher.id(view.source, view.id, it.topic);
    let digest = hasher.digest(view.ty, view.data);
    active.push(&Head::of(&view, hasher, stamp), it.event.len(), id, digest);
    Ok(())
}

/// The number of the record that appends an event.
const EVENT_APPENDED: u32 = 1;
