//! One path for a start, a takeover and coming back from a fence: claim the log, load the newest
//! checkpoint, replay what is behind it, refill the id window, say in the log that an epoch begins.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use quadrille_proto::Hasher128;
use quadrille_proto::record::{self, EpochStarted, Kind};

use super::sequence::Sequence;
use super::shared::{Place, message};
use super::state::State;
use super::upkeep::Upkeep;
use super::{Opened, Options};
use crate::checkpoint::{Checkpoints, Loaded, Section};
use crate::core::types::Position;
use crate::core::{Core, CoreConfig, Start};
use crate::error::OpenError;
use crate::log::{Blobs, ENTRY_SYNC, Entry, Gap, Log, RawRecord, Read, Recovered};
use crate::sidecar::{self, Index};

/// Bytes per read while replaying.
const READ_BYTES: usize = 1 << 20;

/// Opens for the `opening`-th time. Nothing is revealed before this has succeeded.
pub(crate) fn open(
    log: &Arc<dyn Log>,
    blobs: &Arc<dyn Blobs>,
    options: &Options,
    opening: u64,
) -> Result<(State, Place, Upkeep), OpenError> {
    // A bug in replay must not take the host along.
    catch_unwind(AssertUnwindSafe(|| opened(log, blobs, options, opening)))
        .unwrap_or_else(|panic| Err(OpenError::Replay(message(&*panic).to_owned())))
}

fn opened(
    log: &Arc<dyn Log>,
    blobs: &Arc<dyn Blobs>,
    options: &Options,
    opening: u64,
) -> Result<(State, Place, Upkeep), OpenError> {
    let now = options.clock.now();
    let found = log.claim(now)?;
    let (checkpoints, loaded) = Checkpoints::open(Arc::clone(blobs), found.log_id, found.end)?;
    let hasher = Hasher128::new(found.log_id);
    let index = Arc::new(Index::open(
        Arc::clone(log),
        Arc::clone(blobs),
        found.log_id,
        hasher.clone(),
        sidecar::Options::default(),
    )?);
    let mut replay = Replay::new(&**log, options, &found, loaded)?;
    replay.remember_ids(&index)?;
    replay.run()?;
    let Replay { mut core, notes, accepted, bytes, .. } = replay;
    core.start(now, Start { clean: found.clean, end: found.end });

    let max_chunk = log.limits().max_chunk_bytes;
    let mut seq =
        Sequence::new(found.epoch, found.end, found.last_time, max_chunk, Arc::clone(&index));
    let catalog = core.catalog();
    seq.begin_segment(now.wall, catalog);
    let begins = Kind::EpochStarted(epoch_started(&found, &accepted));
    core.begin_epoch(now, begins, &mut seq);

    let mut state = State::new(core, seq, opening, log.watermarks());
    state.log_bytes = bytes;
    state.hand_over(now, &**log);
    let soon = !accepted.is_empty() || !notes.is_empty();
    let opened = Opened::new(found, accepted, notes);
    let upkeep = Upkeep::new(checkpoints, options.limits.checkpoint_bytes, soon);
    Ok((state, Place { opened, index, hasher }, upkeep))
}

fn epoch_started(found: &Recovered, accepted: &[Gap]) -> EpochStarted {
    let dropped = found.dropped.as_ref();
    EpochStarted {
        epoch: found.epoch,
        clean: found.clean,
        recovered_end: found.end,
        dropped_from: dropped.map_or(0, |it| it.from),
        dropped_bytes: dropped.map_or(0, |it| it.bytes),
        may_contain_acknowledged: dropped.is_some_and(|it| it.may_contain_acknowledged),
        gaps: found.gaps.iter().map(recorded).collect(),
        accepted: accepted.iter().map(recorded).collect(),
    }
}

fn recorded(gap: &Gap) -> record::Gap {
    record::Gap {
        from_entry: gap.from,
        to_entry: gap.to,
        bytes: gap.bytes,
        reason: gap.reason.clone(),
    }
}

/// Brings a core to where the log ends.
struct Replay<'a> {
    log: &'a dyn Log,
    accept_gap: bool,
    found: &'a Recovered,
    core: Core,
    /// The next entry to replay.
    next: u64,
    /// The state before `next` is not known: it begins with a catalog.
    wants_catalog: bool,
    /// Something is lost; the next catalog knows what was created there.
    behind_gap: bool,
    notes: Vec<String>,
    accepted: Vec<Gap>,
    bytes: u64,
}

