//! Sessions of remote clients: the receipts they have not confirmed, so that a resend gets the
//! first answer, also after a restart.

use std::collections::BTreeMap;

use quadrille_proto::record;

use super::Gate;
use crate::core::types::Position;

/// One session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Session {
    /// It will not ask again for anything up to here.
    pub confirmed: u64,
    /// Broker time of its newest command, ms since 1970.
    pub time: u64,
    /// Digest and receipts of what it may ask for again, by sequence.
    pub receipts: BTreeMap<u64, (u64, Vec<record::Receipt>)>,
}

/// All sessions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sessions {
    /// By number.
    pub by_id: BTreeMap<u128, Session>,
    pub(super) gate: Gate,
}

impl Sessions {
    pub(super) fn receipt(&mut self, at: Position, time: u64, it: &record::SessionReceipt) {
        if !self.gate.passes(at) {
            return;
        }
        let session = self.by_id.entry(number(it.hi, it.lo)).or_default();
        session.time = time;
        session.confirmed = session.confirmed.max(it.confirmed);
        session.receipts = session.receipts.split_off(&(session.confirmed + 1));
        let mut receipts = it.receipts.clone();
        for place in receipts.iter_mut().filter_map(|receipt| receipt.at.as_mut()) {
            // Decided before the entry had a number: what it appended is in this very entry.
            place.entry = at.entry;
        }
        session.receipts.insert(it.sequence, (it.digest, receipts));
    }

    pub(super) fn ended(&mut self, at: Position, it: &record::SessionEnded) {
        if self.gate.passes(at) {
            self.by_id.remove(&number(it.hi, it.lo));
        }
    }
}

pub(super) fn number(hi: u64, lo: u64) -> u128 {
    u128::from(hi) << 64 | u128::from(lo)
}
