//! A small exhaustive model of a step (or of a publish and its ack) that is resent after a lost
//! answer, across broker crashes and member crashes. Shows which of {receipts kept across a
//! restart, tokens of an older epoch, derived ids} a saga can do without. Exits with 1 if the
//! chosen design loses, doubles, denies or wastes a step (DESIGN §7, §8).
#![expect(clippy::print_stdout, reason = "a program that prints what it found")]

use std::collections::{HashMap, VecDeque};
use std::process::ExitCode;

use clap::Parser;
use design::{Design, Path, Violation};
use quadrille_benches::{Report, Table};
use state::State;

mod design;
mod state;

#[derive(Parser)]
struct Options {
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
}

/// What one design does on one path: how many states it has, and per kind of violation the
/// shortest way there.
struct Explored {
    states: usize,
    violations: Vec<(Violation, Vec<&'static str>)>,
}

/// Every state that can be reached, breadth first, so the first way to a violation is a shortest;
/// what follows on a violation is left out.
fn explore(design: Design, path: Path) -> Explored {
    let mut came_from: HashMap<State, Option<(State, &'static str)>> = HashMap::new();
    let mut queue = VecDeque::from([State::start()]);
    came_from.insert(State::start(), None);
    let mut violations: Vec<(Violation, Vec<&'static str>)> = Vec::new();
    while let Some(state) = queue.pop_front() {
        let mut next = state.steps(design, path);
        let violated = state.violations(next.is_empty());
        if violated.is_empty() {
            next.extend(state.faults());
        } else {
            next.clear();
        }
        for violation in violated {
            if violations.iter().all(|(seen, _)| *seen != violation) {
                let mut way = Vec::new();
                let mut at = &state;
                while let Some(Some((before, action))) = came_from.get(at) {
                    way.push(*action);
                    at = before;
                }
                way.reverse();
                violations.push((violation, way));
            }
        }
        for (action, next) in next {
            if !came_from.contains_key(&next) {
                came_from.insert(next.clone(), Some((state.clone(), action)));
                queue.push_back(next);
            }
        }
    }
    Explored { states: came_from.len(), violations }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut table = Table::new(
        "what each design can do to a step; shortest way in actions",
        &["receipts", "old token", "ids", "emits by", "states", "violations"],
    );
    let mut ways = Table::new("the shortest ways there", &["design", "violation", "actions"]);
    let mut sound = true;
    for design in Design::all() {
        for path in [Path::Step, Path::PublishThenAck] {
            let explored = explore(design, path);
            let found: Vec<String> = explored
                .violations
                .iter()
                .map(|(violation, way)| format!("{violation:?} ({})", way.len()))
                .collect();
            let [receipts, token, ids] = design.names();
            table.row(vec![
                receipts.into(),
                token.into(),
                ids.into(),
                path.name().into(),
                explored.states.to_string().into(),
                if found.is_empty() { "none".into() } else { found.join(", ").into() },
            ]);
            sound &= design != Design::CHOSEN || found.is_empty();
            if Design::weakened().contains(&design) {
                for (violation, way) in explored.violations {
                    let name = format!("{receipts}, {token}, {ids}; {}", path.name());
                    ways.row(vec![
                        name.into(),
                        format!("{violation:?}").into(),
                        way.join(" > ").into(),
                    ]);
                }
            }
        }
    }
    println!("{}", Report::new("model_resend", vec![table, ways]).render(options.json));
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use design::OldToken;

    use super::*;

    fn found(design: Design, path: Path) -> Vec<Violation> {
        explore(design, path).violations.into_iter().map(|(violation, _)| violation).collect()
    }

    #[test]
    fn the_chosen_design_has_no_violation() {
        for path in [Path::Step, Path::PublishThenAck] {
            assert_eq!(found(Design::CHOSEN, path), []);
        }
    }

    #[test]
    fn without_durable_receipts_an_applied_step_is_denied() {
        let design = Design { receipts_durable: false, ..Design::CHOSEN };
        assert!(found(design, Path::Step).contains(&Violation::Denied));
    }

    #[test]
    fn without_old_tokens_finished_work_is_wasted() {
        let design = Design { old_token: OldToken::Never, ..Design::CHOSEN };
        assert!(found(design, Path::Step).contains(&Violation::Wasted));
        assert!(found(design, Path::PublishThenAck).contains(&Violation::Wasted));
    }

    #[test]
    fn without_derived_ids_a_publish_whose_ack_is_lost_is_doubled() {
        let design = Design { derived_ids: false, ..Design::CHOSEN };
        assert!(found(design, Path::PublishThenAck).contains(&Violation::Doubled));
    }

    #[test]
    fn without_any_check_of_old_tokens_an_input_is_settled_twice() {
        let design = Design { old_token: OldToken::Unchecked, ..Design::CHOSEN };
        assert_eq!(found(design, Path::Step), [Violation::SettledTwice]);
        let design = Design { derived_ids: false, ..design };
        assert!(found(design, Path::Step).contains(&Violation::Doubled));
    }
}
