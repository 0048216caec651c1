//! What a test bus does: polls the players that were woken, drives the engine, until neither leads
//! to anything; and lets the process die and come back. When that is done is in `until.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use futures_core::future::BoxFuture;
use tokio::time::sleep_until;

use super::bell::Bell;
use super::clock::TestClock;
use super::lock;
use super::player::{Ended, Player, polled};
use super::script::{Script, Witness};
use crate::Bus;
use crate::link::{Engine, Link, MemBlobs, MemLog, Options};
use crate::participant::{Part, panic_text};

/// A player that is polled so often without time passing never comes to rest.
const POLLS: u32 = 100_000;
/// Other tasks of the runtime get so many turns before all is said to be quiet.
const QUIET: u32 = 3;

pub(super) struct Stage {
    pub(super) bus: Bus,
    pub(super) engine: Engine,
    pub(super) link: Link,
    pub(super) log: Arc<MemLog>,
    pub(super) clock: Arc<TestClock>,
    pub(super) seed: u64,
    /// Rings when somebody is to be polled, or the engine to be driven.
    bell: Arc<Bell>,
    players: Mutex<Vec<Player>>,
    pub(super) script: Mutex<Script>,
    /// How many of the test's own calls do the work now.
    in_front: AtomicUsize,
    /// Rings when one of them has ended.
    left: Bell,
    /// What nobody has been told yet.
    troubles: Mutex<Vec<String>>,
}

impl Stage {
    pub(super) async fn new(seed: u64, script: Script) -> Arc<Self> {
        let clock = Arc::new(TestClock::stopped().await);
        let log = Arc::new(MemLog::new(seed));
        let options =
            Options { clock: Arc::clone(&clock) as _, threads: false, seed, ..Options::default() };
        let engine = Engine::start(Arc::clone(&log) as _, Arc::<MemBlobs>::default(), options)
            .expect("an empty log in memory can be opened");
        let bell = Arc::<Bell>::default();
        let ring = Arc::clone(&bell);
        engine.on_work(move || ring.ring());
        Arc::new(Self {
            bus: Bus::on(engine.clone()),
            link: Link::Embedded(engine.clone()),
            engine,
            log,
            clock,
            seed,
            bell,
            players: Mutex::default(),
            script: Mutex::new(script),
            in_front: AtomicUsize::new(0),
            left: Bell::default(),
            troubles: Mutex::default(),
        })
    }

    pub(super) fn add_part(self: &Arc<Self>, part: Part) {
        let probe = Arc::new(Witness::new(Arc::downgrade(self)));
        let name = Arc::clone(&part.name);
        self.add(&name, move || {
            let running = part.play(Arc::clone(&probe) as _);
            Box::pin(async move { running.await.map(drop).map_err(|e| e.to_string()) })
        });
    }

    pub(super) fn add(
        &self,
        name: &str,
        begin: impl Fn() -> BoxFuture<'static, Ended> + Send + 'static,
    ) {
        let player = Player::new(name, &self.bell, begin);
        lock(&self.players).push(player);
        // It joins its group before anything else happens.
        self.turn();
    }

    /// Polls who was woken and drives the engine, until neither leads to anything. Whether there
    /// was anything.
    pub(super) fn turn(&self) -> bool {
        let mut any = false;
        loop {
            let mut more = self.engine.drive();
            let players = lock(&self.players).len();
            for at in 0..players {
                more |= self.poll(at);
            }
            let dies = std::mem::take(&mut lock(&self.script).dies);
            if dies {
                self.die_and_come_back();
                more = true;
            }
            if !more {
                return any;
            }
            any = true;
        }
    }

