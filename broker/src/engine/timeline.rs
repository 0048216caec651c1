//! A saga's events joined with where each of them is for each group, now; and the same for one
//! event. Events are read from files, never on a thread that must not wait; the rest is looked up in
//! core, and comes when all that it shows is safe.

use std::sync::Arc;

use quadrille_proto::record::OrderBy;

use super::fetch::{EventReader, FetchError};
use super::shared::Shared;
use super::{Engine, Stamped};
use crate::core::Core;
use crate::core::output::LaneQuery;
use crate::core::types::{EventRef, GroupId, Head, LaneId, Position, TailEvent, TopicId};
use crate::core::whereabouts::Whereabouts;
use crate::sidecar::Wanted;
use crate::time::Now;

/// Events per read.
const PAGE: usize = 256;

/// An event with what the broker says of it.
#[derive(Clone, Debug)]
pub struct SagaEvent {
    /// How it is routed.
    pub head: Head,
    /// Its bytes.
    pub bytes: bytes::Bytes,
    /// The delivery whose step emitted it.
    pub emitted_by: Option<(GroupId, EventRef)>,
}

/// Events, and where they are for the groups. Read and looked at in turns, until what was read is
/// all there was at the last look.
pub struct Story {
    shared: Arc<Shared>,
    lane: (LaneQuery, LaneId),
    /// Where to read on.
    at: Position,
    /// The index says that there is nothing from the first of these places to the second.
    gap: Option<(Position, Position)>,
    max: usize,
    /// In the order of the log.
    pub events: Vec<SagaEvent>,
    /// There are more than are read.
    pub more: bool,
}

/// What core said.
#[derive(Clone, Debug)]
pub struct Look {
    /// When.
    pub now: Now,
    /// The last entry that it knew.
    pub end: u64,
    /// The groups.
    pub groups: Vec<GroupName>,
    /// The names of the topics.
    pub topics: Vec<(TopicId, String)>,
    /// For each event, where it is for each of `groups`.
    pub places: Vec<Vec<Whereabouts>>,
}

/// A group, as a look names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupName {
    /// Its number.
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// A lane of it is a saga.
    pub by_saga: bool,
}

impl Engine {
    /// The story of a saga; nothing of it is read yet. With an index it is known which part of the
    /// log need not be looked through. May wait for it, and read files.
    #[must_use]
    pub fn story(&self, saga: &str) -> Story {
        let lane = (LaneQuery::Saga, self.0.shared.place().hasher.saga(saga));
        let mut story = self.no_story(lane);
        if let Some(row) = self.saga_row(saga) {
            let behind = Position { entry: row.to + 1, index: 0 };
            let (first, last) = match row.value {
                Some((row, _)) => (row.first(), row.last().next()),
                None => (behind, behind),
            };
            (story.at, story.gap) = (first, Some((last, behind)));
        }
        story
    }

    /// The story of one event: of the one at this place, or, if that is the place of another
    /// record, of the first of its entry. Empty if there is none. Reads files.
    ///
    /// # Errors
    /// The log could not be read.
    pub fn story_of(&self, at: Position) -> Result<Story, FetchError> {
        let mut story = self.no_story((LaneQuery::Everything, 0));
        story.read_one(at)?;
        Ok(story)
    }

    /// Looks for a group's event by its id: first among its dead letters, then from its first
    /// unsettled event on, then before. Reads files, if need be all of them.
    ///
    /// # Errors
    /// The log could not be read.
    pub fn find_event(&self, group: GroupId, id: &str) -> Result<Option<Position>, FetchError> {
        let shared = &self.0.shared;
        let (dead, topics) = shared.look(|state| {
            let core = &state.core;
            let group = core.durable().groups.get(&group);
            let mut dead = group.into_iter().flat_map(|it| it.dead());
            let dead = dead.find(|(_, it)| it.parked.event_id == id).map(|(at, _)| at);
            let floors = group.into_iter().flat_map(|it| &it.topics);
            (dead, floors.map(|(topic, it)| (*topic, it.floor())).collect::<Vec<_>>())
        });
        let above = topics.iter().map(|(topic, floor)| (*topic, *floor, u64::MAX));
        let below = topics.iter().map(|(topic, floor)| (*topic, 0, *floor));
        let mut found = dead;
        for (topic, from, to) in above.chain(below) {
            if found.is_some() {
                break;
            }
            let mut reader = self.read(super::Range::Topic { topic, from, to });
            loop {
                let page = reader.next_page()?;
                let is_it = |it: &&super::StoredEvent| {
                    let view = quadrille_proto::EventView::parse(&it.bytes);
                    view.is_ok_and(|view| view.id == id)
                };
                found = page.iter().find(is_it).map(|it| it.event.at);
                if found.is_some() || page.is_empty() {
                    break;
                }
            }
        }
        Ok(found)
    }

