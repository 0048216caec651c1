//! What a subscription and its deliveries share: the member, the runs in its hands, and the acks
//! that wait to be handed over. Which event comes when is core's; what user code sees is not here.
//!
//! ```text
//! member ──pump──> ready (runs whose next event may be yielded) ──take──> Delivery
//!                    ^                                                      │ ack, step
//!                    └── ordered: the next of the run <─────────────────────┤
//!                        any other settle: the rest of the run is core's <──┘
//! ```
//!
//! Locks, from outer to inner: `acks`, then the engine's; `ready`, `runs` and `Hand::rest` are
//! leaves, and nothing is dropped or called under them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::vec;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::Closed;
use crate::link::{
    Command, Delivered, Keeper, Link, MemberEvent, Renewal, Run, RunId, Seat, Settle, Ticket, Token,
};
#[cfg(feature = "test")]
use crate::testing::AtWork;

/// Acks are handed over when so many have gathered.
const ACKS_MAX: usize = 64;

/// One member's hands.
#[derive(Debug)]
pub(crate) struct Hands {
    pub(crate) link: Link,
    pub(crate) group: Box<str>,
    pub(crate) log_id: u128,
    /// Names of the group's topics by number.
    pub(crate) topics: Vec<(u32, Arc<str>)>,
    seat: Seat,
    handler_timeout_ms: u64,
    renew_every_ms: u64,
    acks: Mutex<Vec<Token>>,
    ready: Mutex<Ready>,
    runs: Mutex<BTreeMap<RunId, Weak<Hand>>>,
    /// Nobody takes from here any more: nothing becomes ready, and acks are handed over at once.
    /// Set under the lock of `ready`.
    ended: AtomicBool,
    /// Counts losses of leases.
    losses: AtomicU64,
    bell: Arc<Bell>,
    /// Rings the bell.
    waker: Waker,
    renew_at: AtomicU64,
}

#[derive(Debug, Default)]
struct Ready {
    queue: VecDeque<Arc<Hand>>,
    closed: Option<Closed>,
}

/// Who is told that something came. Apart from [`Hands`], because the member keeps a waker for as
/// long as `Hands` keeps the member.
#[derive(Debug, Default)]
struct Bell {
    stream: Mutex<Listener>,
    /// Those who wait for the loss of a lease.
    others: Notify,
}

#[derive(Debug, Default)]
struct Listener {
    /// Something came since the last look.
    news: bool,
    waker: Option<Waker>,
}

/// One run in a member's hands.
#[derive(Debug)]
pub(crate) struct Hand {
    pub(crate) hands: Arc<Hands>,
    id: RunId,
    ordered: bool,
    pub(crate) careful: bool,
    rest: Mutex<vec::IntoIter<Delivered>>,
    /// Bit i: user code has seen event i, and it is not settled.
    open: AtomicU64,
    /// Bit i: event i is no longer this member's.
    lost: AtomicU64,
    /// Bit i: user code asked for more time since the last renewal.
    extended: AtomicU64,
    /// Open events by the renewal that first saw them (mono ms).
    ages: Mutex<Vec<(u64, u64)>>,
    /// What user code has seen.
    #[cfg(feature = "test")]
    seen: Mutex<Vec<AtWork>>,
}

impl Hands {
    pub(crate) fn new(
        link: Link,
        group: &str,
        topics: Vec<(u32, Arc<str>)>,
        seat: Seat,
        lease_ms: u64,
        handler_timeout_ms: u64,
    ) -> Arc<Self> {
        // Twice may fail, or come late, before a lease ends.
        let renew_every_ms = (lease_ms / 3).min(handler_timeout_ms / 4).max(1);
        let renew_at = AtomicU64::new(link.now().mono + renew_every_ms);
        let bell = Arc::<Bell>::default();
        let hands = Arc::new(Self {
            log_id: link.log_id(),
            link,
            group: group.into(),
            topics,
            seat,
            handler_timeout_ms,
            renew_every_ms,
            acks: Mutex::default(),
            ready: Mutex::default(),
            runs: Mutex::default(),
            ended: AtomicBool::new(false),
            losses: AtomicU64::new(0),
            waker: Waker::from(Arc::clone(&bell)),
            bell,
            renew_at,
        });
        let keeper: Weak<dyn Keeper> = Arc::downgrade(&hands) as Weak<dyn Keeper>;
        hands.seat.keep(keeper);
        #[cfg(feature = "test")]
        crate::testing::seated(&hands);
        hands
    }

