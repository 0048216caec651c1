//! Whatever goes wrong: what holds, and what does not, with the way to see it again.

use std::collections::{BTreeSet, HashSet};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use quadrille::{Ctx, Failure, Participant, RetryPolicy, State, TestBus, Tx, every_fault};

use super::crashes::Rows;
use super::*;

async fn three_orders(t: &TestBus) {
    shop(t);
    for order in ["a", "b"] {
        t.publish(&OrderCreated::of(order)).await;
    }
    t.bus().publish(&OrderCreated::of("c")).after(Duration::from_secs(3)).await.unwrap();
    t.run_to_end().await;
    let completed: BTreeSet<_> =
        t.published::<Completed>().into_iter().map(|it| it.order).collect();
    assert_eq!(completed, ["a", "b", "c"].map(str::to_owned).into());
    assert_eq!(t.events().len(), 15, "nothing twice");
}

#[tokio::test]
async fn a_saga_of_five_services_holds_whatever_goes_wrong() {
    let faults = every_fault(three_orders).await;
    // Three points of each of 15 deliveries, the timer, and settled moments.
    assert!(faults.points >= 46 && faults.runs > 2 * faults.points, "{faults}");
    assert!(faults.to_string().contains("15 twice"), "{faults}");
}

/// Which attempts called a handler in one run, and how long the run took.
type Run = (Vec<u32>, Duration);

async fn counts(
    event: OrderCreated,
    ctx: Ctx,
    State(calls): State<Arc<Mutex<Vec<u32>>>>,
) -> Result<Reserved, Failure> {
    calls.lock().unwrap().push(ctx.attempt());
    Ok(Reserved::of(&event.order))
}

#[tokio::test]
async fn each_fault_does_what_it_says() {
    let runs = Mutex::<Vec<Run>>::default();
    let faults = every_fault(async |t: &TestBus| {
        let (calls, begun) = (Arc::<Mutex<Vec<u32>>>::default(), tokio::time::Instant::now());
        t.run(Participant::new("inventory", Arc::clone(&calls)).on(counts));
        t.publish(&OrderCreated::of("a")).await;
        t.run_to_end().await;
        let calls = calls.lock().unwrap().clone();
        runs.lock().unwrap().push((calls, begun.elapsed()));
    });
    assert_eq!(faults.await.points, 4, "about to, done, told, and settled");
    let runs: Vec<_> = runs.into_inner().unwrap();
    let calls: Vec<_> = runs.iter().map(|(calls, _)| &calls[..]).collect();
    let [once, again, counted, both] = [&[1][..], &[1, 1], &[2], &[1, 2]];
    assert_eq!(
        calls,
        [
            once, // Nothing, and then at the first moment: crash, late, timeout.
            once, once, counted, // At the second: crash, twice, late, timeout.
            again, again, once, both, // And a crash at the others.
            once, once
        ]
    );
    let took: Vec<_> = runs.iter().map(|(_, took)| took.as_secs()).collect();
    assert_eq!(took, [0, 0, 10, took[3], 0, 0, 10, took[7], 0, 0]);
    assert!(took[3] >= 300 && took[7] >= 300, "as long as a handler may take: {took:?}");
}

async fn only_counts(
    _: OrderCreated,
    ctx: Ctx,
    calls: State<Arc<Mutex<Vec<u32>>>>,
) -> Result<(), Failure> {
    calls.lock().unwrap().push(ctx.attempt());
    Ok(())
}

#[tokio::test]
async fn a_crash_behind_an_ack_takes_the_ack() {
    let runs = Mutex::<Vec<usize>>::default();
    let faults = every_fault(async |t: &TestBus| {
        let calls = Arc::<Mutex<Vec<u32>>>::default();
        t.run(Participant::new("notification", Arc::clone(&calls)).on(only_counts));
        t.publish(&OrderCreated::of("a")).await;
        t.run_to_end().await;
        runs.lock().unwrap().push(calls.lock().unwrap().len());
    });
    assert_eq!(faults.await.points, 4);
    // The last two are the crashes behind the ack, and when all is settled.
    assert_eq!(runs.into_inner().unwrap(), [1, 1, 1, 1, 2, 2, 1, 2, 2, 2]);
}

#[tokio::test]
async fn a_scenario_that_only_settles_waits_for_whom_a_fault_has_made_late() {
    every_fault(async |t: &TestBus| {
        shop(t);
        t.publish(&OrderCreated::of("a")).await;
        t.settle().await;
        assert_eq!(t.published::<Completed>().len(), 1);
    })
    .await;
}

/// Keeps in memory what it has done, before what follows of it is published.
async fn forgets(
    event: OrderCreated,
    State(done): State<Mutex<HashSet<String>>>,
) -> Result<Option<Reserved>, Failure> {
    let first = done.lock().unwrap().insert(event.order.clone());
    Ok(first.then(|| Reserved::of(&event.order)))
}

async fn loses_an_emission(t: &TestBus) {
    t.run(Participant::new("inventory", Mutex::default()).on(forgets));
    t.publish(&OrderCreated::of("a")).await;
    t.run_to_end().await;
    assert_eq!(t.published::<Reserved>().len(), 1, "it was reserved");
}

