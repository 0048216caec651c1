//! Segments that have ended: looking at one wherever its index is, and building its sidecar again
//! when that is missing or wrong. Which segments a lookup needs is not decided here.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::active::Active;
use super::encode::encode;
use super::file::Sidecar;
use super::index::{Error, Index};
use super::rebuild;
use super::store::{Fault, Item, Store, name};
use crate::log::LogError;

/// A segment that has ended.
#[derive(Clone)]
pub(super) struct Slot {
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) state: State,
}

#[derive(Clone)]
pub(super) enum State {
    /// There is no sidecar yet; this is what it will say.
    Memory(Arc<Active>),
    /// There is none.
    Missing,
    /// There should be one.
    Stored,
}

/// An ended segment as lookups see it.
pub(super) enum View<'a> {
    Memory(&'a Active),
    File(&'a Sidecar, &'a Store),
}

impl Index {
    /// Looks at an ended segment; builds its sidecar again if that turns out to be wrong.
    pub(super) fn view<T>(
        &self,
        slot: &Slot,
        mut look: impl FnMut(View<'_>) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let first = match &slot.state {
            State::Memory(active) => look(View::Memory(active)),
            State::Missing => self
                .cached(slot)
                .ok_or(Fault::Wrong("it is missing"))
                .and_then(|sidecar| look(View::File(&sidecar, &self.store))),
            State::Stored => {
                self.sidecar(slot).and_then(|sidecar| look(View::File(&sidecar, &self.store)))
            }
        };
        let wrong = match first {
            Ok(found) => return Ok(found),
            Err(Fault::Io(error)) => return Err(error.into()),
            Err(Fault::Wrong(reason)) => reason,
        };
        tracing::warn!(first = slot.first, reason = wrong, "building a sidecar again");
        let (sidecar, _) = self.rebuild_slot(slot)?;
        look(View::File(&sidecar, &self.store)).map_err(|fault| self.broken(slot, fault))
    }

    fn cached(&self, slot: &Slot) -> Option<Arc<Sidecar>> {
        match self.store.get((slot.first, 0)) {
            Some(Item::Sidecar(sidecar)) => Some(sidecar),
            _ => None,
        }
    }

    fn sidecar(&self, slot: &Slot) -> Result<Arc<Sidecar>, Fault> {
        if let Some(sidecar) = self.cached(slot) {
            return Ok(sidecar);
        }
        let sidecar = Sidecar::open(&self.store, self.log_id, slot.first, slot.end)?;
        Ok(self.keep(slot, sidecar))
    }

    fn keep(&self, slot: &Slot, sidecar: Sidecar) -> Arc<Sidecar> {
        let sidecar = Arc::new(sidecar);
        self.store.keep((slot.first, 0), sidecar.memory(), Item::Sidecar(sidecar.clone()));
        sidecar
    }

    /// Builds a sidecar from the log and writes it. If only writing fails it can be used
    /// nevertheless.
    pub(super) fn rebuild_slot(
        &self,
        slot: &Slot,
    ) -> Result<(Arc<Sidecar>, Result<(), LogError>), Error> {
        let active = rebuild::read(&*self.log, &self.hasher, slot.first, Some(slot.end))?;
        let bytes = Bytes::from(encode(&active, self.log_id, slot.end));
        drop(active);
        self.rebuilt.fetch_add(1, Ordering::Relaxed);
        let written = self.write(slot, &bytes);
        let sidecar = Sidecar::in_memory(bytes, self.log_id, slot.first, slot.end)
            .map_err(|fault| self.broken(slot, fault))?;
        Ok(match written {
            Ok(()) => (Arc::new(sidecar), written),
            Err(_) => (self.keep(slot, sidecar), written),
        })
    }

    pub(super) fn write(&self, slot: &Slot, bytes: &[u8]) -> Result<(), LogError> {
        self.store.forget(slot.first);
        self.store.blobs.put(&name(slot.first), bytes)?;
        let mut ended = self.ended();
        match ended.iter_mut().find(|it| it.first == slot.first) {
            Some(slot) => slot.state = State::Stored,
            // Dropped meanwhile.
            None => self.store.blobs.remove(&name(slot.first))?,
        }
        Ok(())
    }

    /// A sidecar that was just built must be right.
    fn broken(&self, slot: &Slot, fault: Fault) -> Error {
        match fault {
            Fault::Io(error) => error.into(),
            Fault::Wrong(reason) => Error::Record { entry: slot.first, reason: reason.to_owned() },
        }
    }
}
