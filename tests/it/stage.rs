//! A bus without threads, on a clock that only tests move, over a disk that they can break (or a
//! directory). Nothing happens but what a test asks for. No test is here.

use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use quadrille::{Bus, Delivery, Event, Group, Receipt, Subscription};
use quadrille_broker::disk::{Disk, RealDisk, SimDisk};
use quadrille_broker::engine::{Engine, Options, Range};
use quadrille_broker::error::OpenError;
use quadrille_broker::log::{FileBlobs, FileLog, LogOptions};
use quadrille_broker::time::{Clock, ManualClock, Now};
use quadrille_proto::EventView;

/// How a stage is set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) log: LogOptions,
    pub(crate) checkpoint_bytes: u64,
    pub(crate) disk_marks: [u64; 3],
    pub(crate) accept_gap: bool,
}

impl Default for Setup {
    /// Small segments and rare checkpoints.
    fn default() -> Self {
        let log = LogOptions {
            segment_bytes: 24_000,
            first_segment_bytes: 8_000,
            max_chunk_bytes: 4_000,
            seed: 1,
            ..LogOptions::default()
        };
        Self { log, checkpoint_bytes: 64 << 20, disk_marks: [0; 3], accept_gap: false }
    }
}

pub(crate) struct Stage {
    pub(crate) bus: Bus,
    pub(crate) engine: Engine,
    pub(crate) clock: Arc<ManualClock>,
}

/// Some day in 2023.
pub(crate) const NOON: Now = Now { mono: 1_000, wall: 1_700_000_000_000 };

impl Stage {
    pub(crate) fn on(disk: &SimDisk, at: Now, setup: &Setup) -> Result<Self, OpenError> {
        Self::over(Arc::new(disk.clone()), at, setup)
    }

    /// In a directory.
    pub(crate) fn within(dir: &Path, at: Now, setup: &Setup) -> Result<Self, OpenError> {
        let disk = RealDisk::open(dir).map_err(quadrille_broker::log::OpenError::from)?;
        Self::over(Arc::new(disk), at, setup)
    }

    fn over(disk: Arc<dyn Disk>, at: Now, setup: &Setup) -> Result<Self, OpenError> {
        let clock = Arc::new(ManualClock::new(at));
        let mut options = Options {
            clock: Arc::clone(&clock) as _,
            threads: false,
            seed: 7,
            accept_gap: setup.accept_gap,
            ..Options::default()
        };
        options.limits.checkpoint_bytes = setup.checkpoint_bytes;
        options.limits.disk_marks = setup.disk_marks;
        let log = FileLog::open(Arc::clone(&disk), setup.log.clone())?;
        let engine = Engine::start(Arc::new(log), Arc::new(FileBlobs::new(disk)), options)?;
        engine.drive();
        Ok(Self { bus: Bus::on(engine.clone()), engine, clock })
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Runs to the end what needs no time to pass.
    pub(crate) fn run<F: IntoFuture>(&self, future: F) -> F::Output {
        let mut future = pin!(future.into_future());
        match self.poll_settled(future.as_mut()) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("it waits for something that does not come by itself"),
        }
    }

    /// Polls until nothing more happens by itself.
    pub(crate) fn poll_settled<T>(
        &self,
        mut future: Pin<&mut (impl Future<Output = T> + ?Sized)>,
    ) -> Poll<T> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut idle = 0;
        while idle < 3 {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return Poll::Ready(output);
            }
            idle = if self.engine.drive() { 0 } else { idle + 1 };
        }
        Poll::Pending
    }

    /// Lets time go by, stopping wherever something is due.
    pub(crate) fn pass(&self, ms: u64) {
        let end = self.now().mono + ms;
        self.engine.drive();
        while let Some(at) = self.engine.next_deadline().filter(|at| *at <= end) {
            self.clock.advance(at.saturating_sub(self.now().mono).max(1));
            self.engine.drive();
        }
        self.clock.advance(end.saturating_sub(self.now().mono));
        self.engine.drive();
    }

    pub(crate) fn topic(&self, name: &str) {
        self.run(self.bus.create_topic(name)).unwrap();
    }

    pub(crate) fn publish(&self, topic: &str, event: Event) -> Receipt {
        self.run(self.bus.topic(topic).publish(event)).unwrap()
    }

    pub(crate) fn subscribe(&self, group: Group) -> Subscription {
        self.run(group.subscribe()).unwrap()
    }

    pub(crate) fn next(&self, from: &mut Subscription) -> Delivery {
        self.try_next(from).expect("nothing comes")
    }

    /// The next delivery, if there is one without waiting for time to pass.
    pub(crate) fn try_next(&self, from: &mut Subscription) -> Option<Delivery> {
        let mut next = pin!(from.next());
        match self.poll_settled(next.as_mut()) {
            Poll::Ready(delivery) => delivery,
            Poll::Pending => None,
        }
    }

    /// The next delivery, if there is one within the time in which acks are handed over.
    pub(crate) fn soon(&self, from: &mut Subscription) -> Option<Delivery> {
        self.try_next(from).or_else(|| {
            self.pass(2);
            self.try_next(from)
        })
    }

    /// Offsets and ids of what is kept of a topic.
    pub(crate) fn all(&self, topic: &str) -> Vec<(u64, String)> {
        let topic = self.engine.topic(topic).unwrap();
        let mut reader = self.engine.read(Range::Topic { topic, from: 0, to: u64::MAX });
        let mut all = Vec::new();
        loop {
            let page = reader.next_page().unwrap();
            if page.is_empty() {
                return all;
            }
            let of = |bytes: &[u8]| EventView::parse(bytes).unwrap().id.to_owned();
            all.extend(page.iter().map(|it| (it.event.offset, of(&it.bytes))));
        }
    }

    /// Ids of what is kept of a topic.
    pub(crate) fn ids(&self, topic: &str) -> Vec<String> {
        self.all(topic).into_iter().map(|(_, id)| id).collect()
    }

    pub(crate) fn unsettled(&self, group: &str) -> u64 {
        self.run(self.bus.group(group).info()).unwrap().unsettled
    }

    /// Ids of the dead letters of a group that nobody has resolved.
    pub(crate) fn dead(&self, group: &str) -> Vec<String> {
        let dead = self.run(self.bus.dead_letters(group)).unwrap();
        dead.into_iter().map(|it| it.id).collect()
    }
}