#[tokio::test]
async fn a_lost_emission_is_found_with_the_way_to_see_it_again() {
    let said = panic_of(every_fault(loses_an_emission)).await;
    assert!(
        said.contains("(inventory has handled, and not settled, order.created of a) breaks"),
        "{said}"
    );
    assert!(said.contains("it was reserved"), "{said}");
    let (_, again) = said.rsplit_once('\n').unwrap();
    let name = "testbus::faults::a_lost_emission_is_found_with_the_way_to_see_it_again";
    assert_eq!(again, format!("QUADRILLE_FAULT=\"crash@2 seed=7\" cargo test {name}"));
}

async fn charges_anew(
    event: OrderCreated,
    State(charges): State<Arc<Mutex<Vec<String>>>>,
) -> Result<Paid, Failure> {
    charges.lock().unwrap().push(event.order.clone());
    Ok(Paid::of(&event.order))
}

#[tokio::test]
async fn a_doubled_effect_is_found() {
    let said = panic_of(every_fault(async |t: &TestBus| {
        let charges = Arc::<Mutex<Vec<String>>>::default();
        t.run(Participant::new("payment", Arc::clone(&charges)).on(charges_anew));
        t.publish(&OrderCreated::of("a")).await;
        t.run_to_end().await;
        assert_eq!(*charges.lock().unwrap(), ["a"]);
    }))
    .await;
    assert!(said.contains("payment has handled, and not settled"), "{said}");
    assert!(said.contains("left: [\"a\", \"a\"]"), "{said}");
}

/// Fails at first, after an effect.
async fn notes_and_fails(
    event: OrderCreated,
    ctx: Ctx,
    State(calls): State<Arc<Mutex<Vec<u32>>>>,
) -> Result<Paid, Failure> {
    calls.lock().unwrap().push(ctx.attempt());
    match ctx.attempt() {
        1 => Err(Failure::retry("declined")),
        _ => Ok(Paid::of(&event.order)),
    }
}

#[tokio::test]
async fn a_failure_that_is_not_recorded_is_a_moment_too() {
    let calls = Mutex::<Vec<Vec<u32>>>::default();
    let faults = every_fault(async |t: &TestBus| {
        let state = Arc::<Mutex<Vec<u32>>>::default();
        t.run(Participant::new("payment", Arc::clone(&state)).on(notes_and_fails));
        t.publish(&OrderCreated::of("a")).await;
        t.run_to_end().await;
        calls.lock().unwrap().push(state.lock().unwrap().clone());
    })
    .await;
    // To be handled, failed, said so, settled, due; and four as of any other.
    assert_eq!(faults.points, 9, "{faults}");
    assert!(faults.to_string().contains("2 twice"), "{faults}");
    let calls = calls.into_inner().unwrap();
    let again: Vec<_> = calls.iter().filter(|it| **it == [1, 1, 2]).collect();
    assert_eq!(again.len(), 2, "failed and not recorded: crash, twice: {calls:?}");
    let said = panic_of(every_fault(async |t: &TestBus| {
        let state = Arc::<Mutex<Vec<u32>>>::default();
        t.run(Participant::new("payment", Arc::clone(&state)).on(notes_and_fails));
        t.publish(&OrderCreated::of("a")).await;
        t.run_to_end().await;
        let failed = state.lock().unwrap().iter().filter(|attempt| **attempt == 1).count();
        assert!(failed <= 1, "once for an attempt");
    }))
    .await;
    assert!(
        said.contains("(payment has failed, and not said so, at order.created of a)"),
        "{said}"
    );
}

async fn books(
    event: OrderCreated,
    mut tx: Tx<Vec<String>>,
    State(outside): State<Arc<Mutex<Vec<String>>>>,
) -> Result<Paid, Failure> {
    outside.lock().unwrap().push(event.order.clone());
    tx.push(event.order.clone());
    Ok(Paid::of(&event.order))
}

#[tokio::test]
async fn what_is_done_in_a_transaction_is_done_once_whatever_goes_wrong_around_it() {
    let books_once = async |t: &TestBus| {
        let (rows, outside) = (Rows::default(), Arc::<Mutex<Vec<String>>>::default());
        let payment = Participant::new("payment", Arc::clone(&outside));
        t.run(payment.inbox(rows.clone()).on(books));
        t.publish(&OrderCreated::of("a")).await;
        t.run_to_end().await;
        assert_eq!(rows.0.lock().unwrap().len(), 2, "the row and the key");
        assert_eq!(t.published::<Paid>().len(), 1);
        outside.lock().unwrap().len()
    };
    let faults = every_fault(async |t: &TestBus| {
        books_once(t).await;
    })
    .await;
    assert_eq!(faults.points, 6, "open and to be committed, and the four of any: {faults}");
    let said = panic_of(every_fault(async |t: &TestBus| assert_eq!(books_once(t).await, 1))).await;
    assert!(said.contains("(payment has handled, and not stored, order.created of a)"), "{said}");
}

