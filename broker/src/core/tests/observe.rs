//! What has come out of core and what it has recorded, compared with the model.

use quadrille_proto::EventView;
use quadrille_proto::record::Kind;

use super::model::{Block, Event};
use super::random::Op;
use super::world::World;
use crate::core::Core;
use crate::core::output::Output;
use crate::core::testing::core;
use crate::core::types::Position;

impl World {
    pub(super) fn begun(&mut self) {
        self.model.stopped();
        self.members.clear();
        self.it.said.clear();
        self.revealed = self.it.log.entries.len();
    }

    /// Something of what was not durable is lost.
    pub(super) fn crash(&mut self, back: u8) {
        let durable = if self.it.synced { self.it.log.entries.len() } else { self.revealed };
        let past: Vec<_> = self.past.iter().filter(|(len, _)| *len >= durable).collect();
        let Some((len, model)) = past.get(usize::from(back) % past.len().max(1)) else { return };
        let (len, model) = (*len, model.clone());
        self.it.crash(len);
        self.past.retain(|(it, _)| *it < len);
        self.model = model;
        self.learned = self.learned.min(len);
        self.copied.clear();
        self.to_copy.clear();
        self.begun();
    }

    /// Copies a few more sections of a checkpoint; a whole one must lead to the same state.
    pub(super) fn export(&mut self, many: u8) {
        if self.to_copy.is_empty() {
            self.copied.clear();
            self.to_copy = self.it.core.durable().sections();
        }
        let at = Position { entry: self.it.log.entries.len() as u64, index: u32::MAX };
        let many = usize::from(many).min(self.to_copy.len());
        for section in self.to_copy.drain(..many) {
            if let Some(bytes) = self.it.core.durable().export(section) {
                self.copied.push((section, at, bytes));
            }
        }
    }

    pub(super) fn check_checkpoint(&self) {
        let Some(smallest) = self.copied.iter().map(|(_, at, _)| at.entry).min() else { return };
        if !self.to_copy.is_empty() {
            return;
        }
        let mut other: Core = core(&self.it.limits, 99);
        for (section, at, bytes) in &self.copied {
            other.import(section.kind(), *at, bytes).expect("a section");
        }
        for (entry, it) in (1u64..).zip(&self.it.log.entries).filter(|(at, _)| *at > smallest) {
            for (index, kind) in (0u32..).zip(&it.records) {
                other.replay(Position { entry, index }, it.time, it.sync, kind);
            }
        }
        assert_eq!(other.durable(), self.it.core.durable(), "a checkpoint and the log after it");
    }

    /// Compares what has come out, and what is recorded, with the model.
    pub(super) fn observe(&mut self) {
        self.learn();
        if self.it.synced {
            self.revealed = self.it.log.entries.len();
        }
        for output in std::mem::take(&mut self.it.said) {
            self.came(output);
        }
        for g in 0..self.groups.len() {
            self.compare(g);
        }
        self.check_checkpoint();
        self.past.push((self.it.log.entries.len(), self.model.clone()));
    }

    /// New events in the log.
    pub(super) fn learn(&mut self) {
        let from = std::mem::replace(&mut self.learned, self.it.log.entries.len());
        for (entry, it) in (1u64..).zip(&self.it.log.entries).skip(from) {
            for (index, kind) in it.records.iter().enumerate() {
                let Kind::EventAppended(it) = kind else { continue };
                if !self.topics.contains(&it.topic) {
                    continue;
                }
                let view = EventView::parse(&it.event).expect("an event");
                assert_eq!(it.turn, self.turns[view.id], "the turn of {}", view.id);
                if it.timer != 0 {
                    let due = self.model.armed.remove(view.id).expect("fires once");
                    assert!(due <= self.it.now.wall, "not too early");
                }
                let before = self.model.events.iter().filter(|old| old.topic == it.topic);
                assert_eq!(it.offset, before.count() as u64, "offsets are dense");
                self.model.published(Event {
                    id: view.id.to_owned(),
                    saga: view.saga.to_owned(),
                    key: view.key.to_owned(),
                    undo: view.ty == "undo",
                    turn: it.turn,
                    topic: it.topic,
                    offset: it.offset,
                    at: (entry, index),
                });
            }
        }
    }

