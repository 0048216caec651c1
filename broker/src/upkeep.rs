//! What of the log may go, and who is in the way: a pure function from what is known to a plan.
//! Carrying it out is the engine's.

use std::collections::BTreeMap;

use quadrille_proto::record::{OffsetRange, Retention};

use crate::core::types::{GroupId, TopicId};
use crate::sidecar::TopicStats;

/// One segment of the log.
#[derive(Clone, Debug)]
pub struct Segment<'a> {
    /// Its first entry.
    pub first: u64,
    /// The first entry behind it; `None` for the active segment, which never goes.
    pub end: Option<u64>,
    /// What it takes on the disk.
    pub bytes: u64,
    /// What it holds of each topic.
    pub topics: &'a [TopicStats],
}

/// A topic and what its events may do. Events of a topic that is not listed (deleted) may go.
#[derive(Clone, Debug)]
pub struct Topic {
    /// The topic.
    pub topic: TopicId,
    /// Its retention. An event may go if any of its rules says so.
    pub retention: Retention,
    /// Every group has settled what is below this offset; the next offset if there is no group.
    pub settled: u64,
}

/// From where on a pin holds the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Events of a topic from this offset on.
    Offset(TopicId, u64),
    /// Entries from this one on.
    Entry(u64),
}

/// A reason why events must stay.
#[derive(Clone, Debug)]
pub struct Pin {
    /// For people: `group payment`, `dead letter #3310 of payment`, `timer 7`, `backup`.
    pub what: String,
    /// From where on.
    pub from: Place,
    /// Held by a group: its topic's `unsettled_at_most` ends it, and the group gets a record. If it
    /// holds entries, it ends where that has passed for all events of a segment.
    pub group: Option<GroupId>,
}

/// All that a plan depends on.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// All segments, oldest first, the active one last.
    pub segments: &'a [Segment<'a>],
    /// All topics.
    pub topics: &'a [Topic],
    /// All pins: one per group and topic with its first unsettled offset, and every other.
    pub pins: &'a [Pin],
    /// The first entry that the checkpoints need.
    pub keep_from: u64,
    /// The wall clock, ms since 1970.
    pub now: u64,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Trim the log before this entry; `None`: nothing may go.
    pub trim_before: Option<u64>,
    /// Bytes that this gives back.
    pub frees: u64,
    /// Topics whose first offset moves, from where and to where (record `TopicTrimmed`).
    pub trimmed: Vec<OffsetRange>,
    /// Groups that lose unsettled events to `unsettled_at_most`, and where (record `Truncated`). The
    /// ranges may hold settled events, and (for pins on entries) topics that the group does not read.
    pub truncated: Vec<(GroupId, Vec<OffsetRange>)>,
    /// Who is in the way of retention, worst first.
    pub blocked: Vec<Blocker>,
}

/// A pin without which, and without later ones, more could go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// Its name.
    pub what: String,
    /// Bytes that retention would give back.
    pub bytes: u64,
    /// Broker time, ms since 1970, of the oldest event in the pinned segment that it may be about.
    pub since: u64,
}

/// What may go now: whole segments, from the front of the log, nothing that is pinned.
#[must_use]
pub fn plan(input: &Input<'_>) -> Plan {
    let ripe = ripe(input);
    let holds = holds(input);
    let going = holds.iter().map(|hold| hold.segment).min().map_or(ripe, |first| first.min(ripe));
    let (gone, left) = input.segments.split_at(going);
    let moves = moves(gone, left);
    Plan {
        trim_before: gone.last().and_then(|segment| segment.end),
        frees: gone.iter().map(|segment| segment.bytes).sum(),
        truncated: truncated(input.pins, gone, &moves),
        trimmed: moves.into_values().map(|it| it.range).collect(),
        blocked: blocked(input.segments, ripe, holds),
    }
}

/// A pin, and the first segment that it holds.
struct Hold {
    what: String,
    segment: usize,
    since: u64,
}

