//! From entries of the log to rows.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use quadrille_proto::record::{self, Kind, Resolution, SettleKind};
use quadrille_proto::{EventView, Hasher128, name};

use super::head::{Head, NamesRow};
use super::rows::{DeadRow, OddRow, Resolved, SagaRow, dead_key, odd_key, odd_parts};
use super::table::Table;
use super::{Change, Damaged, Known, Store};
use crate::core::types::{EventRef, GroupId, Position, TopicId};
use crate::log::{Entry, RawRecord};

/// So many types are told apart; the rest is one.
const TYPES: usize = 512;
/// So many sources are; see [`SagaRow::services`].
const SERVICES: usize = 63;
/// So many edges are counted.
const EDGES: usize = 4096;
/// So many events back a cause is looked for, to twice as many.
const RECENT: usize = 1 << 16;
/// For what is one too many.
const OTHERS: &str = "(others)";

/// Where rows go.
pub(super) struct Tables<'a> {
    pub(super) sagas: &'a mut Table<SagaRow>,
    pub(super) dead: &'a mut Table<DeadRow>,
    pub(super) odd: &'a mut Table<OddRow>,
    pub(super) store: &'a dyn Store,
}

/// One type has led to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The type of the cause.
    pub from: String,
    /// The type of the effect.
    pub to: String,
    /// How often; effects that came very long after their cause are not counted.
    pub count: u64,
}

/// What is known on the way from one entry to the next.
pub(super) struct Feed {
    hasher: Hasher128,
    known: Known,
    pub(super) services: Names,
    types: Names,
    edges: HashMap<(u16, u16), u64>,
    /// Types of the newest events, by place in their topic: two generations.
    recent: [HashMap<(TopicId, u64), u16>; 2],
    /// Attempts of what is not settled.
    pending: BTreeMap<(GroupId, TopicId, u64), u32>,
}

/// Names with numbers, up to a limit.
#[derive(Debug, Default)]
pub(super) struct Names {
    list: Vec<String>,
    numbers: HashMap<String, u16>,
    max: usize,
    /// The one that was asked for last: often it is the next one too.
    last: u16,
}

impl Names {
    fn new(max: usize, list: Vec<String>) -> Self {
        let mut it = Self { max, ..Self::default() };
        for name in list {
            it.number(&name);
        }
        it
    }

    /// The number of a name; `max` if there are too many.
    fn number(&mut self, name: &str) -> u16 {
        if self.list.get(usize::from(self.last)).is_some_and(|it| it == name) {
            return self.last;
        }
        self.last = match self.numbers.get(name) {
            Some(number) => *number,
            None if self.list.len() >= self.max => u16::try_from(self.max).unwrap_or(u16::MAX),
            None => {
                let number = u16::try_from(self.list.len()).unwrap_or(u16::MAX);
                self.list.push(name.to_owned());
                self.numbers.insert(name.to_owned(), number);
                number
            }
        };
        self.last
    }

    fn name(&self, number: u16) -> &str {
        self.list.get(usize::from(number)).map_or(OTHERS, String::as_str)
    }

    /// The names of these bits.
    pub(super) fn of(&self, bits: u64) -> Vec<String> {
        let set = (0..64).filter(|bit| bits & 1 << bit != 0);
        set.map(|bit| self.name(bit).to_owned()).collect()
    }
}

impl Feed {
    pub(super) fn new(hasher: Hasher128, known: Known) -> Self {
        Self {
            hasher,
            known,
            services: Names::new(SERVICES, Vec::new()),
            types: Names::new(TYPES, Vec::new()),
            edges: HashMap::new(),
            recent: [HashMap::new(), HashMap::new()],
            pending: BTreeMap::new(),
        }
    }

    /// Goes on where a store ends.
    pub(super) fn adopt(
        &mut self,
        head: &Head,
        odd: &Table<OddRow>,
        store: &dyn Store,
    ) -> Result<(), Damaged> {
        let names = head.names(store)?;
        self.services = Names::new(SERVICES, names.services);
        self.types = Names::new(TYPES, names.types);
        for edge in names.edges.chunks_exact(3) {
            if let [from, to, count] = edge
                && let (Ok(from), Ok(to)) = (u16::try_from(*from), u16::try_from(*to))
            {
                self.edges.insert((from, to), *count);
            }
        }
        let pending = odd.all(store)?.into_iter().filter(|(_, row)| row.pending > 0);
        self.pending = pending.map(|(key, row)| (odd_parts(key), row.pending)).collect();
        Ok(())
    }

