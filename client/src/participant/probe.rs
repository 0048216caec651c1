//! Where a test may step in while a participant works. Nobody else is asked, and without a test
//! there is nothing to ask.

use futures_core::future::BoxFuture;

use super::Ctx;

/// A moment at which something may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Point {
    /// The event is about to be handled.
    Delivered,
    /// Its inbox has opened a transaction for it.
    Begun,
    /// The handler is done; its transaction is not committed.
    BeforeInbox,
    /// The handler is done, and its inbox has committed; the step is not recorded.
    BeforeCommit,
    /// The step is recorded; its answer has not come.
    AfterCommit,
    /// The handler could not decide; that is not recorded.
    BeforeFail,
    /// It is recorded.
    AfterFail,
}

/// Who steps in.
pub(crate) trait Probe: Send + Sync {
    /// A participant has come to this point; it goes on when the future is ready.
    fn reach<'a>(&'a self, point: Point, ctx: &'a Ctx) -> BoxFuture<'a, ()>;
}
