//! The inbox: a service's own database remembers what it has handled, and what follows from it, in
//! the transaction that holds the effect. So a handler runs once for each event, also if the
//! process dies between the database's commit and the bus's step.
//!
//! ```text
//! deliver ── begin(key) ──┬── New(tx):  handler(event, Tx) ── commit(tx, key, outputs) ──┐
//!                         │             Err, panic, lost lease: tx is dropped            ├── step
//!                         └── Known(outputs): the handler is not called ─────────────────┘
//! ```

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_core::future::BoxFuture;

use super::Failure;
use super::extract::TxType;
use crate::TimerId;
use crate::delivery::millis;
use crate::step::Sealed;

/// A service's own database, as a participant uses it; see
/// [`Participant::inbox`](super::Participant::inbox).
///
/// Four rules: `commit` stores the outputs under the key *in the transaction that the handler has
/// worked in*; it fails if the key is there already (a unique index: a handler that ran out of time
/// may still be committing when its event comes again); it returns when that can no longer be lost;
/// a transaction that is dropped leaves nothing. Keys may be forgotten once their events can't be
/// delivered again.
///
/// ```
/// use std::collections::HashMap;
/// use std::convert::Infallible;
/// use std::sync::Arc;
///
/// use bytes::Bytes;
/// use quadrille::{Begun, Inbox, InboxKey};
/// use tokio::sync::{Mutex, OwnedMutexGuard};
///
/// /// A database in memory: one transaction at a time, on a copy.
/// #[derive(Clone, Default)]
/// struct Rows(Arc<Mutex<HashMap<String, Bytes>>>);
///
/// struct Copy {
///     rows: OwnedMutexGuard<HashMap<String, Bytes>>,
///     changed: HashMap<String, Bytes>,
/// }
///
/// impl Inbox for Rows {
///     type Tx = Copy;
///     type Error = Infallible;
///
///     async fn begin(&self, key: &InboxKey) -> Result<Begun<Copy>, Infallible> {
///         let rows = Arc::clone(&self.0).lock_owned().await;
///         let known = rows.get(&format!("inbox/{key}")).cloned();
///         let fresh = || Begun::New(Copy { rows, changed: HashMap::new() });
///         Ok(known.map_or_else(fresh, Begun::Known))
///     }
///
///     async fn commit(&self, mut tx: Copy, key: &InboxKey, outputs: Bytes) -> Result<(), Infallible> {
///         tx.changed.insert(format!("inbox/{key}"), outputs);
///         tx.rows.extend(tx.changed);
///         Ok(())
///     }
/// }
/// ```
pub trait Inbox: Send + Sync + 'static {
    /// An open transaction. Dropping it takes back all that was done in it.
    type Tx: Send + 'static;
    /// Why the database can't do what it was asked.
    type Error: fmt::Display + Send;

    /// Opens a transaction for an event, unless the event was handled: then tells what was stored.
    ///
    /// # Errors
    /// The database is not available: the saga holds, no attempt is counted.
    fn begin(
        &self,
        key: &InboxKey,
    ) -> impl Future<Output = Result<Begun<Self::Tx>, Self::Error>> + Send;

    /// Stores `outputs` under `key` and commits.
    ///
    /// # Errors
    /// It is not committed, as far as the database knows: counts as an attempt, and the next one
    /// finds out.
    fn commit(
        &self,
        tx: Self::Tx,
        key: &InboxKey,
        outputs: Bytes,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// What an [`Inbox`] knows of an event.
#[derive(Debug)]
pub enum Begun<T> {
    /// Nothing: it is to be handled in this transaction.
    New(T),
    /// It was handled, and these are its outputs, as stored.
    Known(Bytes),
}

/// Under what an event is remembered. `Display` makes one text of it; different keys have different
/// ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InboxKey {
    /// The participant.
    pub group: String,
    /// The event's topic.
    pub topic: String,
    /// Who published it.
    pub source: String,
    /// Its id, unique within the source.
    pub id: String,
    /// How often the group was sent back to read again with effects.
    pub generation: u32,
}

impl fmt::Display for InboxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, topic, source, id, generation } = self;
        // A group's and a topic's name have no slash. The length keeps source and id apart.
        write!(f, "{group}/{topic}/{generation}/{}/{source}/{id}", source.len())
    }
}

/// An inbox whose types are forgotten.
pub(crate) trait AnyInbox: Send + Sync {
    fn tx_type(&self) -> TxType;
    fn begin<'a>(&'a self, key: &'a InboxKey) -> BoxFuture<'a, Result<Begun<AnyTx>, Failure>>;
    fn commit<'a>(
        &'a self,
        tx: AnyTx,
        key: &'a InboxKey,
        outputs: Bytes,
    ) -> BoxFuture<'a, Result<(), Failure>>;
}

pub(crate) type AnyTx = Box<dyn Any + Send>;

impl<I: Inbox> AnyInbox for I {
    fn tx_type(&self) -> TxType {
        TxType::of::<I::Tx>()
    }

