//! Events of sagas, and where they are, as programs read them.

use quadrille::{Count, EventState, GroupState, SagaStatus, TimelineEvent, WaitsFor};
use serde::Serialize;
use serde_json::{Value, json};

use crate::at::place;

/// An event of a saga.
#[derive(Serialize)]
pub(crate) struct Event<'a> {
    place: String,
    topic: &'a str,
    offset: u64,
    #[serde(rename = "type")]
    ty: &'a str,
    id: &'a str,
    source: &'a str,
    /// Milliseconds since 1970.
    published_at: u64,
    turn: u32,
    /// The place of the event that led to it.
    cause: Option<String>,
    /// The group whose step emitted it, and at which attempt.
    emitted_by: Option<&'a str>,
    attempt: Option<u32>,
    groups: Vec<OfGroup<'a>>,
}

/// Where it is for a group.
#[derive(Serialize)]
struct OfGroup<'a> {
    group: &'a str,
    #[serde(flatten)]
    state: Value,
}

impl<'a> From<&'a TimelineEvent> for Event<'a> {
    fn from(it: &'a TimelineEvent) -> Self {
        let group = |it: &'a GroupState| OfGroup { group: &it.group, state: state(&it.state) };
        Self {
            place: place(it.position),
            topic: &it.topic,
            offset: it.offset,
            ty: &it.ty,
            id: &it.id,
            source: &it.source,
            published_at: it.time,
            turn: it.turn,
            cause: it.cause.map(place),
            emitted_by: it.emitted_by.as_deref(),
            attempt: it.attempt,
            groups: it.groups.iter().map(group).collect(),
        }
    }
}

/// A word for how a saga stands.
pub(crate) fn status(status: SagaStatus) -> &'static str {
    match status {
        SagaStatus::Running => "running",
        SagaStatus::Compensating => "compensating",
        SagaStatus::NeedsAttention => "needs_attention",
        SagaStatus::AtRest { .. } => "at_rest",
        _ => "unknown",
    }
}

/// Where an event is for a group: a word in `state`, and what goes with it.
pub(crate) fn state(state: &EventState) -> Value {
    let ms = |it: &std::time::Duration| u64::try_from(it.as_millis()).unwrap_or(u64::MAX);
    match state {
        EventState::NotForIt => json!({ "state": "not_for_it" }),
        EventState::Settled { attempt } => json!({ "state": "settled", "attempt": attempt }),
        EventState::Late => json!({ "state": "late" }),
        EventState::Skipped { by, comment } => {
            json!({ "state": "skipped", "by": by, "comment": comment })
        }
        EventState::Waiting { behind, ahead, attempts, waits_for, .. } => json!({
            "state": "waiting",
            "behind": behind.as_ref().map(|it| place(it.position)),
            "ahead": count(*ahead),
            "attempts": attempts,
            "waits_for": match waits_for {
                _ if behind.is_some() => "its_turn",
                WaitsFor::Resume(_) => "resume",
                WaitsFor::Member => "a_member",
                WaitsFor::Room => "room",
                WaitsFor::Lanes => "lanes",
                _ => "nothing",
            },
        }),
        EventState::Out { member, since, started, attempt } => json!({
            "state": "out", "member": member, "for_ms": ms(since), "started": started,
            "attempt": attempt,
        }),
        EventState::Held { until, reason, attempts, .. } => json!({
            "state": "held", "until": until, "reason": reason, "attempts": attempts,
        }),
        EventState::Parked { reason, attempts, since, behind, .. } => json!({
            "state": "parked", "parked_at": since, "reason": reason, "attempts": attempts,
            "behind": behind.map(count),
        }),
        EventState::Superseded { by, attempts, reason, since } => json!({
            "state": "superseded", "superseded_by": place(*by), "at": since, "reason": reason,
            "attempts": attempts,
        }),
        _ => json!({ "state": "unknown" }),
    }
}

/// `more`: at least so many.
fn count(it: Count) -> Value {
    json!({ "known": it.known, "more": it.more })
}
