//! The id window: which (source, id) pairs were appended lately, so that a repeat across sessions
//! is stored once. Two generations: ids go into the young one; when it is full it becomes the old
//! one, and the old one is forgotten. It is rebuilt from the log at a start and is no part of the
//! durable state.

use std::hash::{BuildHasherDefault, Hash, Hasher};

use hashbrown::HashMap;

/// What is known of an id that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The low [`DIGEST_BITS`] bits of the digest of its type and data.
    pub(super) digest: u64,
    /// Its offset.
    pub(super) offset: u64,
}

/// How much of an event's digest the window keeps; a reused id with other data is taken for a
/// repeat once in 2^24.
pub(super) const DIGEST_BITS: u32 = 24;

/// The window.
#[derive(Debug)]
pub(super) struct IdWindow {
    young: Generation,
    old: Generation,
    capacity: usize,
}

/// 24 bytes a slot: the two halves of the hash, and digest and offset in one.
type Generation = HashMap<Key, u64, BuildHasherDefault<Identity>>;

/// One slot of a generation and its control byte.
const SLOT_BYTES: usize = 25;

impl IdWindow {
    /// A window that takes at most about `bytes`.
    pub(super) fn new(bytes: usize) -> Self {
        let slots = (bytes / 2 / SLOT_BYTES).max(16);
        // hashbrown has powers of two of buckets and fills 7 of 8.
        let buckets = if slots.is_power_of_two() { slots } else { slots.next_power_of_two() / 2 };
        Self { young: Generation::default(), old: Generation::default(), capacity: buckets / 8 * 7 }
    }

    /// What is known of an id.
    pub(super) fn find(&self, id: u128) -> Option<Seen> {
        let key = key(id);
        let packed = self.young.get(&key).or_else(|| self.old.get(&key))?;
        Some(Seen { digest: packed & DIGEST_MASK, offset: packed >> DIGEST_BITS })
    }

    /// Remembers an id.
    pub(super) fn insert(&mut self, id: u128, digest: u64, offset: u64) {
        if self.young.len() >= self.capacity {
            let fresh = Generation::with_capacity_and_hasher(self.capacity, Default::default());
            self.old = std::mem::replace(&mut self.young, fresh);
        }
        self.young.insert(key(id), offset << DIGEST_BITS | (digest & DIGEST_MASK));
    }

    /// How many ids are known now, and how many of the newest are known at least once it is full.
    pub(super) fn reach(&self) -> (usize, usize) {
        (self.young.len() + self.old.len(), self.capacity)
    }
}

/// What of a digest is compared.
pub(super) const DIGEST_MASK: u64 = (1 << DIGEST_BITS) - 1;

/// The two halves of an id's hash; eight-byte aligned, so that a slot has 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key([u64; 2]);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
fn key(id: u128) -> Key {
    Key([(id >> 64) as u64, id as u64])
}

/// The ids are keyed hashes already.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a key is hashed as one number");
    }

    fn write_u64(&mut self, half: u64) {
        self.0 = half;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_for_at_least_one_generation_and_at_most_two() {
        let mut window = IdWindow::new(64 * 2 * SLOT_BYTES);
        let (_, capacity) = window.reach();
        assert_eq!(capacity, 56);
        let id = |n: usize| (n as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        for n in 0..capacity * 5 {
            window.insert(id(n), n as u64, n as u64);
            for back in 0..capacity.min(n + 1) {
                let seen = window.find(id(n - back)).expect("inside the window");
                assert_eq!(seen.offset, (n - back) as u64);
            }
            if n >= capacity * 2 {
                assert_eq!(window.find(id(n - capacity * 2)), None);
            }
        }
    }

    #[test]
    fn digests_and_offsets_come_back() {
        let mut window = IdWindow::new(1 << 20);
        window.insert(7 << 64 | 9, 0xffff_ffff_ff12_3456, 1 << 39);
        let seen = Seen { digest: 0x12_3456, offset: 1 << 39 };
        assert_eq!(window.find(7 << 64 | 9), Some(seen));
        assert_eq!(window.find(7 << 64 | 8), None);
    }
}
