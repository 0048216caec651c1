//! A core, its members and the model: each operation is done to both.

use std::collections::BTreeMap;

use quadrille_proto::Event as Proto;
use quadrille_proto::record::{
    Durability, GroupConfig, OnExhausted, OrderBy, Resolution, RetryPolicy, TopicConfig,
};

use super::model::{Event, Failure, Group, MAX_ATTEMPTS, Model};
use super::random::Op;
use crate::core::command::{
    Answer, Command, NewEvent, Publish, Receipt, Receipts, Renewal, Resolve, Settle, Step,
};
use crate::core::durable::Section;
use crate::core::testing::{Bench, encode};
use crate::core::types::{Delivered, GroupId, MemberId, Position, Token, TopicId};
use crate::limits::Limits;

pub(super) struct World {
    pub(super) it: Bench,
    pub(super) model: Model,
    pub(super) topics: Vec<TopicId>,
    pub(super) groups: Vec<GroupId>,
    pub(super) members: Vec<(usize, MemberId)>,
    /// The model as of each length of the log at which no command was half done.
    pub(super) past: Vec<(usize, Model)>,
    pub(super) ids: u32,
    /// The turn that each event should have, by id.
    pub(super) turns: BTreeMap<String, u32>,
    pub(super) learned: usize,
    pub(super) revealed: usize,
    /// Sections copied so far, each as of the length of the log then.
    pub(super) copied: Vec<(Section, Position, Vec<u8>)>,
    pub(super) to_copy: Vec<Section>,
}

impl World {
    pub(super) fn new(seed: u8) -> Self {
        let tail_bytes = [600, 6_000, 1 << 20][usize::from(seed) % 3];
        let limits = Limits {
            tail_bytes,
            lane_cached: 6,
            lane_cached_blocked: 3,
            window_bytes: 300,
            ..Limits::default()
        };
        let mut it = Bench::with(limits);
        let mut topics = vec![it.topic("a"), it.topic("b")];
        let config = TopicConfig { durability: Durability::Written.into(), ..Default::default() };
        match it.run(Command::CreateTopic { name: "w".into(), config }) {
            Ok(Answer::Topic { topic, .. }) => topics.push(topic),
            other => panic!("{other:?}"),
        }
        let mut world = Self {
            it,
            model: Model::default(),
            topics,
            groups: Vec::new(),
            members: Vec::new(),
            past: Vec::new(),
            ids: 0,
            turns: BTreeMap::new(),
            learned: 0,
            revealed: 0,
            copied: Vec::new(),
            to_copy: Vec::new(),
        };
        world.group("sagas", OrderBy::Saga, &[0, 2], true, false);
        world.group("keys", OrderBy::Key, &[0, 1, 2], false, false);
        world.group("goes on", OrderBy::Key, &[1], false, true);
        world.group("all", OrderBy::Everything, &[0, 1], false, false);
        world.group("none", OrderBy::Nothing, &[1, 2], false, false);
        world.observe();
        world
    }

    pub(super) fn group(
        &mut self,
        name: &str,
        order: OrderBy,
        topics: &[usize],
        undo: bool,
        goes_on: bool,
    ) {
        let names = ["a", "b", "w"];
        let policy = RetryPolicy { max_attempts: MAX_ATTEMPTS, ..RetryPolicy::default() };
        let mut config = GroupConfig {
            topics: topics.iter().map(|it| names[*it].to_owned()).collect(),
            forward: Some(policy),
            compensating: Some(policy),
            ..Default::default()
        };
        config.set_order_by(order);
        if goes_on {
            config.set_on_exhausted(OnExhausted::DeadLetter);
        }
        if undo {
            config.superseding.push("undo".to_owned());
        }
        let group = self.it.group(&name.replace(' ', "-"), config);
        self.groups.push(group);
        self.model.groups.push(Group {
            order,
            topics: topics.iter().map(|it| self.topics[*it]).collect(),
            goes_on,
            supersedes: undo,
            events: Default::default(),
            taken: Default::default(),
            overtaken: Default::default(),
        });
    }

