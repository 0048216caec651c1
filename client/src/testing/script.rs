//! What goes wrong in a run, and when: the moments at which something can, counted, and what
//! happens at one of them. Runs of the same seed come to the same moments in the same order.

use std::collections::HashSet;
use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;

use super::lock;
use super::stage::{Stage, WeakStage};
use crate::link::EventRef;
use crate::participant::{Ctx, Point, Probe};

/// How late a handler, or the process, is that is late.
pub(super) const LATE: Duration = Duration::from_secs(10);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// The process dies, and comes back.
    Crash,
    /// What the handler came to is lost, and the event is delivered again.
    Twice,
    /// Nothing happens there for ten seconds.
    Late,
    /// Nothing happens there until the bus takes the event back.
    Timeout,
}

/// A moment at which something can go wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// A participant has come to this point with this event.
    Reached { point: Point, participant: String, ty: String, saga: String },
    /// Everything is done that can be done now, and this was written last.
    Settled { entry: u64 },
    /// A hold ends, or a timer fires.
    Due { entry: u64 },
}

/// An event in a group.
pub(super) type OfGroup = (u32, EventRef);

#[derive(Debug, Default)]
pub(super) struct Script {
    /// Every event is handled twice.
    pub(super) twice: bool,
    /// Those that were.
    doubled: HashSet<OfGroup>,
    /// The moments are written down, or counted until the one that is meant.
    pub(super) counts: bool,
    pub(super) meant: Option<(Fault, usize)>,
    pub(super) moments: Vec<Moment>,
    /// What has happened where.
    pub(super) happened: Option<Moment>,
    /// The process is to die now.
    pub(super) dies: bool,
    /// Whose handler was made late, until it is through.
    pub(super) late: Option<OfGroup>,
    /// What was written when everything was settled last.
    settled: u64,
}

impl Script {
    pub(super) fn counting() -> Self {
        Self { counts: true, ..Self::default() }
    }

    pub(super) fn meaning(fault: Fault, moment: usize) -> Self {
        Self { counts: true, meant: Some((fault, moment)), ..Self::default() }
    }

    /// A moment has come; what goes wrong.
    fn comes(&mut self, moment: impl FnOnce() -> Moment) -> Option<Fault> {
        if !self.counts {
            return None;
        }
        let moment = moment();
        self.moments.push(moment.clone());
        let (fault, at) = self.meant?;
        (at == self.moments.len()).then(|| {
            self.happened = Some(moment);
            fault
        })
    }
}

impl Stage {
    /// Everything is settled. Whether something has gone wrong because of that.
    pub(super) fn is_settled(&self) -> bool {
        let entry = self.engine.end() - 1;
        let fault = {
            let mut script = lock(&self.script);
            let news = std::mem::replace(&mut script.settled, entry) != entry;
            news.then(|| script.comes(|| Moment::Settled { entry })).flatten()
        };
        if fault.is_some() {
            self.die_and_come_back();
        }
        fault.is_some()
    }

    /// A hold ends, or a timer fires.
    pub(super) async fn is_due(&self) {
        let entry = self.engine.end() - 1;
        let fault = lock(&self.script).comes(|| Moment::Due { entry });
        match fault {
            Some(Fault::Late) => tokio::time::sleep(LATE).await,
            Some(_) => self.die_and_come_back(),
            None => {}
        }
    }

    fn reached(&self, point: Point, ctx: &Ctx) -> Option<Fault> {
        let of_group = ctx.hand().map(|(_, token)| (token.group, token.event))?;
        let mut script = lock(&self.script);
        let fault = script.comes(|| Moment::Reached {
            point,
            participant: ctx.participant().to_owned(),
            ty: ctx.event().ty.to_owned(),
            saga: ctx.saga().to_owned(),
        });
        let done = matches!(point, Point::BeforeCommit | Point::BeforeFail);
        let again = script.twice && done && script.doubled.insert(of_group);
        match fault {
            Some(Fault::Crash) => script.dies = true,
            Some(Fault::Late | Fault::Timeout) => script.late = Some(of_group),
            _ => {}
        }
        if again { fault.or(Some(Fault::Twice)) } else { fault }
    }
}

/// Sees what participants come to, and steps in.
pub(super) struct Witness(WeakStage);

impl Witness {
    pub(super) fn new(stage: WeakStage) -> Self {
        Self(stage)
    }
}

impl Probe for Witness {
    fn reach<'a>(&'a self, point: Point, ctx: &'a Ctx) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let fault = self.0.upgrade().and_then(|stage: Arc<Stage>| stage.reached(point, ctx));
            match (fault, ctx.hand()) {
                (None, _) | (_, None) => {}
                (Some(Fault::Late), _) => tokio::time::sleep(LATE).await,
                (Some(Fault::Twice), Some((hand, token))) => {
                    hand.take_back(token);
                    // Whoever waits here is dropped.
                    pending().await
                }
                (Some(Fault::Crash | Fault::Timeout), _) => pending().await,
            }
        })
    }
}

impl Fault {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Crash, "crash"),
        (Self::Twice, "twice"),
        (Self::Late, "late"),
        (Self::Timeout, "timeout"),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(it, _)| *it == self).map_or("", |(_, name)| name)
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| *name == word).map(|(fault, _)| *fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Moment {
    /// What can go wrong there.
    pub(super) fn faults(&self) -> &'static [Fault] {
        match self {
            Self::Reached { point, .. } => match point {
                Point::Delivered | Point::Begun | Point::BeforeInbox => {
                    &[Fault::Crash, Fault::Late, Fault::Timeout]
                }
                Point::BeforeCommit | Point::BeforeFail => {
                    &[Fault::Crash, Fault::Twice, Fault::Late, Fault::Timeout]
                }
                Point::AfterCommit | Point::AfterFail => &[Fault::Crash],
            },
            Self::Settled { .. } => &[Fault::Crash],
            Self::Due { .. } => &[Fault::Crash, Fault::Late],
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reached { point, participant, ty, saga } => {
                let point = match point {
                    Point::Delivered => "is about to handle",
                    Point::Begun => "has a transaction open for",
                    Point::BeforeInbox => "has handled, and not stored,",
                    Point::BeforeCommit => "has handled, and not settled,",
                    Point::AfterCommit => "has settled, and was not told so,",
                    Point::BeforeFail => "has failed, and not said so, at",
                    Point::AfterFail => "has said that it failed at",
                };
                write!(f, "{participant} {point} {ty} of {saga}")
            }
            Self::Settled { entry } => write!(f, "everything is settled behind #{entry}"),
            Self::Due { entry } => write!(f, "a hold or timer is due behind #{entry}"),
        }
    }
}
