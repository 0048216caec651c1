//! What a test looks at afterwards: what was published, what is parked or held, the log itself.

use std::fmt::Write as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use serde::de::DeserializeOwned;

use super::stage::Stage;
use crate::link::{DeadInfo, GroupInfo, Log as _, LogRead, Range};
use crate::{StoredEvent, Timeline, TypedEvent};

const READ_BYTES: usize = 1 << 20;

impl Stage {
    pub(super) fn read(&self, range: Range) -> Vec<StoredEvent> {
        let mut reader = self.link.read(range);
        let mut all = Vec::new();
        loop {
            let page = self.link.next_page(&mut reader).expect("a log in memory can be read");
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    /// What programs have published, in the order of the log.
    pub(super) fn events(&self) -> Vec<StoredEvent> {
        let topics = self.engine.topics().try_get().and_then(Result::ok).unwrap_or_default();
        let of_programs = topics.iter().filter(|it| !it.name.starts_with("quadrille."));
        let whole = |topic| Range::Topic { topic, from: 0, to: u64::MAX };
        let mut all: Vec<_> = of_programs.flat_map(|it| self.read(whole(it.id))).collect();
        all.sort_by_key(|it| it.position);
        all
    }

    pub(super) fn published<E: TypedEvent + DeserializeOwned>(&self) -> Vec<E> {
        let Ok(topic) = self.engine.topic(E::TOPIC) else { return Vec::new() };
        let all = self.read(Range::Topic { topic, from: 0, to: u64::MAX });
        let of_type = all.iter().filter(|it| it.event().ty == E::TYPE);
        let read = of_type.map(|it| {
            let (position, event) = (it.position, it.event());
            event.json().unwrap_or_else(|why| {
                let data = String::from_utf8_lossy(event.data);
                panic!("{} at {position} cannot be read: {why}\n  its data: {data}", E::TYPE)
            })
        });
        read.collect()
    }

    pub(super) fn timeline(&self, saga: &str) -> Timeline {
        let mut asked = pin!(self.bus.timeline(saga));
        match asked.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(timeline) => timeline.expect("a log in memory can be read"),
            Poll::Pending => panic!("a bus without threads answers at once"),
        }
    }

    pub(super) fn groups(&self) -> Vec<GroupInfo> {
        self.engine.info().try_get().and_then(Result::ok).map(|it| it.groups).unwrap_or_default()
    }

    /// What waits for somebody to resolve it.
    pub(super) fn parked_in(&self, group: u32) -> Vec<DeadInfo> {
        let dead = self.engine.dead_letters(group).try_get().and_then(Result::ok);
        let mut dead = dead.unwrap_or_default();
        dead.retain(|it| it.superseded_by.is_none());
        dead
    }

    /// A line for each event that is parked in a group for which it is not allowed, and its saga.
    pub(super) fn parked(&self, allowed: impl Fn(&str) -> bool) -> Vec<(String, String)> {
        let groups = self.groups().into_iter().filter(|it| !allowed(&it.name));
        let lines = groups.flat_map(|group| {
            let dead = self.parked_in(group.id);
            dead.into_iter().map(move |it| {
                let (place, story) = (it.event.at, &it.parked);
                let mut line = format!(
                    "  {}: {} ({place} of {}) after {} attempts: {}",
                    group.name, story.event_type, story.saga, story.attempts, story.reason
                );
                if it.behind > 0 {
                    // Writing to a string cannot fail.
                    let _ = write!(line, "; behind it: {}", it.behind);
                }
                (line, story.saga.clone())
            })
        });
        lines.collect()
    }

    /// A line for each event that is held.
    pub(super) fn held(&self) -> Vec<String> {
        let lines = self.groups().into_iter().flat_map(|group| {
            let held = self.engine.held(group.id).try_get().and_then(Result::ok);
            let held = held.unwrap_or_default().into_iter();
            held.map(move |it| {
                let stored = self.event(it.event);
                let ty = stored.map(|it| it.event().ty.to_owned()).unwrap_or_default();
                let at = it.event.at;
                format!(
                    "  {} holds {ty} ({at}), {} attempts: {}",
                    group.name, it.attempts, it.reason
                )
            })
        });
        lines.collect()
    }

    /// All of the log, as it is.
    pub(super) fn trace(&self) -> Vec<u8> {
        let (mut trace, mut next) = (Vec::new(), 1);
        while let Ok(LogRead::Entries(entries)) = self.log.read(next, READ_BYTES) {
            for entry in entries {
                trace.extend(entry.number.to_be_bytes());
                trace.extend(entry.time.to_be_bytes());
                trace.extend(&entry.payload);
                next = entry.number + 1;
            }
        }
        trace
    }
}
