//! What goes wrong in a run, and when: drawn from the seed and the name of the thing, never from a
//! clock or an order of events, so that every start of the same run decides alike.

use super::orders::fnv;

/// The third attempt is the last that may crash, so that even a crash rate of 1 ends.
const LAST_CRASHING_ATTEMPT: u32 = 3;

/// One order in this many is published twice.
const TWICE_ONE_IN: f64 = 20.0;

/// The dice of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance {
    pub(crate) seed: u64,
    /// Share of orders that fail for a business reason.
    pub(crate) fail_rate: f64,
    /// Share of handlings that panic.
    pub(crate) crash_rate: f64,
}

/// Where a handling panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// Its effects are made, and not committed.
    BeforeCommit,
    /// Its effects are committed, and the bus does not know.
    AfterCommit,
}

/// Why an order does not go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    OutOfStock,
    CardDeclined,
    NoCarrier,
}

impl Chance {
    /// The failure that awaits this order, if one does: a third of them in each of three services.
    pub(crate) fn fate(&self, order_id: &str) -> Option<Fate> {
        let mut dice = self.dice(&["failure", order_id]);
        (dice.f64() < self.fail_rate).then(|| match dice.u8(0..3) {
            0 => Fate::OutOfStock,
            1 => Fate::CardDeclined,
            _ => Fate::NoCarrier,
        })
    }

    /// Whether this attempt of a service at an event panics.
    pub(crate) fn crash(&self, service: &str, event_id: &str, attempt: u32) -> Option<Crash> {
        let mut dice = self.dice(&["crash", service, event_id, &attempt.to_string()]);
        let crashes = attempt <= LAST_CRASHING_ATTEMPT && dice.f64() < self.crash_rate;
        crashes.then(|| if dice.bool() { Crash::BeforeCommit } else { Crash::AfterCommit })
    }

    /// Whether the customer's click arrives twice.
    pub(crate) fn twice(&self, order_id: &str) -> bool {
        self.dice(&["twice", order_id]).f64() * TWICE_ONE_IN < 1.0
    }

    fn dice(&self, of: &[&str]) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed ^ fnv(of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANCE: Chance = Chance { seed: 7, fail_rate: 0.3, crash_rate: 0.5 };

    #[test]
    fn failures_meet_the_rate_and_spread_over_three_services() {
        let failures: Vec<_> = (0..10_000).filter_map(|i| CHANCE.fate(&i.to_string())).collect();
        assert!((2_850..3_150).contains(&failures.len()), "{}", failures.len());
        for fate in [Fate::OutOfStock, Fate::CardDeclined, Fate::NoCarrier] {
            let share = failures.iter().filter(|it| **it == fate).count();
            assert!((900..1_100).contains(&share), "{fate:?} {share}");
        }
    }

    #[test]
    fn the_same_thing_is_decided_the_same_way_again() {
        let decide = |seed| -> Vec<_> {
            let chance = Chance { seed, ..CHANCE };
            (0..50).map(|i| chance.crash("payment", &i.to_string(), 1)).collect()
        };
        assert_eq!(decide(1), decide(1));
        assert_ne!(decide(1), decide(2));
    }

    #[test]
    fn both_crashes_happen_and_none_after_the_third_attempt() {
        let sure = Chance { crash_rate: 1.0, ..CHANCE };
        let crashes: Vec<_> = (0..50).filter_map(|i| sure.crash("s", &i.to_string(), 3)).collect();
        assert_eq!(crashes.len(), 50);
        assert!(crashes.contains(&Crash::BeforeCommit) && crashes.contains(&Crash::AfterCommit));
        assert_eq!(sure.crash("s", "1", 4), None);
    }

    #[test]
    fn extreme_rates_mean_always_and_never() {
        let never = Chance { fail_rate: 0.0, crash_rate: 0.0, ..CHANCE };
        let always = Chance { fail_rate: 1.0, ..CHANCE };
        for i in 0..100 {
            assert_eq!(
                (never.fate(&i.to_string()), never.crash("s", &i.to_string(), 1)),
                (None, None)
            );
            assert!(always.fate(&i.to_string()).is_some());
        }
    }
}
