//! A log in memory that writes only when the engine is driven, so that answers can be waited for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use quadrille_broker::log::{
    AppendError, Chunk, ClaimError, Limits, Log, LogError, MemLog, Read, ReadError, Recovered,
    SegmentInfo, Space, Watermarks, Work,
};
use quadrille_broker::time::Now;

pub(crate) struct SlowLog {
    inner: MemLog,
    queue: Mutex<VecDeque<(Chunk, bool)>>,
}

impl SlowLog {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { inner: MemLog::new(7), queue: Mutex::default() })
    }
}

impl Log for SlowLog {
    fn claim(&self, now: Now) -> Result<Recovered, ClaimError> {
        self.inner.claim(now)
    }

    fn append(&self, chunk: Chunk, starts_segment: bool) -> Result<(), AppendError> {
        self.queue.lock().unwrap().push_back((chunk, starts_segment));
        Ok(())
    }

    fn step(&self, _work: Work, _now: Now) -> bool {
        let queued = std::mem::take(&mut *self.queue.lock().unwrap());
        let any = !queued.is_empty();
        for (chunk, starts_segment) in queued {
            self.inner.append(chunk, starts_segment).unwrap();
        }
        any
    }

    fn watermarks(&self) -> Watermarks {
        self.inner.watermarks()
    }

    fn set_waker(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.inner.set_waker(wake);
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
        self.inner.sync_now();
    }

    fn close_epoch(&self) -> Result<(), LogError> {
        self.inner.close_epoch()
    }
}