    /// What user code works on.
    #[cfg(feature = "test")]
    pub(crate) fn at_work(&self) -> Vec<AtWork> {
        let open = |hand: Arc<Hand>| {
            let bits = hand.open.load(SeqCst) & !hand.lost.load(SeqCst);
            let seen = lock(&hand.seen).clone();
            seen.into_iter().filter(move |it| bits & bit(it.token.index) != 0)
        };
        self.hands().into_iter().flat_map(open).collect()
    }

    /// The name of a topic, unless the group has got it after this member joined.
    pub(crate) fn topic(&self, number: u32) -> Option<&Arc<str>> {
        self.topics.iter().find(|(id, _)| *id == number).map(|(_, name)| name)
    }

    /// The next run with an event that may be yielded now.
    pub(crate) fn poll_ready(
        self: &Arc<Self>,
        cx: &Context<'_>,
    ) -> Poll<Result<Arc<Hand>, Closed>> {
        loop {
            if let Some(hand) = lock(&self.ready).queue.pop_front() {
                return Poll::Ready(Ok(hand));
            }
            let idle = self.listen(cx);
            let ready = lock(&self.ready);
            match ready.closed {
                _ if !ready.queue.is_empty() => {}
                Some(why) => return Poll::Ready(Err(why)),
                None if idle => return Poll::Pending,
                None => {}
            }
        }
    }

    /// Takes in what has come, hands over the acks, and if that led to nothing new, asks to be
    /// woken. `false`: look again.
    pub(crate) fn listen(self: &Arc<Self>, cx: &Context<'_>) -> bool {
        self.pump();
        let flushed = self.flush();
        let mut listener = lock(&self.bell.stream);
        if std::mem::take(&mut listener.news) || flushed {
            return false;
        }
        listener.waker = Some(cx.waker().clone());
        true
    }

    /// Takes in what has come for this member.
    pub(crate) fn pump(self: &Arc<Self>) {
        let mut cx = Context::from_waker(&self.waker);
        while let Poll::Ready(event) = self.seat.poll_next(&mut cx) {
            match event {
                MemberEvent::Run(run) => self.take_in(run),
                MemberEvent::LeaseLost { run, indexes } => self.lose(run, &indexes),
                MemberEvent::Closed(why) => return self.close(why.into()),
            }
        }
    }

    fn take_in(self: &Arc<Self>, run: Run) {
        let id = run.id;
        let hand = Arc::new(Hand {
            hands: Arc::clone(self),
            id,
            ordered: run.ordered,
            careful: run.careful,
            rest: Mutex::new(run.events.into_iter()),
            open: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            extended: AtomicU64::new(0),
            ages: Mutex::default(),
            #[cfg(feature = "test")]
            seen: Mutex::default(),
        });
        lock(&self.runs).insert(id, Arc::downgrade(&hand));
        self.make_ready(hand);
    }

    /// Queues a run whose next event may be yielded; whether it did. After the end nobody would
    /// take it out again, and a run in the queue keeps the member, and with it the engine.
    fn make_ready(&self, hand: Arc<Hand>) -> bool {
        let mut ready = lock(&self.ready);
        // Set under the same lock, before the queue is emptied for the last time.
        let ended = self.ended.load(SeqCst);
        if !ended {
            ready.queue.push_back(hand);
        }
        !ended
    }

    fn lose(&self, run: RunId, indexes: &[u32]) {
        let hand = lock(&self.runs).get(&run).and_then(Weak::upgrade);
        if let Some(hand) = hand {
            hand.lost.fetch_or(indexes.iter().fold(0, |bits, i| bits | bit(*i)), SeqCst);
            self.tell_losses();
        }
    }

