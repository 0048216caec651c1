//! Tests of the engine without threads and without sleeps, and what they share: a log whose
//! watermarks move only when told to.

mod answers;
mod deliver;
mod disk;
mod driven;
mod fence;
mod hostile;
mod index;
mod open;
mod read;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use quadrille_proto::record::{Durability, GroupConfig, OrderBy, TopicConfig};
use quadrille_proto::{Event, EventView};

use super::{Engine, Member, MemberEvent, Options, Ticket};
use crate::core::command::{Answer, Command, NewEvent, Publish, Receipts, StartAt};
use crate::core::types::{Delivered, TopicId};
use crate::log::{
    AppendError, Blobs, Chunk, ClaimError, Limits, Log, LogError, MemBlobs, MemLog, Read,
    ReadError, Recovered, SegmentInfo, Space, Watermarks, Work,
};
use crate::time::{Clock, ManualClock, Now};

/// A log in memory that writes and syncs only in `step`, and fails when told to.
pub(super) struct StepLog {
    inner: MemLog,
    state: Mutex<StepState>,
}

#[derive(Default)]
struct StepState {
    queue: VecDeque<(Chunk, bool)>,
    marks: Watermarks,
    wake: Option<Arc<dyn Fn() + Send + Sync>>,
    full: bool,
    syncs_asked: usize,
}

impl StepLog {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { inner: MemLog::new(7), state: Mutex::default() })
    }

    pub(super) fn fail(&self) {
        self.state.lock().unwrap().marks.fenced = Some("the disk failed".into());
        self.wake();
    }

    pub(super) fn set_full(&self, full: bool) {
        self.state.lock().unwrap().full = full;
    }

    pub(super) fn syncs_asked(&self) -> usize {
        self.state.lock().unwrap().syncs_asked
    }

    pub(super) fn write(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        let queue = std::mem::take(&mut state.queue);
        if queue.is_empty() || state.marks.fenced.is_some() {
            return false;
        }
        for (chunk, starts_segment) in queue {
            self.inner.append(chunk, starts_segment).unwrap();
        }
        let inner = self.inner.watermarks();
        (state.marks.written, state.marks.want_roll) = (inner.written, inner.want_roll);
        drop(state);
        self.wake();
        true
    }

    pub(super) fn sync(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        if state.marks.durable == state.marks.written || state.marks.fenced.is_some() {
            return false;
        }
        state.marks.durable = state.marks.written;
        drop(state);
        self.wake();
        true
    }

    fn wake(&self) {
        let wake = self.state.lock().unwrap().wake.clone();
        wake.into_iter().for_each(|wake| wake());
    }
}

impl Log for StepLog {
    fn claim(&self, now: Now) -> Result<Recovered, ClaimError> {
        let found = self.inner.claim(now)?;
        let mut state = self.state.lock().unwrap();
        state.queue.clear();
        let (written, durable) = (found.end - 1, found.end - 1);
        state.marks = Watermarks { written, durable, ..Watermarks::default() };
        Ok(found)
    }
    fn append(&self, chunk: Chunk, starts_segment: bool) -> Result<(), AppendError> {
        let mut state = self.state.lock().unwrap();
        if let Some(why) = &state.marks.fenced {
            return Err(AppendError::Fenced(why.clone()));
        }
        if state.full {
            return Err(AppendError::Full(Box::new(chunk)));
        }
        state.queue.push_back((chunk, starts_segment));
        Ok(())
    }
    fn watermarks(&self) -> Watermarks {
        self.state.lock().unwrap().marks.clone()
    }
    fn set_waker(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.state.lock().unwrap().wake = Some(wake);
    }
    fn read(&self, from: u64, max_bytes: usize) -> Result<Read, ReadError> {
        self.inner.read(from, max_bytes)
    }
    fn trim(&self, before: u64) -> Result<u64, LogError> {
        self.inner.trim(before)
    }
    fn release_old_tail(&self) -> Result<(), LogError> {
        self.inner.release_old_tail()
    }
    fn segments(&self) -> Vec<SegmentInfo> {
        self.inner.segments()
    }
    fn space(&self) -> Space {
        self.inner.space()
    }
    fn limits(&self) -> Limits {
        self.inner.limits()
    }
    fn sync_now(&self) {
        self.state.lock().unwrap().syncs_asked += 1;
    }
    fn close_epoch(&self) -> Result<(), LogError> {
        self.write();
        self.sync();
        self.state.lock().unwrap().marks.fenced = Some("closed".into());
        self.inner.close_epoch()
    }
    fn step(&self, work: Work, _now: Now) -> bool {
        match work {
            Work::Append => self.write(),
            Work::Sync => self.sync(),
            Work::Prepare => false,
        }
    }
}

