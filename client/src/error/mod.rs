//! What can go wrong, one enum per operation. Every one has a stable `code()` for programs, a
//! `kind()` that says what to do about it, an `outcome()` that says whether it may have happened
//! anyway, its facts as fields, and a sentence for people. Nothing here decides anything.

use thiserror::Error;

use crate::Delivery;
use crate::link::{Failure, Refusal};

mod manage;

pub use manage::{AdminError, ReadError, SubscribeError};

/// What one can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked for is not allowed, and will not be: ask for something else.
    Input,
    /// It names something that is not there.
    NotFound,
    /// It contradicts what is there.
    Conflict,
    /// The delivery is no longer the caller's; somebody else has it or will.
    LeaseLost,
    /// Something is full: try again when there is room.
    Limit,
    /// The bus cannot answer now: try again later, or after `Bus::reopen`.
    Unavailable,
}

/// Whether what failed may have happened nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It has not happened.
    NotApplied,
    /// Nobody can say: the answer was lost. Repeat it with the same id, or look.
    Unknown,
}

/// A refusal without facts that a program would act on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Refused {
    /// Stable word for programs.
    pub code: &'static str,
    /// What to do about it.
    pub kind: ErrorKind,
    /// A sentence for people.
    pub message: String,
}

impl From<Refusal> for Refused {
    fn from(it: Refusal) -> Self {
        Self { code: it.code(), kind: kind_of(&it), message: it.to_string() }
    }
}

/// `code`, `kind` and `outcome` of an enum that has the variants `Refused` and `Unavailable`.
macro_rules! verdicts {
    ($name:ident { $($pattern:pat => $code:expr, $kind:expr;)* }) => {
        impl $name {
            /// A stable word for programs.
            #[must_use]
            pub fn code(&self) -> &'static str {
                self.verdict().0
            }

            /// What one can do about it.
            #[must_use]
            pub fn kind(&self) -> ErrorKind {
                self.verdict().1
            }

            fn verdict(&self) -> (&'static str, ErrorKind) {
                match self {
                    Self::Refused(it) => (it.code, it.kind),
                    Self::Unavailable { .. } => ("unavailable", ErrorKind::Unavailable),
                    $($pattern => ($code, $kind),)*
                }
            }

            /// Whether it may have happened nevertheless.
            #[must_use]
            pub fn outcome(&self) -> Outcome {
                match self {
                    Self::Unavailable { outcome, .. } => *outcome,
                    _ => Outcome::NotApplied,
                }
            }
        }

        impl From<Failure> for $name {
            fn from(it: Failure) -> Self {
                match it {
                    Failure::Refused(refusal) => refusal.into(),
                    Failure::Unavailable { why, outcome } => {
                        Self::Unavailable { why: why.to_string(), outcome: outcome.into() }
                    }
                }
            }
        }
    };
}

use verdicts;

/// Why a publish failed. Of a batch nothing was published.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Publishing does not create topics.
    #[error("there is no topic {topic:?}; create it with Bus::create_topic, or list what exists")]
    UnknownTopic {
        /// As asked for.
        topic: String,
    },
    /// One event is not one that may be published.
    #[error("event {index} of the batch cannot be published: {why}")]
    Invalid {
        /// Which one, from 0.
        index: usize,
        /// Stable word for programs.
        code: &'static str,
        /// A sentence for people.
        why: String,
    },
    /// The id was used before for other data, so that this is not a repeat.
    #[error(
        "event id {id:?} of source {source_name:?} was used before with other data; the first is {topic:?} offset {offset}"
    )]
    IdReused {
        /// The id.
        id: String,
        /// The event's source.
        source_name: String,
        /// Where the first one is.
        topic: String,
        /// Its offset there.
        offset: u64,
    },
    /// A named limit is reached.
    #[error("{what} is full: {used} of {max}; {relief}")]
    LimitReached {
        /// What is full.
        what: &'static str,
        /// How much is there.
        used: u64,
        /// How much may be.
        max: u64,
        /// What makes room.
        relief: &'static str,
    },
    /// The disk is nearly full; settling still works and makes room.
    #[error(
        "the disk is nearly full: {free} bytes free, {needed} are kept back; settle or delete events, or make room"
    )]
    DiskFull {
        /// Bytes free.
        free: u64,
        /// Bytes that are kept back for what drains backlogs.
        needed: u64,
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

verdicts!(PublishError {
    Self::UnknownTopic { .. } => "unknown_topic", ErrorKind::NotFound;
    Self::Invalid { code, .. } => code, ErrorKind::Input;
    Self::IdReused { .. } => "id_reused", ErrorKind::Conflict;
    Self::LimitReached { .. } => "limit_reached", ErrorKind::Limit;
    Self::DiskFull { .. } => "disk_full", ErrorKind::Limit;
});

impl From<Refusal> for PublishError {
    fn from(it: Refusal) -> Self {
        let code = it.code();
        match it {
            Refusal::UnknownTopic(topic) => Self::UnknownTopic { topic },
            Refusal::BadEvent { index, code, why } => Self::Invalid { index, code, why },
            Refusal::EventTooLarge { index, bytes, max } => Self::Invalid {
                index,
                code,
                why: format!("it has {bytes} bytes; at most {max} are allowed"),
            },
            Refusal::IdReused { id, source_name, topic, offset } => {
                Self::IdReused { id, source_name, topic, offset }
            }
            Refusal::LimitReached { what, used, max, relief } => {
                Self::LimitReached { what, used, max, relief }
            }
            Refusal::DiskFull { free, needed } => Self::DiskFull { free, needed },
            other => Self::Refused(other.into()),
        }
    }
}

/// Why a settle failed. It comes with the delivery, in [`Unsettled`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SettleError {
    /// The delivery is no longer the caller's: it will be, or was, handed out again.
    #[error(
        "the delivery of {event} is no longer yours: its lease ended, or it was settled otherwise"
    )]
    LeaseLost {
        /// Its place in the log.
        event: String,
    },
    /// It was settled before, in another way.
    #[error("the delivery of {event} was already settled as {how}")]
    SettledOtherwise {
        /// Its place in the log.
        event: String,
        /// How.
        how: &'static str,
    },
    /// Refused for another reason; the delivery is still the caller's.
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

