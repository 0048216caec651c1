//! What people do about a group: looking at it, and resolving what it could not process.

use std::time::Duration;

use bytes::BytesMut;
use quadrille_proto::record::Resolution;

use crate::link::{self, Command, Link};
use crate::{AdminError, Event, EventView, Position, Read, StoredEvent};

/// A resolution of a dead letter, until [`retry`](Self::retry), [`skip`](Self::skip) or
/// [`replace`](Self::replace) is awaited.
#[derive(Clone, Debug)]
#[must_use = "say retry(), skip() or replace()"]
pub struct Resolve {
    link: Link,
    group: String,
    at: Position,
    by: String,
    comment: String,
    override_superseded: bool,
}

impl Resolve {
    pub(crate) fn new(link: Link, group: &str, at: Position) -> Self {
        let (by, comment) = (String::new(), String::new());
        Self { link, group: group.to_owned(), at, by, comment, override_superseded: false }
    }

    /// Who decides, for the record.
    pub fn by(mut self, who: impl Into<String>) -> Self {
        self.by = who.into();
        self
    }

    /// Why, for the record.
    pub fn comment(mut self, why: impl Into<String>) -> Self {
        self.comment = why.into();
        self
    }

    /// Also an event that a compensation has overtaken: its effects may already be undone.
    pub fn override_superseded(mut self) -> Self {
        self.override_superseded = true;
        self
    }

    /// Hands it out again, with all its attempts.
    ///
    /// # Errors
    /// There is no such group or dead letter; it was superseded.
    pub async fn retry(self) -> Result<(), AdminError> {
        self.execute(Resolution::ResolveRetry, None).await
    }

    /// Settles it as skipped; its lane goes on.
    ///
    /// # Errors
    /// There is no such group or dead letter.
    pub async fn skip(self) -> Result<(), AdminError> {
        self.execute(Resolution::ResolveSkip, None).await
    }

    /// Hands out this event in its place, to this group only. What it does not say (id, source,
    /// saga, cause, turn, ...) it has from the one that it replaces, so that it stays in its saga and
    /// under its keys; its data are its own.
    ///
    /// # Errors
    /// There is no such group or dead letter; the event is not one that may be published.
    pub async fn replace(self, mut event: Event) -> Result<(), AdminError> {
        if let Some(original) = self.original().await? {
            event = filled(&event.view(), &original.event());
        }
        self.link.seal(&mut event, self.link.now().wall);
        let mut bytes = BytesMut::new();
        event.encode(&mut bytes);
        self.execute(Resolution::ResolveReplace, Some(bytes.freeze())).await
    }

    /// The dead letter's event as it was published, if there is such a dead letter.
    async fn original(&self) -> Result<Option<StoredEvent>, AdminError> {
        let dead = self.link.dead_letters(self.link.group(&self.group)?).await?;
        let at = link::Position::from(self.at);
        let Some(dead) = dead.into_iter().find(|it| it.event.at == at) else { return Ok(None) };
        let offset = dead.event.offset;
        let read = Read::topic(self.link.clone(), &dead.topic).from(offset).to(offset + 1);
        let unread = |why: crate::ReadError| link::Failure::Unavailable {
            why: format!("{at} cannot be read: {why}").into(),
            outcome: link::FailureOutcome::NotApplied,
        };
        Ok(read.all().await.map_err(unread)?.pop())
    }

    async fn execute(
        self,
        how: Resolution,
        replacement: Option<bytes::Bytes>,
    ) -> Result<(), AdminError> {
        let group = self.link.group(&self.group)?;
        let command = Command::Resolve(link::Resolve {
            group,
            at: self.at.into(),
            how,
            replacement,
            override_superseded: self.override_superseded,
            by: self.by,
            comment: self.comment,
        });
        self.link.execute(command).await?;
        Ok(())
    }
}

