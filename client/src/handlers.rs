//! Many handlers on one task: polls those that are woken, drops those whose lease is lost, and
//! keeps a panic to the handler that panicked. Places are reused: no allocation per event.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::hands::Hand;
use crate::link::Token;
use crate::{Closed, Delivery, Subscription};

/// So many events are begun before other tasks of the runtime get their turn.
const TURN: usize = 128;

pub(crate) struct Handlers<F, Fut> {
    handler: F,
    limit: usize,
    places: Vec<Place<Fut>>,
    free: Vec<usize>,
    woken: Arc<Woken>,
    losses: u64,
}

struct Place<Fut> {
    running: Pin<Box<Option<Fut>>>,
    works_on: Option<(Arc<Hand>, Token)>,
    alarm: Arc<Alarm>,
    waker: Waker,
}

/// So often a place holds its alarm itself: whoever holds it beyond that may wake it.
#[cfg(feature = "test")]
pub(crate) const OWN_WAKERS: usize = 2;

/// Which places are to be polled.
#[derive(Default)]
struct Woken {
    list: Mutex<(Vec<usize>, Option<Waker>)>,
}

struct Alarm {
    place: usize,
    rung: AtomicBool,
    woken: Arc<Woken>,
}

impl<F, Fut> Handlers<F, Fut>
where
    F: FnMut(Delivery) -> Fut,
    Fut: Future<Output = ()>,
{
    pub(crate) fn new(limit: usize, handler: F) -> Self {
        Self {
            handler,
            limit,
            places: Vec::new(),
            free: Vec::new(),
            woken: Arc::default(),
            losses: 0,
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, from: &mut Subscription) -> Poll<Closed> {
        self.woken.listen(cx);
        let mut turn = 0;
        loop {
            self.drop_lost(from.hands().losses());
            for place in self.woken.take() {
                self.poll_place(place);
            }
            if turn >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let running = self.places.len() - self.free.len();
            if running == self.limit {
                if from.hands().listen(cx) {
                    return Poll::Pending;
                }
                continue;
            }
            match from.poll_delivery(cx, self.limit - running) {
                Poll::Ready(Ok(delivery)) => self.begin(delivery),
                Poll::Ready(Err(why)) if running == 0 => return Poll::Ready(why),
                _ => return Poll::Pending,
            }
            turn += 1;
        }
    }

    /// Only what runs already goes on; ready when all of it has ended.
    #[cfg(feature = "json")]
    pub(crate) fn poll_rest(&mut self, cx: &mut Context<'_>, from: &Subscription) -> Poll<()> {
        self.woken.listen(cx);
        loop {
            self.drop_lost(from.hands().losses());
            for place in self.woken.take() {
                self.poll_place(place);
            }
            if self.places.len() == self.free.len() {
                return Poll::Ready(());
            }
            if from.hands().listen(cx) {
                return Poll::Pending;
            }
        }
    }

    fn begin(&mut self, delivery: Delivery) {
        let works_on = (Arc::clone(delivery.hand()), delivery.token());
        // The delivery goes with the panic, and says so.
        let Ok(future) = catch_unwind(AssertUnwindSafe(|| (self.handler)(delivery))) else {
            return;
        };
        let at = self.free.pop().unwrap_or_else(|| self.add_place());
        if let Some(place) = self.places.get_mut(at) {
            #[cfg(feature = "test")]
            {
                let (hand, token) = &works_on;
                let alarm = Arc::downgrade(&place.alarm);
                hand.noted(*token, |it| it.alarm = Some(alarm));
            }
            place.running.set(Some(future));
            place.works_on = Some(works_on);
        }
        self.poll_place(at);
    }

    fn add_place(&mut self) -> usize {
        let place = self.places.len();
        let alarm =
            Arc::new(Alarm { place, rung: AtomicBool::new(false), woken: Arc::clone(&self.woken) });
        let waker = Waker::from(Arc::clone(&alarm));
        self.places.push(Place { running: Box::pin(None), works_on: None, alarm, waker });
        place
    }

    fn poll_place(&mut self, at: usize) {
        let Some(place) = self.places.get_mut(at) else {
            return;
        };
        place.alarm.rung.store(false, SeqCst);
        let mut cx = Context::from_waker(&place.waker);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            match place.running.as_mut().as_pin_mut() {
                Some(future) => future.poll(&mut cx),
                // Woken after it was done.
                None => Poll::Pending,
            }
        }));
        if !matches!(polled, Ok(Poll::Pending)) {
            self.clear(at);
        }
    }

    fn drop_lost(&mut self, losses: u64) {
        if self.losses == losses {
            return;
        }
        self.losses = losses;
        for at in 0..self.places.len() {
            let works_on = self.places.get(at).and_then(|place| place.works_on.as_ref());
            if works_on.is_some_and(|(hand, token)| hand.is_lost(*token)) {
                self.clear(at);
            }
        }
    }

    fn clear(&mut self, at: usize) {
        let Some(place) = self.places.get_mut(at) else {
            return;
        };
        place.works_on = None;
        // What a handler holds may panic when it goes.
        if catch_unwind(AssertUnwindSafe(|| place.running.set(None))).is_err() {
            place.running = Box::pin(None);
        }
        self.free.push(at);
    }
}

impl Woken {
    fn listen(&self, cx: &Context<'_>) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if !list.1.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            list.1 = Some(cx.waker().clone());
        }
    }

    fn take(&self) -> Vec<usize> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut list.0)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.rung.swap(true, SeqCst) {
            return;
        }
        let waker = {
            let mut list = self.woken.list.lock().unwrap_or_else(PoisonError::into_inner);
            list.0.push(self.place);
            list.1.clone()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
