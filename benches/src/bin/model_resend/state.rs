//! One input event, two members, one broker: states and their successors; no search. Commands
//! apply at once; answers wait for the log, except a lazy ack's. A broker crash keeps any prefix of
//! the log from the durable one on, and ends all leases. A hand-out is not logged.

use crate::design::{Design, OldToken, Path, Violation};

/// A session's command: member, its incarnation, sequence.
type Command = (usize, u8, u8);
/// A delivery: epoch, and the number of the hand-out, ever.
type Token = (u8, u8);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Entry {
    by: Command,
    /// In which it was appended.
    epoch: u8,
    emits: bool,
    settles: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Answer {
    Ok,
    Refused,
}

/// What a member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Doing {
    Nothing,
    /// The handler is through; `acks` once the publish is answered. `sent`: an answer may come.
    Settling {
        token: Token,
        acks: bool,
        sent: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Member {
    incarnation: u8,
    sequence: u8,
    doing: Doing,
}

/// Everything that matters of the log, the broker, the members and what is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    log: Vec<Entry>,
    durable: usize,
    epoch: u8,
    /// Hand-outs ever, and who holds the last one in this epoch.
    handed: u8,
    lease: Option<usize>,
    handed_in_epoch: bool,
    members: [Member; 2],
    /// Answers on their way: revealed once the log is durable up to the number.
    answers: Vec<(usize, Answer, usize)>,
    broker_crashes: u8,
    member_crashes: u8,
    losses: u8,
    /// Found on the way here.
    broken: Option<Violation>,
}

/// What was done, and the state after it.
type Next = Vec<(&'static str, State)>;
fn name(member: usize, a: &'static str, b: &'static str) -> &'static str {
    if member == 0 { a } else { b }
}

impl State {
    /// An input nobody has seen yet.
    pub(crate) fn start() -> Self {
        let doing = Doing::Nothing;
        let member = Member { incarnation: 0, sequence: 0, doing };
        Self {
            log: Vec::new(),
            durable: 0,
            epoch: 1,
            handed: 0,
            lease: None,
            handed_in_epoch: false,
            members: [member; 2],
            answers: Vec::new(),
            broker_crashes: 0,
            member_crashes: 0,
            losses: 0,
            broken: None,
        }
    }

    /// What is wrong in this state; `over` if only a fault can follow it.
    pub(crate) fn violations(&self, over: bool) -> Vec<Violation> {
        let outputs = self.log.iter().filter(|entry| entry.emits).count();
        let settles = self.log.iter().filter(|entry| entry.settles).count();
        let found = [
            (outputs > 1, Violation::Doubled),
            (settles > 1, Violation::SettledTwice),
            (settles > 0 && outputs == 0 || over && settles == 0, Violation::Lost),
        ];
        let found = found.into_iter().filter_map(|(is, violation)| is.then_some(violation));
        found.chain(self.broken).collect()
    }

    fn settled(&self) -> bool {
        self.log.iter().any(|entry| entry.settles)
    }

    /// What can follow without a fault.
    pub(crate) fn steps(&self, design: Design, path: Path) -> Next {
        let mut next = Vec::new();
        let mut then = |action, change: &dyn Fn(&mut Self)| {
            let mut state = self.clone();
            change(&mut state);
            next.push((action, state));
        };
        for i in 0..self.members.len() {
            match self.members.get(i).map(|member| member.doing) {
                Some(Doing::Nothing) if !self.settled() && self.lease.is_none() => {
                    then(name(i, "hand to A", "hand to B"), &|state| state.hand_out(i));
                }
                Some(Doing::Settling { token, acks, sent: false }) => {
                    let action = name(i, "A sends", "B sends");
                    then(action, &|state| state.receive(i, token, acks, design, path));
                }
                _ => {}
            }
        }
        for (k, (_, _, stamp)) in self.answers.iter().enumerate() {
            if *stamp <= self.durable {
                then("answer", &|state| state.reveal(k, path));
            }
        }
        if self.durable < self.log.len() {
            then("sync", &|state| state.durable = state.log.len());
        }
        next
    }

    /// What can go wrong: twice the broker, once a member, twice a connection.
    pub(crate) fn faults(&self) -> Next {
        let mut next = Vec::new();
        if self.broker_crashes < 2 {
            for kept in self.durable..=self.log.len() {
                let mut state = self.clone();
                state.crash_broker(kept);
                next.push(("broker crashes", state));
            }
        }
        for i in 0..self.members.len() {
            if self.member_crashes < 1 {
                let mut state = self.clone();
                state.member_crashes += 1;
                state.forget_answers(i);
                state.lease = state.lease.filter(|holder| *holder != i);
                if let Some(member) = state.members.get_mut(i) {
                    member.incarnation += 1;
                    member.sequence = 0;
                    member.doing = Doing::Nothing;
                }
                next.push((name(i, "A crashes", "B crashes"), state));
            }
            if self.losses < 2 && self.answers.iter().any(|(to, ..)| *to == i) {
                let mut state = self.clone();
                state.losses += 1;
                state.forget_answers(i);
                next.push((name(i, "A's answer is lost", "B's answer is lost"), state));
            }
        }
        next
    }

    fn hand_out(&mut self, i: usize) {
        self.handed += 1;
        self.lease = Some(i);
        self.handed_in_epoch = true;
        let token = (self.epoch, self.handed);
        if let Some(member) = self.members.get_mut(i) {
            member.sequence += 1;
            member.doing = Doing::Settling { token, acks: false, sent: false };
        }
    }

    /// The broker gets a command: receipts, then the token, then ids.
    fn receive(&mut self, i: usize, token: Token, acks: bool, design: Design, path: Path) {
        let Some(member) = self.members.get_mut(i) else {
            return;
        };
        member.doing = Doing::Settling { token, acks, sent: true };
        let by = (i, member.incarnation, member.sequence);
        let is_receipt = |entry: &Entry| {
            entry.by == by && (design.receipts_durable || entry.epoch == self.epoch)
        };
        if let (Some(at), false) = (self.log.iter().position(is_receipt), acks) {
            return self.answers.push((i, Answer::Ok, at + 1));
        }
        let settles = acks || path == Path::Step;
        if settles && !self.accepts(token, design) {
            let unneeded = token.0 < self.epoch && token.1 == self.handed && !self.settled();
            self.broken = self.broken.or_else(|| unneeded.then_some(Violation::Wasted));
            self.answers.push((i, Answer::Refused, if acks { 0 } else { self.log.len() }));
            return;
        }
        let repeat = design.derived_ids && self.log.iter().any(|entry| entry.emits);
        let emits = !acks && !repeat;
        if emits || settles {
            self.log.push(Entry { by, epoch: self.epoch, emits, settles });
        }
        if settles {
            self.lease = None;
        }
        self.answers.push((i, Answer::Ok, if acks { 0 } else { self.log.len() }));
    }

    fn accepts(&self, token: Token, design: Design) -> bool {
        if token.0 == self.epoch {
            return !self.settled() && token.1 == self.handed && self.lease.is_some();
        }
        match design.old_token {
            OldToken::Never => false,
            // The broker knows only the hand-outs of its own epoch.
            OldToken::IfUntouched => !self.settled() && !self.handed_in_epoch,
            OldToken::Unchecked => true,
        }
    }

    fn reveal(&mut self, k: usize, path: Path) {
        let (i, answer, _) = self.answers.remove(k);
        let Some(member) = self.members.get_mut(i) else {
            return;
        };
        let Doing::Settling { token, acks, .. } = member.doing else {
            return;
        };
        let by = (i, member.incarnation, member.sequence);
        let published = path == Path::PublishThenAck && !acks && answer == Answer::Ok;
        let ack = Doing::Settling { token, acks: true, sent: false };
        member.doing = if published { ack } else { Doing::Nothing };
        // A refused ack only says that the token settles no more.
        let denied = !acks && answer == Answer::Refused && self.log.iter().any(|e| e.by == by);
        self.broken = self.broken.or_else(|| denied.then_some(Violation::Denied));
    }

    fn crash_broker(&mut self, kept: usize) {
        self.broker_crashes += 1;
        self.log.truncate(kept);
        self.durable = kept;
        self.epoch += 1;
        self.lease = None;
        self.handed_in_epoch = false;
        (0..self.members.len()).for_each(|i| self.forget_answers(i));
    }

    /// Member `i` will send again.
    fn forget_answers(&mut self, i: usize) {
        self.answers.retain(|(to, ..)| *to != i);
        if let Some(Member { doing: Doing::Settling { sent, .. }, .. }) = self.members.get_mut(i) {
            *sent = false;
        }
    }
}
