//! Questions about many sagas at once: which there are, in which order, and what the index has
//! kept of them and of dead letters. All of it reads files or waits for the index: never on a
//! thread that must not wait.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use quadrille_proto::{EventView, name};

use super::fetch::{EventReader, FetchError};
use super::shared::Shared;
use super::timeline::{Look, Story};
use super::{Engine, Exact, Stamped};
use crate::core::Core;
use crate::core::info::DeadInfo;
use crate::core::settled::Settled;
use crate::core::types::{EventRef, LaneId, Position, TailEvent, TopicId};
use crate::core::whereabouts::Whereabouts;
use crate::index::{DeadRow, Edge, OddRow, SagaRow};

/// Events per read.
const PAGE: u64 = 256;
/// So many events are looked at for one answer.
const MOST: usize = 200_000;

/// What is known of how a story went: for each event the row of the step that emitted it, and for
/// each group the event's own.
#[derive(Clone, Debug, Default)]
pub struct Histories {
    /// Of the deliveries that have emitted the events.
    pub emitted: Vec<Option<OddRow>>,
    /// Of the events, for each group of the look.
    pub settled: Vec<Vec<Option<History>>>,
}

/// How a group has dealt with an event, and the dead letter that was skipped.
pub type History = (OddRow, Option<DeadRow>);

/// What the index has counted of a saga, and the names of its services.
pub type Counted = (SagaRow, Vec<String>);

impl Engine {
    /// How a story went, as far as that is known. Reads files.
    #[must_use]
    pub fn histories(&self, story: &Story, look: &Look) -> Option<Exact<Histories>> {
        let first = story.events.iter().map(|it| it.emitted_by.map_or(it.head.event, |(_, by)| by));
        let first = first.chain(story.events.iter().map(|it| it.head.event)).min()?;
        self.0.shared.ask(first.at.entry, |index| {
            let mut all = Histories::default();
            for (event, places) in story.events.iter().zip(&look.places) {
                let by = event.emitted_by.map(|(group, by)| index.odd(group, by));
                all.emitted.push(by.transpose()?.flatten());
                let at = event.head.event;
                let mut rows = Vec::with_capacity(places.len());
                for (group, place) in look.groups.iter().zip(places) {
                    let settled = *place == Whereabouts::Settled;
                    let row = if settled { index.odd(group.id, at)? } else { None };
                    rows.push(match row {
                        Some(row) if row.skipped => {
                            Some((row, index.dead_letter(group.id, at.at)?))
                        }
                        row => row.map(|row| (row, None)),
                    });
                }
                all.settled.push(rows);
            }
            Ok(all)
        })
    }

    /// What the index has counted of a saga, and the names of its services; without an index
    /// nothing. Reads files.
    #[must_use]
    pub fn saga_row(&self, saga: &str) -> Option<Exact<Option<Counted>>> {
        let shared = &self.0.shared;
        shared.indexing.as_ref()?;
        let saga = shared.place().hasher.saga(saga);
        shared.ask(0, |index| Ok(index.saga(saga)?.map(|row| (row, index.services(&row)))))
    }

    /// All dead letters that the log tells of, resolved ones included; `None` if that takes an
    /// index and there is none, or it is not ready. Reads files.
    #[must_use]
    pub fn dead_rows(&self) -> Option<Exact<Vec<DeadRow>>> {
        self.0.shared.ask(0, crate::index::Index::dead_letters)
    }

    /// Which types have led to which; likewise.
    #[must_use]
    pub fn edges(&self) -> Option<Exact<Vec<Edge>>> {
        self.0.shared.ask(0, |index| Ok(index.edges()))
    }

    /// Unresolved dead letters of all groups, with the groups' names, in the order of their events;
    /// and the last entry that core knew.
    pub fn all_dead_letters(&self) -> Stamped<(Vec<(String, DeadInfo)>, u64)> {
        self.view_state(|state| {
            let core = &state.core;
            let groups = core.durable().groups.values();
            let mut all: Vec<_> = groups
                .flat_map(|it| {
                    core.dead_letters(it.id).into_iter().map(|dead| (it.name.clone(), dead))
                })
                .collect();
            all.sort_by_key(|(_, dead)| dead.event);
            (all, state.seq.end())
        })
    }

    /// A walk over sagas: from the newest event to the oldest, or the other way; over all, or only
    /// what some group has not settled.
    #[must_use]
    pub fn walk(&self, newest: bool, open: bool) -> Walk {
        let shared = Arc::clone(&self.0.shared);
        let (topics, apart) = shared.look(|state| snapshot(&state.core, open));
        let seen = HashSet::new();
        Walk { shared, newest, topics, apart, seen, left: MOST }
    }
}

/// A walk over sagas.
pub struct Walk {
    shared: Arc<Shared>,
    newest: bool,
    topics: Vec<OneTopic>,
    /// Unsettled events below the floors of their groups, in order.
    apart: VecDeque<Position>,
    seen: HashSet<LaneId>,
    left: usize,
}

