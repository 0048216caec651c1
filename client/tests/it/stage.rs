//! A bus without threads on a clock that only tests move.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use quadrille::{Bus, Delivery, Event, Group, Receipt, Subscription};
use quadrille_broker::engine::{Engine, Options};
use quadrille_broker::limits::Limits;
use quadrille_broker::log::MemBlobs;
use quadrille_broker::time::{ManualClock, Now};

use crate::slow_log::SlowLog;

pub(crate) struct Stage {
    pub(crate) bus: Bus,
    pub(crate) engine: Engine,
    clock: Arc<ManualClock>,
}

impl Stage {
    /// A bus with the topic `orders`.
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        Self::open(limits, false)
    }

    /// Likewise, with an index, in memory.
    pub(crate) fn indexed() -> Self {
        Self::open(Limits::default(), true)
    }

    fn open(limits: Limits, index: bool) -> Self {
        let clock = Arc::new(ManualClock::new(Now { mono: 1_000, wall: 1_700_000_000_000 }));
        let options = Options {
            limits,
            clock: Arc::clone(&clock) as _,
            threads: false,
            seed: 7,
            index,
            ..Options::default()
        };
        let engine = Engine::start(SlowLog::new(), Arc::<MemBlobs>::default(), options).unwrap();
        let stage = Self { bus: Bus::on(engine.clone()), engine, clock };
        stage.run(stage.bus.create_topic("orders")).unwrap();
        stage
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
        mut future: std::pin::Pin<&mut (impl Future<Output = T> + ?Sized)>,
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

    pub(crate) fn advance(&self, ms: u64) {
        self.clock.advance(ms);
        self.engine.drive();
    }

    pub(crate) fn publish(&self, event: Event) -> Receipt {
        self.run(self.bus.topic("orders").publish(event)).unwrap()
    }

    /// Publishes events of one key, with these ids.
    pub(crate) fn publish_lane(&self, key: &str, ids: &[&str]) {
        for id in ids {
            self.publish(Event::new("order.created").id(*id).key(key));
        }
    }

    /// A group on `orders`.
    pub(crate) fn group(&self, name: &str) -> Group {
        self.bus.group(name).topics(["orders"])
    }

    pub(crate) fn subscribe(&self, group: Group) -> Subscription {
        self.run(group.subscribe()).unwrap()
    }

    pub(crate) fn next(&self, from: &mut Subscription) -> Delivery {
        self.run(from.next()).expect("the subscription has ended")
    }

    /// The next delivery, if there is one without waiting for time to pass.
    pub(crate) fn try_next(&self, from: &mut Subscription) -> Option<Delivery> {
        let mut next = pin!(from.next());
        match self.poll_settled(next.as_mut()) {
            Poll::Ready(delivery) => delivery,
            Poll::Pending => None,
        }
    }

    pub(crate) fn unsettled(&self, group: &str) -> u64 {
        self.run(self.bus.group(group).info()).unwrap().unsettled
    }
}
