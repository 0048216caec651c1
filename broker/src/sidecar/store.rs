//! Where the bytes of sidecars come from: blobs, read page by page, each checked once, and a cache
//! with a bound in bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::file::Sidecar;
use crate::log::{Blobs, LogError};

/// Why a sidecar could not be used.
#[derive(Debug)]
pub(super) enum Fault {
    /// Missing, or not what it must be: it has to be built again.
    Wrong(&'static str),
    /// It could not be read.
    Io(LogError),
}

impl From<LogError> for Fault {
    fn from(error: LogError) -> Self {
        Self::Io(error)
    }
}

/// What is kept in memory.
#[derive(Clone)]
pub(super) enum Item {
    Sidecar(Arc<Sidecar>),
    Page(Bytes),
}

/// First entry of the segment, and 0 for the sidecar itself or the place of a page (+ 1).
type Key = (u64, u32);

/// Two generations: what is used moves to the young one; when that has half of the budget, it
/// becomes the old one, and what nobody has used since goes.
#[derive(Default)]
struct Cache {
    young: HashMap<Key, (usize, Item)>,
    old: HashMap<Key, (usize, Item)>,
    young_bytes: usize,
    old_bytes: usize,
}

/// Blobs behind a cache.
pub(super) struct Store {
    pub(super) blobs: Arc<dyn Blobs>,
    budget: usize,
    cache: Mutex<Cache>,
}

impl Store {
    pub(super) fn new(blobs: Arc<dyn Blobs>, budget: usize) -> Self {
        Self { blobs, budget, cache: Mutex::default() }
    }

    pub(super) fn get(&self, key: Key) -> Option<Item> {
        let mut cache = self.cache();
        if let Some((_, item)) = cache.young.get(&key) {
            return Some(item.clone());
        }
        let (bytes, item) = cache.old.remove(&key)?;
        cache.old_bytes -= bytes;
        cache.insert(key, bytes, item.clone(), self.budget);
        Some(item)
    }

    pub(super) fn keep(&self, key: Key, bytes: usize, item: Item) {
        self.cache().insert(key, bytes + OVERHEAD, item, self.budget);
    }

    /// Forgets all of a segment.
    pub(super) fn forget(&self, first: u64) {
        let cache = &mut *self.cache();
        for (map, total) in
            [(&mut cache.young, &mut cache.young_bytes), (&mut cache.old, &mut cache.old_bytes)]
        {
            map.retain(|key, (bytes, _)| {
                let stays = key.0 != first;
                *total -= if stays { 0 } else { *bytes };
                stays
            });
        }
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        let cache = self.cache();
        cache.young_bytes + cache.old_bytes
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an item costs beside its own bytes.
const OVERHEAD: usize = 100;

impl Cache {
    fn insert(&mut self, key: Key, bytes: usize, item: Item, budget: usize) {
        if bytes > budget / 2 {
            return;
        }
        if self.young_bytes + bytes > budget / 2 {
            self.old = std::mem::take(&mut self.young);
            self.old_bytes = std::mem::take(&mut self.young_bytes);
        }
        self.young_bytes += bytes;
        if let Some((before, _)) = self.young.insert(key, (bytes, item)) {
            self.young_bytes -= before;
        }
        if let Some((before, _)) = self.old.remove(&key) {
            self.old_bytes -= before;
        }
    }
}

/// The blob of the segment that begins with entry `first`.
pub(super) fn name(first: u64) -> String {
    format!("{PREFIX}{first:016x}")
}

/// The first entry of the segment that this blob belongs to; `None`: not a sidecar.
pub(super) fn parse_name(blob: &str) -> Option<u64> {
    let number = blob.strip_prefix(PREFIX).filter(|number| number.len() == 16)?;
    u64::from_str_radix(number, 16).ok().filter(|first| name(*first) == blob)
}

const PREFIX: &str = "sidecars/";