/// What is left of a topic.
struct OneTopic {
    topic: TopicId,
    from: u64,
    to: u64,
    /// What the groups have settled of it, if that is passed over.
    settled: Option<Vec<Settled>>,
    page: VecDeque<TailEvent>,
}

fn snapshot(core: &Core, open: bool) -> (Vec<OneTopic>, VecDeque<Position>) {
    let durable = core.durable();
    let topics = durable.topics.by_id.iter().filter(|(_, it)| !name::is_reserved(&it.name));
    let topics = topics.map(|(id, it)| {
        let settled = durable.groups.values().filter_map(|group| group.topics.get(id).cloned());
        let settled = open.then(|| settled.collect::<Vec<_>>());
        let floors = settled.iter().flatten().map(Settled::floor).min();
        let floor = if open { floors.unwrap_or(it.next) } else { it.first };
        OneTopic { topic: *id, from: floor, to: it.next, settled, page: VecDeque::new() }
    });
    let shards = durable.groups.values().flat_map(|group| &group.shards);
    let lanes = shards.flat_map(|shard| shard.lanes.values()).filter(|_| open);
    let mut apart: Vec<_> =
        lanes.map(|lane| lane.head.as_ref().map_or(lane.first, |head| head.event.at)).collect();
    apart.sort_unstable();
    apart.dedup();
    (topics.collect(), apart.into())
}

impl Walk {
    /// The next sagas, at most so many, each once; none at the end. Reads files.
    ///
    /// # Errors
    /// The log or its index could not be read.
    pub fn next(&mut self, max: usize) -> Result<Vec<String>, FetchError> {
        let mut found = Vec::new();
        while found.len() < max && self.left > 0 {
            let Some(event) = self.event()? else { break };
            self.left -= 1;
            if self.seen.insert(event.head.saga) {
                let view = EventView::parse(&event.bytes).unwrap_or_default();
                found.push(view.saga_or_id().to_owned());
            }
        }
        Ok(found)
    }

    /// Whether it ended because there was too much to look at.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.left == 0
    }

    /// The next event of all topics.
    fn event(&mut self) -> Result<Option<TailEvent>, FetchError> {
        loop {
            let mut best: Option<(Position, usize)> = None;
            for index in 0..self.topics.len() {
                if let Some(at) = self.peek(index)?
                    && best.is_none_or(|(first, _)| self.precedes(at, first))
                {
                    best = Some((at, index));
                }
            }
            let Some(at) = self.next_apart(best.map(|(first, _)| first)) else {
                let topic = best.and_then(|(_, index)| self.topics.get_mut(index));
                return Ok(topic.and_then(|it| it.page.pop_front()));
            };
            let mut found = None;
            let reader = EventReader::new(&self.shared);
            reader.appended(&[at], |it| *it, |event, _| found = Some(event))?;
            // One that is lost in a gap is passed over.
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// The next of the places that lie apart, if it comes before `first`.
    fn next_apart(&mut self, first: Option<Position>) -> Option<Position> {
        let next = match self.newest {
            true => self.apart.back(),
            false => self.apart.front(),
        };
        let at = next.copied().filter(|at| first.is_none_or(|it| self.precedes(*at, it)))?;
        if self.newest {
            self.apart.pop_back();
        } else {
            self.apart.pop_front();
        }
        Some(at)
    }

    fn precedes(&self, a: Position, b: Position) -> bool {
        if self.newest { a > b } else { a < b }
    }

    fn peek(&mut self, index: usize) -> Result<Option<Position>, FetchError> {
        let Some(it) = self.topics.get_mut(index) else { return Ok(None) };
        let places = self.shared.place().index;
        while it.page.is_empty() && it.from < it.to {
            let (from, to) = match self.newest {
                true => (it.to.saturating_sub(PAGE).max(it.from), it.to),
                false => (it.from, it.from.saturating_add(PAGE).min(it.to)),
            };
            let wanted = |offset: u64| {
                let settled = it.settled.as_ref();
                settled.is_none_or(|all| all.iter().any(|one| !one.contains(offset)))
            };
            let max = usize::try_from(to - from).unwrap_or(0);
            let mut refs: Vec<EventRef> = match (from..to).any(wanted) {
                true => places.range(it.topic, from, max)?,
                false => Vec::new(),
            };
            refs.retain(|it| it.offset < to && wanted(it.offset));
            let (events, _) = EventReader::new(&self.shared).events(&refs)?;
            it.page = events.into();
            match self.newest {
                true => {
                    it.to = from;
                    it.page = it.page.drain(..).rev().collect();
                }
                false => it.from = to,
            }
        }
        Ok(it.page.front().map(|event| event.head.event.at))
    }
}

impl std::fmt::Debug for Walk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walk").field("newest", &self.newest).finish_non_exhaustive()
    }
}