    pub(super) fn new_events(
        &mut self,
        topic: u8,
        events: &[(u8, u8, bool)],
        turn: u32,
    ) -> Vec<(TopicId, Proto)> {
        let topic = self.topics[usize::from(topic) % self.topics.len()];
        let event = |(saga, key, undo): &(u8, u8, bool)| {
            self.ids += 1;
            self.turns.insert(format!("e{}", self.ids), turn + u32::from(*undo));
            let ty = if *undo { "undo" } else { "t" };
            let event = Proto::new(ty).saga(format!("s{saga}")).key(format!("k{key}"));
            (topic, event.id(format!("e{}", self.ids)).source("test").data("data"))
        };
        events.iter().map(event).collect()
    }

    pub(super) fn publish(&mut self, events: Vec<(TopicId, Proto)>, due: Option<u64>) -> Receipts {
        let events = events.into_iter();
        let events = events.map(|(topic, event)| NewEvent { topic, bytes: encode(event), due });
        let publish = Publish { session: None, events: events.collect() };
        match self.it.run(Command::Publish(publish)) {
            Ok(Answer::Published(receipts)) => receipts,
            other => panic!("{other:?}"),
        }
    }

    /// A member that is there, and its group.
    pub(super) fn member(&self, which: u8) -> Option<(usize, MemberId)> {
        self.members.get(usize::from(which).checked_rem(self.members.len())?).copied()
    }

    /// One of the deliveries that user code of this member may have now.
    pub(super) fn delivery(&self, member: MemberId, which: u8) -> Option<Delivered> {
        let hand = self.it.hands.get(&member)?;
        let wanted = hand.get(usize::from(which).checked_rem(hand.len())?)?;
        let first = hand.iter().find(|it| it.token.run == wanted.token.run)?;
        Some(if self.is_lane(wanted.token) { first } else { wanted }.clone())
    }

    pub(super) fn is_lane(&self, token: Token) -> bool {
        self.it.runs[&token.run].0
    }

