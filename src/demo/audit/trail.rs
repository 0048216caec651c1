//! What the log says of one order, small enough to keep for every order of a long run.

use super::log::LogEvent;
use super::words::{self, Word};
use crate::demo::orders::fnv;

/// The events of one order.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    pub(super) steps: Vec<Step>,
}

/// One event of an order, with hashes for ids.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) at: (u64, u32),
    pub(super) word: &'static Word,
    id: u64,
    /// None if it says that nothing caused it.
    cause: Option<u64>,
}

impl Trail {
    /// Takes an event, or says why it is none of the choreography.
    pub(super) fn event(&mut self, event: &LogEvent) -> Result<(), &'static str> {
        let word = words::find(&event.says).ok_or("has a type that no service publishes")?;
        if !event.readable {
            return Err("carries nothing that can be read");
        }
        if word.topic != event.topic {
            return Err("is not on its topic");
        }
        self.steps.push(Step {
            at: event.at,
            word,
            id: fnv(&[&event.id]),
            cause: (!event.cause.is_empty()).then(|| fnv(&[&event.cause])),
        });
        Ok(())
    }

    /// How often this was said.
    pub(super) fn count(&self, says: &str) -> usize {
        self.steps.iter().filter(|step| step.word.says == says).count()
    }

    /// Where it was said first.
    pub(super) fn first(&self, says: &str) -> Option<(u64, u32)> {
        self.steps.iter().filter(|step| step.word.says == says).map(|step| step.at).min()
    }

    /// Whether a step has the cause that it needs, before it.
    pub(super) fn is_caused(&self, of: &Step) -> bool {
        let Some(cause) = of.cause else {
            return of.word.causes.is_empty();
        };
        let found = self.steps.iter().find(|it| it.id == cause && it.at < of.at);
        found.is_some_and(|it| of.word.causes.contains(&it.word.says))
    }
}