/// An event with what it does not say itself from another.
fn filled(event: &EventView<'_>, from: &EventView<'_>) -> Event {
    let or = |said: &str, other: &str| if said.is_empty() { other } else { said }.to_owned();
    let number = |said: u32, other: u32| if said == 0 { other } else { said };
    let filled = Event::new(or(event.ty, from.ty))
        .id(or(event.id, from.id))
        .source(or(event.source, from.source))
        .saga(or(event.saga, from.saga))
        .key(or(event.key, from.key))
        .subject(or(event.subject, from.subject))
        .turn(number(event.turn, from.turn))
        .schema(number(event.schema, from.schema))
        .time(if event.time == 0 { from.time } else { event.time })
        .cause(or(event.cause, from.cause))
        .content_type(or(event.content_type, from.content_type))
        .traceparent(or(event.traceparent, from.traceparent))
        .data(event.data.to_vec());
    let own = event.headers().next().is_some();
    let headers = if own { event.headers() } else { from.headers() };
    headers.fold(filled, |event, (name, value)| event.header(name, value))
}

/// A group, as operators see it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GroupInfo {
    /// Its name.
    pub name: String,
    /// Its topics.
    pub topics: Vec<String>,
    /// Why it hands out nothing, if it is paused.
    pub paused: Option<String>,
    /// It has too many unfinished lanes and opens no new ones.
    pub saturated: bool,
    /// How many events of its topics it has not settled, counting filtered ones that it has not
    /// looked at yet.
    pub unsettled: u64,
    /// When the oldest unsettled event in memory was published, milliseconds since 1970.
    pub oldest: Option<u64>,
    /// Lanes that wait for a time.
    pub held: usize,
    /// Lanes that wait for somebody to resolve a dead letter.
    pub parked: usize,
    /// Lanes with anything in them.
    pub lanes: usize,
    /// Events in members' hands.
    pub out: u32,
    /// Who is here.
    pub members: Vec<MemberInfo>,
}

/// A member of a group, and what it holds.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MemberInfo {
    /// Its name.
    pub name: String,
    /// How many events it may hold.
    pub credit: u32,
    /// How long it has been here.
    pub here: Duration,
    /// What it holds.
    pub holds: Vec<HeldEvent>,
}

/// An event in a member's hands.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HeldEvent {
    /// Its place in the log.
    pub position: Position,
    /// Since how long.
    pub since: Duration,
    /// Whether user code has seen it, as far as the bus knows.
    pub started: bool,
}

/// An event that a group could not process, with its story.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its place in the log, by which it is resolved.
    pub position: Position,
    /// Its topic.
    pub topic: String,
    /// Its offset there.
    pub offset: u64,
    /// Its type.
    pub ty: String,
    /// Its id.
    pub id: String,
    /// Its saga.
    pub saga: String,
    /// Attempts that were counted.
    pub attempts: u32,
    /// What the last one said.
    pub reason: String,
    /// The member that said so.
    pub member: String,
    /// When, milliseconds since 1970.
    pub time: u64,
    /// Whether its lane waits until it is resolved, and how many events are known to wait.
    pub blocks: Option<usize>,
    /// The compensation that has overtaken it: nothing is left to do.
    pub superseded_by: Option<Position>,
}

impl From<link::GroupInfo> for GroupInfo {
    fn from(it: link::GroupInfo) -> Self {
        Self {
            name: it.name,
            topics: it.config.topics,
            paused: it.paused,
            saturated: it.saturated,
            unsettled: it.unsettled,
            oldest: it.oldest,
            held: it.held,
            parked: it.parked,
            lanes: it.lanes.0,
            out: it.out.0,
            members: it.members.into_iter().map(MemberInfo::from).collect(),
        }
    }
}

impl From<link::MemberInfo> for MemberInfo {
    fn from(it: link::MemberInfo) -> Self {
        let held = |(event, ms, started): (link::EventRef, u64, bool)| HeldEvent {
            position: event.at.into(),
            since: Duration::from_millis(ms),
            started,
        };
        let here = Duration::from_millis(it.here_ms);
        let holds = it.holds.into_iter().map(held).collect();
        Self { name: it.name, credit: it.credit, here, holds }
    }
}

impl From<link::DeadInfo> for DeadLetter {
    fn from(it: link::DeadInfo) -> Self {
        Self {
            position: it.event.at.into(),
            topic: it.topic,
            offset: it.event.offset,
            ty: it.parked.event_type,
            id: it.parked.event_id,
            saga: it.parked.saga,
            attempts: it.parked.attempts,
            reason: it.parked.reason,
            member: it.parked.member,
            time: it.time,
            blocks: it.parked.blocking.then_some(it.behind),
            superseded_by: it.superseded_by.map(|event| event.at.into()),
        }
    }
}
