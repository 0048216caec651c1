//! Who is told that something is to be done, and the alarm of one player: a waker that counts.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Wake, Waker};

use super::lock;

/// Counts rings, and wakes whoever waits for the next one.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rings: AtomicU64,
    waiting: Mutex<Vec<Waker>>,
}

impl Bell {
    pub(super) fn ring(&self) {
        self.rings.fetch_add(1, SeqCst);
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(super) fn rings(&self) -> u64 {
        self.rings.load(SeqCst)
    }

    /// Waits until it has rung more often than that.
    pub(super) async fn after(&self, rings: u64) {
        poll_fn(|cx| {
            let mut waiting = lock(&self.waiting);
            if self.rings() != rings {
                return Poll::Ready(());
            }
            if !waiting.iter().any(|it| it.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// The waker of one player.
#[derive(Debug)]
pub(super) struct Alarm {
    rung: AtomicBool,
    bell: Arc<Bell>,
}

impl Alarm {
    /// Of somebody who is to be polled first of all.
    pub(super) fn new(bell: &Arc<Bell>) -> Arc<Self> {
        Arc::new(Self { rung: AtomicBool::new(true), bell: Arc::clone(bell) })
    }

    /// Whether it has rung since the last look.
    pub(super) fn take(&self) -> bool {
        self.rung.swap(false, SeqCst)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, SeqCst) {
            self.bell.ring();
        }
    }
}
