//! Ids of events: fresh ones (UUIDv7) and ones derived from an input (UUIDv8). No clock and no
//! source of randomness: both are handed in.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::hash::Hasher128;

/// Makes rising UUIDv7s: milliseconds, a 12-bit counter (RFC 9562, method 1), 62 random bits.
/// When the counter is used up or the clock falls back, the milliseconds run ahead of the clock.
#[derive(Debug, Default)]
pub struct Sequence {
    /// Milliseconds and counter of the last one: 48 + 12 bits.
    last: AtomicU64,
}

impl Sequence {
    /// A sequence that has made no id yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: AtomicU64::new(0) }
    }

    /// The next id, 36 characters, greater than every one before it. Of `random` 62 bits count.
    #[must_use]
    pub fn next(&self, now_ms: u64, random: u64) -> String {
        let at_least = (now_ms & 0xffff_ffff_ffff) << 12;
        // Relaxed: the ids order themselves, nothing else is published with them.
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            Some(at_least.max(last + 1))
        });
        let place = at_least.max(last.unwrap_or_else(|last| last) + 1);
        let high = (place >> 12) << 16 | place & 0xfff;
        text(u128::from(high) << 64 | u128::from(random), 7)
    }
}

/// A fresh UUIDv7 as text, greater than every one that this process has made here before.
#[must_use]
pub fn new_id(now_ms: u64, random: u64) -> String {
    static PROCESS: Sequence = Sequence::new();
    PROCESS.next(now_ms, random)
}

/// The id of what a step emits, a function of the delivery it settles: repeated work makes the
/// same event again, which the bus then recognises. Of several inputs the lowest position counts.
///
/// `generation` counts the group's replays; `ordinal` counts outputs of one type within a step.
/// The result is a UUIDv8 as text.
#[must_use]
pub fn derived(
    log_id: u128,
    topic: u32,
    offset: u64,
    group: u32,
    generation: u32,
    output_type: &str,
    ordinal: u32,
) -> String {
    let numbers = [topic.into(), offset, group.into(), generation.into(), ordinal.into()];
    text(Hasher128::new(log_id).derived(numbers, output_type), 8)
}

/// A UUID's text, with version and variant set.
fn text(bits: u128, version: u128) -> String {
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | version << 76 | 0b10 << 62;
    let mut out = [b'-'; 36];
    let mut shift = 128;
    for (i, place) in out.iter_mut().enumerate() {
        if !matches!(i, 8 | 13 | 18 | 23) {
            shift -= 4;
            let digit = (bits >> shift & 0xf) as u8;
            *place = digit + if digit < 10 { b'0' } else { b'a' - 10 };
        }
    }
    std::str::from_utf8(&out).expect("hex digits and dashes").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_hold_time_counter_and_randomness() {
        let ids = Sequence::new();
        let id = ids.next(0x0123_4567_89ab, u64::MAX);
        assert_eq!(id, "01234567-89ab-7000-bfff-ffffffffffff");
        let id = ids.next(0x0123_4567_89ab, 0);
        assert_eq!(id, "01234567-89ab-7001-8000-000000000000");
    }

    #[test]
    fn fresh_ids_rise_when_the_counter_overflows_and_the_clock_falls_back() {
        let ids = Sequence::new();
        let mut last = ids.next(1_000, u64::MAX);
        for now in std::iter::repeat_n(1_000, 5_000).chain([999, 0, 1_000, 1_003]) {
            let next = ids.next(now, 0);
            assert!(next > last, "{next} after {last}");
            last = next;
        }
        assert!(last.starts_with("00000000-03eb-7"), "follows the clock again: {last}");
    }

    #[test]
    fn fresh_ids_of_many_threads_differ() {
        let made = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..5_000).map(|_| new_id(7, 0)).collect::<Vec<_>>()))
                .collect();
            threads.into_iter().flat_map(|t| t.join().unwrap()).collect::<Vec<_>>()
        });
        let different: std::collections::HashSet<_> = made.iter().collect();
        assert_eq!(different.len(), 20_000);
    }

    #[test]
    fn derived_ids_are_what_they_were() {
        let id = derived(0x0102_0304, 7, 3_310, 2, 0, "inventory.reserved", 0);
        // Computed by another implementation of SipHash, from the layout in the records page.
        assert_eq!(id, "11fc374d-0fac-8d1e-8b0b-0aca0f0d7e05");
    }

    #[test]
    fn derived_ids_depend_on_every_part() {
        let ids = [
            derived(1, 2, 3, 4, 5, "a", 6),
            derived(9, 2, 3, 4, 5, "a", 6),
            derived(1, 9, 3, 4, 5, "a", 6),
            derived(1, 2, 9, 4, 5, "a", 6),
            derived(1, 2, 3, 9, 5, "a", 6),
            derived(1, 2, 3, 4, 9, "a", 6),
            derived(1, 2, 3, 4, 5, "b", 6),
            derived(1, 2, 3, 4, 5, "a", 9),
        ];
        let different: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(different.len(), ids.len());
    }
}