    fn begin<'a>(&'a self, key: &'a InboxKey) -> BoxFuture<'a, Result<Begun<AnyTx>, Failure>> {
        Box::pin(async move {
            match Inbox::begin(self, key).await {
                Ok(Begun::New(tx)) => Ok(Begun::New(Box::new(tx) as AnyTx)),
                Ok(Begun::Known(outputs)) => Ok(Begun::Known(outputs)),
                Err(e) => Err(Failure::unavailable(format!("the inbox: {e}"))),
            }
        })
    }

    fn commit<'a>(
        &'a self,
        tx: AnyTx,
        key: &'a InboxKey,
        outputs: Bytes,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let Ok(tx) = tx.downcast::<I::Tx>() else {
                return Err(Failure::park("the transaction is not one of this inbox"));
            };
            let committed = Inbox::commit(self, *tx, key, outputs).await;
            // A database that is down says so when it begins; what it refuses here is this event.
            committed.map_err(|e| Failure::retry(format!("the inbox does not commit: {e}")))
        })
    }
}

/// The first byte of stored outputs, for later forms.
const FORM: u8 = 1;

/// Outputs as an inbox stores them: events with their ids, ready to be published.
///
/// ```text
/// form u8 | timers u32, each u64 | outputs u32, each: delay u64 (ms + 1; 0 is none)
///                                | topic length u32, topic | event length u32, event
/// ```
pub(crate) fn store(outputs: &[Sealed], cancel: &[TimerId]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(FORM);
    out.put_u32_le(length(cancel.len()));
    cancel.iter().for_each(|timer| out.put_u64_le(timer.0));
    out.put_u32_le(length(outputs.len()));
    for Sealed { topic, bytes, after } in outputs {
        out.put_u64_le(after.map_or(0, |after| millis(after).saturating_add(1)));
        for part in [topic.as_bytes(), bytes] {
            out.put_u32_le(length(part.len()));
            out.put_slice(part);
        }
    }
    out.freeze()
}

/// A step has at most 256 events and 4 MiB: far from the end.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// What [`store`] made; `None` if it is something else.
pub(crate) fn load(mut stored: Bytes) -> Option<(Vec<Sealed>, Vec<TimerId>)> {
    if stored.try_get_u8().ok()? != FORM {
        return None;
    }
    let timers = stored.try_get_u32_le().ok()?;
    let cancel = (0..timers).map(|_| Some(TimerId(stored.try_get_u64_le().ok()?)));
    let cancel = cancel.collect::<Option<_>>()?;
    let mut outputs = Vec::new();
    for _ in 0..stored.try_get_u32_le().ok()? {
        let after = stored.try_get_u64_le().ok()?.checked_sub(1).map(Duration::from_millis);
        let topic = part(&mut stored)?;
        let topic = Cow::Owned(String::from_utf8(topic.into()).ok()?);
        outputs.push(Sealed { topic, bytes: part(&mut stored)?, after });
    }
    stored.is_empty().then_some((outputs, cancel))
}

fn part(stored: &mut Bytes) -> Option<Bytes> {
    let length = stored.try_get_u32_le().ok()? as usize;
    (length <= stored.len()).then(|| stored.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs() -> Vec<Sealed> {
        let sealed = |topic: &'static str, bytes: &'static [u8], after| Sealed {
            topic: Cow::Borrowed(topic),
            bytes: Bytes::from_static(bytes),
            after,
        };
        vec![
            sealed("orders", b"one", None),
            sealed("t", b"", Some(Duration::ZERO)),
            sealed("payments", b"two", Some(Duration::from_millis(1500))),
        ]
    }

    #[test]
    fn stored_outputs_come_back_as_they_were() {
        let timers = [TimerId(7), TimerId(u64::MAX)];
        for (outputs, timers) in [(outputs(), timers.as_slice()), (Vec::new(), &[])] {
            let loaded = load(store(&outputs, timers)).unwrap();
            assert_eq!(loaded, (outputs, timers.to_vec()));
        }
    }

    #[test]
    fn what_is_cut_or_of_another_form_is_refused_without_a_panic() {
        let whole = store(&outputs(), &[TimerId(7)]);
        for length in 0..whole.len() {
            assert_eq!(load(whole.slice(..length)), None, "{length}");
        }
        assert_eq!(load([whole.as_ref(), b"x"].concat().into()), None);
        assert_eq!(load(Bytes::from_static(b"\x02\0\0\0\0\0\0\0\0")), None);
    }

    #[test]
    fn different_keys_have_different_texts() {
        let key = |topic: &str, source: &str, id: &str| {
            let [group, topic, source, id] = ["g", topic, source, id].map(str::to_owned);
            InboxKey { group, topic, source, id, generation: 0 }.to_string()
        };
        let texts = [key("t", "a/b", "c"), key("t", "a", "b/c"), key("t", "", "a/b/c")];
        assert!(texts[0] != texts[1] && texts[1] != texts[2] && texts[0] != texts[2], "{texts:?}");
    }
}