    pub(super) fn number(&self, token: &Token) -> usize {
        let place = |it: &Event| (it.topic, it.offset) == (token.event.topic, token.event.offset);
        self.model.events.iter().position(place).expect("a known event")
    }

    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Publish { topic, events } => {
                let events = self.new_events(*topic, events, 0);
                self.publish(events, None);
            }
            Op::Again { which } => self.again(*which),
            Op::Later { topic, saga, ms } => {
                let due = self.it.now.wall + u64::from(*ms);
                let events = self.new_events(*topic, &[(*saga, *saga, false)], 0);
                self.model.armed.insert(format!("e{}", self.ids), due);
                self.publish(events, Some(due));
            }
            Op::Ack { member, many } => self.ack(*member, *many),
            Op::Step { member, topic, events } => self.step(*member, *topic, events),
            Op::Settle { member, which, how } => self.settle(*member, *which, *how),
            Op::Start { member, which } => self.start(*member, *which),
            Op::Expire { member, which } => self.expire(*member, *which),
            Op::Join { group, credit } => {
                let g = usize::from(*group) % self.groups.len();
                let member = self.it.join(self.groups[g], u32::from(*credit));
                self.members.push((g, member));
            }
            Op::Leave { member, started } => self.leave(*member, *started),
            Op::Drain { member } => self.drain(*member),
            Op::Pause { group } => {
                let group = self.groups[usize::from(*group) % self.groups.len()];
                let pause = Command::Pause { group, reason: "lunch".into() };
                self.it.run(pause).expect("pausing");
            }
            Op::Resume { group } => {
                let group = self.groups[usize::from(*group) % self.groups.len()];
                self.it.run(Command::Resume { group }).expect("resuming");
            }
            Op::Resolve { group, which, how } => self.resolve(*group, *which, *how),
            Op::Pass { ms } => self.it.pass(u64::from(*ms)),
            Op::Jump { years } => {
                let ms = i64::from(*years) * 366 * 24 * 3_600_000;
                self.it.now.wall = self.it.now.wall.saturating_add_signed(ms);
                self.it.jump(1);
            }
            Op::Stand { ms } => self.it.jump(u64::from(*ms)),
            Op::Sync => {
                self.revealed = self.it.log.entries.len();
                self.it.sync();
            }
            Op::Lazy(lazy) => {
                self.it.synced = !lazy;
                self.it.jump(0);
            }
            Op::Restart { clean } => {
                self.it.restart(*clean);
                self.begun();
            }
            Op::Crash { back } => self.crash(*back),
            Op::Export { many } => self.export(*many),
        }
        self.observe();
    }

    pub(super) fn again(&mut self, which: u8) {
        let Some(index) = usize::from(which).checked_rem(self.model.events.len()) else { return };
        let event = self.model.events[index].clone();
        let proto = Proto::new(if event.undo { "undo" } else { "t" }).saga(event.saga);
        let proto = proto.key(event.key).id(event.id).source("test").data("data");
        let receipts = self.publish(vec![(event.topic, proto)], None);
        let first = Receipt::Duplicate { topic: event.topic, offset: event.offset };
        assert_eq!(receipts, Receipts::Each(vec![first]));
    }

    pub(super) fn ack(&mut self, member: u8, many: u8) {
        let Some((g, member)) = self.member(member) else { return };
        let hand = self.it.hands.entry(member).or_default();
        let many = usize::from(many).min(hand.len());
        let tokens: Vec<Token> = hand.drain(..many).map(|it| it.token).collect();
        let answer = self.it.run(Command::Ack(tokens.clone()));
        assert_eq!(answer, Ok(Answer::Acked { refused: Vec::new() }));
        for token in tokens {
            let ev = self.number(&token);
            self.model.settle(g, ev);
        }
    }

    pub(super) fn step(&mut self, member: u8, topic: u8, events: &[(u8, u8, bool)]) {
        let Some((g, member)) = self.member(member) else { return };
        let Some(it) = self.delivery(member, 0) else { return };
        let events = self.new_events(topic, events, it.turn);
        let events = events.into_iter();
        let events =
            events.map(|(topic, event)| NewEvent { topic, bytes: encode(event), due: None });
        let step = Step { settles: vec![it.token], events: events.collect(), ..Step::default() };
        assert!(matches!(self.it.run(Command::Step(step)), Ok(Answer::Published(_))));
        self.drop_from_hand(member, |other| other == it.token);
        self.model.settle(g, self.number(&it.token));
    }

    pub(super) fn drop_from_hand(&mut self, member: MemberId, gone: impl Fn(Token) -> bool) {
        self.it.hands.entry(member).or_default().retain(|it| !gone(it.token));
    }

    pub(super) fn settle(&mut self, member: u8, which: u8, how: u8) {
        let Some((g, member)) = self.member(member) else { return };
        let Some(it) = self.delivery(member, which) else { return };
        let (token, lane) = (it.token, self.is_lane(it.token));
        let reason = "r".to_owned();
        let settle = match how % 7 {
            0 => Settle::Retry { reason, after_ms: Some(50) },
            1 => Settle::Retry { reason, after_ms: None },
            2 => Settle::Defer { after_ms: 30 },
            3 => Settle::Unavailable { reason },
            4 => Settle::DeadLetter { reason },
            5 => Settle::Release,
            _ => Settle::Dropped { reason },
        };
        let ev = self.number(&token);
        for other in self.model.rest(g, token.run, token.index) {
            self.model.back(g, other);
        }
        match how % 7 {
            0 | 1 | 6 => self.model.failed(g, ev, Failure::Counts),
            2 | 3 => self.model.failed(g, ev, Failure::Waits),
            4 => self.model.failed(g, ev, Failure::Never),
            _ => {
                let state = self.model.groups[g].events.get_mut(&ev).expect("it");
                state.crashes = state.crashes.saturating_sub(1);
            }
        }
        self.drop_from_hand(member, |other| {
            other.run == token.run
                && (other.index == token.index || lane && other.index > token.index)
        });
        assert_eq!(self.it.run(Command::Settle(token, settle)), Ok(Answer::Done));
    }

    pub(super) fn start(&mut self, member: u8, which: u8) {
        let Some((g, member)) = self.member(member) else { return };
        let Some(it) = self.delivery(member, which) else { return };
        let ev = self.number(&it.token);
        let (lane, careful) = self.it.runs[&it.token.run];
        let answer = self.it.run(Command::Start(it.token));
        let state = self.model.groups[g].events.get_mut(&ev).expect("it");
        let out = state.out.as_mut().expect("out");
        if careful && !out.3 && state.crashes >= MAX_ATTEMPTS {
            assert!(answer.is_err(), "it crashes its consumer");
            let token = it.token;
            for other in self.model.rest(g, token.run, token.index) {
                self.model.back(g, other);
            }
            self.model.failed(g, ev, Failure::Never);
            self.drop_from_hand(member, |other| {
                other.run == token.run && (other == token || lane && other.index > token.index)
            });
            return;
        }
        assert_eq!(answer, Ok(Answer::Done));
        state.crashes += u32::from(careful && !out.3);
        out.3 = true;
    }

    pub(super) fn expire(&mut self, member: u8, which: u8) {
        let Some((g, member)) = self.member(member) else { return };
        let Some(it) = self.delivery(member, which) else { return };
        let ev = self.number(&it.token);
        let state = self.model.groups[g].events.get_mut(&ev).expect("it");
        state.out.as_mut().expect("out").3 = true;
        let renewal = Renewal { run: it.token.run, started: 0, expired: 1 << it.token.index };
        self.it.run(Command::Renew { member, runs: vec![renewal] }).expect("renewing");
    }

    pub(super) fn leave(&mut self, which: u8, started: bool) {
        let Some((g, member)) = self.member(which) else { return };
        let mut runs: BTreeMap<u64, Vec<Token>> = BTreeMap::new();
        for it in self.it.hands.remove(&member).unwrap_or_default() {
            runs.entry(it.token.run).or_default().push(it.token);
        }
        let firsts: Vec<Token> = runs.values().map(|run| run[0]).filter(|_| started).collect();
        for token in &firsts {
            let ev = self.number(token);
            let state = self.model.groups[g].events.get_mut(&ev).expect("it");
            state.out.as_mut().expect("out").3 = true;
        }
        for (run, tokens) in runs {
            let indexes: Vec<u32> = tokens.iter().map(|it| it.index).collect();
            self.model.lost(g, run, &indexes);
        }
        self.members.retain(|it| it.1 != member);
        self.it.run(Command::Leave { member, started: firsts }).expect("leaving");
    }

    pub(super) fn drain(&mut self, which: u8) {
        let Some((g, member)) = self.member(which) else { return };
        let hand: Vec<Token> =
            self.it.hands.get(&member).into_iter().flatten().map(|it| it.token).collect();
        for token in hand {
            let ev = self.number(&token);
            let state = self.model.groups[g].events.get_mut(&ev).expect("it");
            if !state.out.expect("out").3 {
                state.out = None;
                self.drop_from_hand(member, |other| other == token);
            }
        }
        self.it.run(Command::Drain { member }).expect("draining");
    }

    pub(super) fn resolve(&mut self, group: u8, which: u8, how: u8) {
        let g = usize::from(group) % self.groups.len();
        let group = self.groups[g];
        let dead = self.it.core.dead_letters(group);
        let Some(index) = usize::from(which).checked_rem(dead.len()) else { return };
        let dead = &dead[index];
        let ev = self.at(dead.event.topic, dead.event.offset);
        let how_ = [Resolution::ResolveRetry, Resolution::ResolveSkip, Resolution::ResolveReplace];
        let resolution = how_[usize::from(how) % 3];
        let replaced = Proto::new("t").id("other").source("test").data("better");
        let resolve = Resolve {
            group,
            at: dead.event.at,
            how: resolution,
            replacement: Some(encode(replaced)),
            override_superseded: how >= 128,
            by: "me".into(),
            comment: String::new(),
        };
        let skip = resolution == Resolution::ResolveSkip;
        let answer = self.it.run(Command::Resolve(resolve));
        let state = self.model.groups[g].events.get_mut(&ev).expect("it");
        if state.superseded && how < 128 && !skip {
            assert_eq!(answer.expect_err("refused").code(), "was_superseded");
        } else if !skip {
            self.model.retried(g, ev);
        } else if state.settled {
            state.listed = false;
        } else {
            self.model.settle(g, ev);
        }
    }

    pub(super) fn at(&self, topic: TopicId, offset: u64) -> usize {
        let place = |it: &Event| (it.topic, it.offset) == (topic, offset);
        self.model.events.iter().position(place).expect("a known event")
    }
}