impl<'a> Replay<'a> {
    fn new(
        log: &'a dyn Log,
        options: &Options,
        found: &'a Recovered,
        loaded: Loaded,
    ) -> Result<Self, OpenError> {
        let mut notes: Vec<_> = loaded
            .skipped
            .into_iter()
            .map(|it| format!("checkpoint {} does not count: {}", it.number, it.reason))
            .collect();
        let config = CoreConfig {
            hash_key: found.log_id,
            epoch: found.epoch,
            limits: options.limits.clone(),
            seed: options.seed,
        };
        let imported =
            loaded.newest.and_then(|(info, sections)| match import(config.clone(), sections) {
                Ok(core) => Some((core, info.from.entry)),
                Err(why) => {
                    notes.push(format!("checkpoint {} does not count: {why}", info.number));
                    None
                }
            });
        let (core, next, known) = match imported {
            Some((core, from)) => (core, from, true),
            None => (Core::new(config), found.first, found.first <= 1),
        };
        if !known {
            notes.push(format!(
                "no checkpoint is usable and the log begins at #{}: what was settled, held, parked \
                 or armed before is known only as far as the catalog there says",
                found.first
            ));
        }
        Ok(Self {
            log,
            accept_gap: options.accept_gap,
            found,
            core,
            next,
            wants_catalog: !known,
            behind_gap: false,
            notes,
            accepted: Vec::new(),
            bytes: 0,
        })
    }

    /// The ids of events that are not replayed: those that the checkpoint knows.
    fn remember_ids(&mut self, index: &Index) -> Result<(), OpenError> {
        let topics = self.core.topics();
        let next: HashMap<_, _> = topics.iter().map(|topic| (topic.id, topic.next)).collect();
        let core = &mut self.core;
        if !next.is_empty() {
            index.ids(core.id_capacity(), |it| {
                if next.get(&it.topic).is_some_and(|next| it.offset < *next) {
                    core.remember_id(it.id_hash, it.digest, it.offset);
                }
            })?;
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), OpenError> {
        while self.next < self.found.end {
            match self.log.read(self.next, READ_BYTES)? {
                Read::Entries(entries) => {
                    for entry in &entries {
                        self.entry(entry)?;
                    }
                }
                Read::Gap { from, to } => self.gap(from, to.max(from + 1))?,
                Read::Retired { first } => self.gap(self.next, first.max(self.next + 1))?,
                Read::NotYet => break,
            }
        }
        if self.wants_catalog && self.found.first < self.found.end {
            return Err(OpenError::NoCatalog { first: self.found.first });
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), OpenError> {
        let sync = entry.flags & ENTRY_SYNC != 0;
        self.bytes += entry.payload.len() as u64;
        for raw in entry.records() {
            let RawRecord { index, kind, must_understand, body } = raw?;
            let at = Position { entry: entry.number, index };
            let decoded = record::decode(kind, must_understand, body)
                .map_err(|source| OpenError::Record { at, source })?;
            match decoded {
                Some(Kind::Catalog(catalog)) if self.wants_catalog => {
                    self.core.adopt(&catalog);
                    self.wants_catalog = false;
                }
                Some(Kind::Catalog(catalog)) if self.behind_gap => {
                    self.core.mend(&catalog);
                    self.behind_gap = false;
                }
                // What comes before the first catalog speaks of things nobody knows.
                Some(kind) if !self.wants_catalog => {
                    self.core.replay(at, entry.time, sync, &kind);
                }
                _ => {}
            }
        }
        self.next = entry.number + 1;
        Ok(())
    }

    /// Entries are missing, and the checkpoint is older: they may hold settles.
    fn gap(&mut self, from: u64, to: u64) -> Result<(), OpenError> {
        let known = self.found.gaps.iter().find(|gap| gap.from <= from && from < gap.to);
        let gap = known.cloned().unwrap_or_else(|| Gap {
            from,
            to,
            bytes: 0,
            reason: "damaged".to_owned(),
        });
        if !self.accept_gap {
            return Err(OpenError::Gap { from, to, reason: gap.reason });
        }
        self.notes.push(format!("entries #{from} to #{} are lost: {}", to - 1, gap.reason));
        self.accepted.push(Gap { from, to, ..gap });
        self.behind_gap = true;
        self.next = to;
        Ok(())
    }
}

fn import(config: CoreConfig, sections: Vec<Section>) -> Result<Core, String> {
    let mut core = Core::new(config);
    for section in sections {
        core.import(section.kind, section.at, &section.payload).map_err(|e| e.to_string())?;
    }
    Ok(core)
}
