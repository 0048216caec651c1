//! Why an engine does not open, and why a command has no good answer: typed, each with a stable
//! code, facts as fields, and a sentence for people. Refusals are core's; see
//! [`Refusal`].

use std::sync::Arc;

use quadrille_proto::record::RecordError;
use thiserror::Error;

use crate::core::refusal::Refusal;
use crate::core::types::Position;
use crate::log::{self, ClaimError, FormatError, LogError, ReadError};
use crate::sidecar;

/// Whether a command that got no good answer may have happened all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing has changed; it can be sent again.
    NotApplied,
    /// It may have happened. A resend is safe: it is recognised by its session or its ids.
    Unknown,
}

/// Why a command has no good answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EngineError {
    /// The command is wrong or cannot be done now.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The engine is fenced, closed or gone.
    #[error("the bus is unavailable: {why}")]
    Unavailable {
        /// What stopped it.
        why: Arc<str>,
        /// Whether the command may have happened.
        outcome: Outcome,
    },
}

impl EngineError {
    pub(crate) fn not_applied(why: &Arc<str>) -> Self {
        Self::Unavailable { why: Arc::clone(why), outcome: Outcome::NotApplied }
    }

    pub(crate) fn unknown(why: &Arc<str>) -> Self {
        Self::Unavailable { why: Arc::clone(why), outcome: Outcome::Unknown }
    }

    /// A stable code, for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Unavailable { .. } => "unavailable",
        }
    }

    /// Whether it may have happened all the same.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Refused(_) => Outcome::NotApplied,
            Self::Unavailable { outcome, .. } => *outcome,
        }
    }
}

/// Why an engine does not open. Nothing that was recorded has changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory is none, is somebody's, is in use, or cannot be used.
    #[error(transparent)]
    Directory(#[from] log::OpenError),
    /// The bus was closed; it does not come back.
    #[error("the bus was closed; open its directory anew")]
    Closed,
    /// No thread could be started.
    #[error("no thread can be started: {0}")]
    Threads(std::io::Error),
    /// The log could not be claimed.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// Damage that no checkpoint covers: what was settled or created there is not known.
    #[error(
        "entries #{from} to #{last} of the log are lost ({reason}), and no checkpoint is newer: \
         what they settled or created is not known; bring the bytes back, or open with accept_gap, \
         which goes on without them and records it",
        last = to.saturating_sub(1)
    )]
    Gap {
        /// The first entry that is lost.
        from: u64,
        /// The first entry behind.
        to: u64,
        /// Where and what.
        reason: String,
    },
    /// The log's oldest part is retired, no checkpoint is usable, and no catalog was found.
    #[error(
        "the log begins at #{first}, and neither a checkpoint nor a catalog says what was before"
    )]
    NoCatalog {
        /// The oldest entry that is kept.
        first: u64,
    },
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An entry whose checksum is right has no records.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A record of a later release, or one that is not what it says.
    #[error("the record at {at}: {source}")]
    Record {
        /// Where.
        at: Position,
        /// What.
        source: RecordError,
    },
    /// A checkpoint or side file could not be read or written.
    #[error(transparent)]
    Blob(#[from] LogError),
    /// The index could not be read or rebuilt.
    #[error(transparent)]
    Index(#[from] sidecar::Error),
    /// Replaying the log panicked: a bug.
    #[error("replaying the log failed: {0}")]
    Replay(String),
}

impl OpenError {
    /// A stable code, for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Directory(e) => e.code(),
            Self::Closed => "closed",
            Self::Threads(_) => "no_threads",
            Self::Claim(e) => e.code(),
            Self::Gap { .. } => "gap_after_checkpoint",
            Self::NoCatalog { .. } => "no_catalog",
            Self::Read(e) => e.code(),
            Self::Format(_) => "entry_malformed",
            Self::Record { .. } => "record_unreadable",
            Self::Blob(e) => e.code(),
            Self::Index(_) => "index_unreadable",
            Self::Replay(_) => "replay_failed",
        }
    }
}