verdicts!(SettleError {
    Self::LeaseLost { .. } => "lease_lost", ErrorKind::LeaseLost;
    Self::SettledOtherwise { .. } => "settled_otherwise", ErrorKind::Conflict;
});

impl From<Refusal> for SettleError {
    fn from(it: Refusal) -> Self {
        match it {
            Refusal::LeaseLost { event } => Self::LeaseLost { event },
            Refusal::SettledOtherwise { event, how } => Self::SettledOtherwise { event, how },
            other => Self::Refused(other.into()),
        }
    }
}

/// Why a step failed: none of it has happened. It comes with the deliveries, in [`Unsettled`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StepError {
    /// What it settles.
    #[error(transparent)]
    Settle(SettleError),
    /// What it publishes.
    #[error(transparent)]
    Publish(PublishError),
}

impl StepError {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Settle(it) => it.code(),
            Self::Publish(it) => it.code(),
        }
    }

    /// What one can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Settle(it) => it.kind(),
            Self::Publish(it) => it.kind(),
        }
    }

    /// Whether it may have happened nevertheless.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Settle(it) => it.outcome(),
            Self::Publish(it) => it.outcome(),
        }
    }
}

impl From<Failure> for StepError {
    fn from(it: Failure) -> Self {
        match it {
            Failure::Refused(
                it @ (Refusal::LeaseLost { .. }
                | Refusal::SettledOtherwise { .. }
                | Refusal::ForeignToken
                | Refusal::SeveralGroups(..)),
            ) => Self::Settle(it.into()),
            other => Self::Publish(other.into()),
        }
    }
}

/// A settle or step that failed, with what it was to settle.
#[derive(Debug, Error)]
#[error("{why}")]
pub struct Unsettled<E: std::error::Error + 'static> {
    /// Why.
    #[source]
    pub why: E,
    /// The delivery. If it is still the caller's, it can be settled in another way; dropping it
    /// counts as an attempt.
    pub delivery: Box<Delivery>,
    /// The further deliveries of a step.
    pub others: Vec<Delivery>,
}

fn kind_of(refusal: &Refusal) -> ErrorKind {
    match refusal {
        Refusal::UnknownTopic(_)
        | Refusal::UnknownTopicNumber(_)
        | Refusal::UnknownGroup(_)
        | Refusal::UnknownMember(_)
        | Refusal::UnknownTimer(_)
        | Refusal::NoDeadLetter { .. } => ErrorKind::NotFound,
        Refusal::IdReused { .. }
        | Refusal::SequenceReused { .. }
        | Refusal::SequenceForgotten { .. }
        | Refusal::SettledOtherwise { .. }
        | Refusal::GroupConfigConflict { .. }
        | Refusal::TopicConfigConflict { .. }
        | Refusal::StillNeeded { .. }
        | Refusal::WasSuperseded(_) => ErrorKind::Conflict,
        Refusal::LeaseLost { .. } | Refusal::ForeignToken => ErrorKind::LeaseLost,
        Refusal::LimitReached { .. } | Refusal::DiskFull { .. } => ErrorKind::Limit,
        Refusal::ShuttingDown => ErrorKind::Unavailable,
        _ => ErrorKind::Input,
    }
}
