//! From what the link speaks to the timeline.

use std::collections::BTreeMap;
use std::time::Duration;

use quadrille_proto::EventView;
use quadrille_proto::record::{HoldClass, ParkClass};

use super::{
    Blocker, Count, EventState, GroupState, HoldCause, ParkCause, SagaStatus, Timeline,
    TimelineEvent, WaitsFor,
};
use crate::Position;
use crate::link::{
    Behind, DeadRow, Exact, Histories, Idle, Look, OddRow, SagaEvent, Wait, Whereabouts,
};

/// The bus's own events only say again what the tree shows.
const RESERVED: &str = "quadrille.";

impl Timeline {
    /// `events` are those that the look has seen.
    pub(crate) fn new(
        saga: &str,
        events: &[SagaEvent],
        more: bool,
        look: &Look,
        known: Option<&Exact<Histories>>,
    ) -> Self {
        let seen = (0..look.places.len()).zip(events);
        let seen =
            seen.map(|(index, event)| (TimelineEvent::new(event, index, look, known), event));
        let told = seen.filter(|(it, _)| !it.topic.starts_with(RESERVED));
        let (mut events, raw): (Vec<_>, Vec<_>) = told.unzip();
        find_causes(&mut events, &raw);
        if !more {
            for group in look.groups.iter().filter(|it| it.by_saga) {
                count_behind(&mut events, &group.name);
            }
        }
        Self {
            saga: saga.to_owned(),
            status: SagaStatus::of(&events),
            events,
            more,
            now: look.now.wall,
            exact_to: exact_to(look, known),
            commands: None,
        }
    }
}

/// Up to where an answer is exact: how what is over went is known as far as the index is.
pub(super) fn exact_to(look: &Look, known: Option<&Exact<Histories>>) -> Position {
    let entry = match known {
        Some(it) if !it.whole => look.end.min(it.to),
        _ => look.end,
    };
    Position { entry, index: 0 }
}

impl TimelineEvent {
    /// The event at this index of the look, and of what is known of how it went.
    pub(crate) fn new(
        event: &SagaEvent,
        index: usize,
        look: &Look,
        known: Option<&Exact<Histories>>,
    ) -> Self {
        let view = view(event);
        let at = event.head.event;
        let topic = look.topics.iter().find(|(id, _)| *id == at.topic);
        let by = |id| look.groups.iter().find(|group| group.id == id).map(|it| it.name.clone());
        let rows = known.and_then(|it| it.value.settled.get(index));
        let places = look.places.get(index).into_iter().flatten();
        let groups = look.groups.iter().zip(places).enumerate().map(|(number, (group, place))| {
            let row = rows.and_then(|rows| rows.get(number)).and_then(Option::as_ref);
            let state = match place {
                Whereabouts::Settled => EventState::settled(row, known.is_some_and(|it| it.whole)),
                other => other.into(),
            };
            GroupState { group: group.name.clone(), state }
        });
        let emitted = known.and_then(|it| it.value.emitted.get(index)).copied().flatten();
        let whole = known.is_some_and(|it| it.whole) && event.emitted_by.is_some();
        Self {
            ty: view.ty.to_owned(),
            id: view.id.to_owned(),
            source: view.source.to_owned(),
            topic: topic.map(|(_, name)| name.clone()).unwrap_or_default(),
            offset: at.offset,
            position: at.at.into(),
            time: event.head.time,
            turn: event.head.turn,
            cause: None,
            emitted_by: event.emitted_by.and_then(|(group, _)| by(group)),
            attempt: attempt(emitted.as_ref(), whole),
            groups: groups.filter(|it| it.state != EventState::NotForIt).collect(),
        }
    }
}

/// At which attempt something was done: nothing is on record of the first one.
fn attempt(row: Option<&OddRow>, whole: bool) -> Option<u32> {
    match row {
        Some(row) if row.done_at > 0 => Some(row.done_at),
        // That it is settled is known before it is durable, and so before the index knows.
        Some(row) if row.pending > 0 => Some(row.pending + 1),
        _ => whole.then_some(1),
    }
}

pub(crate) fn view(event: &SagaEvent) -> EventView<'_> {
    // What cannot be parsed is not let into a topic.
    EventView::parse(&event.bytes).unwrap_or_default()
}

/// The newest earlier event of that id; if there is none, the one whose step emitted it.
fn find_causes(events: &mut [TimelineEvent], raw: &[&SagaEvent]) {
    for (index, raw) in raw.iter().enumerate() {
        let (earlier, rest) = events.split_at_mut(index);
        let Some(event) = rest.first_mut() else { return };
        let cause = view(raw).cause;
        let by_id = || earlier.iter().rev().find(|it| it.id == cause).map(|it| it.position);
        let by_step = || {
            let (_, by) = raw.emitted_by?;
            let at = Position::from(by.at);
            earlier.iter().any(|it| it.position == at).then_some(at)
        };
        event.cause = by_id().filter(|_| !cause.is_empty()).or_else(by_step);
    }
}

