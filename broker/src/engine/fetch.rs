//! What core wants to have read: done outside the lock, told to core as facts. Also the one
//! function that reads events back from the log, given their places.

use quadrille_proto::Hasher128;
use quadrille_proto::record::{self, Kind, RecordError};

use super::shared::Shared;
use crate::core::command::Command;
use crate::core::output::{LaneQuery, Output};
use crate::core::types::{
    EventRef, GroupId, Head, LaneId, Position, Stamp, TailEvent, TimerId, TopicId,
};
use crate::core::{Core, Sequencer};
use crate::log::{ENTRY_SYNC, Entry, FormatError, Log, RawRecord, Read, ReadError, Watermarks};
use crate::sidecar::{self, Index, Wanted};
use crate::time::Now;

/// Bytes per read where events lie close together.
const READ_BYTES: usize = 128 * 1024;
/// Entries further away than this are read one by one.
const CLOSE: u64 = 64;
/// After a failed read, ms.
pub(crate) const AGAIN_AFTER: u64 = 1000;

/// Something core wants to have read.
pub(crate) struct Fetch {
    opening: u64,
    what: Output,
}

/// Why events could not be read; it may succeed later.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The index could not.
    #[error(transparent)]
    Index(#[from] sidecar::Error),
    /// An entry is malformed although its checksum is right.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A record is.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl Fetch {
    /// `None` for what is nothing to read.
    pub(crate) fn new(opening: u64, what: Output) -> Option<Self> {
        let read = matches!(
            what,
            Output::ReadTopic { .. }
                | Output::FindLane { .. }
                | Output::ReadEvents { .. }
                | Output::TimersDue { .. }
        );
        read.then_some(Self { opening, what })
    }

    /// Reads, and tells core; comes again if that is not possible now.
    pub(crate) fn run(self, shared: &Shared) {
        let reader = EventReader::new(shared);
        match self.attempt(shared, &reader) {
            Ok(true) => {}
            Ok(false) => shared.look(|state| state.fetch_once_revealed(self, &reader.marks)),
            Err(error) => {
                tracing::warn!(%error, "reading back failed; it is tried again");
                shared.look(|state| state.fetch_again(self, shared.now()));
            }
        }
    }

    /// False if what is wanted is there but not revealed.
    fn attempt(&self, shared: &Shared, reader: &EventReader<'_>) -> Result<bool, FetchError> {
        match &self.what {
            Output::ReadTopic { group, topic, from, max } => {
                let max = (*max, shared.options.limits.window_bytes);
                let index = shared.place().index;
                let Some(events) = reader.window(&index, *topic, *from, max)? else {
                    return Ok(false);
                };
                self.tell(shared, |core, now, seq| {
                    core.on_window(now, *group, *topic, *from, events, seq);
                });
            }
            Output::FindLane { group, lane, query, from, to, max } => {
                let range = (*from, *to);
                let found = self.find(shared, reader, *group, (*query, *lane), range, *max)?;
                let Some(found) = found else { return Ok(false) };
                self.tell(shared, |core, now, seq| core.on_lane(now, *group, *lane, found, seq));
            }
            Output::ReadEvents { group, lane, events } => {
                let mut refs = events.clone();
                refs.sort_unstable();
                let (found, _) = reader.events(&refs)?;
                self.tell(shared, |core, now, seq| core.on_lane(now, *group, *lane, found, seq));
            }
            Output::TimersDue { timers } => {
                let Some(due) = reader.timers(timers)? else { return Ok(false) };
                let is_lost = |id: &TimerId| !due.iter().any(|(found, _)| found == id);
                let lost: Vec<_> = timers.iter().map(|(id, _)| *id).filter(is_lost).collect();
                if !lost.is_empty() {
                    tracing::error!(?lost, "the events of these timers lie in a gap; disarmed");
                }
                let disarm = lost.into_iter().map(|timer| Command::CancelTimer { timer });
                let _ = shared.section(|state, now| {
                    if state.opening == self.opening {
                        for command in disarm.chain([Command::Fire(due)]) {
                            drop(state.execute(now, command, Vec::new(), 0));
                        }
                    }
                });
            }
            _ => {}
        }
        Ok(true)
    }

    /// As many of a lane's events as were asked for, unless there are no more: what is lost in a
    /// gap does not end the search.
    fn find(
        &self,
        shared: &Shared,
        reader: &EventReader<'_>,
        group: GroupId,
        (query, lane): (LaneQuery, LaneId),
        (mut from, to): (Position, Position),
        max: usize,
    ) -> Result<Option<Vec<TailEvent>>, FetchError> {
        let topics = shared.look(|state| state.core.topics_of(group));
        let index = shared.place().index;
        let mut found = Vec::new();
        while found.len() < max {
            let wanted = Wanted { query, lane, topics: &topics, from, to, max: max - found.len() };
            let refs = index.find(&wanted)?;
            let (events, covered) = reader.events(&refs)?;
            if covered < refs.len() {
                // An event that is not revealed must not be passed over.
                return Ok(None);
            }
            found.extend(events.into_iter().filter(|it| it.is_of(query, lane)));
            match refs.last() {
                Some(last) if refs.len() == wanted.max => from = last.at.next(),
                _ => break,
            }
        }
        Ok(Some(found))
    }

    fn tell(&self, shared: &Shared, fact: impl FnOnce(&mut Core, Now, &mut dyn Sequencer)) {
        // A fenced engine wants nothing any more.
        let _ = shared.section(|state, now| {
            if state.opening == self.opening {
                state.dispatch(|core, seq| fact(core, now, seq));
            }
        });
    }
}