    pub(super) fn save(&self, head: &mut Head, changes: &mut Vec<Change>) {
        let mut edges: Vec<_> = self.edges.iter().collect();
        edges.sort_unstable();
        let edges = edges
            .into_iter()
            .flat_map(|((from, to), count)| [u64::from(*from), u64::from(*to), *count]);
        let names = NamesRow {
            services: self.services.list.clone(),
            types: self.types.list.clone(),
            edges: edges.collect(),
        };
        head.set_names(&names, changes);
    }

    pub(super) fn edges(&self) -> Vec<Edge> {
        let mut edges: Vec<_> = self.edges.iter().map(|(edge, count)| (*count, *edge)).collect();
        edges.sort_unstable_by(|a, b| b.cmp(a));
        let name = |number| self.types.name(number).to_owned();
        let edge = |(count, (from, to))| Edge { from: name(from), to: name(to), count };
        edges.into_iter().map(edge).collect()
    }

    /// Takes the next entry.
    pub(super) fn entry(&mut self, entry: &Entry, mut tables: Tables<'_>) -> Result<(), Damaged> {
        for raw in entry.records() {
            let RawRecord { index, kind, body, .. } =
                raw.map_err(|error| Damaged(format!("entry #{}: {error}", entry.number)))?;
            if !WANTED.contains(&kind) {
                continue;
            }
            let at = Position { entry: entry.number, index };
            let kind = record::decode(kind, false, body)
                .map_err(|error| Damaged(format!("the record at {at}: {error}")))?;
            if let Some(kind) = kind {
                self.record(at, entry.time, kind, &mut tables)?;
            }
        }
        Ok(())
    }

