//! The heart of a service: a batch of deliveries in one local transaction, each handled at most
//! once, however often it comes. No bus: what to publish is given back.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::chance::{Chance, Crash};
use super::events::{EventType, Incoming, Output};
use super::store::{Store, StoreError, Tables};

/// Turns an event into effects and outputs. It sees one transaction and no clock, network or bus.
pub(crate) type Handler =
    fn(&mut Tables<'_>, &Incoming, &Chance) -> Result<Vec<Output>, StoreError>;

/// One service of the choreography.
#[derive(Debug)]
pub(crate) struct Service {
    /// Its name, which is its group on the bus and the file of its store.
    pub(crate) name: &'static str,
    /// What it reacts to.
    pub(crate) consumes: &'static [EventType],
    /// Which of these undo, and so overtake what is stuck.
    pub(crate) compensating: &'static [EventType],
    pub(crate) handle: Handler,
}

/// What became of one delivery of a batch. All but the last two are committed when it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Handled now; publish these.
    Done(Vec<Output>),
    /// Handled before, and the bus did not hear of it; publish these again.
    Again(Vec<Output>),
    /// Another copy of an event that was handled: nothing to publish.
    Copy,
    /// The handler panicked: nothing of it is left, and it has to come again.
    Panicked,
}

/// Handles `batch` in one transaction. A panic takes back the transaction, and the others of the
/// batch are handled again without the event that panicked.
pub(crate) fn handle_batch(
    service: &Service,
    store: &Store,
    chance: &Chance,
    batch: &[Incoming],
) -> Result<Vec<Verdict>, StoreError> {
    let mut panicked = vec![false; batch.len()];
    loop {
        let mut at = 0;
        let tried = catch_unwind(AssertUnwindSafe(|| {
            store.write(|tables| {
                let mut verdicts = Vec::with_capacity(batch.len());
                for (event, skip) in batch.iter().zip(&panicked) {
                    verdicts.push(match skip {
                        true => Verdict::Panicked,
                        false => handle_once(service, tables, chance, event)?,
                    });
                    at += 1;
                }
                Ok(verdicts)
            })
        }));
        match (tried, panicked.get_mut(at)) {
            (Ok(verdicts), _) => return verdicts,
            (Err(_), Some(skip)) => *skip = true,
            // Not a handler: the commit itself.
            (Err(panic), None) => resume_unwind(panic),
        }
    }
}

fn handle_once(
    service: &Service,
    tables: &mut Tables<'_>,
    chance: &Chance,
    event: &Incoming,
) -> Result<Verdict, StoreError> {
    if let Some(handled) = tables.handled(&event.origin)? {
        let same = handled.offset == event.origin.offset;
        return Ok(if same { Verdict::Again(handled.outputs) } else { Verdict::Copy });
    }
    let outputs = (service.handle)(tables, event, chance)?;
    let origin = &event.origin;
    if chance.crash(service.name, &origin.id, origin.attempt) == Some(Crash::BeforeCommit) {
        crash();
    }
    tables.remember(origin, &outputs)?;
    Ok(Verdict::Done(outputs))
}

/// A planned panic: unwinds like any other, and writes no backtrace over the progress.
pub(crate) fn crash() -> ! {
    resume_unwind(Box::new("planned by --crash-rate"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::payment::PAYMENT;
    use crate::demo::shop::{incoming, no_trouble};

    #[test]
    fn a_redelivery_is_not_handled_again_and_gets_the_same_outputs() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), PAYMENT.name).unwrap();
        let mut event = incoming(EventType::InventoryReserved, "order-1");
        let first = handle_batch(&PAYMENT, &store, &no_trouble(), &[event.clone()]).unwrap();
        let [Verdict::Done(outputs)] = first.as_slice() else { panic!("{first:?}") };
        event.origin.attempt = 2;
        let second = handle_batch(&PAYMENT, &store, &no_trouble(), &[event.clone()]).unwrap();
        assert_eq!(second, [Verdict::Again(outputs.clone())]);
        event.origin.offset += 1;
        let third = handle_batch(&PAYMENT, &store, &no_trouble(), &[event]).unwrap();
        assert_eq!(third, [Verdict::Copy]);
        assert_eq!(store.effects().unwrap().len(), 1);
    }

    #[test]
    fn a_panic_before_the_commit_leaves_nothing_and_spares_the_batch() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), PAYMENT.name).unwrap();
        let chance = Chance { crash_rate: 0.5, ..no_trouble() };
        let mut batch: Vec<_> = (0..40)
            .map(|i| incoming(EventType::InventoryReserved, &format!("order-{i}")))
            .collect();
        let before = |it: &Incoming| {
            chance.crash(PAYMENT.name, &it.origin.id, it.origin.attempt)
                == Some(Crash::BeforeCommit)
        };
        let crashing = batch.iter().filter(|it| before(it)).count();
        assert!((1..40).contains(&crashing), "{crashing}");
        let verdicts = handle_batch(&PAYMENT, &store, &chance, &batch).unwrap();
        for (event, verdict) in batch.iter().zip(&verdicts) {
            assert_eq!(*verdict == Verdict::Panicked, before(event));
        }
        assert_eq!(store.effects().unwrap().len(), 40 - crashing);
        for event in &mut batch {
            event.origin.attempt = 9;
        }
        handle_batch(&PAYMENT, &store, &chance, &batch).unwrap();
        assert_eq!(store.effects().unwrap().len(), 40);
    }
}
