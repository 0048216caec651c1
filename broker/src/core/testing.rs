//! A bench for core: a log in memory, a clock by hand, and members that keep what they are handed.
//! Nothing here decides anything.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use quadrille_proto::Event;
use quadrille_proto::record::{GroupConfig, Kind, OrderBy, RetryPolicy, TopicConfig};

use super::command::{Answer, Command, NewEvent, Publish, Receipt, Receipts, Settle, Step};
use super::output::{LaneQuery, Output};
use super::refusal::Refusal;
use super::types::{
    Delivered, EventRef, GroupId, Head, MemberId, Position, RunId, Stamp, TailEvent, Token, TopicId,
};
use super::{Core, CoreConfig, Sequencer, Start};
use crate::limits::Limits;
use crate::time::Now;

/// One entry as it would be on disk.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) time: u64,
    pub(super) sync: bool,
    pub(super) records: Vec<Kind>,
}

/// The log.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) entries: Vec<Entry>,
}

impl Sequencer for Log {
    fn entry(&mut self, time: u64, sync: bool, records: &[Kind]) -> u64 {
        self.entries.push(Entry { time, sync, records: records.to_vec() });
        self.entries.len() as u64
    }

    fn appended(&mut self, _: &[super::Appended]) {}
}

impl Log {
    /// Every event, in order.
    pub(super) fn events(&self, core: &Core) -> Vec<TailEvent> {
        let mut all = Vec::new();
        for (entry, it) in (1u64..).zip(&self.entries) {
            for (index, kind) in (0u32..).zip(&it.records) {
                let Kind::EventAppended(event) = kind else { continue };
                let at = Position { entry, index };
                let place = EventRef { at, topic: event.topic, offset: event.offset };
                let stamp = Stamp { event: place, turn: event.turn, time: it.time, sync: it.sync };
                let head = Head::parse(&event.event, core.hasher(), stamp).unwrap();
                all.push(TailEvent { head, bytes: event.event.clone() });
            }
        }
        all
    }
}