    fn close(&self, why: Closed) {
        let queued = {
            let mut ready = lock(&self.ready);
            if ready.closed.is_some() {
                return;
            }
            ready.closed = Some(why);
            self.ended.store(true, SeqCst);
            std::mem::take(&mut ready.queue)
        };
        drop(queued);
        for hand in self.hands() {
            hand.lost.store(u64::MAX, SeqCst);
        }
        self.tell_losses();
    }

    fn tell_losses(&self) {
        self.losses.fetch_add(1, SeqCst);
        self.bell.others.notify_waiters();
    }

    /// Nobody takes events any more: what user code has not seen goes back as it came.
    pub(crate) fn end(&self) {
        let queued = {
            let mut ready = lock(&self.ready);
            self.ended.store(true, SeqCst);
            std::mem::take(&mut ready.queue)
        };
        drop(queued);
        self.flush();
        self.renew(self.link.now().mono);
        self.seat.drain(&self.link);
    }

    /// Grows when leases were lost.
    pub(crate) fn losses(&self) -> u64 {
        self.losses.load(SeqCst)
    }

    /// Why there is nothing more to come, if so.
    pub(crate) fn closed(&self) -> Option<Closed> {
        lock(&self.ready).closed
    }

    /// Resolves at the next thing that comes to this member.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.bell.others.notified()
    }

    /// Hands over the acks; whether there were any. The lock is held meanwhile, so that whatever is
    /// settled afterwards comes afterwards.
    pub(crate) fn flush(&self) -> bool {
        self.hand_over(&mut lock(&self.acks))
    }

    fn hand_over(&self, acks: &mut Vec<Token>) -> bool {
        let any = !acks.is_empty();
        if any {
            self.link.tell(Command::Ack(std::mem::take(acks)));
        }
        any
    }

    fn push_ack(&self, token: Token) {
        let mut acks = lock(&self.acks);
        if acks.len() == ACKS_MAX {
            self.hand_over(&mut acks);
        }
        if acks.capacity() == 0 {
            acks.reserve_exact(ACKS_MAX);
        }
        acks.push(token);
        if self.ended.load(SeqCst) {
            self.hand_over(&mut acks);
        } else if acks.len() == 1 {
            self.seat.tick_soon();
        }
    }

    /// Hands over this ack with an answer of its own, after those before it. It may have gone with
    /// them: the same settle of a token again is answered like the first.
    pub(crate) fn answer_ack(&self, token: Token) -> Ticket {
        let mut acks = lock(&self.acks);
        acks.retain(|it| *it != token);
        self.hand_over(&mut acks);
        self.link.execute(Command::Ack(vec![token]))
    }

    fn hands(&self) -> Vec<Arc<Hand>> {
        // Collected first: the last owner of a hand takes the lock when it goes.
        lock(&self.runs).values().filter_map(Weak::upgrade).collect()
    }

    /// Tells core which leases to prolong, and what took longer than its handler timeout.
    fn renew(&self, mono: u64) {
        let runs: Vec<Renewal> =
            self.hands().iter().map(|hand| hand.renewal(mono, self.handler_timeout_ms)).collect();
        if !runs.is_empty() {
            self.seat.renew(&self.link, runs);
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waker = {
            let mut listener = lock(&self.stream);
            listener.news = true;
            listener.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        self.others.notify_waiters();
    }
}

impl Keeper for Hands {
    fn tick(self: Arc<Self>, mono: u64) -> u64 {
        self.flush();
        if mono >= self.renew_at.load(Relaxed) {
            self.pump();
            self.renew(mono);
            self.renew_at.store(mono + self.renew_every_ms, Relaxed);
        }
        self.renew_at.load(Relaxed)
    }
}

impl Hand {
    /// The next event of this run, which user code is about to see.
    pub(crate) fn next(&self) -> Option<Delivered> {
        let mut rest = lock(&self.rest);
        loop {
            let delivered = rest.next()?;
            let bit = bit(delivered.token.index);
            if self.lost.load(SeqCst) & bit == 0 {
                self.open.fetch_or(bit, Relaxed);
                #[cfg(feature = "test")]
                self.note(delivered.token);
                return Some(delivered);
            }
        }
    }

    #[cfg(feature = "test")]
    fn note(&self, token: Token) {
        let link = &self.hands.link;
        if !link.has_threads() {
            let (since, entry) = (link.now().mono, link.end());
            lock(&self.seen).push(AtWork { token, since, fresh: since, alarm: None, entry });
        }
    }

    /// Something is to be known about who works on an event.
    #[cfg(feature = "test")]
    pub(crate) fn noted(&self, token: Token, change: impl FnOnce(&mut AtWork)) {
        if let Some(it) = lock(&self.seen).iter_mut().rfind(|it| it.token == token) {
            change(it);
        }
    }

    /// Gives an event back as it came, under the feet of whoever works on it, who is dropped.
    #[cfg(feature = "test")]
    pub(crate) fn take_back(self: &Arc<Self>, token: Token) {
        drop(self.settle(token, Settle::Release));
        self.lost.fetch_or(bit(token.index), SeqCst);
        self.hands.tell_losses();
        self.hands.waker.wake_by_ref();
    }

    pub(crate) fn ordered(&self) -> bool {
        self.ordered
    }

    pub(crate) fn is_lost(&self, token: Token) -> bool {
        self.lost.load(SeqCst) & bit(token.index) != 0
    }

    /// Its handler timeout starts again.
    pub(crate) fn extend(&self, token: Token) {
        self.extended.fetch_or(bit(token.index), Relaxed);
        #[cfg(feature = "test")]
        self.noted(token, |it| it.fresh = self.hands.link.now().mono);
    }

    pub(crate) fn ack(self: &Arc<Self>, token: Token) {
        self.hands.push_ack(token);
        self.go_on(token);
    }

    /// Settles otherwise than by ack; the rest of an ordered run is then core's.
    pub(crate) fn settle(self: &Arc<Self>, token: Token, how: Settle) -> Ticket {
        self.hands.flush();
        let ticket = self.hands.link.settle(token, how);
        if ticket.is_applied() {
            self.stop(token);
        }
        ticket
    }

    /// This one is done: the next of an ordered run may be yielded.
    pub(crate) fn go_on(self: &Arc<Self>, token: Token) {
        self.open.fetch_and(!bit(token.index), Relaxed);
        let more = self.ordered && lock(&self.rest).len() > 0;
        if more && self.hands.make_ready(Arc::clone(self)) {
            self.hands.waker.wake_by_ref();
        }
    }

    /// This one is no longer ours, nor is what comes after it in an ordered run.
    pub(crate) fn stop(&self, token: Token) {
        self.open.fetch_and(!bit(token.index), Relaxed);
        if self.ordered {
            let rest = std::mem::take(&mut *lock(&self.rest));
            drop(rest);
        }
    }

    fn renewal(&self, mono: u64, timeout_ms: u64) -> Renewal {
        let started = self.open.load(Relaxed);
        let same = started & !self.extended.swap(0, Relaxed);
        let mut ages = lock(&self.ages);
        ages.retain_mut(|(bits, _)| {
            *bits &= same;
            *bits != 0
        });
        let fresh = ages.iter().fold(started, |bits, (known, _)| bits & !known);
        if fresh != 0 {
            ages.push((fresh, mono));
        }
        let old = ages.iter().filter(|(_, since)| mono - since >= timeout_ms);
        Renewal { run: self.id, started, expired: old.fold(0, |bits, (these, _)| bits | these) }
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        lock(&self.hands.runs).remove(&self.id);
    }
}

/// A run has at most 64 events; a place beyond them is none.
fn bit(index: u32) -> u64 {
    1u64.checked_shl(index).unwrap_or(0)
}

/// What these locks guard is whole between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
