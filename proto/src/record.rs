//! The records of the log: their types as generated from `record.proto`, their numbers, and how a
//! body is written and read. What a record means for the state is not here.

use bytes::{Bytes, BytesMut};
use prost::Message as _;

pub use crate::generated::record::Kind;
pub use crate::generated::*;

/// Whether an entry with this record answers when it is durable, or when it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Its entry answers only when it is durable.
    Sync,
    /// It never waits for the disk; it becomes durable with what is synced next.
    Lazy,
    /// As its topic says: `synced` or `written`.
    Topic,
    /// As the other records of its entry.
    Entry,
}

/// Why a record could not be read. [`RecordError::code`] is stable; the text is for people.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RecordError {
    /// A later release wrote it, and it must not be skipped.
    #[error(
        "record type {number} is not known to this release and must not be skipped: a later release wrote this log"
    )]
    Unknown {
        /// Its number.
        number: u32,
    },
    /// Its body is not what its number says.
    #[error("the body of a record of type {number} cannot be read: {source}")]
    Body {
        /// Its number.
        number: u32,
        /// What was wrong with it.
        source: prost::DecodeError,
    },
}

impl RecordError {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "record_unknown",
            Self::Body { .. } => "record_body",
        }
    }
}

macro_rules! kinds {
    ($($number:literal $variant:ident $must:literal $class:ident,)*) => {
        /// The number of every record of this release, rising.
        pub const NUMBERS: &[u32] = &[$($number),*];

        /// The number of a record, which is also its number in the `oneof`.
        #[must_use]
        pub fn number(kind: &Kind) -> u32 {
            match kind { $(Kind::$variant(_) => $number,)* }
        }

        /// The name of a record's type, for people.
        #[must_use]
        pub fn name(kind: &Kind) -> &'static str {
            match kind { $(Kind::$variant(_) => stringify!($variant),)* }
        }

        /// Whether a reader that does not know this number must stop: what changes the state must
        /// be understood, what only tells may be skipped. A number that is not known here must.
        #[must_use]
        pub fn must_understand(number: u32) -> bool {
            match number { $($number => $must,)* _ => true }
        }

        /// When an entry with this record may answer.
        #[must_use]
        pub fn class(kind: &Kind) -> Class {
            match kind {
                Kind::Settled(settled) if settled.kind() != SettleKind::Step => Class::Lazy,
                $(Kind::$variant(_) => Class::$class,)*
            }
        }

        /// Length of what [`encode_body`] appends, in bytes.
        #[must_use]
        pub fn body_len(kind: &Kind) -> usize {
            match kind { $(Kind::$variant(body) => body.encoded_len(),)* }
        }

        /// Appends a record's body, without its number.
        pub fn encode_body(kind: &Kind, out: &mut BytesMut) {
            // A BytesMut grows, so there is no buffer to be too small.
            match kind { $(Kind::$variant(body) => body.encode_raw(out),)* }
        }

        /// Reads a body. `must_understand` is the bit that stands beside the number on disk, as its
        /// writer set it. `None`: not known here, and it may be skipped. Event bytes are not
        /// copied; they keep `body`'s buffer alive.
        ///
        /// # Errors
        /// A number that is not known and must be understood; a body that does not parse.
        pub fn decode(
            number: u32,
            must_understand: bool,
            body: Bytes,
        ) -> Result<Option<Kind>, RecordError> {
            let decoded = match number {
                $($number => prost::Message::decode(body).map(Kind::$variant),)*
                _ if must_understand => return Err(RecordError::Unknown { number }),
                _ => return Ok(None),
            };
            decoded.map(Some).map_err(|source| RecordError::Body { number, source })
        }
    };
}

// number, name, must be understood, class
kinds! {
    1 EventAppended true Topic,
    2 TopicCreated true Sync,
    3 TopicChanged true Sync,
    4 TopicDeleted true Sync,
    5 GroupCreated true Sync,
    6 GroupChanged true Sync,
    7 GroupPaused true Sync,
    8 GroupResumed true Sync,
    9 GroupDeleted true Sync,
    10 Settled true Sync,
    11 CursorMoved true Lazy,
    12 Held true Sync,
    13 Parked true Sync,
    14 Resolved true Sync,
    15 Superseded true Sync,
    16 HandedOut true Lazy,
    17 Released true Lazy,
    18 TurnsEvicted true Entry,
    19 Truncated true Sync,
    20 TopicTrimmed true Sync,
    24 TimerArmed true Topic,
    25 TimerCancelled true Sync,
    28 SessionReceipt true Entry,
    29 SessionEnded true Lazy,
    30 ProducerClaimed true Sync,
    31 ProducerAdvanced true Entry,
    36 EpochStarted true Sync,
    37 ClockJumped false Lazy,
    38 Catalog true Entry,
    44 GroupSought true Sync,
    45 RevisionsEvicted true Entry,
    48 ExpectationArmed true Entry,
    49 ExpectationMet true Entry,
    50 ExpectationExpired true Sync,
    51 ExpectationCancelled true Sync,
    52 SagaTypeDeclared true Sync,
    53 ParticipantDeclared true Sync,
    54 SagaUntracked true Entry,
}

impl From<u128> for Lane {
    #[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
    fn from(hash: u128) -> Self {
        Self { hi: (hash >> 64) as u64, lo: hash as u64 }
    }
}

impl From<Lane> for u128 {
    fn from(lane: Lane) -> Self {
        Self::from(lane.hi) << 64 | Self::from(lane.lo)
    }
}