    fn poll(&self, at: usize) -> bool {
        let taken = lock(&self.players).get_mut(at).and_then(|player| {
            let running = player.alarm.take().then(|| player.running.take()).flatten()?;
            Some((running, Waker::from(Arc::clone(&player.alarm)), Arc::clone(&player.seats)))
        });
        // Nothing is locked while it runs: it may ask for anything.
        let Some((mut running, waker, seats)) = taken else { return false };
        let from = self.engine.end();
        let mut cx = Context::from_waker(&waker);
        let ended =
            polled(&seats, || catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(&mut cx))));
        let to = self.engine.end();
        let mut players = lock(&self.players);
        let Some(player) = players.get_mut(at) else { return true };
        player.has_written(from, to);
        let now = self.clock.mono();
        let polls = if player.polls.0 == now { player.polls.1 + 1 } else { 0 };
        player.polls = (now, polls);
        let name = &player.name;
        match ended {
            Ok(Poll::Pending) if polls >= POLLS => self.trouble(format!(
                "{name} never comes to rest: it was woken {POLLS} times while no time has passed"
            )),
            Ok(Poll::Pending) => player.running = Some(running),
            Ok(Poll::Ready(Ok(()))) => {}
            Ok(Poll::Ready(Err(why))) => self.trouble(why),
            Err(panic) => self.trouble(format!("{name} has panicked: {}", said(&*panic))),
        }
        true
    }

    /// The process dies: what handlers worked on is dropped where it stands, and what the log was
    /// not given is gone. Then it starts again from what the log holds.
    pub(super) fn die_and_come_back(&self) {
        self.engine.crash();
        // After the bus, so that what they say in their end is heard by nobody.
        let ended: Vec<_> =
            lock(&self.players).iter_mut().map(|player| player.running.take()).collect();
        drop(ended);
        self.engine.reopen().expect("a log in memory can be opened again");
        for player in lock(&self.players).iter_mut() {
            player.begin_again(&self.bell);
        }
    }

    /// Ends all players.
    pub(super) fn close(&self) {
        let players = std::mem::take(&mut *lock(&self.players));
        drop(players);
    }

    /// Lets all happen that can happen now, and other tasks of the runtime as well.
    pub(super) async fn quiesce(&self) {
        let mut quiet = 0;
        loop {
            if self.turn() {
                quiet = 0;
            } else if quiet >= QUIET {
                return;
            }
            quiet += 1;
            tokio::task::yield_now().await;
        }
    }

    /// Waits until somebody is woken, the engine is to be driven, or it is `until`.
    pub(super) async fn wait(&self, rings: u64, until: Option<u64>) {
        let sleeping = async {
            match until {
                Some(mono) => sleep_until(self.clock.at(mono)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.bell.after(rings) => {}
            () = sleeping => {}
        }
    }

    pub(super) fn rings(&self) -> u64 {
        self.bell.rings()
    }

    /// Serves a test that awaits something of the bus itself, without [`super::TestBus::settle`].
    pub(super) async fn serve(self: Arc<Self>) {
        loop {
            let (rings, left) = (self.rings(), self.left.rings());
            if self.in_front.load(SeqCst) > 0 {
                self.left.after(left).await;
                continue;
            }
            self.turn();
            self.wait(rings, self.engine.next_wake()).await;
        }
    }

    /// Looks at the players, in the order in which they came.
    pub(super) fn look<R>(&self, look: impl FnMut(&Player) -> R) -> Vec<R> {
        lock(&self.players).iter().map(look).collect()
    }

    pub(super) fn trouble(&self, what: String) {
        lock(&self.troubles).push(what);
    }

    /// What has gone wrong and was not told yet.
    pub(super) fn take_troubles(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.troubles))
    }
}

/// While it lives, the test's own call does the work.
pub(super) struct Front<'a>(&'a Stage);

impl<'a> Front<'a> {
    pub(super) fn new(stage: &'a Stage) -> Self {
        stage.in_front.fetch_add(1, SeqCst);
        Self(stage)
    }
}

impl Drop for Front<'_> {
    fn drop(&mut self) {
        self.0.in_front.fetch_sub(1, SeqCst);
        self.0.left.ring();
    }
}

/// What a panic said.
pub(super) fn said(panic: &(dyn std::any::Any + Send)) -> String {
    panic_text(panic).unwrap_or("no message").to_owned()
}

/// A stage that may be gone.
pub(super) type WeakStage = Weak<Stage>;