/// Core on the bench.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) core: Core,
    pub(super) log: Log,
    pub(super) now: Now,
    /// What members hold, in the order of arrival.
    pub(super) hands: BTreeMap<MemberId, VecDeque<Delivered>>,
    /// Of each run whether it is a lane's, and whether it is careful.
    pub(super) runs: BTreeMap<RunId, (bool, bool)>,
    /// Everything that came out and was not answered, in order.
    pub(super) said: Vec<Output>,
    /// Whether entries are durable at once.
    pub(super) synced: bool,
    pub(super) limits: Limits,
    epoch: u32,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(super) fn with(limits: Limits) -> Self {
        let now = Now { mono: 1000, wall: 1_700_000_000_000 };
        let mut it = Self {
            core: core(&limits, 1),
            log: Log::default(),
            now,
            hands: BTreeMap::new(),
            runs: BTreeMap::new(),
            said: Vec::new(),
            synced: true,
            limits,
            epoch: 1,
        };
        it.core.start(now, Start { clean: true, end: 1 });
        it
    }

    pub(super) fn run(&mut self, command: Command) -> Result<Answer, Refusal> {
        let answer = self.core.execute(self.now, command, &mut self.log);
        self.core.dispatch(self.now, &mut self.log);
        self.drain();
        answer
    }

    /// Everything so far is durable.
    pub(super) fn sync(&mut self) {
        let end = self.log.entries.len() as u64;
        self.core.on_watermarks(self.now, end, end, &mut self.log);
        self.drain_outputs();
    }

    /// Time goes by.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now.mono + ms;
        while let Some(due) = self.core.next_deadline().filter(|due| *due <= end) {
            let step = due.max(self.now.mono + 1).min(end) - self.now.mono;
            if step == 0 {
                break;
            }
            self.jump(step);
        }
        let left = end - self.now.mono;
        self.jump(left);
    }

    /// Time goes by, and nobody looks at the clock before the end.
    pub(super) fn jump(&mut self, ms: u64) {
        self.now.mono += ms;
        self.now.wall += ms;
        self.core.tick(self.now, &mut self.log);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            self.drain_outputs();
            let end = self.log.entries.len() as u64;
            if !self.synced || self.core.revealed.durable == end {
                break;
            }
            self.sync();
        }
        self.check();
    }

    /// What must hold between two commands.
    pub(super) fn check(&self) {
        for live in self.core.live.values() {
            live.check();
            if self.synced {
                live.check_awake();
            }
        }
    }

    fn drain_outputs(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Deliver { member, run } => {
                    self.said.push(Output::Deliver { member, run: run.clone() });
                    self.runs.insert(run.id, (run.ordered, run.careful));
                    self.hands.entry(member).or_default().extend(run.events);
                }
                Output::LeaseLost { member, run, indexes } => {
                    let lost =
                        |it: &Delivered| it.token.run == run && indexes.contains(&it.token.index);
                    self.hands.entry(member).or_default().retain(|it| !lost(it));
                    self.said.push(Output::LeaseLost { member, run, indexes });
                }
                Output::ReadTopic { group, topic, from, max } => {
                    let events = self.log.events(&self.core);
                    let events = events
                        .into_iter()
                        .filter(|it| it.head.event.topic == topic && it.head.event.offset >= from);
                    let events = events.take(max).collect();
                    self.core.on_window(self.now, group, topic, from, events, &mut self.log);
                }
                Output::FindLane { group, lane, query, from, to, max } => {
                    let topics: Vec<TopicId> =
                        self.core.durable().groups[&group].topics.keys().copied().collect();
                    let events = self.log.events(&self.core).into_iter().filter(|it| {
                        let head = &it.head;
                        let of = match query {
                            LaneQuery::Saga => head.saga == lane,
                            LaneQuery::Key => head.key == lane,
                            LaneQuery::Everything => true,
                        };
                        of && topics.contains(&head.event.topic)
                            && head.event.at >= from
                            && head.event.at < to
                    });
                    let events = events.take(max).collect();
                    self.core.on_lane(self.now, group, lane, events, &mut self.log);
                }
                Output::ReadEvents { group, lane, events } => {
                    let found = self.log.events(&self.core).into_iter();
                    let found = found.filter(|it| events.contains(&it.head.event)).collect();
                    self.core.on_lane(self.now, group, lane, found, &mut self.log);
                }
                Output::TimersDue { timers } => {
                    let bytes = timers.into_iter().map(|(timer, at)| {
                        let entry = &self.log.entries[usize::try_from(at.entry).unwrap() - 1];
                        let Kind::TimerArmed(it) = &entry.records[at.index as usize] else {
                            panic!("not a timer at {at}")
                        };
                        (timer, it.event.clone())
                    });
                    let bytes = bytes.collect();
                    self.core
                        .execute(self.now, Command::Fire(bytes), &mut self.log)
                        .expect("firing");
                }
                other => self.said.push(other),
            }
        }
    }

    /// The process stops (`clean`: in order) and starts again, from the log alone.
    pub(super) fn restart(&mut self, clean: bool) {
        let replayed = replay(&self.log, &self.limits, self.epoch + 1);
        assert_eq!(replayed.durable(), self.core.durable(), "replay gives an equal state");
        self.begin(replayed, clean);
    }

    /// The machine stops, and what comes after `entries` is lost.
    pub(super) fn crash(&mut self, entries: usize) {
        self.log.entries.truncate(entries);
        let replayed = replay(&self.log, &self.limits, self.epoch + 1);
        self.begin(replayed, false);
    }

    fn begin(&mut self, replayed: Core, clean: bool) {
        self.epoch += 1;
        self.core = replayed;
        self.hands.clear();
        self.runs.clear();
        self.now.mono += 1;
        let end = self.log.entries.len() as u64 + 1;
        self.core.start(self.now, Start { clean, end });
    }

    // Short forms.

    pub(super) fn topic(&mut self, name: &str) -> TopicId {
        let config = TopicConfig::default();
        match self.run(Command::CreateTopic { name: name.into(), config }) {
            Ok(Answer::Topic { topic, .. }) => topic,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn group(&mut self, name: &str, config: GroupConfig) -> GroupId {
        match self.run(Command::CreateGroup { name: name.into(), config, start: None }) {
            Ok(Answer::Group { group, .. }) => group,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn join(&mut self, group: GroupId, credit: u32) -> MemberId {
        match self.run(Command::Join { group, name: "m".into(), credit }) {
            Ok(Answer::Joined { member }) => member,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn publish(&mut self, topic: TopicId, event: Event) -> Receipt {
        let events = vec![NewEvent { topic, bytes: encode(event), due: None }];
        match self.run(Command::Publish(Publish { session: None, events })) {
            Ok(Answer::Published(receipts)) => one(receipts),
            other => panic!("{other:?}"),
        }
    }

    /// Publishes events of this type in a saga, with these ids.
    pub(super) fn publish_all(&mut self, topic: TopicId, ty: &str, saga: &str, ids: &[&str]) {
        for id in ids {
            self.publish(topic, event(ty, saga, id));
        }
    }

    pub(super) fn ack(&mut self, token: Token) -> Answer {
        self.run(Command::Ack(vec![token])).expect("an ack is answered one by one")
    }

    pub(super) fn settle(&mut self, token: Token, how: Settle) {
        assert_eq!(self.run(Command::Settle(token, how)), Ok(Answer::Done));
    }

    pub(super) fn retry(&mut self, token: Token) {
        self.settle(token, Settle::Retry { reason: "no luck".into(), after_ms: Some(100) });
    }

    pub(super) fn step(&mut self, token: Token, events: Vec<(TopicId, Event)>) -> Answer {
        let events = events.into_iter().map(|(topic, event)| NewEvent {
            topic,
            bytes: encode(event),
            due: None,
        });
        let events = events.collect();
        let step = Step { settles: vec![token], events, ..Step::default() };
        self.run(Command::Step(step)).expect("a step")
    }

    /// The next delivery of a member must be this event; it is acknowledged.
    pub(super) fn done(&mut self, member: MemberId, id: &str) {
        let it = self.expect(member, id);
        assert_eq!(self.ack(it.token), Answer::Acked { refused: Vec::new() });
    }

    /// The code of what a command is refused with.
    pub(super) fn refused(&mut self, command: Command) -> &'static str {
        let before = self.log.entries.len();
        let code = self.run(command).expect_err("a refusal").code();
        assert_eq!(self.log.entries.len(), before, "a refusal changes nothing");
        code
    }

    /// What a member holds, by event id.
    pub(super) fn held(&self, member: MemberId) -> Vec<String> {
        let hand = self.hands.get(&member).into_iter().flatten();
        hand.map(id_of).collect()
    }

    /// The next delivery of a member.
    pub(super) fn next(&mut self, member: MemberId) -> Option<Delivered> {
        self.hands.get_mut(&member)?.pop_front()
    }

    /// The next delivery of a member, which must be this event.
    pub(super) fn expect(&mut self, member: MemberId, id: &str) -> Delivered {
        let it = self.next(member).unwrap_or_else(|| panic!("nothing for {member}, not {id}"));
        assert_eq!(id_of(&it), id);
        it
    }
}

pub(super) fn core(limits: &Limits, epoch: u32) -> Core {
    Core::new(CoreConfig { hash_key: 7, epoch, limits: limits.clone(), seed: u64::from(epoch) })
}

/// A core that has replayed the log, not started.
pub(super) fn replay(log: &Log, limits: &Limits, epoch: u32) -> Core {
    let mut core = core(limits, epoch);
    for (entry, it) in (1u64..).zip(&log.entries) {
        for (index, kind) in (0u32..).zip(&it.records) {
            core.replay(Position { entry, index }, it.time, it.sync, kind);
        }
    }
    core
}

pub(super) fn id_of(it: &Delivered) -> String {
    quadrille_proto::EventView::parse(&it.bytes).unwrap().id.to_owned()
}

pub(super) fn event(ty: &str, saga: &str, id: &str) -> Event {
    Event::new(ty).saga(saga).id(id).source("test").data("x")
}

pub(super) fn encode(event: Event) -> Bytes {
    let mut bytes = BytesMut::new();
    event.encode(&mut bytes);
    bytes.freeze()
}

pub(super) fn one(receipts: Receipts) -> Receipt {
    match receipts {
        Receipts::Block { topic, first, at, synced, .. } => {
            Receipt::Appended { event: EventRef { topic, offset: first, at }, synced }
        }
        Receipts::Each(each) => each[0],
    }
}

/// A group by saga on these topics, for which `undo` supersedes.
pub(super) fn by_saga(topics: &[&str]) -> GroupConfig {
    GroupConfig {
        topics: topics.iter().map(|it| (*it).to_owned()).collect(),
        superseding: vec!["undo".to_owned()],
        ..ordered(topics, OrderBy::Saga)
    }
}

pub(super) fn ordered(topics: &[&str], order: OrderBy) -> GroupConfig {
    GroupConfig {
        topics: topics.iter().map(|it| (*it).to_owned()).collect(),
        order_by: order.into(),
        forward: Some(RetryPolicy { max_attempts: 3, ..RetryPolicy::default() }),
        ..GroupConfig::default()
    }
}
