//! Who plays on a test bus: a participant, or a future that a test has written. A player is polled
//! by the bus alone, and can be begun again.

use std::any::Any;
use std::cell::RefCell;
use std::sync::{Arc, Mutex, Weak};

use futures_core::future::BoxFuture;

use super::bell::{Alarm, Bell};
use super::lock;
use crate::hands::Hands;
use crate::link::Token;

/// An event that user code works on.
#[derive(Clone, Debug)]
pub(crate) struct AtWork {
    pub(crate) token: Token,
    /// Since when, mono ms.
    pub(crate) since: u64,
    /// Since when without an extension, mono ms.
    pub(crate) fresh: u64,
    /// Of a handler: what its wakers share.
    pub(crate) alarm: Option<Weak<dyn Any + Send + Sync>>,
    /// The number that the log's next entry had then.
    pub(crate) entry: u64,
}

/// How a player ended, if not well.
pub(super) type Ended = Result<(), String>;

/// The subscriptions of one player.
pub(super) type Seats = Arc<Mutex<Vec<Weak<Hands>>>>;

pub(super) struct Player {
    pub(super) name: Arc<str>,
    begin: Box<dyn Fn() -> BoxFuture<'static, Ended> + Send>,
    /// Not there while it is polled, and when it has ended.
    pub(super) running: Option<BoxFuture<'static, Ended>>,
    pub(super) alarm: Arc<Alarm>,
    pub(super) seats: Seats,
    /// Entries of the log that were written while it was polled: first, and the one behind.
    pub(super) wrote: Vec<(u64, u64)>,
    /// How often it was polled since the time that it was polled last, mono.
    pub(super) polls: (u64, u32),
}

impl Player {
    pub(super) fn new(
        name: &str,
        bell: &Arc<Bell>,
        begin: impl Fn() -> BoxFuture<'static, Ended> + Send + 'static,
    ) -> Self {
        let mut it = Self {
            name: name.into(),
            begin: Box::new(begin),
            running: None,
            alarm: Alarm::new(bell),
            seats: Seats::default(),
            wrote: Vec::new(),
            polls: (0, 0),
        };
        it.begin_again(bell);
        it
    }

    pub(super) fn begin_again(&mut self, bell: &Arc<Bell>) {
        self.running = Some((self.begin)());
        // What woke the one before has nothing to say to this one.
        self.alarm = Alarm::new(bell);
        self.seats = Seats::default();
        self.wrote.clear();
    }

    pub(super) fn has_written(&mut self, from: u64, to: u64) {
        match self.wrote.last_mut() {
            Some((_, end)) if *end == from => *end = to,
            _ if from < to => self.wrote.push((from, to)),
            _ => {}
        }
    }

    /// What its handlers work on.
    pub(super) fn at_work(&self) -> Vec<AtWork> {
        let seats = lock(&self.seats);
        let mut all: Vec<_> =
            seats.iter().filter_map(Weak::upgrade).flat_map(|hands| hands.at_work()).collect();
        all.sort_unstable_by_key(|it| (it.since, it.token.event.at));
        all
    }
}

thread_local! {
    static POLLED: RefCell<Option<Seats>> = const { RefCell::new(None) };
}

/// Whoever subscribes while `work` runs is this player.
pub(super) fn polled<R>(seats: &Seats, work: impl FnOnce() -> R) -> R {
    let outer = POLLED.replace(Some(Arc::clone(seats)));
    let result = work();
    POLLED.set(outer);
    result
}

/// Somebody has joined a group.
pub(crate) fn seated(hands: &Arc<Hands>) {
    POLLED.with_borrow(|polled| {
        if let Some(seats) = polled {
            lock(seats).push(Arc::downgrade(hands));
        }
    });
}