    pub(super) fn came(&mut self, output: Output) {
        match output {
            Output::Deliver { member, run } => {
                let Some(g) = self.members.iter().find(|it| it.1 == member).map(|it| it.0) else {
                    panic!("{member} is not here")
                };
                for it in &run.events {
                    let event = it.token.event;
                    let (len, entry) = (self.revealed as u64, event.at.entry);
                    assert!(entry <= len, "{entry} handed out, revealed is {len}");
                    let superseded = it.superseded.iter().flat_map(|all| all.iter());
                    let superseded: Vec<usize> =
                        superseded.map(|it| self.at(it.event.topic, it.event.offset)).collect();
                    let out = (run.id, it.token.index, run.ordered);
                    let ev = self.number(&it.token);
                    assert_eq!(it.turn, self.model.events[ev].turn);
                    self.model.delivered(g, ev, out, it.attempt, &superseded);
                }
            }
            Output::LeaseLost { member, run, indexes } => {
                let g = self.members.iter().find(|it| it.1 == member).map(|it| it.0);
                self.model.lost(g.expect("a member"), run, &indexes);
            }
            _ => {}
        }
    }

    pub(super) fn compare(&mut self, g: usize) {
        let group = self.groups[g];
        let dead = self.it.core.dead_letters(group);
        for it in &dead {
            if let Some(by) = it.superseded_by {
                let by = self.at(by.topic, by.offset);
                let all: Vec<usize> = dead
                    .iter()
                    .filter(|other| other.superseded_by == it.superseded_by)
                    .map(|other| self.at(other.event.topic, other.event.offset))
                    .collect();
                self.model.superseded(g, by, &all);
            }
        }
        let listed: Vec<usize> =
            dead.iter().map(|it| self.at(it.event.topic, it.event.offset)).collect();
        let durable = &self.it.core.durable().groups[&group];
        let mut late = Vec::new();
        for (ev, state) in &self.model.groups[g].events {
            let event = &self.model.events[*ev];
            assert_eq!(listed.contains(ev), state.listed, "{g}: listing of {ev} {state:?}");
            if state.alone {
                continue;
            }
            let settled = durable.topics[&event.topic].contains(event.offset);
            if settled && !state.settled {
                assert!(self.model.is_late(g, *ev), "{g}: {ev} is settled: {state:?}");
                late.push(*ev);
            }
            assert!(settled || !state.settled, "{g}: {ev} is not settled");
        }
        for ev in late {
            self.model.settle(g, ev);
        }
        let parked = self.model.groups[g].events.values().filter(|it| it.block == Block::Parked);
        let info = self.it.core.group_info(self.it.now, group).expect("a group");
        assert_eq!(info.parked, parked.count(), "{g}: what is parked");
    }

    /// Members acknowledge everything, operators skip what is parked: nothing is left.
    pub(super) fn finish(&mut self) {
        self.apply(&Op::Lazy(false));
        while !self.members.is_empty() {
            self.apply(&Op::Leave { member: 0, started: false });
        }
        for group in 0..5 {
            self.apply(&Op::Resume { group });
            self.apply(&Op::Join { group, credit: 200 });
        }
        self.apply(&Op::Jump { years: 100 });
        for round in 0.. {
            assert!(round < 200, "it never ends");
            let mut quiet = true;
            for member in 0..5 {
                quiet &= self.it.hands.values().all(|hand| hand.is_empty());
                self.apply(&Op::Ack { member, many: 255 });
            }
            for group in 0..5 {
                let dead = self.it.core.dead_letters(self.groups[usize::from(group)]);
                quiet &= dead.is_empty();
                self.apply(&Op::Resolve { group, which: 0, how: 1 });
            }
            self.apply(&Op::Pass { ms: 60_500 });
            if quiet && self.it.hands.values().all(|hand| hand.is_empty()) {
                break;
            }
        }
        assert!(self.model.armed.is_empty(), "every timer fired");
        for (g, group) in self.groups.iter().enumerate() {
            for (ev, state) in &self.model.groups[g].events {
                assert!(state.settled, "{g}: {ev} is left: {state:?}");
            }
            let durable = &self.it.core.durable().groups[group];
            assert_eq!(durable.counts(), (0, 0), "{g}: no lane, no dead letter");
            for (topic, settled) in &durable.topics {
                let next = self.it.core.durable().topics.get(*topic).expect("a topic").next;
                assert_eq!(settled.floor(), next, "{g}: nothing lost");
            }
        }
    }
}