async fn emits_too_much(event: OrderCreated) -> Result<Vec<Reserved>, Failure> {
    Ok(vec![Reserved::of(&event.order); 257])
}

#[tokio::test]
async fn a_step_that_is_refused_is_not_a_moment_behind_it() {
    let faults = every_fault(async |t: &TestBus| {
        t.allow_parked();
        t.run(Participant::new("inventory", ()).on(emits_too_much));
        t.publish(&OrderCreated::of("a")).await;
        t.run_to_end().await;
        assert_eq!(t.bus().dead_letters("inventory").await.unwrap().len(), 1);
    });
    assert_eq!(faults.await.points, 3, "about to, done, and settled");
}

async fn takes_its_time(event: OrderCreated) -> Result<Reserved, Failure> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(Reserved::of(&event.order))
}

#[tokio::test]
async fn a_deadline_that_does_not_hold_is_found() {
    let said = panic_of(every_fault(async |t: &TestBus| {
        t.run(Participant::new("inventory", ()).on(takes_its_time));
        t.publish(&OrderCreated::of("a")).await;
        t.advance(Duration::from_secs(5)).await;
        assert_eq!(t.published::<Reserved>().len(), 1, "in time");
    }))
    .await;
    assert!(said.starts_with("late at moment"), "{said}");
}

#[tokio::test]
async fn an_event_that_only_a_fault_parks_is_found() {
    let said = panic_of(every_fault(async |t: &TestBus| {
        let once = RetryPolicy { max_attempts: 1, ..RetryPolicy::default() };
        t.run(Participant::new("inventory", ()).retry(once).on(reserve));
        t.publish(&OrderCreated::of("a")).await;
        t.run_to_end().await;
    }))
    .await;
    assert!(said.starts_with("timeout at moment") && said.contains("parked"), "{said}");
}

#[tokio::test]
async fn a_scenario_that_is_another_each_time_is_said_so() {
    let runs = std::cell::Cell::new(0);
    let said = panic_of(every_fault(async |t: &TestBus| {
        shop(t);
        runs.set(runs.get() + 1);
        t.publish(&OrderCreated::of(&format!("order-{}", runs.get()))).await;
        t.run_to_end().await;
    }))
    .await;
    assert!(said.contains("the scenario is not the same in two runs"), "{said}");
}

#[tokio::test]
async fn a_scenario_that_fails_by_itself_is_said_so() {
    let said = panic_of(every_fault(async |_: &TestBus| panic!("no"))).await;
    assert_eq!(said, "the scenario fails although nothing goes wrong: no");
}

#[tokio::test]
async fn what_went_wrong_beside_a_failed_assertion_is_said_with_it() {
    let said = panic_of(every_fault(async |t: &TestBus| {
        t.run(Participant::new("idle", ()));
        // Nothing is awaited: nobody has been told yet.
        panic!("no");
    }))
    .await;
    assert!(said.starts_with("the scenario fails although nothing goes wrong: no\n"), "{said}");
    assert!(said.ends_with("\"idle\" has no handler: say .on(..) or .compensate(..)"), "{said}");
}

#[tokio::test]
async fn what_only_a_fault_brings_about_beside_it_is_said_with_the_way_to_see_it_again() {
    let said = panic_of(every_fault(async |t: &TestBus| {
        t.run(Participant::new("inventory", ()).on(reserve));
        t.publish(&OrderCreated::of("a")).await;
        let begun = tokio::time::Instant::now();
        t.run_to_end().await;
        if begun.elapsed() > Duration::ZERO {
            t.run(Participant::new("idle", ()));
            panic!("late");
        }
    }))
    .await;
    assert!(said.contains("breaks the scenario: late\n"), "{said}");
    assert!(said.contains("\"idle\" has no handler") && said.contains("QUADRILLE_FAULT"), "{said}");
}

/// Runs this test alone in a process of its own.
fn with_fault(fault: &str) -> (bool, String) {
    let name = "testbus::faults::a_scenario_for_one_fault";
    let test = std::env::current_exe().unwrap();
    let mut command = Command::new(test);
    command.args(["--exact", name, "--nocapture"]);
    let output = command.env("QUADRILLE_FAULT", fault).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// Part of `the_variable_chooses_one_fault`, and nothing without it.
#[tokio::test]
async fn a_scenario_for_one_fault() {
    if std::env::var("QUADRILLE_FAULT").is_ok() {
        println!("{}", every_fault(loses_an_emission).await);
    }
}

#[test]
fn the_variable_chooses_one_fault() {
    let (ok, said) = with_fault("crash@2 seed=7");
    assert!(!ok && said.contains("crash@2 seed=7"), "{said}");
    let (ok, said) = with_fault("crash@4 seed=9");
    assert!(ok && said.contains("1 runs: 1 crash; the scenario holds"), "{said}");
    let (ok, said) = with_fault("twice@1");
    assert!(!ok && said.contains("there is no twice at moment 1 of"), "{said}");
    let (ok, said) = with_fault("what");
    assert!(!ok && said.contains("says nothing"), "{said}");
}
