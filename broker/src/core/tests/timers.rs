//! Timers: armed, fired once, cancelled; across restarts and clocks that jump.

use crate::core::command::{Answer, Command, NewEvent, Publish, Receipt, Receipts};
use crate::core::testing::{Bench, encode, event};
use crate::limits::Limits;

fn later(it: &mut Bench, id: &str, ms: u64) -> Result<Receipt, &'static str> {
    let due = Some(it.now.wall + ms);
    let events = vec![NewEvent { topic: 1, bytes: encode(event("t", "s", id)), due }];
    match it.run(Command::Publish(Publish { session: None, events })) {
        Ok(Answer::Published(Receipts::Each(each))) => Ok(each[0]),
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => Err(refusal.code()),
    }
}

fn next(it: &Bench) -> u64 {
    it.core.durable().topics.get(1).unwrap().next
}

#[test]
fn a_timer_fires_once_when_it_is_due_also_across_a_restart() {
    for clean in [true, false] {
        let mut it = Bench::new();
        it.topic("orders");
        let receipt = later(&mut it, "a", 1000).unwrap();
        assert!(matches!(receipt, Receipt::Scheduled { .. }));
        assert_eq!(later(&mut it, "a", 5000), Ok(receipt), "its id counts as present");
        it.pass(999);
        assert_eq!(next(&it), 0);
        it.restart(clean);
        assert_eq!(later(&mut it, "a", 5000), Ok(receipt), "also after a restart");
        it.pass(1);
        assert_eq!(next(&it), 1);
        it.restart(clean);
        it.pass(100_000);
        assert_eq!(next(&it), 1);
        assert!(matches!(it.publish(1, event("t", "s", "a")), Receipt::Duplicate { .. }));
    }
}

#[test]
fn a_cancelled_timer_does_not_fire_and_frees_its_id() {
    let mut it = Bench::new();
    it.topic("orders");
    let Ok(Receipt::Scheduled { timer, .. }) = later(&mut it, "a", 1000) else { panic!() };
    it.run(Command::CancelTimer { timer }).unwrap();
    assert_eq!(it.refused(Command::CancelTimer { timer }), "unknown_timer");
    it.pass(5000);
    assert_eq!(next(&it), 0);
    assert!(matches!(it.publish(1, event("t", "s", "a")), Receipt::Appended { .. }));
}

#[test]
fn absurd_delays_and_too_many_timers_are_refused() {
    let mut it = Bench::with(Limits { timers: 1, ..Limits::default() });
    it.topic("orders");
    assert_eq!(later(&mut it, "a", 1 << 60), Err("delay_too_long"));
    assert!(later(&mut it, "a", 1000).is_ok());
    assert_eq!(later(&mut it, "b", 1000), Err("limit_reached"));
}

#[test]
fn timers_follow_the_wall_clock_wherever_it_goes() {
    let year = 366 * 24 * 3_600_000;
    let mut it = Bench::new();
    it.topic("orders");
    later(&mut it, "a", year).unwrap();
    it.now.wall += 10 * year;
    it.pass(1);
    assert_eq!(next(&it), 1);
    later(&mut it, "b", 1000).unwrap();
    it.now.wall -= 10 * year;
    it.pass(60_000);
    assert_eq!(next(&it), 1, "its time has not come again");
}

#[test]
fn a_timer_whose_bytes_are_lost_does_not_silence_the_others() {
    let mut it = Bench::new();
    it.topic("orders");
    later(&mut it, "a", 1000).unwrap();
    later(&mut it, "b", 2000).unwrap();
    it.pass(500);
    it.now.mono += 500;
    it.now.wall += 500;
    it.core.tick(it.now, &mut it.log);
    while it.core.poll_output().is_some() {}
    it.pass(5000);
    assert_eq!(next(&it), 1);
}