    fn no_story(&self, lane: (LaneQuery, LaneId)) -> Story {
        let shared = Arc::clone(&self.0.shared);
        let max = shared.options.limits.timeline_events;
        let at = Position::default();
        Story { shared, lane, at, gap: None, max, events: Vec::new(), more: false }
    }

    /// Where the events of a story are for every group.
    pub fn look(&self, story: &Story) -> Stamped<Look> {
        let heads: Vec<Head> = story.events.iter().map(|it| it.head).collect();
        let now = self.0.shared.now();
        self.view_state(|state| looked(&state.core, now, state.seq.end(), &heads))
    }
}

impl Story {
    /// Reads what has come since. Reads files.
    ///
    /// # Errors
    /// The log or its index could not be read; it can be tried again.
    pub fn read(&mut self) -> Result<(), FetchError> {
        let shared = Arc::clone(&self.shared);
        let ((query, lane), index) = (self.lane, shared.place().index);
        let topics = shared.look(|state| state.core.topic_ids());
        while !self.more {
            let reader = EventReader::new(&shared);
            let end = Position { entry: u64::MAX, index: 0 };
            let gap = self.gap.filter(|(from, _)| self.at < *from);
            let to = gap.map_or(end, |(from, _)| from);
            let wanted = Wanted { query, lane, topics: &topics, from: self.at, to, max: PAGE };
            let refs = index.find(&wanted)?;
            let covered = reader.appended(
                &refs,
                |it| it.at,
                |event, appended| {
                    if event.is_of(query, lane) {
                        self.events.push(SagaEvent::new(event, &appended));
                    }
                },
            )?;
            let last = covered.checked_sub(1).and_then(|last| refs.get(last));
            self.at = last.map_or(self.at, |last| last.at.next());
            if covered == refs.len() && refs.len() < PAGE && gap.is_some() {
                self.at = gap.map_or(self.at, |(_, to)| to);
            } else if last.is_none() {
                break;
            }
            self.more = self.events.len() > self.max;
        }
        self.events.truncate(self.max);
        Ok(())
    }

    /// Whether this look has seen all of it; otherwise it is to be looked at again.
    #[must_use]
    pub fn is_seen_by(&self, look: &Look) -> bool {
        self.events.get(look.places.len()).is_none_or(|next| next.head.event.at.entry > look.end)
    }

    /// Leaves out what came after this look.
    pub fn cut(&mut self, look: &Look) {
        self.events.truncate(look.places.len());
    }

    fn read_one(&mut self, at: Position) -> Result<(), FetchError> {
        let shared = Arc::clone(&self.shared);
        let reader = EventReader::new(&shared);
        let places: Vec<_> = match at.index {
            0 => (0..ENTRY_MAX).map(|index| Position { entry: at.entry, index }).collect(),
            _ => vec![at],
        };
        reader.appended(
            &places,
            |it| *it,
            |event, appended| {
                if self.events.is_empty() {
                    self.events.push(SagaEvent::new(event, &appended));
                }
            },
        )?;
        Ok(())
    }
}

/// So many records of an entry are looked at for its first event: a step's settle comes before it.
const ENTRY_MAX: u32 = 16;

impl SagaEvent {
    fn new(event: TailEvent, appended: &quadrille_proto::record::EventAppended) -> Self {
        let by = appended.emitted_by.as_ref().map(EventRef::from);
        let emitted_by = by.map(|by| (appended.emitted_by_group, by));
        Self { head: event.head, bytes: event.bytes, emitted_by }
    }
}

impl std::fmt::Debug for Story {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Story").field("events", &self.events).finish_non_exhaustive()
    }
}

fn looked(core: &Core, now: Now, end: u64, heads: &[Head]) -> Look {
    let durable = core.durable();
    let groups: Vec<_> = durable
        .groups
        .values()
        .map(|group| GroupName {
            id: group.id,
            name: group.name.clone(),
            by_saga: group.config.order_by() == OrderBy::Saga,
        })
        .collect();
    let place = |group: &GroupName, head: &Head| {
        core.whereabouts(now, group.id, head).unwrap_or(Whereabouts::NotForIt)
    };
    let places = heads.iter().map(|head| groups.iter().map(|it| place(it, head)).collect());
    let places = places.collect();
    let topics = durable.topics.by_id.iter().map(|(id, it)| (*id, it.name.clone())).collect();
    Look { now, end, groups, topics, places }
}
