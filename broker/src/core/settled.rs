//! Which offsets of a topic a group has settled: a floor, and islands above it.
//! Nothing here knows why.

use std::collections::BTreeMap;

/// A set of offsets that is dense at its lower end.
///
/// ```text
/// 0 ........ floor      start..end   start..end
/// ███████████│          ████         ██          █ = in the set
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    floor: u64,
    islands: BTreeMap<u64, u64>,
    above: u64,
}

impl Settled {
    /// Everything below `floor`.
    pub fn below(floor: u64) -> Self {
        Self { floor, ..Self::default() }
    }

    /// Everything below this is in the set.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Whether `offset` is in the set.
    pub fn contains(&self, offset: u64) -> bool {
        offset < self.floor || self.end_of_island(offset).is_some()
    }

    /// How many islands there are above the floor.
    pub fn islands(&self) -> usize {
        self.islands.len()
    }

    /// The islands above the floor, `start..end`, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.islands.iter().map(|(start, end)| (*start, *end))
    }

    /// How many offsets above the floor are in the set.
    pub fn above(&self) -> u64 {
        self.above
    }

    /// One past the highest offset in the set.
    pub fn end(&self) -> u64 {
        self.islands.last_key_value().map_or(self.floor, |(_, end)| *end)
    }

    /// The first offset at or after `offset` that is not in the set.
    pub fn next_missing(&self, offset: u64) -> u64 {
        let offset = offset.max(self.floor);
        self.end_of_island(offset).unwrap_or(offset)
    }

    /// Adds `from..to`.
    pub fn insert(&mut self, from: u64, to: u64) {
        if from <= self.floor {
            return self.raise(to);
        }
        if from >= to {
            return;
        }
        let (mut start, mut end) = (from, to);
        if let Some((&s, &e)) = self.islands.range(..=from).next_back()
            && e >= from
        {
            if e >= to {
                return;
            }
            self.remove(s, e);
            start = s;
        }
        while let Some((&s, &e)) = self.islands.range(start..=end).next() {
            self.remove(s, e);
            end = end.max(e);
        }
        self.islands.insert(start, end);
        self.above += end - start;
    }

    /// Adds everything below `floor`.
    pub fn raise(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        while let Some((&s, &e)) = self.islands.first_key_value() {
            if s > self.floor {
                break;
            }
            self.remove(s, e);
            self.floor = self.floor.max(e);
        }
    }

    fn remove(&mut self, start: u64, end: u64) {
        self.islands.remove(&start);
        self.above -= end - start;
    }

    fn end_of_island(&self, offset: u64) -> Option<u64> {
        let (_, end) = self.islands.range(..=offset).next_back()?;
        (*end > offset).then_some(*end)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(ops in prop::collection::vec((0u64..80, 0u64..12, any::<bool>()), 1..60)) {
            let mut it = Settled::below(3);
            let mut model: BTreeSet<u64> = (0..3).collect();
            for (from, len, raise) in ops {
                if raise && from < 20 {
                    it.raise(from);
                    model.extend(0..from);
                } else {
                    it.insert(from, from + len);
                    model.extend(from..from + len);
                }
                let floor = (0..).find(|o| !model.contains(o)).unwrap();
                prop_assert_eq!(it.floor(), floor);
                prop_assert_eq!(it.above(), model.range(floor..).count() as u64);
                for offset in 0..100 {
                    prop_assert_eq!(it.contains(offset), model.contains(&offset));
                    let next = (offset..).find(|o| !model.contains(o)).unwrap();
                    prop_assert_eq!(it.next_missing(offset), next);
                }
            }
        }
    }
}
