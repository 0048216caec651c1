//! The one named hash of Quadrille: SipHash-1-3 with 128 bits, keyed, one domain per use. What is
//! written to disk depends on it, so nothing here may change; the golden vectors say so.

use std::hash::Hasher as _;

use siphasher::sip128::{Hash128, Hasher128 as _, SipHasher13};

/// Hashes ids, sagas, keys and types under one key, the log's seed. Equal inputs of different
/// methods do not give equal hashes.
#[derive(Debug, Clone)]
pub struct Hasher128 {
    keyed: SipHasher13,
}

/// The first eight bytes of what is hashed.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Domain {
    Id = 1,
    Saga = 2,
    Key = 3,
    Type = 4,
    Digest = 5,
    Derived = 6,
}

impl Hasher128 {
    /// A hasher under that key.
    #[must_use]
    pub fn new(key: u128) -> Self {
        Self { keyed: SipHasher13::new_with_key(&key.to_le_bytes()) }
    }

    /// An event's identity within a topic, for the dedup window.
    #[must_use]
    pub fn id(&self, source: &str, id: &str, topic: u32) -> u128 {
        let numbers = [topic.into(), source.len() as u64];
        self.wide(Domain::Id, &numbers, &[source.as_bytes(), id.as_bytes()])
    }

    /// A saga: its lane, its turn, its place in indexes.
    #[must_use]
    pub fn saga(&self, saga: &str) -> u128 {
        self.wide(Domain::Saga, &[], &[saga.as_bytes()])
    }

    /// A key: its lane, its revision, its place in indexes.
    #[must_use]
    pub fn key(&self, key: &str) -> u128 {
        self.wide(Domain::Key, &[], &[key.as_bytes()])
    }

    /// An event type, for filters.
    #[must_use]
    pub fn ty(&self, ty: &str) -> u64 {
        self.hash(Domain::Type, &[], &[ty.as_bytes()]).h1
    }

    /// What an event says, to tell a repeat from another event under the same id.
    #[must_use]
    pub fn digest(&self, ty: &str, data: &[u8]) -> u64 {
        let length = [ty.len() as u64];
        self.hash(Domain::Digest, &length, &[ty.as_bytes(), data]).h1
    }

    /// The bits of a derived id; see `ids::derived`.
    pub(crate) fn derived(&self, numbers: [u64; 5], output_type: &str) -> u128 {
        self.wide(Domain::Derived, &numbers, &[output_type.as_bytes()])
    }

    fn wide(&self, domain: Domain, numbers: &[u64], parts: &[&[u8]]) -> u128 {
        let hash = self.hash(domain, numbers, parts);
        u128::from(hash.h2) << 64 | u128::from(hash.h1)
    }

    /// Numbers go first and as eight bytes each: lengths among them keep the parts apart.
    #[inline]
    fn hash(&self, domain: Domain, numbers: &[u64], parts: &[&[u8]]) -> Hash128 {
        let mut hasher = self.keyed;
        hasher.write(&(domain as u64).to_le_bytes());
        for number in numbers {
            hasher.write(&number.to_le_bytes());
        }
        for part in parts {
            hasher.write(part);
        }
        hasher.finish128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: u128 = 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100;

    /// Computed by another implementation of SipHash, checked against the published vectors.
    #[test]
    fn hashes_are_what_they_were() {
        let hash = Hasher128::new(KEY);
        assert_eq!(hash.id("shop", "order-1", 7), 0xf575_af6b_2572_1064_9fd4_fc17_75cd_ebcb);
        assert_eq!(hash.saga("order-1"), 0x70c6_a251_296f_55ae_3221_f657_f133_7840);
        assert_eq!(hash.key("order-1"), 0x458f_95c5_b9af_41ff_f9ca_28f0_f51c_bf0c);
        assert_eq!(hash.ty("order.created"), 0x4b55_ca5b_bb27_e4dd);
        assert_eq!(hash.digest("order.created", br#"{"total":17}"#), 0xe3cf_36ad_00c6_2881);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let hash = Hasher128::new(KEY);
        assert_ne!(hash.id("ab", "c", 1), hash.id("a", "bc", 1));
        assert_ne!(hash.id("ab", "c", 1), hash.id("ab", "c", 2));
        assert_ne!(hash.digest("ab", b"c"), hash.digest("a", b"bc"));
        assert_ne!(hash.saga("x"), Hasher128::new(KEY + 1).saga("x"));
    }
}
