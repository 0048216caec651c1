//! The process that directs: starts the one that runs bus and services, tells it what comes next,
//! kills it, starts it again, and shows how it goes. It has no bus and no store open meanwhile.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use tokio::sync::mpsc;

use super::audit::number;
use super::live::Live;
use super::options::{Plan, RunArgs};
use super::report::{Act, CountsState, Direction, Done, Parked, Report, Resolved, State, say};
use crate::cli::Failure;
use crate::out::quoted;

/// How long the provider is down.
const OUTAGE: Duration = Duration::from_secs(3);

/// How often the process is killed, if there is enough to do.
const KILLS: u64 = 3;

/// Fewer orders than this are not published as fast as they go when somebody is to be killed.
const FEW: u64 = 400;

/// How long a process that is stopped may take.
const CLOSING: Duration = Duration::from_secs(10);

/// How long an act with a steady pace is to take, about.
const STEADY: u64 = 2;
const TROUBLE: u64 = 5;

/// How far into its act the provider goes down: the rest of the act is the outage.
const DOWN_AFTER: Duration = Duration::from_secs(2);

/// What a run told about itself.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// How many starts before this one were cut off.
    pub(crate) kills: u64,
    /// Of the last process.
    pub(crate) state: State,
    pub(crate) done: Done,
    /// Of all processes.
    pub(crate) counts: CountsState,
    pub(crate) parked: Vec<Parked>,
    pub(crate) resolved: Vec<Resolved>,
}

/// Runs until every order has ended and nobody has anything left to do.
///
/// # Errors
/// Options that contradict the directory, a store or a bus that fails, or a user who stops it.
pub(crate) async fn direct(args: &RunArgs, data: &Path, live: &mut Live) -> Result<Told, Failure> {
    let told = Told::default();
    let mut cue = Cue { args, data, live, told, player: None, is_done: false, is_resolved: false };
    let played = tokio::select! {
        played = cue.play() => Some(played),
        _ = tokio::signal::ctrl_c() => None,
    };
    cue.live.finish();
    if let Some(played) = played {
        return played.map(|()| cue.told);
    }
    // What is in hand ends in order; a second Ctrl-C does not wait for it.
    let _ = tokio::time::timeout(CLOSING, cue.close()).await;
    Err(Failure::Stopped(match &args.data {
        None if args.json => "stopped; only a run with --data DIR can go on later".to_owned(),
        None => "stopped; `quadrille demo` goes on".to_owned(),
        Some(dir) => format!(
            "stopped; `quadrille demo --data {}` goes on",
            quoted(&dir.display().to_string())
        ),
    }))
}

/// The other process.
struct Player {
    process: Child,
    stdin: ChildStdin,
    reports: mpsc::UnboundedReceiver<Report>,
}

/// Nobody directs it any more.
impl Drop for Player {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Cue<'a> {
    args: &'a RunArgs,
    data: &'a Path,
    live: &'a mut Live,
    told: Told,
    player: Option<Player>,
    /// What was directed last is done.
    is_done: bool,
    /// The operator was here.
    is_resolved: bool,
}

