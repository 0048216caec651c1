//! Why a handler could not decide, in three classes. A business "no" is an event, not one of these.

use std::fmt;

/// A handler could not decide what follows from its event.
///
/// `?` on any error (also a boxed one, or a text) makes a [`Failure::retry`]: this event failed, and
/// comes back by the participant's retry policy. [`OrFail`] makes the other two classes.
///
/// It is deliberately no `std::error::Error`: so every error turns into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub(crate) class: Class,
    pub(crate) reason: String,
}

/// What becomes of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Counts as an attempt.
    Retry,
    /// Does not count: something that it needs is down.
    Unavailable,
    /// Never again without a human.
    Park,
}

impl Failure {
    /// This event failed: counts as an attempt, comes back by the retry policy, and is parked after
    /// `max_attempts`.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self { class: Class::Retry, reason: reason.into() }
    }

    /// Something that the handler needs is down: the saga holds, no attempt is counted.
    pub fn unavailable(what: impl Into<String>) -> Self {
        Self { class: Class::Unavailable, reason: what.into() }
    }

    /// Never again without a human: the event is parked, and its saga waits.
    pub fn park(reason: impl Into<String>) -> Self {
        Self { class: Class::Park, reason: reason.into() }
    }

    /// What is shown to operators.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = match self.class {
            Class::Retry => "failed",
            Class::Unavailable => "unavailable",
            Class::Park => "parked",
        };
        write!(f, "{class}: {}", self.reason)
    }
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::retry(chain(&*error.into()))
    }
}

/// An error with what caused it: the outermost sentence alone rarely says what to do.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many errors repeat their source already.
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The classes of failure that `?` alone does not make, for results and options.
///
/// ```
/// use quadrille::{Failure, OrFail};
///
/// fn cents(amount: &str) -> Result<u64, Failure> {
///     let cents = amount.parse().or_park("the amount is no number")?;
///     Some(cents).filter(|cents| *cents > 0).or_park("the amount is nothing")
/// }
/// let failure = cents("12,50").unwrap_err();
/// assert_eq!(failure.to_string(), "parked: the amount is no number: invalid digit found in string");
/// ```
pub trait OrFail<T> {
    /// What went wrong will go wrong again: park the event for this reason.
    ///
    /// # Errors
    /// What it is called on is none.
    fn or_park(self, why: impl Into<String>) -> Result<T, Failure>;

    /// This thing is down: hold the saga, count no attempt.
    ///
    /// # Errors
    /// What it is called on is none.
    fn or_unavailable(self, what: impl Into<String>) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> OrFail<T> for Result<T, E> {
    fn or_park(self, why: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|e| Failure::park(format!("{}: {e}", why.into())))
    }

    fn or_unavailable(self, what: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|e| Failure::unavailable(format!("{}: {e}", what.into())))
    }
}

impl<T> OrFail<T> for Option<T> {
    fn or_park(self, why: impl Into<String>) -> Result<T, Failure> {
        self.ok_or_else(|| Failure::park(why))
    }

    fn or_unavailable(self, what: impl Into<String>) -> Result<T, Failure> {
        self.ok_or_else(|| Failure::unavailable(what))
    }
}
