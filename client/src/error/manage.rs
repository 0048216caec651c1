//! What can go wrong when subscribing, managing, and reading without a group.

use thiserror::Error;

use super::{ErrorKind, Outcome, Refused, verdicts};
use crate::link::{Failure, Refusal};

/// Why a subscription did not come about.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// Subscribing does not create topics.
    #[error("there is no topic {topic:?}; create it with Bus::create_topic, or list what exists")]
    UnknownTopic {
        /// As asked for.
        topic: String,
    },
    /// A subscription that names no topics joins a group that is there.
    #[error("there is no group {group:?}; name its topics to create it")]
    UnknownGroup {
        /// As asked for.
        group: String,
    },
    /// The group is there and is another one.
    #[error(
        "group {group:?} exists with another {field}: it has {has}, asked for {asked}; say update() to change it, or use another name"
    )]
    ConfigConflict {
        /// The group.
        group: String,
        /// What differs.
        field: &'static str,
        /// What the group has.
        has: String,
        /// What was asked for.
        asked: String,
    },
    /// A new group on a topic with events must say where it starts.
    #[error(
        "group {group:?} is new and topic {topic:?} already holds {events} events: say start(StartAt::Beginning) or start(StartAt::End)"
    )]
    StartRequired {
        /// The group.
        group: String,
        /// The first topic that is not empty.
        topic: String,
        /// How many events it holds.
        events: u64,
    },
    /// Refused for another reason.
    #[error(transparent)]
    Refused(Refused),
    /// The bus cannot answer.
    #[error("the bus is not available: {why}")]
    Unavailable {
        /// Why.
        why: String,
        /// Whether the group may have been created.
        outcome: Outcome,
    },
}

verdicts!(SubscribeError {
    Self::UnknownTopic { .. } => "unknown_topic", ErrorKind::NotFound;
    Self::UnknownGroup { .. } => "unknown_group", ErrorKind::NotFound;
    Self::ConfigConflict { .. } => "group_config_conflict", ErrorKind::Conflict;
    Self::StartRequired { .. } => "start_required", ErrorKind::Input;
});

impl From<Refusal> for SubscribeError {
    fn from(it: Refusal) -> Self {
        match it {
            Refusal::UnknownTopic(topic) => Self::UnknownTopic { topic },
            Refusal::UnknownGroup(group) => Self::UnknownGroup { group },
            Refusal::GroupConfigConflict { group, field, has, asked } => {
                Self::ConfigConflict { group, field, has, asked }
            }
            Refusal::StartRequired { group, topic, events } => {
                Self::StartRequired { group, topic, events }
            }
            other => Self::Refused(other.into()),
        }
    }
}

/// Why something administrative failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AdminError {
    /// There is no such topic.
    #[error("there is no topic {topic:?}")]
    UnknownTopic {
        /// As asked for.
        topic: String,
    },
    /// There is no such group.
    #[error("there is no group {group:?}; subscribing creates it")]
    UnknownGroup {
        /// As asked for.
        group: String,
    },
    /// The group has no unresolved dead letter there.
    #[error("group {group:?} has no dead letter at {event}")]
    NoDeadLetter {
        /// The group.
        group: String,
        /// The place asked for.
        event: String,
    },
    /// Others still need it.
    #[error(
        "{what} is still needed: {unsettled} unsettled events, {dead_letters} dead letters; say discard to lose them"
    )]
    StillNeeded {
        /// What was to be deleted.
        what: String,
        /// Unsettled events.
        unsettled: u64,
        /// Unresolved dead letters.
        dead_letters: u64,
    },
    /// Refused for another reason.
    #[error(transparent)]
    Refused(Refused),
    /// The bus cannot answer.
    #[error("the bus is not available: {why}")]
    Unavailable {
        /// Why.
        why: String,
        /// Whether it may have happened.
        outcome: Outcome,
    },
}

verdicts!(AdminError {
    Self::UnknownTopic { .. } => "unknown_topic", ErrorKind::NotFound;
    Self::UnknownGroup { .. } => "unknown_group", ErrorKind::NotFound;
    Self::NoDeadLetter { .. } => "no_dead_letter", ErrorKind::NotFound;
    Self::StillNeeded { .. } => "still_needed", ErrorKind::Conflict;
});

impl From<Refusal> for AdminError {
    fn from(it: Refusal) -> Self {
        match it {
            Refusal::UnknownTopic(topic) => Self::UnknownTopic { topic },
            Refusal::UnknownGroup(group) => Self::UnknownGroup { group },
            Refusal::NoDeadLetter { group, event } => Self::NoDeadLetter { group, event },
            Refusal::StillNeeded { what, unsettled, dead_letters } => {
                Self::StillNeeded { what, unsettled, dead_letters }
            }
            other => Self::Refused(other.into()),
        }
    }
}

/// Why nothing could be read, or reading ended early. What was yielded before is right.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There is no such topic.
    #[error("there is no topic {topic:?}")]
    UnknownTopic {
        /// As asked for.
        topic: String,
    },
    /// There is no such group.
    #[error("there is no group {group:?}")]
    UnknownGroup {
        /// As asked for.
        group: String,
    },
    /// There is no such event.
    #[error("there is no event {event} that group {group:?} reads")]
    UnknownEvent {
        /// As asked for.
        event: String,
        /// The group.
        group: String,
    },
    /// Refused for another reason.
    #[error(transparent)]
    Refused(Refused),
    /// The bus cannot answer.
    #[error("the bus is not available: {why}")]
    Unavailable {
        /// Why.
        why: String,
        /// Reading changes nothing: always [`Outcome::NotApplied`].
        outcome: Outcome,
    },
}

verdicts!(ReadError {
    Self::UnknownTopic { .. } => "unknown_topic", ErrorKind::NotFound;
    Self::UnknownGroup { .. } => "unknown_group", ErrorKind::NotFound;
    Self::UnknownEvent { .. } => "unknown_event", ErrorKind::NotFound;
});

impl From<Refusal> for ReadError {
    fn from(it: Refusal) -> Self {
        match it {
            Refusal::UnknownTopic(topic) => Self::UnknownTopic { topic },
            Refusal::UnknownGroup(group) => Self::UnknownGroup { group },
            other => Self::Refused(other.into()),
        }
    }
}
