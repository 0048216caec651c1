//! The answer to a settle. The settle itself was recorded before this exists.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::link::{Answer, Ticket};
use crate::{Delivery, SettleError, Unsettled};

/// A settle that is recorded. Awaiting it tells when the bus has it; dropping it takes nothing
/// back.
#[derive(Debug)]
pub struct Settling {
    delivery: Option<Delivery>,
    answer: Option<Ticket>,
}

impl Settling {
    /// An ack waits with others to be handed over; it asks when somebody wants to know.
    pub(crate) fn acked(delivery: Delivery) -> Self {
        Self { delivery: Some(delivery), answer: None }
    }

    pub(crate) fn asked(delivery: Delivery, answer: Ticket) -> Self {
        Self { delivery: Some(delivery), answer: Some(answer) }
    }

    /// Whether it was applied, before its answer; of an ack nobody knows.
    #[cfg(feature = "json")]
    pub(crate) fn is_applied(&self) -> bool {
        self.answer.as_ref().is_some_and(Ticket::is_applied)
    }
}

impl Future for Settling {
    type Output = Result<(), Unsettled<SettleError>>;

    /// # Panics
    /// If polled after it has answered.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { delivery, answer } = self.get_mut();
        let ticket = match (answer, &*delivery) {
            (Some(ticket), _) => ticket,
            (answer, Some(delivery)) => {
                answer.insert(delivery.hand().hands.answer_ack(delivery.token()))
            }
            (None, None) => panic!("a Settling answers once"),
        };
        let answered = ready!(Pin::new(ticket).poll(cx));
        let failure = match answered {
            Err(failure) => Some(failure),
            Ok(Answer::Acked { mut refused }) => refused.pop().map(|(_, it)| it.into()),
            Ok(_) => None,
        };
        Poll::Ready(match (failure, delivery.take()) {
            (Some(failure), Some(mut delivery)) => {
                delivery.set_open(true);
                let why = SettleError::from(failure);
                Err(Unsettled { why, delivery: Box::new(delivery), others: Vec::new() })
            }
            _ => Ok(()),
        })
    }
}
