//! The engine over a log in files, on a disk that loses power, fails and fills.

use std::collections::BTreeMap;

use quadrille_proto::record::Durability::Synced;
use quadrille_proto::record::OrderBy;

use super::*;
use crate::disk::{Disk, Fault, SimDisk};
use crate::engine::Range;
use crate::error::OpenError;
use crate::log::{FileBlobs, FileLog, LogOptions};

/// An engine over files on a simulated disk.
struct OnDisk {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    log: Arc<FileLog>,
    engine: Engine,
}

impl OnDisk {
    fn open(disk: SimDisk, clock: &Arc<ManualClock>, seed: u64) -> Result<Self, OpenError> {
        Self::open_with(disk, clock, seed, |_| {})
    }

    fn open_with(
        disk: SimDisk,
        clock: &Arc<ManualClock>,
        seed: u64,
        change: impl FnOnce(&mut Options),
    ) -> Result<Self, OpenError> {
        let log_options = LogOptions {
            segment_bytes: 20_000,
            first_segment_bytes: 6_000,
            seed,
            ..LogOptions::default()
        };
        let log = Arc::new(FileLog::open(Arc::new(disk.clone()), log_options)?);
        let blobs = Arc::new(FileBlobs::new(Arc::new(disk.clone())));
        let mut options = options(clock);
        options.limits.checkpoint_bytes = 10_000;
        change(&mut options);
        let engine = Engine::start(log.clone(), blobs, options)?;
        Ok(Self { disk, clock: clock.clone(), log, engine })
    }

    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(NOON));
        Self::open(SimDisk::new(), &clock, 1).unwrap()
    }

    /// A little of everything, in an order that chance decides.
    fn some_steps(&self, rng: &mut fastrand::Rng) {
        for _ in 0..rng.usize(..6) {
            let now = self.clock.now();
            match rng.u8(..5) {
                0 => drop(self.log.step(Work::Append, now)),
                1 => drop(self.log.step(Work::Sync, now)),
                2 => drop(self.log.step(Work::Prepare, now)),
                3 => self.clock.advance(rng.u64(..20)),
                _ => drop(self.engine.drive()),
            }
        }
    }

    fn all(&self, topic: TopicId) -> Vec<(u64, String)> {
        let mut reader = self.engine.read(Range::Topic { topic, from: 0, to: u64::MAX });
        let mut all = Vec::new();
        loop {
            let page = reader.next_page().unwrap();
            if page.is_empty() {
                return all;
            }
            all.extend(
                page.into_iter().map(|it| {
                    (it.event.offset, EventView::parse(&it.bytes).unwrap().id.to_owned())
                }),
            );
        }
    }
}

