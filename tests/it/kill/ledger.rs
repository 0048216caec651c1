//! What a victim was told, over all its lives, and what follows from it. The facts are described
//! where they are written, in `tests/src/bin/victim/load.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Books of one data directory.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Of each topic: what is where, as anybody has ever seen it.
    seen: BTreeMap<String, BTreeMap<u64, String>>,
    places: HashMap<(String, String), u64>,
    /// Receipts: topic, id, offset.
    published: Vec<(String, String, u64)>,
    delivered: HashMap<String, BTreeSet<String>>,
    committed: BTreeSet<String>,
    /// Of each event that failed: attempts so far that the bus has confirmed, and when it is due.
    retried: HashMap<String, (u32, u64)>,
    attempts: HashMap<String, u32>,
    parked: BTreeSet<String>,
    maybe_skipped: BTreeSet<String>,
    skipped: BTreeSet<String>,
    armed: BTreeMap<String, u64>,
    /// Of this life: the last offset of each lane, and what is listed as dead.
    lanes: HashMap<String, u64>,
    listed: BTreeSet<String>,
    /// What was parked when this life began, and nobody has touched.
    expected: BTreeSet<String>,
    /// Lanes as far as they are known: saga to offsets.
    sagas: HashMap<String, BTreeSet<u64>>,
}

/// The topic that a group reads.
fn topic_of(group: &str) -> &'static str {
    match group {
        "work" => "orders",
        "audit" => "journal",
        _ => "out",
    }
}

impl Ledger {
    pub(crate) fn begin_life(&mut self) {
        self.lanes.clear();
        self.listed.clear();
        self.expected = self.parked.difference(&self.maybe_skipped).cloned().collect();
    }

    pub(crate) fn events(&self) -> usize {
        self.published.len()
    }

    /// How much of each kind there was: what a test that proves something must have met.
    pub(crate) fn counts(&self) -> [usize; 5] {
        let [steps, retries] = [self.committed.len(), self.retried.len()];
        [steps, retries, self.parked.len(), self.skipped.len(), self.armed.len()]
    }

    /// Takes down one line; panics if it contradicts what was known.
    pub(crate) fn take(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        let number = |text: &str| text.parse::<u64>().unwrap();
        match words[..] {
            ["P", topic, id, offset] => {
                let offset = number(offset);
                self.see(topic, offset, id);
                self.published.push((topic.into(), id.into(), offset));
            }
            ["D", group, saga, offset, id, attempt, wall] => {
                self.see(topic_of(group), number(offset), id);
                self.delivered.entry(group.into()).or_default().insert(id.into());
                if group == "work" {
                    self.worked(saga, number(offset), id, number(attempt), number(wall));
                }
            }
            ["C", id] => drop(self.committed.insert(id.into())),
            ["R", id, attempt, due] => {
                let attempt = u32::try_from(number(attempt)).unwrap();
                self.retried.insert(id.into(), (attempt, number(due)));
            }
            ["K", id] => drop(self.parked.insert(id.into())),
            ["T", id, due] => drop(self.armed.insert(id.into(), number(due))),
            ["L", id] => drop(self.listed.insert(id.into())),
            ["E"] => self.check_listed(),
            ["v", id] => drop(self.maybe_skipped.insert(id.into())),
            ["V", id] => drop(self.skipped.insert(id.into())),
            ["opening" | "opened"] => {}
            _ => panic!("the victim says: {line}"),
        }
    }

    fn see(&mut self, topic: &str, offset: u64, id: &str) {
        let there = self.seen.entry(topic.into()).or_default().entry(offset);
        let there = there.or_insert_with(|| id.to_owned());
        assert_eq!(there, id, "offset {offset} of {topic} is used twice");
        let place = *self.places.entry((topic.into(), id.into())).or_insert(offset);
        assert_eq!(place, offset, "{id} is twice in {topic}");
    }

    fn worked(&mut self, saga: &str, offset: u64, id: &str, attempt: u64, wall: u64) {
        assert!(!self.committed.contains(id), "{id} comes again although its step is done");
        assert!(!self.skipped.contains(id), "{id} comes again although it was skipped");
        assert!(!self.parked.contains(id), "{id} comes again although it is parked");
        let attempt = u32::try_from(attempt).unwrap();
        let (confirmed, due) = self.retried.get(id).copied().unwrap_or_default();
        assert!(attempt > confirmed, "{id}: attempt {attempt} after {confirmed} were counted");
        assert!(wall + 1 >= due || attempt > confirmed + 1, "{id} at {wall}, held until {due}");
        let last = self.attempts.insert(id.to_owned(), attempt);
        let may_be = last.map_or(1..=1, |last| last..=last + 1);
        assert!(may_be.contains(&attempt), "{id}: attempt {attempt} after {last:?}");
        self.sagas.entry(saga.into()).or_default().insert(offset);
        let before = self.lanes.insert(saga.to_owned(), offset);
        assert!(before.is_none_or(|it| it <= offset), "{saga}: {offset} after {before:?}");
    }

    /// Nothing parked is forgotten, and nothing skipped comes back.
    fn check_listed(&self) {
        for id in &self.expected {
            assert!(self.listed.contains(id), "{id} is parked, and not listed");
        }
        for id in &self.skipped {
            assert!(!self.listed.contains(id), "{id} was skipped, and is listed");
        }
    }

    /// What is in a topic now, from its first kept event on.
    pub(crate) fn check_topic(&mut self, topic: &str, kept: &[(u64, String)]) {
        for (offset, id) in kept {
            self.see(topic, *offset, id);
        }
        let first = kept.first().map_or(u64::MAX, |it| it.0);
        let dense = (first..).zip(kept).all(|(n, it)| n == it.0);
        assert!(dense, "{topic} has holes");
        let next = kept.last().map_or(u64::MAX, |it| it.0 + 1);
        for (of, id, offset) in self.published.iter().filter(|it| it.0 == topic) {
            let there = (first..next).contains(offset);
            let done = || {
                let group = ["work", "audit", "keep"].into_iter().find(|it| topic_of(it) == of);
                self.delivered[group.unwrap()].contains(id)
            };
            assert!(there || *offset < first && done(), "{id} at {offset} of {of} is lost");
        }
    }

    /// Outputs of a step are all there or none, and all of one that was confirmed.
    pub(crate) fn check_steps(&self) {
        let there = |topic: &str, id: String| self.places.contains_key(&(topic.to_owned(), id));
        for id in &self.committed {
            assert!(there("out", format!("{id}/0")), "{id} is done, its first output is not there");
        }
        for (topic, output) in self.places.keys() {
            if let Some((id, "0" | "1")) = output.split_once('/') {
                let [one, two] =
                    [there("out", format!("{id}/0")), there("journal", format!("{id}/1"))];
                assert!(one && two, "half a step: {output} in {topic}");
            }
        }
    }

    /// Every event of the orders has been handed out, and every lane in order without a hole.
    pub(crate) fn check_drained(&self) {
        for (_, id, offset) in self.published.iter().filter(|it| it.0 == "orders") {
            assert!(self.delivered["work"].contains(id), "{id} at {offset} never came");
        }
        for (id, due) in &self.armed {
            assert!(
                self.places.contains_key(&("out".to_owned(), id.clone())),
                "{id}, due at {due}, never fired"
            );
        }
    }
}
