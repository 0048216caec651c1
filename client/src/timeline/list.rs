//! Which sagas there are: a list of them, each with how it stands.

use std::future::IntoFuture;
use std::pin::Pin;

use super::{EventState, SagaStatus, Timeline};
use crate::link::Link;
use crate::{Position, ReadError};

/// A question about sagas, until it is awaited.
///
/// What is open or needs attention is asked of the groups, so it is as of now and takes no index;
/// the newest of all sagas are found at the end of the log.
#[derive(Clone, Debug)]
#[must_use = "a question is asked when it is awaited"]
pub struct SagaQuery {
    link: Link,
    which: Which,
    newest: bool,
    limit: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    All,
    Open,
    NeedsAttention,
}

/// Sagas. Prints as a table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SagaList {
    /// One row for each.
    pub rows: Vec<SagaRow>,
    /// There was too much to look at; there may be more.
    pub cut: bool,
    /// Everything up to this place in the log is in the answer.
    pub exact_to: Position,
}

/// A saga as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SagaRow {
    /// Its id.
    pub saga: String,
    /// How it stands.
    pub status: SagaStatus,
    /// How many events it has: with an index, those included that the log no longer has.
    pub count: u64,
    /// Its first event, and when the bus took it, milliseconds since 1970.
    pub first: (Position, u64),
    /// Its last event, likewise.
    pub last: (Position, u64),
    /// How often it has turned back.
    pub turn: u32,
    /// Who has said something.
    pub services: Vec<String>,
    /// Which groups have something of it to do.
    pub groups: Vec<String>,
    /// The first reason for which something of it is parked, and the group and the event.
    pub trouble: Option<(String, Position, String)>,
}

impl SagaQuery {
    pub(crate) fn new(link: Link) -> Self {
        Self { link, which: Which::All, newest: true, limit: 20 }
    }

    /// Those of which some group has something to do.
    pub fn open(mut self) -> Self {
        self.which = Which::Open;
        self
    }

    /// Those with something parked.
    pub fn needs_attention(mut self) -> Self {
        self.which = Which::NeedsAttention;
        self
    }

    /// Oldest first: of all, those that began first; of open ones, those whose oldest unsettled
    /// event is older; of those that need attention, those with the oldest dead letter. Otherwise
    /// the newest event, unsettled event, dead letter decides.
    pub fn oldest(mut self) -> Self {
        self.newest = false;
        self
    }

    /// At most so many; 20 if this is not said.
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = rows;
        self
    }

    async fn ask(self) -> Result<SagaList, ReadError> {
        let mut rows = Vec::new();
        let mut exact_to = None;
        let mut walk = match self.which {
            Which::NeedsAttention => Walk::Of(self.troubled().await?.into_iter()),
            which => Walk::Log(self.link.walk(self.newest, which == Which::Open)),
        };
        while rows.len() < self.limit {
            let sagas;
            (walk, sagas) = self.link.walk_on(walk, self.limit - rows.len()).await?;
            if sagas.is_empty() {
                break;
            }
            for saga in sagas {
                let timeline = self.link.timeline(&saga).await?;
                let exact = *exact_to.get_or_insert(timeline.exact_to);
                exact_to = Some(exact.min(timeline.exact_to));
                // What is left out of a long one may be why it is asked for.
                if timeline.more || self.wants(timeline.status) {
                    rows.push(self.row(timeline).await?);
                }
            }
        }
        let cut = matches!(&walk, Walk::Log(walk) if walk.is_cut());
        Ok(SagaList { rows, cut, exact_to: exact_to.unwrap_or_default() })
    }

    fn wants(&self, status: SagaStatus) -> bool {
        match self.which {
            Which::All => status != SagaStatus::Unknown,
            Which::Open => !matches!(status, SagaStatus::Unknown | SagaStatus::AtRest { .. }),
            Which::NeedsAttention => status == SagaStatus::NeedsAttention,
        }
    }

    async fn troubled(&self) -> Result<Vec<String>, ReadError> {
        let (mut dead, _) = self.link.all_dead_letters().await?;
        if self.newest {
            dead.reverse();
        }
        let open = dead.into_iter().filter(|(_, it)| it.superseded_by.is_none());
        let mut sagas: Vec<String> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for (_, it) in open {
            if seen.insert(it.parked.saga.clone()) {
                sagas.push(it.parked.saga);
            }
        }
        Ok(sagas)
    }

    async fn row(&self, it: Timeline) -> Result<SagaRow, ReadError> {
        let counted = self.link.saga_row(&it.saga).await?;
        let (first, last) = (it.events.first(), it.events.last());
        let place = |it: Option<&super::TimelineEvent>| {
            it.map_or_else(Default::default, |it| (it.position, it.time))
        };
        let (mut groups, mut services): (Vec<String>, Vec<String>) = Default::default();
        let mut trouble = None;
        for event in &it.events {
            if !services.contains(&event.source) {
                services.push(event.source.clone());
            }
            for group in event.groups.iter().filter(|it| !it.state.is_over()) {
                if !groups.contains(&group.group) {
                    groups.push(group.group.clone());
                }
                if let EventState::Parked { reason, .. } = &group.state {
                    trouble.get_or_insert_with(|| {
                        (group.group.clone(), event.position, reason.clone())
                    });
                }
            }
        }
        let mut row = SagaRow {
            status: it.status,
            count: it.events.len() as u64,
            first: place(first),
            last: place(last),
            turn: it.events.iter().map(|it| it.turn).max().unwrap_or(0),
            services,
            groups,
            trouble,
            saga: it.saga,
        };
        if let Some((counted, services)) = counted {
            row.count = counted.count;
            row.first = (counted.first().into(), counted.first_time);
            row.last = (counted.last().into(), counted.last_time);
            row.services = services;
        }
        Ok(row)
    }
}

/// Where candidates come from.
pub(crate) enum Walk {
    Log(crate::link::Walk),
    Of(std::vec::IntoIter<String>),
}

impl IntoFuture for SagaQuery {
    type Output = Result<SagaList, ReadError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.ask())
    }
}
