//! Dead letters of all groups, found by what they say; unresolved ones as they are now, resolved
//! ones as far as the index, or a log that is short enough, tells of them.

use std::future::IntoFuture;
use std::pin::Pin;
use std::time::Duration;

use quadrille_proto::record::Resolution;

use crate::link::{DeadRow, Link};
use crate::{DeadLetter, Position, ReadError};

/// A question about dead letters, until it is awaited.
#[derive(Clone, Debug)]
#[must_use = "a question is asked when it is awaited"]
pub struct DeadLetterQuery {
    link: Link,
    group: Option<String>,
    ty: Option<String>,
    saga: Option<String>,
    reason: Option<String>,
    older: Option<Duration>,
    newer: Option<Duration>,
    resolved: bool,
    limit: usize,
}

/// Dead letters, in the order of their events.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeadLetterList {
    /// One row for each.
    pub rows: Vec<DeadLetterRow>,
    /// Everything up to this place in the log is in the answer, unresolved ones.
    pub exact_to: Position,
    /// Likewise for resolved ones; `None` if nobody knows of them: that takes an index, or a short
    /// log.
    pub resolved_to: Option<Position>,
}

/// A dead letter of a group.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeadLetterRow {
    /// The group.
    pub group: String,
    /// The dead letter.
    pub letter: DeadLetter,
    /// How it was resolved, if it was.
    pub resolved: Option<Resolved>,
}

/// How a dead letter was resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolved {
    /// What was decided: `retry`, `skip` or `replace`.
    pub how: &'static str,
    /// Who decided.
    pub by: String,
    /// Why.
    pub comment: String,
    /// When, milliseconds since 1970.
    pub time: u64,
}

impl DeadLetterQuery {
    pub(crate) fn new(link: Link) -> Self {
        Self {
            link,
            group: None,
            ty: None,
            saga: None,
            reason: None,
            older: None,
            newer: None,
            resolved: false,
            limit: usize::MAX,
        }
    }

    /// Of this group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Events of this type.
    pub fn ty(mut self, ty: impl Into<String>) -> Self {
        self.ty = Some(ty.into());
        self
    }

    /// Events of this saga.
    pub fn saga(mut self, saga: impl Into<String>) -> Self {
        self.saga = Some(saga.into());
        self
    }

    /// With this in their reason.
    pub fn reason(mut self, part: impl Into<String>) -> Self {
        self.reason = Some(part.into());
        self
    }

    /// Parked before so long, or longer.
    pub fn older_than(mut self, age: Duration) -> Self {
        self.older = Some(age);
        self
    }

    /// Parked within this time.
    pub fn newer_than(mut self, age: Duration) -> Self {
        self.newer = Some(age);
        self
    }

    /// Resolved ones too.
    pub fn with_resolved(mut self) -> Self {
        self.resolved = true;
        self
    }

    /// At most so many; all if this is not said.
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = rows;
        self
    }

    async fn ask(self) -> Result<DeadLetterList, ReadError> {
        let (dead, end) = self.link.all_dead_letters().await?;
        let mut rows: Vec<_> = dead
            .into_iter()
            .map(|(group, it)| DeadLetterRow { group, letter: it.into(), resolved: None })
            .collect();
        let known = if self.resolved { self.link.dead_rows().await? } else { None };
        let resolved_to = known.as_ref().map(|it| Position { entry: it.to, index: 0 });
        let resolved = known.into_iter().flat_map(|it| it.value);
        rows.extend(resolved.filter_map(DeadLetterRow::resolved));
        rows.sort_by(|a, b| (a.letter.position, &a.group).cmp(&(b.letter.position, &b.group)));
        // What is a dead letter again is told as it is now.
        rows.dedup_by(|again, first| {
            let same = again.letter.position == first.letter.position && again.group == first.group;
            if same && first.resolved.is_some() {
                std::mem::swap(again, first);
            }
            same
        });
        let now = self.link.now().wall;
        rows.retain(|row| self.wants(row, now));
        rows.truncate(self.limit);
        Ok(DeadLetterList { rows, exact_to: Position { entry: end, index: 0 }, resolved_to })
    }

    fn wants(&self, row: &DeadLetterRow, now: u64) -> bool {
        let is = |asked: &Option<String>, it: &str| asked.as_ref().is_none_or(|asked| asked == it);
        let letter = &row.letter;
        let age = Duration::from_millis(now.saturating_sub(letter.time));
        is(&self.group, &row.group)
            && is(&self.ty, &letter.ty)
            && is(&self.saga, &letter.saga)
            && self.reason.as_ref().is_none_or(|part| letter.reason.contains(part))
            && self.older.is_none_or(|older| age >= older)
            && self.newer.is_none_or(|newer| age <= newer)
    }
}

impl DeadLetterRow {
    /// `None` if it is not resolved: what is told of those is told by the groups.
    fn resolved(row: DeadRow) -> Option<Self> {
        let resolved = row.resolved.map(|it| Resolved {
            how: match Resolution::try_from(it.how) {
                Ok(Resolution::ResolveSkip) => "skip",
                Ok(Resolution::ResolveReplace) => "replace",
                _ => "retry",
            },
            by: it.by,
            comment: it.comment,
            time: it.time,
        });
        let letter = DeadLetter {
            position: Position { entry: row.entry, index: row.index },
            topic: row.topic_name,
            offset: row.offset,
            ty: row.event_type,
            id: row.event_id,
            saga: row.saga,
            attempts: row.attempts,
            reason: row.reason,
            member: row.member,
            time: row.time,
            blocks: None,
            superseded_by: None,
        };
        let group = row.group_name;
        resolved.map(|resolved| Self { group, letter, resolved: Some(resolved) })
    }
}

impl IntoFuture for DeadLetterQuery {
    type Output = Result<DeadLetterList, ReadError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.ask())
    }
}