/// An engine without threads over a [`StepLog`], and what it stands on.
pub(super) struct Bench {
    pub(super) log: Arc<StepLog>,
    pub(super) blobs: Arc<MemBlobs>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) engine: Engine,
}

pub(super) const NOON: Now = Now { mono: 5_000, wall: 1_700_000_000_000 };

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let (log, blobs) = (StepLog::new(), Arc::new(MemBlobs::default()));
        let clock = Arc::new(ManualClock::new(NOON));
        let mut options = options(&clock);
        change(&mut options);
        let engine = Engine::start(log.clone(), blobs.clone(), options).unwrap();
        engine.drive();
        Self { log, blobs, clock, engine }
    }

    /// Opens again over the same log, as after a drop or a kill of the process.
    pub(super) fn again(self) -> Self {
        let Self { log, blobs, clock, engine } = self;
        drop(engine);
        let engine = Engine::start(log.clone(), blobs.clone(), options(&clock)).unwrap();
        engine.drive();
        Self { log, blobs, clock, engine }
    }

    /// A topic, durable.
    pub(super) fn topic(&self, name: &str, durability: Durability) -> TopicId {
        let mut ticket = self.engine.execute(create_topic(name, durability));
        self.engine.drive();
        match ticket.try_get() {
            Some(Ok(Answer::Topic { topic, .. })) => topic,
            other => panic!("no topic: {other:?}"),
        }
    }

    /// A group over this topic, durable.
    pub(super) fn group(&self, name: &str, topic: &str, order_by: OrderBy) {
        let config = GroupConfig {
            topics: vec![topic.to_owned()],
            order_by: order_by.into(),
            ..GroupConfig::default()
        };
        let start = Some(StartAt::Beginning);
        let mut ticket =
            self.engine.execute(Command::CreateGroup { name: name.to_owned(), config, start });
        self.engine.drive();
        assert!(matches!(ticket.try_get(), Some(Ok(Answer::Group { created: true, .. }))));
    }

    pub(super) fn join(&self, group: &str) -> Member {
        self.engine.join(group, "one", 10_000).unwrap()
    }

    /// Lets time go by, stopping wherever something is due.
    pub(super) fn pass(&self, ms: u64) {
        let end = self.clock.now().mono + ms;
        self.engine.drive();
        while let Some(at) = self.engine.next_deadline().filter(|at| *at <= end) {
            self.clock.advance(at.saturating_sub(self.clock.now().mono).max(1));
            self.engine.drive();
        }
        self.clock.advance(end.saturating_sub(self.clock.now().mono));
        self.engine.drive();
    }

    pub(super) fn publish(&self, topic: TopicId, id: &str) -> Ticket {
        self.engine.execute(publish(topic, &[id]))
    }
}

impl Engine {
    /// What is due by the clock and nothing else: the log does not move.
    pub(super) fn tick_once(&self) {
        self.0.shared.tick();
    }

    /// What core wants to have read and nothing else.
    pub(super) fn fetch_once(&self) {
        while self.0.shared.fetch() {}
    }
}

pub(super) fn options(clock: &Arc<ManualClock>) -> Options {
    let clock: Arc<dyn Clock> = clock.clone();
    Options { clock, threads: false, seed: 1, ..Options::default() }
}

pub(super) fn create_topic(name: &str, durability: Durability) -> Command {
    let config = TopicConfig { durability: durability.into(), ..TopicConfig::default() };
    Command::CreateTopic { name: name.to_owned(), config }
}

pub(super) fn publish(topic: TopicId, ids: &[&str]) -> Command {
    let event = |id: &&str| NewEvent { topic, bytes: event(id, id), due: None };
    Command::Publish(Publish { session: None, events: ids.iter().map(event).collect() })
}

pub(super) fn event(id: &str, saga: &str) -> Bytes {
    let event = Event::new("order.created").id(id).source("test").saga(saga);
    let mut out = BytesMut::new();
    event.encode(&mut out);
    out.freeze()
}

pub(super) fn first_offset(answer: Option<super::Outcomes>) -> u64 {
    match answer {
        Some(Ok(Answer::Published(Receipts::Block { first, .. }))) => first,
        other => panic!("not published: {other:?}"),
    }
}

/// What has come to a member, without taking it out of order.
pub(super) fn hand(member: &Member) -> Vec<Delivered> {
    let mut hand = Vec::new();
    while let Some(event) = member.try_next() {
        match event {
            MemberEvent::Run(run) => hand.extend(run.events),
            other => panic!("not a run: {other:?}"),
        }
    }
    hand
}

pub(super) fn ids(hand: &[Delivered]) -> Vec<String> {
    hand.iter().map(|it| EventView::parse(&it.bytes).unwrap().id.to_owned()).collect()
}