impl Cue<'_> {
    async fn play(&mut self) -> Result<(), Failure> {
        let plan = self.start().await?;
        if self.args.json || !plan.story {
            self.feed(Act::Fast, plan.count, None)?;
            self.done().await?;
        } else {
            self.flow(&plan).await?;
            self.trouble(&plan).await?;
            self.fire(&plan).await?;
        }
        self.operate().await?;
        self.close().await
    }

    /// The orders run: as fast as they go, and then at a steady pace.
    async fn flow(&mut self, plan: &Plan) -> Result<(), Failure> {
        let [fast, steady, ..] = plan.acts();
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        self.live.say(&format!(
            "{} orders through five services, each with a database of its own.\n{} of the orders \
             fail, 5 % come twice, {} of the handlers panic.",
            number(plan.count),
            percent(plan.fail_rate),
            percent(self.args.crash_rate)
        ))?;
        self.live.act("1 Flow", "every step is on the disk before the next one begins")?;
        self.feed(Act::Fast, fast, None)?;
        self.done().await?;
        self.feed(Act::Steady, steady, Some(pace(steady - fast, STEADY)))?;
        let done = self.done().await?;
        self.live.flow(&done)
    }

    /// Three orders cannot be processed, one charge answers too late, and the provider goes down.
    async fn trouble(&mut self, plan: &Plan) -> Result<(), Failure> {
        let [_, steady, trouble, _] = plan.acts();
        self.live
            .act("2 Trouble", "a currency nobody takes, a charge that comes too late, an outage")?;
        self.feed(Act::Trouble, trouble, Some(pace(trouble - steady, TROUBLE)))?;
        self.pass(DOWN_AFTER).await?;
        self.tell(&Direction::Provider { down: true })?;
        self.pass(OUTAGE).await?;
        self.tell(&Direction::Provider { down: false })?;
        let before = self.told.done.of(Act::Steady);
        if self.is_done {
            // Few orders end before the late charge and the outage: what is told is how it stands.
            self.feed(Act::Trouble, trouble, None)?;
        }
        let done = self.done().await?;
        self.live.trouble(before, &done, self.told.state.parked())
    }

    /// The process is killed in the middle of its work, and started again.
    async fn fire(&mut self, plan: &Plan) -> Result<(), Failure> {
        let [.., trouble, all] = plan.acts();
        if !self.args.no_kill {
            self.live.act(
                "3 Murder",
                &format!("kill -9 in the middle of everything, up to {KILLS} times"),
            )?;
        }
        let share = all - trouble;
        // So few would be over before anybody can kill.
        let pace = (!self.args.no_kill && share < FEW).then(|| pace(share, 1));
        self.feed(Act::Fire, all, pace)?;
        let (mut kills, mut busy, mut back) = (0, 0, Duration::ZERO);
        while !self.args.no_kill && kills < KILLS {
            // Enough is left for the next kill, and for the end.
            let enough = trouble + share * (2 * kills + 1) / (2 * KILLS + 2);
            let Some(state) = self.until_busy(enough).await? else { break };
            kills += 1;
            busy += state.busy;
            self.told.counts.add(&state.counts);
            self.player = None;
            let killed = tokio::time::Instant::now();
            self.start().await?;
            back = back.max(killed.elapsed());
            self.feed(Act::Fire, all, pace)?;
        }
        self.done().await?;
        if !self.args.no_kill {
            let resent = self.told.counts.resent + self.told.state.counts.resent;
            self.live.fire((kills, KILLS), busy, resent, back)?;
        }
        Ok(())
    }

    /// What is parked is resolved, and then everybody comes to rest.
    async fn operate(&mut self) -> Result<(), Failure> {
        if self.told.state.parked() > 0 {
            self.tell(&Direction::Resolve)?;
            while !self.is_resolved {
                self.next().await?;
            }
        }
        self.is_done = false;
        self.tell(&Direction::Settle)?;
        self.done().await?;
        Ok(())
    }

    async fn close(&mut self) -> Result<(), Failure> {
        self.told.counts.add(&self.told.state.counts);
        self.tell(&Direction::Close)?;
        while !matches!(self.next().await?, Report::Closed) {}
        self.player = None;
        Ok(())
    }

    async fn start(&mut self) -> Result<Plan, Failure> {
        self.player = Some(Player::start()?);
        let (args, data) = (Box::new(self.args.clone()), self.data.to_owned());
        self.tell(&Direction::Start { args, data })?;
        loop {
            if let Report::Ready { plan, kills } = self.next().await? {
                self.told.kills = kills;
                return Ok(plan);
            }
        }
    }

    fn feed(&mut self, act: Act, until: u64, per_second: Option<u64>) -> Result<(), Failure> {
        self.is_done = false;
        self.tell(&Direction::Feed { act, until, per_second })
    }

    fn tell(&mut self, direction: &Direction) -> Result<(), Failure> {
        let gone = || Failure::run("the process that runs the services is gone");
        say(&self.player.as_ref().ok_or_else(gone)?.stdin, direction)
    }

    /// Waits until what was directed last is done.
    async fn done(&mut self) -> Result<Done, Failure> {
        while !self.is_done {
            self.next().await?;
        }
        Ok(self.told.done.clone())
    }

    /// Waits until so many orders have ended, and some handlers are in the middle; there may be
    /// nothing left to be in the middle of.
    async fn until_busy(&mut self, enough: u64) -> Result<Option<State>, Failure> {
        while !self.is_done {
            if let Report::State(it) = self.next().await?
                && it.ended + it.parked() >= enough
                && it.busy > 0
            {
                return Ok(Some(it));
            }
        }
        Ok(None)
    }

    async fn pass(&mut self, time: Duration) -> Result<(), Failure> {
        let until = tokio::time::Instant::now() + time;
        while let Ok(report) = tokio::time::timeout_at(until, self.next()).await {
            report?;
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Report, Failure> {
        let gone = || Failure::run("the process that runs the services has ended by itself");
        let report = self.player.as_mut().ok_or_else(gone)?.reports.recv().await;
        let report = report.ok_or_else(gone)?;
        match &report {
            Report::Failed { input: true, text } => return Err(Failure::Input(text.clone())),
            Report::Failed { text, .. } => return Err(Failure::Run(text.clone())),
            Report::State(state) => {
                self.live.show(state);
                self.told.state = state.clone();
            }
            Report::Done(done) => {
                self.told.done = done.clone();
                self.is_done = true;
            }
            Report::Parked(parked) => self.told.parked = parked.clone(),
            Report::Resolved(resolved) => {
                self.told.resolved = resolved.clone();
                self.is_resolved = true;
            }
            _ => {}
        }
        Ok(report)
    }
}

impl Player {
    fn start() -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(Failure::run)?;
        let mut process = Command::new(program)
            .args(["demo", "serve"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| Failure::run(format!("cannot start the process of the services: {e}")))?;
        let piped = process.stdin.take().zip(process.stdout.take());
        let (stdin, stdout) = piped.ok_or_else(|| Failure::run("it has no pipes"))?;
        let (said, reports) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            // What is cut off by a kill is no report.
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            let reports = lines.map_while(|line| serde_json::from_str(&line).ok());
            reports.into_iter().try_for_each(|report| said.send(report))
        });
        Ok(Self { process, stdin, reports })
    }
}

impl CountsState {
    fn add(&mut self, more: &Self) {
        self.retries += more.retries;
        self.duplicates += more.duplicates;
        self.superseded += more.superseded;
        self.resent += more.resent;
    }
}

/// How many a second, so that so many take about so long.
fn pace(orders: u64, seconds: u64) -> u64 {
    (orders / seconds).max(10)
}