fn setup(it: &OnDisk) -> TopicId {
    let mut topic = it.engine.execute(create_topic("orders", Synced));
    let config = GroupConfig {
        topics: vec!["orders".to_owned()],
        order_by: OrderBy::Everything.into(),
        ..GroupConfig::default()
    };
    let name = "billing".to_owned();
    let mut group = it.engine.execute(Command::CreateGroup { name, config, start: None });
    it.engine.drive();
    assert!(matches!(group.try_get(), Some(Ok(_))));
    match topic.try_get() {
        Some(Ok(Answer::Topic { topic, .. })) => topic,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_that_was_answered_is_lost_however_it_ends() {
    for seed in 0..6 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut it = OnDisk::new();
        let topic = setup(&it);
        let (mut answered, mut next_id) = (BTreeMap::new(), 0);
        let mut settled_for_good = 0;
        for round in 0..8 {
            let mut waiting = Vec::new();
            let member = it.engine.join("billing", "one", 1_000).unwrap();
            for _ in 0..rng.usize(1..60) {
                let id = next_id.to_string();
                next_id += 1;
                waiting.push((id.clone(), it.engine.execute(publish(topic, &[&id]))));
                it.some_steps(&mut rng);
                for (id, ticket) in &mut waiting {
                    if let Some(answer) = ticket.try_get() {
                        answered.insert(first_offset(Some(answer)), id.clone());
                    }
                }
                waiting.retain(|(id, _)| !answered.values().any(|it| it == id));
                let had = hand(&member);
                if let Some(first) = had.first() {
                    assert!(first.token.event.offset >= settled_for_good, "it comes again");
                    drop(it.engine.acks(had.iter().map(|it| it.token).collect()));
                    let last = had[had.len() - 1].token.event.offset;
                    let mut flushed = it.engine.flush();
                    if rng.bool() {
                        it.engine.drive();
                    }
                    if matches!(flushed.try_get(), Some(Ok(_))) {
                        settled_for_good = last + 1;
                    }
                }
            }
            let disk = if rng.bool() { it.disk.crashed(rng.u64(..)) } else { it.disk.killed() };
            drop(member);
            drop(waiting);
            let clock = it.clock.clone();
            drop(it);
            it = OnDisk::open(disk, &clock, seed * 100 + round).unwrap();
            it.engine.drive();
            let found = it.all(topic);
            let dense = found.iter().zip(0..).all(|((offset, _), n)| *offset == n);
            assert!(dense, "seed {seed}: {found:?}");
            for (offset, id) in &answered {
                let there = found.get(usize::try_from(*offset).unwrap()).map(|(_, id)| id);
                assert_eq!(there, Some(id), "seed {seed}, round {round}, offset {offset}");
            }
            let names: std::collections::BTreeSet<_> = found.iter().map(|(_, id)| id).collect();
            assert_eq!(names.len(), found.len(), "seed {seed}: an event is there twice");
        }
    }
}

#[test]
fn a_failed_write_or_sync_at_any_point_answers_nobody_and_loses_nothing_answered() {
    for point in 0..40 {
        let it = OnDisk::new();
        let topic = setup(&it);
        let mut answered = Vec::new();
        it.disk.fail_at(it.disk.trace().len() as u64 + point, Fault::Io);
        for n in 0..20 {
            let mut ticket = it.engine.execute(publish(topic, &[&n.to_string()]));
            it.engine.drive();
            match ticket.try_get() {
                Some(Ok(answer)) => answered.push(first_offset(Some(Ok(answer)))),
                Some(Err(_)) => {}
                None => panic!("point {point}: nobody is left waiting"),
            }
        }
        it.engine.reopen().unwrap();
        it.engine.drive();
        let found: Vec<_> = it.all(topic).into_iter().map(|(offset, _)| offset).collect();
        assert!(answered.iter().all(|offset| found.contains(offset)), "point {point}");
        let mut ticket = it.engine.execute(publish(topic, &["after"]));
        it.engine.drive();
        assert_eq!(first_offset(ticket.try_get()), found.len() as u64);
    }
}

#[test]
fn damage_that_no_checkpoint_covers_is_refused_by_name_and_goes_on_only_if_accepted() {
    let it = OnDisk::new();
    let topic = setup(&it);
    let publish_some = |it: &OnDisk, ids: std::ops::Range<u64>| {
        for n in ids {
            drop(it.engine.execute(publish(topic, &[&n.to_string()])));
            it.engine.drive();
        }
    };
    publish_some(&it, 0..300);
    let (disk, clock) = (it.disk.killed(), it.clock.clone());
    drop(it);
    for name in disk.list("blobs").unwrap() {
        if name.starts_with("checkpoint") {
            disk.remove(&format!("blobs/{name}")).unwrap();
        }
    }
    let segment = "log/0000000002.seg";
    disk.flip(segment, disk.bytes(segment).len() / 3 * 8);
    let refused = OnDisk::open(disk.clone(), &clock, 2).err().unwrap();
    let OpenError::Gap { from, to, .. } = refused else { panic!("{refused}") };
    assert!(from < to && to < 300, "{from}..{to}");

    let accept = |options: &mut Options| options.accept_gap = true;
    let it = OnDisk::open_with(disk, &clock, 3, accept).unwrap();
    let opened = it.engine.opened();
    assert_eq!((opened.accepted[0].from, opened.accepted[0].to), (from, to));
    it.engine.drive();
    let found = it.all(topic);
    assert_eq!(found.len() as u64, 300 - (to - from), "all but the lost ones");
    publish_some(&it, 300..301);
    assert_eq!(it.all(topic).last(), Some(&(300, "300".to_owned())), "no offset is reused");
    let losses = it.engine.info().try_get().unwrap().unwrap().losses;
    assert_eq!(losses.len(), 1, "it can be listed");

    let (disk, clock) = (it.disk.killed(), it.clock.clone());
    drop(it);
    assert!(OnDisk::open(disk, &clock, 4).is_ok(), "a checkpoint covers it now");
}

#[test]
fn a_directory_that_is_in_use_is_said_so() {
    let it = OnDisk::new();
    let again = OnDisk::open(it.disk.clone(), &it.clock, 2);
    assert_eq!(again.err().unwrap().code(), "directory_locked");
}

#[test]
fn an_engine_in_a_directory_closes_and_opens_with_threads() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for n in 0..3 {
        let engine = Engine::open(dir.path(), Options::default()).unwrap();
        assert!(engine.opened().clean && engine.opened().notes.is_empty());
        let created = runtime.block_on(engine.execute(create_topic("orders", Synced)));
        let Ok(Answer::Topic { topic, created }) = created else { panic!("no topic") };
        assert_eq!(created, n == 0);
        let id = n.to_string();
        let published = runtime.block_on(engine.execute(publish(topic, &[&id])));
        assert_eq!(first_offset(Some(published)), n);
        assert!(engine.close(1_000).unwrap().checkpointed);
    }
    let engine = Engine::open(dir.path(), Options::default()).unwrap();
    drop(engine);
    let engine = Engine::open(dir.path(), Options::default()).unwrap();
    assert!(!engine.opened().clean, "the lock is given back by a drop too");
}