/// Reads events whose places are known, as far as they are revealed.
pub(crate) struct EventReader<'a> {
    log: &'a dyn Log,
    hasher: Hasher128,
    marks: Watermarks,
}

impl<'a> EventReader<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Self {
        let hasher = shared.place().hasher;
        Self { log: &*shared.log, hasher, marks: shared.log.watermarks() }
    }

    /// These events, in order of their places (as `refs` must be); without those that are gone, and
    /// up to the first that is not revealed. Also how many of `refs` that covers.
    pub(crate) fn events(&self, refs: &[EventRef]) -> Result<(Vec<TailEvent>, usize), FetchError> {
        let mut out = Vec::with_capacity(refs.len());
        let at = |event: &EventRef| event.at;
        let covered = self.appended(refs, at, |event, _| out.push(event))?;
        Ok((out, covered))
    }

    /// Likewise, told one by one, with what the broker says of each beside its bytes.
    pub(crate) fn appended<T>(
        &self,
        wanted: &[T],
        at: impl Fn(&T) -> Position,
        mut found: impl FnMut(TailEvent, record::EventAppended),
    ) -> Result<usize, FetchError> {
        self.visit(wanted, &at, |it, entry, kind| {
            let Kind::EventAppended(mut appended) = kind else { return };
            let stamp = Stamp {
                event: EventRef { at: at(it), topic: appended.topic, offset: appended.offset },
                turn: appended.turn,
                time: entry.time,
                sync: entry.flags & ENTRY_SYNC != 0,
            };
            // What was appended was an event.
            if let Ok(head) = Head::parse(&appended.event, &self.hasher, stamp) {
                let bytes = std::mem::take(&mut appended.event);
                found(TailEvent { head, bytes }, appended);
            }
        })
    }

    /// The next events of a topic from an offset on: dense from the first one, at most so many and
    /// so many bytes; empty if there are no more. `None`: there are, but not revealed.
    pub(crate) fn window(
        &self,
        index: &Index,
        topic: TopicId,
        mut from: u64,
        (max, max_bytes): (usize, usize),
    ) -> Result<Option<Vec<TailEvent>>, FetchError> {
        loop {
            let refs = index.range(topic, from, max)?;
            let Some(last) = refs.last() else { return Ok(Some(Vec::new())) };
            let (mut events, covered) = self.events(&refs)?;
            let Some(first) = events.first().map(|it| it.head.event.offset) else {
                if covered < refs.len() {
                    return Ok(None);
                }
                // All of them are lost in a gap.
                from = last.offset + 1;
                continue;
            };
            let mut bytes = 0;
            let fits = (first..).zip(&events).take_while(|(offset, it)| {
                let before = bytes;
                bytes += it.bytes.len();
                it.head.event.offset == *offset && before < max_bytes
            });
            let fits = fits.count();
            events.truncate(fits);
            return Ok(Some(events));
        }
    }

    /// The bytes of these timers, without those that are gone; `None` if some are not revealed yet.
    fn timers(
        &self,
        timers: &[(TimerId, Position)],
    ) -> Result<Option<Vec<(TimerId, bytes::Bytes)>>, FetchError> {
        let mut sorted = timers.to_vec();
        sorted.sort_unstable_by_key(|(_, at)| *at);
        let mut out = Vec::with_capacity(timers.len());
        let covered = self.visit(
            &sorted,
            |(_, at)| *at,
            |(timer, _), _, kind| {
                if let Kind::TimerArmed(armed) = kind {
                    out.push((*timer, armed.event));
                }
            },
        )?;
        Ok((covered == sorted.len()).then_some(out))
    }

    /// Visits the records at these places, in order, reading neighbours together. How many of the
    /// places are behind it then.
    fn visit<T>(
        &self,
        wanted: &[T],
        at: impl Fn(&T) -> Position,
        mut found: impl FnMut(&T, &Entry, Kind),
    ) -> Result<usize, FetchError> {
        let mut rest = wanted;
        while let [first, later @ ..] = rest {
            let entry = at(first).entry;
            let near = later.first().is_some_and(|next| at(next).entry < entry + CLOSE);
            let skip_to = match self.log.read(entry, if near { READ_BYTES } else { 1 })? {
                Read::Entries(entries) => {
                    for entry in &entries {
                        if !is_revealed(entry, &self.marks) {
                            return Ok(wanted.len() - rest.len());
                        }
                        let here = rest.partition_point(|it| at(it).entry <= entry.number);
                        let (these, others) = rest.split_at(here);
                        self.records(these, &at, entry, &mut found)?;
                        rest = others;
                    }
                    continue;
                }
                Read::Retired { first } => first,
                Read::Gap { to, .. } => to.max(entry + 1),
                Read::NotYet => break,
            };
            let gone = rest.partition_point(|it| at(it).entry < skip_to);
            rest = rest.get(gone..).unwrap_or_default();
        }
        Ok(wanted.len() - rest.len())
    }

    fn records<T>(
        &self,
        wanted: &[T],
        at: &impl Fn(&T) -> Position,
        entry: &Entry,
        found: &mut impl FnMut(&T, &Entry, Kind),
    ) -> Result<(), FetchError> {
        let mut wanted = wanted.iter().peekable();
        for raw in entry.records() {
            let Some(next) = wanted.peek() else { break };
            let RawRecord { index, kind, must_understand, body } = raw?;
            if at(next).index == index {
                if let Some(kind) = record::decode(kind, must_understand, body)? {
                    found(next, entry, kind);
                }
                wanted.next();
            }
        }
        Ok(())
    }
}

impl TailEvent {
    /// Whether this event is of that lane: the index only has half of a hash.
    pub(crate) fn is_of(&self, query: LaneQuery, lane: LaneId) -> bool {
        match query {
            LaneQuery::Saga => self.head.saga == lane,
            LaneQuery::Key => self.head.key == lane,
            LaneQuery::Everything => true,
        }
    }
}

/// Whether what is in this entry may be shown.
pub(crate) fn is_revealed(entry: &Entry, marks: &Watermarks) -> bool {
    let safe = if entry.flags & ENTRY_SYNC != 0 { marks.durable } else { marks.written };
    entry.number <= safe
}