/// How many segments from the front retention would let go if nothing were pinned or unsettled.
fn ripe(input: &Input<'_>) -> usize {
    let mut left: BTreeMap<TopicId, (u64, u64)> = BTreeMap::new();
    for part in input.segments.iter().flat_map(|segment| segment.topics) {
        let left = left.entry(part.topic).or_default();
        *left = (left.0 + part.bytes, left.1 + part.count);
    }
    let may_go = |segment: &&Segment<'_>| {
        segment.end.is_some()
            && segment.topics.iter().all(|part| {
                let left = left.entry(part.topic).or_default();
                *left = (left.0.saturating_sub(part.bytes), left.1.saturating_sub(part.count));
                let topic = input.topics.iter().find(|topic| topic.topic == part.topic);
                topic.is_none_or(|topic| lets_go(&topic.retention, part, *left, input.now))
            })
    };
    input.segments.iter().take_while(may_go).count()
}

/// Whether some rule lets all these events go, once they are settled; `left` are the bytes and the
/// number of the topic's later events.
fn lets_go(rule: &Retention, part: &TopicStats, left: (u64, u64), now: u64) -> bool {
    rule.age_ms > 0 && old(part, rule.age_ms, now)
        || rule.bytes > 0 && left.0 >= rule.bytes
        || rule.count > 0 && left.1 >= rule.count
        || old(part, rule.settled_min_age_ms, now)
}

/// Whether the newest of these events has that age.
fn old(part: &TopicStats, age_ms: u64, now: u64) -> bool {
    part.last_time.saturating_add(age_ms) <= now
}

fn holds(input: &Input<'_>) -> Vec<Hold> {
    let checkpoints =
        Pin { what: "checkpoints".into(), from: Place::Entry(input.keep_from), group: None };
    let pins = input.pins.iter().cloned().chain([checkpoints]);
    let mut holds: Vec<_> = pins.filter_map(|pin| hold(input, pin)).collect();
    for topic in input.topics {
        let from = Place::Offset(topic.topic, topic.settled);
        let what = format!("unsettled events of topic {}", topic.topic);
        let any_group = Some(GroupId::MAX);
        let hold = hold(input, Pin { what, from, group: any_group });
        // Whoever has not settled them has a pin of its own, and that tells more.
        holds.extend(hold.filter(|hold| holds.iter().all(|other| other.segment > hold.segment)));
    }
    holds
}

/// Where a pin holds; `None` if there is nothing (any more) that it could hold.
fn hold(input: &Input<'_>, pin: Pin) -> Option<Hold> {
    let alive = |part: &TopicStats| !overdue(input, pin.group, part);
    let held = |segment: &Segment<'_>| match pin.from {
        Place::Entry(entry) => {
            segment.end.is_none_or(|end| end > entry)
                && (pin.group.is_none() || segment.topics.iter().any(alive))
        }
        Place::Offset(topic, offset) => segment
            .topics
            .iter()
            .any(|part| part.topic == topic && part.next > offset && alive(part)),
    };
    let number = input.segments.iter().position(held)?;
    let about = |part: &&TopicStats| match pin.from {
        Place::Entry(_) => true,
        Place::Offset(topic, _) => part.topic == topic,
    };
    let parts = input.segments.get(number)?.topics.iter().filter(about);
    let since = parts.map(|part| part.first_time).min().unwrap_or(0);
    Some(Hold { what: pin.what, segment: number, since })
}

/// Whether a group's right to these events has ended.
fn overdue(input: &Input<'_>, group: Option<GroupId>, part: &TopicStats) -> bool {
    let topic = input.topics.iter().find(|topic| topic.topic == part.topic);
    let limit = topic.map_or(0, |topic| topic.retention.unsettled_at_most_ms);
    group.is_some() && limit > 0 && old(part, limit, input.now)
}

/// A topic that loses events.
struct Move {
    /// Its first offset, from where to where.
    range: OffsetRange,
    /// The offset behind the last event that goes.
    gone: u64,
}

fn moves(gone: &[Segment<'_>], left: &[Segment<'_>]) -> BTreeMap<TopicId, Move> {
    let mut moves: BTreeMap<TopicId, Move> = BTreeMap::new();
    for part in gone.iter().flat_map(|segment| segment.topics) {
        let range = OffsetRange { topic: part.topic, from: part.first, to: part.next };
        let it = moves.entry(part.topic).or_insert(Move { range, gone: part.next });
        (it.range.to, it.gone) = (part.next, part.next);
    }
    // From the back, so that the first that is left is the last that is said.
    for part in left.iter().rev().flat_map(|segment| segment.topics) {
        if let Some(it) = moves.get_mut(&part.topic) {
            it.range.to = part.first;
        }
    }
    moves
}

