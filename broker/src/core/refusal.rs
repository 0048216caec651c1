//! Why a command was refused: typed, with a stable code, naming what was wrong and what is allowed.
//! A refusal has changed nothing.

use thiserror::Error;

use super::types::TopicId;

/// A command that was not applied.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant says what it is")]
pub enum Refusal {
    #[error("there is no topic {0:?}; create it first, or list what exists")]
    UnknownTopic(String),
    #[error("there is no topic number {0}; it may have been deleted")]
    UnknownTopicNumber(TopicId),
    #[error("there is no group {0:?}; subscribing creates it")]
    UnknownGroup(String),
    #[error("there is no member {0}; it has left or was never here")]
    UnknownMember(u64),
    #[error("there is no timer {0}; it has fired, was cancelled, or never was")]
    UnknownTimer(u64),
    #[error("the name {name:?} is not allowed: {rule}")]
    BadName { name: String, rule: &'static str },
    #[error("topics named quadrille.* are the bus's own; choose another name than {0:?}")]
    Reserved(String),
    #[error("event {index} of the batch is not an event: {why}")]
    BadEvent { index: usize, code: &'static str, why: String },
    #[error("event {index} has {bytes} bytes; at most {max} are allowed")]
    EventTooLarge { index: usize, bytes: usize, max: usize },
    #[error(
        "the command has {events} events and {bytes} bytes; at most {max_events} and {max_bytes} are allowed"
    )]
    CommandTooLarge { events: usize, bytes: usize, max_events: usize, max_bytes: usize },
    #[error("there is nothing in the command")]
    Empty,
    #[error(
        "event id {id:?} of source {source_name:?} was used before with other data; the first is {topic:?} offset {offset}"
    )]
    IdReused { id: String, source_name: String, topic: String, offset: u64 },
    #[error("command {sequence} of this session was sent before with other content")]
    SequenceReused { sequence: u64 },
    #[error(
        "command {sequence} of this session is older than what it confirmed ({confirmed}) or what is still kept"
    )]
    SequenceForgotten { sequence: u64, confirmed: u64 },
    #[error("a delay of {delay_ms} ms is not allowed; at most {max_ms} ms are")]
    DelayTooLong { delay_ms: u64, max_ms: u64 },
    #[error("{what} is full: {used} of {max}; {relief}")]
    LimitReached { what: &'static str, used: u64, max: u64, relief: &'static str },
    #[error(
        "the disk is nearly full: {free} bytes free, {needed} are kept back; settle or delete events, or make room"
    )]
    DiskFull { free: u64, needed: u64 },
    #[error(
        "the delivery of {event} is no longer yours: its lease ended, or it was settled otherwise"
    )]
    LeaseLost { event: String },
    #[error("the delivery of {event} was already settled as {how}")]
    SettledOtherwise { event: String, how: &'static str },
    #[error(
        "the delivery of {event} follows one of its lane that is not settled: settle that first"
    )]
    NotItsTurn { event: String },
    #[error("the token is not of this log")]
    ForeignToken,
    #[error("a step settles deliveries of one group; these are of groups {0} and {1}")]
    SeveralGroups(u32, u32),
    #[error(
        "group {group:?} exists with another {field}: it has {has}, asked for {asked}; say update to change it, or use another name"
    )]
    GroupConfigConflict { group: String, field: &'static str, has: String, asked: String },
    #[error("topic {topic:?} exists with another {field}: it has {has}, asked for {asked}")]
    TopicConfigConflict { topic: String, field: &'static str, has: String, asked: String },
    #[error(
        "group {group:?} is new and topic {topic:?} already holds {events} events: say whether to start at the beginning or at the end"
    )]
    StartRequired { group: String, topic: String, events: u64 },
    #[error("superseding types need order_by saga; group {group:?} asks for {has}")]
    SupersedeNeedsSaga { group: String, has: &'static str },
    #[error("{what} of the configuration is not allowed: {why}")]
    BadConfig { what: &'static str, why: String },
    #[error(
        "{what} is still needed: {unsettled} unsettled events, {dead_letters} dead letters; say discard to lose them"
    )]
    StillNeeded { what: String, unsettled: u64, dead_letters: u64 },
    #[error("group {group:?} has no dead letter at {event}")]
    NoDeadLetter { group: String, event: String },
    #[error(
        "the event at {0} was superseded by a compensation; retrying it needs an explicit override"
    )]
    WasSuperseded(String),
    #[error("replace needs the bytes of the event that takes its place")]
    ReplacementMissing,
    #[error("the group is deleted or the bus is shutting down")]
    ShuttingDown,
}

impl Refusal {
    /// Its stable code, for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownTopic(_) | Self::UnknownTopicNumber(_) => "unknown_topic",
            Self::UnknownGroup(_) => "unknown_group",
            Self::UnknownMember(_) => "unknown_member",
            Self::UnknownTimer(_) => "unknown_timer",
            Self::BadName { .. } => "bad_name",
            Self::Reserved(_) => "reserved_name",
            Self::BadEvent { code, .. } => code,
            Self::EventTooLarge { .. } => "event_too_large",
            Self::CommandTooLarge { .. } => "command_too_large",
            Self::Empty => "empty_command",
            Self::IdReused { .. } => "id_reused",
            Self::SequenceReused { .. } => "sequence_reused",
            Self::SequenceForgotten { .. } => "sequence_forgotten",
            Self::DelayTooLong { .. } => "delay_too_long",
            Self::LimitReached { .. } => "limit_reached",
            Self::DiskFull { .. } => "disk_full",
            Self::LeaseLost { .. } => "lease_lost",
            Self::SettledOtherwise { .. } => "settled_otherwise",
            Self::NotItsTurn { .. } => "not_its_turn",
            Self::ForeignToken => "foreign_token",
            Self::SeveralGroups(..) => "several_groups",
            Self::GroupConfigConflict { .. } => "group_config_conflict",
            Self::TopicConfigConflict { .. } => "topic_config_conflict",
            Self::StartRequired { .. } => "start_required",
            Self::SupersedeNeedsSaga { .. } => "supersede_needs_saga",
            Self::BadConfig { .. } => "bad_config",
            Self::StillNeeded { .. } => "still_needed",
            Self::NoDeadLetter { .. } => "no_dead_letter",
            Self::WasSuperseded(_) => "was_superseded",
            Self::ReplacementMissing => "replacement_missing",
            Self::ShuttingDown => "shutting_down",
        }
    }
}
