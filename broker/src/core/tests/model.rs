//! What a bus should do, in plain maps: which events each group has settled, how often each was
//! tried, and who may be handed what. Shares no code with core; told of every command and of
//! everything that comes out.

use std::collections::{BTreeMap, BTreeSet};

use quadrille_proto::record::OrderBy;

/// An event of the model, by its number.
pub(super) type Ev = usize;

#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) saga: String,
    pub(super) key: String,
    pub(super) undo: bool,
    pub(super) turn: u32,
    pub(super) topic: u32,
    pub(super) offset: u64,
    /// Its order in the log.
    pub(super) at: (u64, usize),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Block {
    #[default]
    None,
    Held,
    Parked,
}

/// What one group knows of one event.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) settled: bool,
    pub(super) attempts: u32,
    pub(super) crashes: u32,
    pub(super) block: Block,
    /// It was held last; being handed out again is not recorded, so a restart finds it held.
    pub(super) was_held: bool,
    /// Run, index in it, whether the run is a lane's, whether user code has it.
    pub(super) out: Option<(u64, u32, bool, bool)>,
    /// Parked and the lane has gone on, or superseded: listed.
    pub(super) listed: bool,
    pub(super) superseded: bool,
    /// Retried after its lane had gone on: a lane of its own.
    pub(super) alone: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) order: OrderBy,
    pub(super) topics: Vec<u32>,
    pub(super) goes_on: bool,
    pub(super) supersedes: bool,
    pub(super) events: BTreeMap<Ev, State>,
    pub(super) taken: BTreeMap<String, u32>,
    /// What overtook what, ever.
    pub(super) overtaken: BTreeSet<(Ev, Ev)>,
}

/// How an event failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Failure {
    Counts,
    Waits,
    Never,
}

pub(super) const MAX_ATTEMPTS: u32 = 3;

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) events: Vec<Event>,
    pub(super) groups: Vec<Group>,
    /// When armed events are due, by id.
    pub(super) armed: BTreeMap<String, u64>,
}

impl Model {
    pub(super) fn published(&mut self, event: Event) {
        let number = self.events.len();
        for group in self.groups.iter_mut().filter(|it| it.topics.contains(&event.topic)) {
            group.events.insert(number, State::default());
        }
        self.events.push(event);
    }

    fn lane(&self, group: &Group, ev: Ev) -> String {
        let event = &self.events[ev];
        match group.order {
            _ if group.events[&ev].alone => format!("alone {ev}"),
            OrderBy::Saga => event.saga.clone(),
            OrderBy::Key => event.key.clone(),
            OrderBy::Everything => String::new(),
            OrderBy::Nothing => format!("{ev}"),
        }
    }

    /// Unsettled events of the lane before this one.
    fn before(&self, g: usize, ev: Ev) -> Vec<Ev> {
        let group = &self.groups[g];
        let lane = self.lane(group, ev);
        let mut all: Vec<Ev> = group
            .events
            .iter()
            .filter(|(it, state)| {
                !state.settled
                    && self.events[**it].at < self.events[ev].at
                    && self.lane(group, **it) == lane
            })
            .map(|(it, _)| *it)
            .collect();
        all.sort_by_key(|it| self.events[*it].at);
        all
    }

    fn state(&mut self, g: usize, ev: Ev) -> &mut State {
        self.groups[g].events.get_mut(&ev).expect("an event of the group")
    }

    pub(super) fn is_late(&self, g: usize, ev: Ev) -> bool {
        let (group, event) = (&self.groups[g], &self.events[ev]);
        let taken = group.taken.get(&event.saga).copied().unwrap_or(0);
        group.supersedes && !event.undo && event.turn < taken && !group.events[&ev].alone
    }

    /// A run was handed out.
    pub(super) fn delivered(
        &mut self,
        g: usize,
        ev: Ev,
        out: (u64, u32, bool),
        attempt: u32,
        superseded: &[Ev],
    ) {
        if !superseded.is_empty() {
            self.superseded(g, ev, superseded);
        }
        for earlier in self.before(g, ev) {
            let same_run = self.groups[g].events[&earlier].out.is_some_and(|it| it.0 == out.0);
            if self.is_late(g, earlier) && self.groups[g].events[&earlier].out.is_none() {
                self.settle(g, earlier);
            } else {
                assert!(same_run, "{ev} handed out before {earlier} is settled");
            }
        }
        assert!(!self.is_late(g, ev) || self.groups[g].events[&ev].attempts > 0, "{ev} is late");
        let state = self.state(g, ev);
        assert!(!state.settled, "{ev} handed out after it was settled");
        assert_eq!(state.out, None, "{ev} handed out twice");
        assert_ne!(state.block, Block::Parked, "{ev} handed out while parked");
        assert_eq!(attempt, state.attempts + 1, "attempts of {ev}");
        assert!(state.attempts < MAX_ATTEMPTS, "{ev} tried too often");
        state.block = Block::None;
        state.out = Some((out.0, out.1, out.2, false));
    }

