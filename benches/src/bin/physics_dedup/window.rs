//! The id window in the ways that are compared: an open-addressed table of its own, and maps.
//! Ids come in as hashes; nothing here is timed.

use std::hash::{BuildHasher, Hasher};
use std::hint::black_box;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

/// Slots of one generation: 32 bytes each, two generations, 64 MiB in all.
pub(crate) const SLOTS: usize = (64 << 20) / 2 / size_of::<Slot>();
const BATCH: usize = 64;

/// What a slot keeps of an id. A hash of zero is an empty slot.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Slot {
    pub(crate) hash: [u64; 2],
    pub(crate) digest: u64,
    pub(crate) offset: u64,
}

impl Slot {
    fn key(&self) -> u128 {
        u128::from(self.hash[0]) << 64 | u128::from(self.hash[1])
    }
}

/// One generation: linear probing, a power of two of slots.
pub(crate) struct Generation {
    pub(crate) slots: Vec<Slot>,
    used: usize,
}

impl Generation {
    pub(crate) fn new() -> Self {
        Self { slots: vec![Slot::default(); SLOTS], used: 0 }
    }

    #[expect(clippy::cast_possible_truncation, reason = "masked to the number of slots")]
    fn home(hash: [u64; 2]) -> usize {
        hash[0] as usize & (SLOTS - 1)
    }

    /// The slot that holds `hash`, or the empty one where it belongs; never full, so it ends.
    fn find(&self, hash: [u64; 2], home: usize) -> usize {
        let mut at = home;
        while let Some(slot) = self.slots.get(at) {
            if slot.hash == hash || slot.hash == [0, 0] {
                break;
            }
            at = (at + 1) & (SLOTS - 1);
        }
        at
    }

    fn at(&self, at: usize) -> Slot {
        self.slots.get(at).copied().unwrap_or_default()
    }
}

/// The window: ids go into `young` until it holds `limit`; then `old` is forgotten.
pub(crate) struct Window {
    young: Generation,
    old: Generation,
    limit: usize,
}

impl Window {
    pub(crate) fn new(load: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share")]
        let limit = (SLOTS as f64 * load) as usize;
        Self { young: Generation::new(), old: Generation::new(), limit }
    }

    /// The offset under which the id is known; remembers it under its own if it is not.
    fn admit(&mut self, id: Slot, home: usize) -> Option<u64> {
        let at = self.young.find(id.hash, home);
        let known = self.young.at(at);
        if known.hash == id.hash {
            return Some(known.offset);
        }
        let known = self.old.at(self.old.find(id.hash, home));
        if known.hash == id.hash {
            return Some(known.offset);
        }
        if let Some(slot) = self.young.slots.get_mut(at) {
            *slot = id;
            self.young.used += 1;
        }
        if self.young.used == self.limit {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.slots.fill(Slot::default());
            self.young.used = 0;
        }
        None
    }

    pub(crate) fn one_by_one(&mut self, ids: &[Slot]) -> u64 {
        let known = ids.iter().filter_map(|id| self.admit(*id, Generation::home(id.hash)));
        known.count() as u64
    }

    /// All slot numbers first, then all slots touched (loads that don't wait for each other, so
    /// their cache misses overlap), then compared.
    pub(crate) fn batched(&mut self, ids: &[Slot]) -> u64 {
        let mut known = 0;
        for batch in ids.chunks(BATCH) {
            let mut homes = [0; BATCH];
            for (home, id) in homes.iter_mut().zip(batch) {
                *home = Generation::home(id.hash);
            }
            let mut touched = 0;
            for &home in homes.iter().take(batch.len()) {
                touched ^= self.young.at(home).hash[0] ^ self.old.at(home).hash[0];
            }
            black_box(touched);
            for (id, &home) in batch.iter().zip(&homes) {
                known += u64::from(self.admit(*id, home).is_some());
            }
        }
        known
    }
}

/// The same two generations as maps.
pub(crate) struct Maps<S> {
    young: HashMap<u128, (u64, u64), S>,
    old: HashMap<u128, (u64, u64), S>,
}

impl<S: BuildHasher + Default> Maps<S> {
    /// As full as it gets without growing: 7/8 of the same number of slots.
    pub(crate) const LIMIT: usize = SLOTS / 8 * 7;

    pub(crate) fn new() -> Self {
        let map = || HashMap::with_capacity_and_hasher(Self::LIMIT, S::default());
        Self { young: map(), old: map() }
    }

    fn knows(&self, id: &Slot) -> bool {
        self.young.contains_key(&id.key()) || self.old.contains_key(&id.key())
    }

    /// Whether it was new in the young generation.
    fn insert(&mut self, id: &Slot) -> bool {
        let Entry::Vacant(place) = self.young.entry(id.key()) else {
            return false;
        };
        place.insert((id.digest, id.offset));
        if self.young.len() == Self::LIMIT {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        true
    }

    pub(crate) fn one_by_one(&mut self, ids: &[Slot]) -> u64 {
        let known = ids.iter().filter(|id| self.knows(id) || !self.insert(id));
        known.count() as u64
    }

    /// All lookups first (they don't wait for each other), then the inserts, which see a repeat
    /// inside the batch.
    pub(crate) fn batched(&mut self, ids: &[Slot]) -> u64 {
        let mut repeats = 0;
        for batch in ids.chunks(BATCH) {
            let mut known = [false; BATCH];
            for (known, id) in known.iter_mut().zip(batch) {
                *known = self.knows(id);
            }
            for (known, id) in known.into_iter().zip(batch) {
                repeats += u64::from(known || !self.insert(id));
            }
        }
        repeats
    }
}

/// Takes the low half of a key that is a hash already.
#[derive(Default)]
pub(crate) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        unreachable!("keys are u128, got {bytes:?}");
    }
    #[expect(clippy::cast_possible_truncation, reason = "either half is uniform")]
    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}