fn truncated(
    pins: &[Pin],
    gone: &[Segment<'_>],
    moves: &BTreeMap<TopicId, Move>,
) -> Vec<(GroupId, Vec<OffsetRange>)> {
    let mut lost: BTreeMap<GroupId, BTreeMap<TopicId, OffsetRange>> = BTreeMap::new();
    for pin in pins {
        let Some(group) = pin.group else { continue };
        // What a place in the log may be about: all that is gone from its segment on.
        let from: Vec<_> = match pin.from {
            Place::Offset(topic, offset) => vec![(topic, offset)],
            Place::Entry(entry) => {
                let behind = gone.iter().filter(|s| s.end.is_some_and(|end| end > entry));
                behind.flat_map(|s| s.topics).map(|part| (part.topic, part.first)).collect()
            }
        };
        for (topic, offset) in from {
            let Some(it) = moves.get(&topic).filter(|it| offset < it.gone) else { continue };
            let from = offset.max(it.range.from);
            let range = OffsetRange { topic, from, to: it.gone };
            let lost = lost.entry(group).or_default().entry(topic).or_insert(range);
            lost.from = lost.from.min(from);
        }
    }
    lost.into_iter().map(|(group, ranges)| (group, ranges.into_values().collect())).collect()
}

fn blocked(segments: &[Segment<'_>], ripe: usize, holds: Vec<Hold>) -> Vec<Blocker> {
    let mut out: Vec<Blocker> = Vec::new();
    for Hold { what, segment, since } in holds {
        let ripe = segments.iter().take(ripe).skip(segment);
        let bytes: u64 = ripe.map(|segment| segment.bytes).sum();
        match out.iter_mut().find(|blocker| blocker.what == what) {
            _ if bytes == 0 => {}
            Some(known) => {
                known.bytes = known.bytes.max(bytes);
                known.since = known.since.min(since);
            }
            None => out.push(Blocker { what, bytes, since }),
        }
    }
    out.sort_by_key(|blocker| std::cmp::Reverse(blocker.bytes));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600 * 1000;
    const NEVER: u64 = u64::MAX;

    /// Ten events of topic 1 of 100 bytes each in each of four segments, whose last event is of day
    /// 1, 2, 3; the active one of day 4. Topic 2 has two events, in the second segment.
    fn parts() -> Vec<Vec<TopicStats>> {
        let part = |topic, first: u64, count: u64, day: u64| TopicStats {
            topic,
            first,
            next: first + count,
            count,
            bytes: 100 * count,
            first_time: (day - 1) * DAY,
            last_time: day * DAY,
        };
        vec![
            vec![part(1, 0, 10, 1)],
            vec![part(1, 10, 10, 2), part(2, 0, 2, 2)],
            vec![part(1, 20, 10, 3)],
            vec![part(1, 30, 10, 4)],
        ]
    }

    fn retention(change: impl FnOnce(&mut Retention)) -> Retention {
        let mut retention = Retention { settled_min_age_ms: NEVER, ..Retention::default() };
        change(&mut retention);
        retention
    }

    struct Case {
        /// What is told when the case fails.
        name: &'static str,
        retention: Retention,
        settled: u64,
        pins: Vec<Pin>,
        keep_from: u64,
        day: u64,
        /// How many segments go; what is in the way, with its bytes in segments.
        goes: usize,
        blocked: Vec<(&'static str, u64)>,
        truncated: Vec<(GroupId, Vec<OffsetRange>)>,
    }

    fn case(name: &'static str, goes: usize) -> Case {
        Case {
            name,
            retention: retention(|r| r.settled_min_age_ms = 7 * DAY),
            settled: 40,
            pins: vec![],
            keep_from: 1000,
            day: 9,
            goes,
            blocked: vec![],
            truncated: vec![],
        }
    }

    fn run(case: &Case) -> Plan {
        let parts = parts();
        let segments: Vec<_> = (1u64..)
            .zip(&parts)
            .map(|(number, topics)| Segment {
                first: number * 100,
                end: (number < 4).then_some((number + 1) * 100),
                bytes: 1 << 20,
                topics,
            })
            .collect();
        let keeps = Topic { topic: 1, retention: case.retention, settled: case.settled };
        let goes = Topic { topic: 2, retention: retention(|r| r.age_ms = 1), settled: 2 };
        plan(&Input {
            segments: &segments,
            topics: &[keeps, goes],
            pins: &case.pins,
            keep_from: case.keep_from,
            now: case.day * DAY,
        })
    }

    fn pin(what: &str, from: Place, group: Option<GroupId>) -> Pin {
        Pin { what: what.into(), from, group }
    }

    fn range(from: u64, to: u64) -> OffsetRange {
        OffsetRange { topic: 1, from, to }
    }

    fn check(cases: Vec<Case>) {
        for case in cases {
            let plan = run(&case);
            let end = [None, Some(200), Some(300), Some(400)];
            assert_eq!(plan.trim_before, end[case.goes], "{}", case.name);
            assert_eq!(plan.frees, (case.goes as u64) << 20, "{}", case.name);
            let mut trimmed = vec![];
            if case.goes > 0 {
                trimmed.push(range(0, case.goes as u64 * 10));
            }
            if case.goes > 1 {
                trimmed.push(OffsetRange { topic: 2, from: 0, to: 2 });
            }
            assert_eq!(plan.trimmed, trimmed, "{}", case.name);
            let blocked: Vec<_> =
                plan.blocked.iter().map(|b| (b.what.as_str(), b.bytes >> 20)).collect();
            assert_eq!(blocked, case.blocked, "{}", case.name);
            assert_eq!(plan.truncated, case.truncated, "{}", case.name);
        }
    }

    #[test]
    fn retention_lets_whole_segments_go_from_the_front() {
        let with = |change: fn(&mut Retention)| retention(change);
        check(vec![
            Case { day: 7, ..case("nothing is 7 days old", 0) },
            Case { day: 8, ..case("exactly 7 days are enough", 1) },
            case("9 - 7 = 2", 2),
            Case { day: 1000, ..case("the active segment stays for ever", 3) },
            Case { retention: with(|_| ()), ..case("no rule", 0) },
            Case { retention: with(|r| r.age_ms = 6 * DAY), ..case("age", 3) },
            Case { retention: with(|r| r.bytes = 2000), ..case("2,000 newer bytes", 2) },
            Case { retention: with(|r| r.bytes = 2001), ..case("2,001 newer bytes", 1) },
            Case { retention: with(|r| r.count = 10), ..case("10 newer events", 3) },
            Case { retention: with(|r| r.count = 31), ..case("31 newer events", 0) },
            Case {
                retention: with(|r| (r.count, r.age_ms) = (30, 7 * DAY)),
                ..case("any rule is enough", 2)
            },
            Case { day: 0, ..case("a clock that jumped back", 0) },
        ]);
    }

    #[test]
    fn nothing_pinned_goes_and_who_pins_most_is_told_first() {
        let group = |offset| pin("group a", Place::Offset(1, offset), Some(5));
        check(vec![
            Case {
                settled: 15,
                blocked: vec![("unsettled events of topic 1", 1)],
                ..case("not settled by all", 1)
            },
            Case {
                settled: 9,
                pins: vec![group(9)],
                blocked: vec![("group a", 2)],
                ..case("a group has not settled the last event", 0)
            },
            Case { settled: 40, pins: vec![group(40)], ..case("a group that has settled all", 2) },
            Case {
                pins: vec![group(25)],
                ..case("a pin behind what may go is in nobody's way", 2)
            },
            Case {
                pins: vec![
                    pin("timer 7", Place::Entry(299), None),
                    pin("dead letter", Place::Offset(2, 1), Some(5)),
                    pin("backup", Place::Entry(1), None),
                    group(12),
                    group(3),
                ],
                blocked: vec![("backup", 2), ("group a", 2), ("timer 7", 1), ("dead letter", 1)],
                ..case("many", 0)
            },
            Case { pins: vec![pin("timer 7", Place::Entry(300), None)], ..case("behind", 2) },
            Case { keep_from: 200, blocked: vec![("checkpoints", 1)], ..case("checkpoints", 1) },
            Case { keep_from: 0, blocked: vec![("checkpoints", 2)], ..case("too few", 0) },
        ]);
    }

    #[test]
    fn unsettled_at_most_ends_a_groups_pin_and_nobody_elses() {
        let limited = |days: u64| {
            retention(|r| (r.settled_min_age_ms, r.unsettled_at_most_ms) = (DAY, days * DAY))
        };
        let group = pin("group a", Place::Offset(1, 4), Some(5));
        let letter = pin("dead letter", Place::Offset(1, 2), Some(5));
        let other = pin("group b", Place::Offset(1, 15), Some(6));
        let done = pin("group c", Place::Offset(1, 20), Some(7));
        check(vec![
            Case {
                retention: limited(7),
                settled: 4,
                pins: vec![group.clone(), letter, other, done],
                blocked: vec![("group a", 1), ("dead letter", 1), ("group b", 1), ("group c", 1)],
                truncated: vec![(5, vec![range(2, 20)]), (6, vec![range(15, 20)])],
                ..case("two days are overdue, the third is not", 2)
            },
            Case {
                retention: limited(8),
                settled: 4,
                pins: vec![group.clone()],
                blocked: vec![("group a", 2)],
                truncated: vec![(5, vec![range(4, 10)])],
                ..case("one day is", 1)
            },
            Case {
                retention: limited(8),
                pins: vec![pin("lanes", Place::Entry(150), Some(5))],
                blocked: vec![("lanes", 2)],
                truncated: vec![(5, vec![range(0, 10)])],
                ..case("a group that holds entries", 1)
            },
            Case {
                retention: limited(7),
                pins: vec![pin("lanes", Place::Entry(150), Some(5))],
                blocked: vec![("lanes", 2)],
                truncated: vec![(5, vec![range(0, 10)])],
                ..case("it stays where an event of another topic has no limit", 1)
            },
            Case {
                retention: retention(|r| r.unsettled_at_most_ms = DAY),
                settled: 4,
                pins: vec![group.clone()],
                ..case("it is no rule that lets events go", 0)
            },
            Case {
                retention: limited(7),
                settled: 40,
                pins: vec![pin("backup", Place::Offset(1, 4), None)],
                blocked: vec![("backup", 3)],
                ..case("a backup is no group", 0)
            },
        ]);
    }

    #[test]
    fn since_is_the_time_of_what_is_pinned() {
        let at = |from| Case { pins: vec![pin("p", from, None)], ..case("since", 0) };
        let since = |from| run(&at(from)).blocked.first().map(|blocker| blocker.since);
        assert_eq!(since(Place::Offset(1, 12)), Some(DAY));
        assert_eq!(since(Place::Entry(120)), Some(0));
    }

    #[test]
    fn a_group_that_lags_behind_the_front_loses_only_what_is_there() {
        let parts = parts();
        let segment = |end, topics| Segment { first: 1, end, bytes: 7, topics };
        let segments = [segment(Some(5), &parts[1][..1]), segment(None, &[])];
        let retention = retention(|r| (r.age_ms, r.unsettled_at_most_ms) = (1, 1));
        let topics = [Topic { topic: 1, retention, settled: 4 }];
        let pins = [pin("group a", Place::Offset(1, 4), Some(5))];
        let input =
            Input { segments: &segments, topics: &topics, pins: &pins, keep_from: 9, now: 9 * DAY };
        assert_eq!(plan(&input).truncated, [(5, vec![range(10, 20)])]);
    }

    #[test]
    fn a_deleted_topic_holds_nothing_and_an_empty_log_plans_nothing() {
        let parts = parts();
        let segment = |end, topics| Segment { first: 1, end, bytes: 7, topics };
        let segments = [segment(Some(5), &parts[0][..]), segment(None, &[])];
        let input = Input { segments: &segments, topics: &[], pins: &[], keep_from: 9, now: 0 };
        assert_eq!(plan(&input).trim_before, Some(5));
        assert_eq!(plan(&input).trimmed, [range(0, 10)]);
        assert_eq!(plan(&Input { segments: &[], ..input }), Plan::default());
    }
}