    /// A compensation overtook these.
    pub(super) fn superseded(&mut self, g: usize, by: Ev, events: &[Ev]) {
        let known = &mut self.groups[g].overtaken;
        let new: Vec<Ev> = events.iter().copied().filter(|it| known.insert((by, *it))).collect();
        if new.is_empty() {
            return;
        }
        assert!(self.groups[g].supersedes && self.events[by].undo);
        let before: BTreeSet<Ev> = self.before(g, by).into_iter().collect();
        let late = |it: &&Ev| !self.is_late(g, **it);
        let (before, set): (BTreeSet<Ev>, BTreeSet<Ev>) =
            (before.iter().filter(late).copied().collect(), new.iter().copied().collect());
        assert!(before.is_subset(&set), "all of {before:?} before {by}, not {set:?}");
        let states = new.iter().map(|it| &self.groups[g].events[it]);
        assert!(states.clone().all(|it| it.out.is_none()), "never what is out");
        assert!(states.clone().any(|it| it.block != Block::None), "only if something is blocked");
        assert!(new.iter().all(|it| !self.events[*it].undo), "never a compensation");
        for ev in new {
            let state = self.state(g, ev);
            (state.settled, state.superseded, state.listed) = (true, true, true);
            (state.block, state.was_held) = (Block::None, false);
        }
    }

    /// Acknowledged, stepped, skipped.
    pub(super) fn settle(&mut self, g: usize, ev: Ev) {
        let (undo, turn) = (self.events[ev].undo, self.events[ev].turn);
        let saga = self.events[ev].saga.clone();
        let group = &mut self.groups[g];
        let state = group.events.get_mut(&ev).expect("an event of the group");
        *state = State { settled: true, alone: state.alone, ..State::default() };
        if undo && group.supersedes {
            let taken = group.taken.entry(saga).or_default();
            *taken = turn.max(*taken);
        }
    }

    /// It failed; it is back, held or parked.
    pub(super) fn failed(&mut self, g: usize, ev: Ev, failure: Failure) {
        let goes_on = self.groups[g].goes_on || self.groups[g].order == OrderBy::Nothing;
        let state = self.state(g, ev);
        state.out = None;
        state.crashes = 0;
        state.attempts += u32::from(failure == Failure::Counts);
        if failure != Failure::Never && state.attempts < MAX_ATTEMPTS {
            (state.block, state.was_held) = (Block::Held, true);
        } else if goes_on || state.alone {
            (state.settled, state.listed, state.alone) = (true, true, false);
            (state.attempts, state.was_held) = (0, false);
        } else {
            (state.block, state.listed, state.was_held) = (Block::Parked, true, false);
        }
    }

    /// Everything of a run from this index on (only this one, if the run is no lane's).
    pub(super) fn rest(&self, g: usize, run: u64, index: u32) -> Vec<Ev> {
        let events = self.groups[g].events.iter();
        let rest = events.filter(|(_, state)| {
            let of = |(r, i, lane, _)| r == run && (i == index || lane && i > index);
            state.out.is_some_and(of)
        });
        rest.map(|(ev, _)| *ev).collect()
    }

    pub(super) fn back(&mut self, g: usize, ev: Ev) {
        self.state(g, ev).out = None;
    }

    /// A run (some of it) was taken from its member.
    pub(super) fn lost(&mut self, g: usize, run: u64, indexes: &[u32]) {
        let mut lost: Vec<_> = self.groups[g]
            .events
            .iter()
            .filter_map(|(ev, state)| state.out.map(|out| (out, *ev)))
            .filter(|(out, _)| out.0 == run && indexes.contains(&out.1))
            .collect();
        lost.sort_unstable();
        let mut first = true;
        for ((_, _, lane, started), ev) in lost {
            match started && (first || !lane) {
                true => self.failed(g, ev, Failure::Counts),
                false => self.back(g, ev),
            }
            first = false;
        }
    }

    /// The process has stopped: nobody holds anything.
    pub(super) fn stopped(&mut self) {
        for group in &mut self.groups {
            for state in group.events.values_mut() {
                state.out = None;
                if state.was_held && state.block == Block::None {
                    state.block = Block::Held;
                }
            }
        }
    }

    /// Retried (or replaced) by an operator.
    pub(super) fn retried(&mut self, g: usize, ev: Ev) {
        let state = self.state(g, ev);
        let alone = state.settled;
        *state = State { alone, ..State::default() };
    }
}
