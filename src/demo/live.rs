//! How a run shows that it goes: the acts of the story as they end, and one live line per service on
//! a terminal, plain lines elsewhere, nothing when a program reads.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::audit::number;
use super::report::{Act, Done, Measured, State};
use crate::cli::Failure;
use crate::out::{self, count};

/// How often plain progress writes a line.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// Where what an act comes to begins.
const INDENT: &str = "            ";

/// Shows how a run goes.
pub(crate) struct Live(Shown);

enum Shown {
    Bars(Bars),
    /// The last line, and when it was written.
    Lines(String, tokio::time::Instant),
    Silent,
}

/// A line for all orders, and one for each service.
struct Bars {
    all: MultiProgress,
    orders: ProgressBar,
    services: Vec<ProgressBar>,
}

impl Live {
    pub(crate) fn new(plain: bool, silent: bool) -> Self {
        Self(match () {
            () if silent => Shown::Silent,
            () if plain || !io::stderr().is_terminal() => {
                Shown::Lines(String::new(), tokio::time::Instant::now())
            }
            () => Shown::Bars(Bars::new()),
        })
    }

    /// Says how it stands; lines at most once a second, and only when there is news.
    pub(crate) fn show(&mut self, state: &State) {
        match &mut self.0 {
            Shown::Silent => {}
            Shown::Bars(bars) => bars.show(state),
            Shown::Lines(last, at) => {
                let line = line(state);
                if line != *last && at.elapsed() >= LINE_EVERY {
                    // Progress is a courtesy: without a reader there is nothing to do about it.
                    let _ = writeln!(io::stderr(), "{line}");
                    (*last, *at) = (line, tokio::time::Instant::now());
                }
            }
        }
    }

    /// An act begins.
    pub(crate) fn act(&self, name: &str, about: &str) -> Result<(), Failure> {
        self.say(&format!("\n{name:<12}{about}"))
    }

    /// What the first act comes to.
    pub(crate) fn flow(&self, done: &Done) -> Result<(), Failure> {
        let (fast, steady) = (done.of(Act::Fast), done.of(Act::Steady));
        if fast.orders > 0 {
            let Measured { orders, per_s, .. } = fast;
            let orders = number(orders);
            self.say(&format!("{INDENT}{orders} orders as fast as they go: {per_s:.0} orders/s"))?;
        }
        if steady.orders > 0 {
            let (orders, rate) = (number(steady.orders), steady.per_s);
            let took = took(steady);
            self.say(&format!("{INDENT}{orders} more at {rate:.0}/s: from order to end {took}"))?;
        }
        Ok(())
    }

    /// What the second act comes to. `before` is how long orders took then.
    pub(crate) fn trouble(
        &self,
        before: Measured,
        done: &Done,
        parked: u64,
    ) -> Result<(), Failure> {
        let (waited, attempts) = done.outage;
        let (others, outage) = (done.of(Act::Trouble), done.of(Act::Outage));
        let see = if parked + done.late > 0 { ": see below" } else { "" };
        let late = count(done.late, "charge", "charges");
        let parked = count(parked, "order is", "orders are");
        self.say(&format!("{INDENT}{parked} parked, {late} came late{see}"))?;
        if others.orders > 0 {
            let (orders, took, before) = (number(others.orders), took(others), took(before));
            self.say(&format!("{INDENT}all {orders} others: {took} (before: {before})"))?;
        }
        self.say(&format!(
            "{INDENT}provider down: {} orders waited up to {:.1} s, attempts used: {}",
            number(waited),
            outage.max_ms / 1000.0,
            number(attempts)
        ))
    }

    /// What the third act comes to: how many kills there were of how many; how many handlers
    /// worked, as of the last report before each.
    pub(crate) fn fire(
        &self,
        (kills, most): (u64, u64),
        busy: u64,
        resent: u64,
        back: Duration,
    ) -> Result<(), Failure> {
        if kills < most {
            let text = format!("the orders were done before there could be {most} kills");
            self.say(&format!("{INDENT}{text}"))?;
        }
        if kills == 0 {
            return Ok(());
        }
        let (busy, resent, ms) = (number(busy), number(resent), back.as_millis());
        let kills = count(kills, "kill", "kills");
        self.say(&format!(
            "{INDENT}{kills}; about {busy} handlers worked then; back within {ms} ms"
        ))?;
        self.say(&format!(
            "{INDENT}{resent} were committed, but not sent: sent now, and not done again"
        ))
    }

    /// Leaves the terminal as it was.
    pub(crate) fn finish(&mut self) {
        if let Shown::Bars(bars) = &self.0 {
            // Whoever draws on a terminal that is gone has no other.
            let _ = bars.all.clear();
        }
    }

    /// Something between the live lines.
    pub(crate) fn say(&self, text: &str) -> Result<(), Failure> {
        let say = || out::say(text);
        match &self.0 {
            Shown::Silent => Ok(()),
            Shown::Lines(..) => say(),
            Shown::Bars(bars) => bars.all.suspend(say),
        }
    }
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let style = |look| {
            ProgressStyle::with_template(look).unwrap_or_else(|_| ProgressStyle::default_bar())
        };
        let orders = all.add(ProgressBar::new(1));
        orders.set_style(style("  {bar:40.green} {msg}"));
        let service = || all.add(ProgressBar::no_length().with_style(style("  {msg}")));
        let services = (0..super::shop::SERVICES.len()).map(|_| service()).collect();
        Self { all, orders, services }
    }

    fn show(&self, state: &State) {
        let State { ended, orders, .. } = state;
        self.orders.set_length((*orders).max(1));
        self.orders.set_position(*ended);
        self.orders.set_message(format!("{} of {} orders", number(*ended), number(*orders)));
        for (bar, it) in self.services.iter().zip(&state.services) {
            let (done, flight) = (number(it.done), it.in_flight);
            bar.set_message(format!(
                "{:<12} {done:>7} done  {flight:>4} in flight  {:>4} held  {:>4} parked",
                it.name, it.held, it.parked
            ));
        }
    }
}

fn line(state: &State) -> String {
    let mut text = format!("{} of {} orders", number(state.ended), number(state.orders));
    for it in &state.services {
        let also = |what: &str, many: u64| match many {
            0 => String::new(),
            many => format!(", {many} {what}"),
        };
        text += &format!("; {} {} done", it.name, number(it.done));
        text += &also("in flight", it.in_flight);
        text += &also("held", it.held);
        text += &also("parked", it.parked);
    }
    text
}

fn took(it: Measured) -> String {
    format!("p50 {:.0} ms, p99 {:.0} ms", it.p50_ms, it.p99_ms)
}
