//! Why a store cannot do what it was asked. All that is done about it is to say it.

use std::fmt;

/// A store could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreError {
    /// Another process has it.
    InUse,
    /// It was closed before it could answer.
    Closed,
    /// The database says so.
    Database(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InUse => "another process has them open; wait until it has ended",
            Self::Closed => "it was closed before it could commit",
            Self::Database(why) => why,
        })
    }
}

impl std::error::Error for StoreError {}

macro_rules! from {
    ($($error:ty)+) => {
        $(impl From<$error> for StoreError {
            fn from(e: $error) -> Self {
                Self::Database(e.to_string())
            }
        })+
    };
}

from!(redb::DatabaseError redb::TransactionError redb::TableError redb::StorageError);
from!(redb::CommitError serde_json::Error std::io::Error);