    fn record(
        &mut self,
        at: Position,
        time: u64,
        kind: Kind,
        tables: &mut Tables<'_>,
    ) -> Result<(), Damaged> {
        match kind {
            Kind::EventAppended(it) => self.appended(at, time, &it, tables),
            Kind::TopicCreated(it) => {
                self.known.topics.insert(it.topic, it.name);
            }
            Kind::GroupCreated(it) => {
                self.known.groups.insert(it.group, it.name);
            }
            Kind::Catalog(it) => {
                let topics = it.topics.into_iter().map(|it| (it.topic, it.name));
                self.known.topics.extend(topics);
                let groups = it.groups.into_iter().map(|it| (it.group, it.name));
                self.known.groups.extend(groups);
            }
            Kind::Settled(it) => self.settled(at, &it, tables),
            Kind::Held(it) => {
                if let Some(event) = it.event
                    && it.attempts > 0
                {
                    let key = (it.group, event.topic, event.offset);
                    self.pending.insert(key, it.attempts);
                    let row = OddRow { pending: it.attempts, ..odd(at) };
                    tables.odd.add(odd_key(it.group, event.topic, event.offset), row);
                }
            }
            Kind::Parked(it) => self.parked(at, time, it, tables)?,
            Kind::Resolved(it) => self.resolved(at, time, it, tables)?,
            Kind::Superseded(it) => {
                let by = it.by.and_then(|by| by.at).map_or(0, |by| by.entry);
                for one in it.events.iter().filter_map(|one| one.event.as_ref()) {
                    self.forget(at, it.group, one, tables);
                    let key = dead_key(it.group, EventRef::from(one).at);
                    if let Some(mut row) = tables.dead.get(tables.store, key)? {
                        (row.superseded_by, row.newest) = (by, at.entry);
                        tables.dead.add(key, row);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn appended(
        &mut self,
        at: Position,
        time: u64,
        it: &record::EventAppended,
        tables: &mut Tables<'_>,
    ) {
        let Ok(view) = EventView::parse(&it.event) else { return };
        if view.source == "quadrille"
            && self.known.topics.get(&it.topic).is_some_and(|name| name::is_reserved(name))
        {
            return;
        }
        let service = self.services.number(view.source);
        let row = SagaRow {
            first_entry: at.entry,
            first_index: at.index,
            last_entry: at.entry,
            last_index: at.index,
            first_time: time,
            last_time: time,
            count: 1,
            turn: it.turn,
            services: 1 << service.min(63),
        };
        tables.sagas.add(self.hasher.saga(view.saga_or_id()), row);
        let ty = self.types.number(view.ty);
        if let Some(cause) = &it.emitted_by {
            let cause = (cause.topic, cause.offset);
            let from = self.recent.iter().find_map(|it| it.get(&cause)).copied();
            let room = self.edges.len() < EDGES;
            if let Some(edge) = from.map(|from| (from, ty))
                && (room || self.edges.contains_key(&edge))
            {
                *self.edges.entry(edge).or_default() += 1;
            }
        }
        self.remember(it, ty);
    }

    fn remember(&mut self, it: &record::EventAppended, ty: u16) {
        let [newest, older] = &mut self.recent;
        if newest.len() >= RECENT {
            std::mem::swap(newest, older);
            newest.clear();
        }
        newest.insert((it.topic, it.offset), ty);
    }

    fn settled(&mut self, at: Position, it: &record::Settled, tables: &mut Tables<'_>) {
        let late = it.kind() == SettleKind::Late;
        if self.pending.is_empty() && !late {
            return;
        }
        for range in &it.ranges {
            let (group, topic) = (it.group, range.topic);
            if late {
                for offset in range.from..range.to {
                    let row = OddRow { late, ..odd(at) };
                    tables.odd.add(odd_key(group, topic, offset), row);
                }
            }
            let (from, to) = ((group, topic, range.from), (group, topic, range.to));
            let done: Vec<_> = self.pending.range(from..to).map(|(k, n)| (*k, *n)).collect();
            for (key, attempts) in done {
                self.pending.remove(&key);
                let worked = matches!(it.kind(), SettleKind::Ack | SettleKind::Step);
                let done_at = if worked { attempts + 1 } else { 0 };
                if !late {
                    let row = OddRow { done_at, ..odd(at) };
                    tables.odd.add(odd_key(group, topic, key.2), row);
                }
            }
        }
    }

    /// An event's attempts count no more.
    fn forget(
        &mut self,
        at: Position,
        group: GroupId,
        event: &record::EventRef,
        tables: &mut Tables<'_>,
    ) {
        if self.pending.remove(&(group, event.topic, event.offset)).is_some() {
            tables.odd.add(odd_key(group, event.topic, event.offset), odd(at));
        }
    }

    fn parked(
        &mut self,
        at: Position,
        time: u64,
        it: record::Parked,
        tables: &mut Tables<'_>,
    ) -> Result<(), Damaged> {
        let Some(event) = it.event else { return Ok(()) };
        self.forget(at, it.group, &event, tables);
        let place = EventRef::from(&event).at;
        let key = dead_key(it.group, place);
        let before = tables.dead.get(tables.store, key)?.map_or(0, |row| row.times);
        let named = |names: &BTreeMap<u32, String>, number: u32| {
            names.get(&number).cloned().unwrap_or_else(|| format!("number {number}"))
        };
        let row = DeadRow {
            group: it.group,
            group_name: named(&self.known.groups, it.group),
            topic: event.topic,
            topic_name: named(&self.known.topics, event.topic),
            offset: event.offset,
            entry: place.entry,
            index: place.index,
            event_type: it.event_type,
            event_id: it.event_id,
            saga: it.saga,
            reason: it.reason,
            member: it.member,
            attempts: it.attempts,
            blocking: it.blocking,
            time,
            times: before + 1,
            resolved: None,
            superseded_by: 0,
            newest: at.entry,
        };
        tables.dead.add(key, row);
        Ok(())
    }

    fn resolved(
        &mut self,
        at: Position,
        time: u64,
        it: record::Resolved,
        tables: &mut Tables<'_>,
    ) -> Result<(), Damaged> {
        let Some(event) = it.event else { return Ok(()) };
        let skipped = it.how() == Resolution::ResolveSkip;
        if skipped {
            self.pending.remove(&(it.group, event.topic, event.offset));
            let row = OddRow { skipped, ..odd(at) };
            tables.odd.add(odd_key(it.group, event.topic, event.offset), row);
        }
        let key = dead_key(it.group, EventRef::from(&event).at);
        if let Some(mut row) = tables.dead.get(tables.store, key)? {
            let record::Resolved { how, by, comment, .. } = it;
            row.resolved = Some(Resolved { how, by, comment, time });
            row.newest = at.entry;
            tables.dead.add(key, row);
        }
        Ok(())
    }
}

/// Nothing unusual.
fn odd(at: Position) -> OddRow {
    OddRow { newest: at.entry, ..OddRow::default() }
}

/// The records that rows are made of, by number: events, topics, groups, settles, holds, parks,
/// resolutions, supersedings, catalogs.
const WANTED: [u32; 9] = [1, 2, 5, 10, 12, 13, 14, 15, 38];
