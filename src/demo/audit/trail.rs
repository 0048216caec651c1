//! What the log says of one order, small enough to keep for every order of a long run.

use super::log::LogEvent;
use crate::demo::events::{EventType, Kind};
use crate::demo::orders::fnv;

/// The events of one order.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    pub(crate) steps: Vec<Step>,
}

/// One event of an order, with hashes for ids.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) at: (u64, u32),
    pub(crate) ty: EventType,
    pub(crate) kind: Option<Kind>,
    id: u64,
    /// None if it says that nothing caused it.
    cause: Option<u64>,
}

impl Trail {
    /// Takes an event, or says why it is none of the choreography.
    pub(crate) fn event(&mut self, event: &LogEvent) -> Result<(), &'static str> {
        let ty = EventType::parse(&event.ty).ok_or("has a type that no service publishes")?;
        let payload = event.payload.as_ref().ok_or("carries no order")?;
        if ty.topic() != event.topic {
            return Err("is not on its topic");
        }
        self.steps.push(Step {
            at: event.at,
            ty,
            kind: payload.kind.filter(|_| ty == EventType::NotificationSent),
            id: fnv(&[&event.id]),
            cause: (!event.cause.is_empty()).then(|| fnv(&[&event.cause])),
        });
        Ok(())
    }

    /// How many events of this type it has; of notifications, of this kind.
    pub(crate) fn count(&self, ty: EventType, kind: Option<Kind>) -> usize {
        self.steps.iter().filter(|step| step.ty == ty && step.kind == kind).count()
    }

    /// Where the first event of a type is.
    pub(crate) fn first(&self, ty: EventType) -> Option<(u64, u32)> {
        self.steps.iter().filter(|step| step.ty == ty).map(|step| step.at).min()
    }

    /// The type of the earlier event that caused this one. Outer None: there is no such event;
    /// inner None: it needs none.
    pub(crate) fn cause(&self, of: &Step) -> Option<Option<EventType>> {
        let Some(cause) = of.cause else {
            return Some(None);
        };
        let found = self.steps.iter().find(|it| it.id == cause && it.at < of.at);
        found.map(|it| Some(it.ty))
    }
}