/// In a group whose lanes are sagas, all that waits behind a parked event is in the timeline.
fn count_behind(events: &mut [TimelineEvent], group: &str) {
    let mut waiting: BTreeMap<Position, usize> = BTreeMap::new();
    let of_group = |it: &TimelineEvent| it.groups.iter().position(|it| it.group == group);
    for event in events.iter() {
        let state = of_group(event).and_then(|index| event.groups.get(index)).map(|it| &it.state);
        if let Some(EventState::Waiting { behind: Some(first), .. }) = state {
            *waiting.entry(first.position).or_default() += 1;
        }
    }
    for event in events {
        let state = of_group(event).and_then(|index| event.groups.get_mut(index));
        if let Some(EventState::Parked { behind: Some(count), .. }) = state.map(|it| &mut it.state)
        {
            let known = waiting.get(&event.position).copied().unwrap_or(0);
            *count = Count { known, more: false };
        }
    }
}

impl From<&Whereabouts> for EventState {
    fn from(it: &Whereabouts) -> Self {
        match it {
            Whereabouts::NotForIt => Self::NotForIt,
            Whereabouts::Settled => Self::Settled { attempt: None },
            Whereabouts::Waiting(wait) => Self::waiting(wait),
            Whereabouts::Out(out) => Self::Out {
                member: out.member.clone(),
                since: Duration::from_millis(out.since_ms),
                started: out.started,
                attempt: out.attempt,
            },
            Whereabouts::Held { until, left_ms, class, reason, attempts, unavailable } => {
                Self::Held {
                    until: *until,
                    left: Duration::from_millis(*left_ms),
                    cause: (*class).into(),
                    reason: reason.clone(),
                    attempts: *attempts,
                    unavailable: *unavailable,
                }
            }
            Whereabouts::Parked { class, reason, attempts, since, behind } => Self::Parked {
                cause: (*class).into(),
                reason: reason.clone(),
                attempts: *attempts,
                since: *since,
                behind: behind.map(Count::from),
            },
            Whereabouts::Superseded { by, attempts, reason, since } => Self::Superseded {
                by: by.at.into(),
                attempts: *attempts,
                reason: reason.clone(),
                since: *since,
            },
        }
    }
}

impl EventState {
    fn settled(row: Option<&(OddRow, Option<DeadRow>)>, whole: bool) -> Self {
        match row {
            Some((row, _)) if row.late => Self::Late,
            Some((row, dead)) if row.skipped => {
                let how = dead.as_ref().and_then(|it| it.resolved.clone()).unwrap_or_default();
                Self::Skipped { by: how.by, comment: how.comment }
            }
            row => Self::Settled { attempt: attempt(row.map(|(row, _)| row), whole) },
        }
    }

    fn waiting(wait: &Wait) -> Self {
        let blocker = |(at, state): &(crate::link::EventRef, Box<Whereabouts>)| {
            Box::new(Blocker { position: at.at.into(), state: Self::from(&**state) })
        };
        Self::Waiting {
            behind: wait.behind.as_ref().map(blocker),
            ahead: wait.ahead.into(),
            seen: wait.seen,
            attempts: wait.attempts,
            waits_for: match &wait.why {
                Idle::Next => WaitsFor::Nothing,
                Idle::Paused(why) => WaitsFor::Resume(why.clone()),
                Idle::NoMember => WaitsFor::Member,
                Idle::Busy => WaitsFor::Room,
                Idle::Saturated => WaitsFor::Lanes,
            },
        }
    }
}

impl From<Behind> for Count {
    fn from(it: Behind) -> Self {
        Self { known: it.count, more: it.more }
    }
}

impl From<HoldClass> for HoldCause {
    fn from(it: HoldClass) -> Self {
        match it {
            HoldClass::Retry => Self::Retry,
            HoldClass::Unavailable => Self::Unavailable,
            HoldClass::Defer => Self::Defer,
            HoldClass::LeaseExpired => Self::LeaseExpired,
            HoldClass::Dropped => Self::Dropped,
            HoldClass::MemberLost => Self::MemberLost,
        }
    }
}

impl From<ParkClass> for ParkCause {
    fn from(it: ParkClass) -> Self {
        match it {
            ParkClass::Exhausted => Self::Exhausted,
            ParkClass::Rejected => Self::Rejected,
            ParkClass::CrashesConsumer => Self::CrashesConsumer,
        }
    }
}
