//! The services of the demo on a test bus: whatever goes wrong, everything ends and adds up.

use std::sync::atomic::Ordering;
use std::time::Duration;

use quadrille::{Bus, Closed, TestBus, every_fault};
use tokio::sync::oneshot;

use super::chance::Fate;
use super::operator;
use super::options::Plan;
use super::order::Status;
use super::payment::CHARGE_LIMIT;
use super::shop::{Counts, SERVICES, Shop, Stores};
use super::testing::{Hall, plan};

#[tokio::test]
async fn everything_ends_and_adds_up_whatever_crashes() {
    for crash_rate in [0.0, 0.3, 1.0] {
        let t = TestBus::new().await;
        let hall = Hall::open(&t, &plan(120, 0.4), crash_rate).await;
        t.run(hall.shop.participants());
        hall.order_all(t.bus()).await;
        t.run_to_end().await;
        assert_eq!(hall.audit(t.bus()).await, []);
        let books = hall.books();
        assert!(books.count(Status::Completed) > 0 && books.count(Status::Cancelled) > 0);
    }
}

/// Few orders, and one for each fate among them.
fn of_every_fate() -> Plan {
    plan(5, 0.7)
}

#[tokio::test]
async fn few_orders_are_enough_for_every_fate() {
    let t = TestBus::new().await;
    let hall = Hall::open(&t, &of_every_fate(), 0.0).await;
    for fate in [Fate::OutOfStock, Fate::CardDeclined, Fate::NoCarrier] {
        hall.with_fate(Some(fate));
    }
    assert_eq!(hall.with_fate(None), hall.ids[0]);
}

/// The charge of the first order comes late.
#[tokio::test]
async fn nothing_is_emitted_twice_or_lost_whatever_goes_wrong_and_when() {
    let faults = every_fault(async |t| {
        let hall = Hall::open(t, &of_every_fate(), 0.0).await;
        let hall = hall.slow(t, CHARGE_LIMIT + Duration::from_millis(1));
        t.run(hall.shop.participants());
        hall.order_all(t.bus()).await;
        t.run_to_end().await;
        assert_eq!(hall.audit(t.bus()).await, []);
    });
    let faults = faults.await;
    assert!(faults.points >= 40, "{faults}");
    println!("{faults}");
}

#[derive(Clone, Copy, Debug)]
enum Service {
    Up,
    Down,
    Paused,
    /// It works, and the provider is gone.
    Alone,
}

/// The provider answers a charge before, at and after its limit, while the payment service works,
/// is not there, or is paused.
#[tokio::test]
async fn money_is_conserved_whenever_a_charge_is_answered() {
    let moment = Duration::from_millis(1);
    for answers_after in [CHARGE_LIMIT - moment, CHARGE_LIMIT, CHARGE_LIMIT + moment] {
        for service in [Service::Up, Service::Down, Service::Paused, Service::Alone] {
            let case = format!("{answers_after:?} {service:?}");
            let t = TestBus::new().await;
            let hall = Hall::open(&t, &plan(1, 0.0), 0.0).await.slow(&t, answers_after);
            late_charge(&t, &hall, service).await;
            assert_eq!(hall.audit(t.bus()).await, [], "{case}");
            let [charged, refunded, shipped] =
                ["card charged", "card refunded", "parcel sent"].map(|deed| hall.moved(deed));
            let price = hall.books().orders[&hall.ids[0]].order.total_amount.cents();
            assert_eq!(charged, price, "{case}");
            match hall.status(&hall.ids[0]) {
                Status::Completed => assert_eq!((refunded, shipped), (0, 1), "{case}"),
                Status::Cancelled => assert_eq!((refunded, shipped), (price, 0), "{case}"),
                Status::Open => panic!("{case}: it has not ended"),
            }
            let in_time = answers_after < CHARGE_LIMIT;
            assert!(!in_time || refunded == 0, "{case}: refunded although it was in time");
            assert!(answers_after <= CHARGE_LIMIT || refunded > 0, "{case}: not refunded");
        }
    }
}

async fn late_charge(t: &TestBus, hall: &Hall, service: Service) {
    let (payment, provider) = (t.bus().group("payment"), &hall.shop.provider);
    t.run(hall.shop.participants());
    hall.order_all(t.bus()).await;
    t.settle().await;
    match service {
        Service::Up => {}
        Service::Down => hall.shop.stores.payment.set_gone(true),
        Service::Paused => payment.pause("lunch").await.unwrap(),
        Service::Alone => provider.set_down(true),
    }
    t.advance(CHARGE_LIMIT * 2).await;
    match service {
        Service::Up => {}
        Service::Down => hall.shop.stores.payment.set_gone(false),
        Service::Paused => payment.resume().await.unwrap(),
        Service::Alone => provider.set_down(false),
    }
    t.run_to_end().await;
}

/// The process dies while a handling is at one of the places between two of which it can be found:
/// every one of them, in every handling.
#[tokio::test]
async fn rows_effects_and_events_agree_wherever_a_handling_is_killed() {
    let mut at = 0;
    loop {
        at += 1;
        let t = TestBus::new().await;
        let hall = Hall::open(&t, &of_every_fate(), 0.0).await;
        let stops = &hall.shop.counts.stops;
        stops.at.store(at, Ordering::Relaxed);
        t.run(hall.shop.participants());
        hall.order_all(t.bus()).await;
        t.settle().await;
        let stopped = stops.has_stopped();
        stops.at.store(0, Ordering::Relaxed);
        t.crash_and_restart().await;
        t.run_to_end().await;
        assert_eq!(hall.audit(t.bus()).await, [], "killed at place {at}");
        if !stopped {
            break;
        }
    }
    assert!(at > 50, "there were only {at} places");
}

/// The same with files and their threads, and the whole process of services dropped at any moment
/// of theirs.
#[tokio::test]
async fn rows_effects_and_events_agree_whenever_all_of_it_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let bus = Bus::memory().await.unwrap();
    let hall = Hall::on(&bus, Stores::open(dir.path()).unwrap(), &plan(60, 0.4), 0.0).await;
    hall.order_all(&bus).await;
    let shop = &hall.shop;
    let mut moment = 0;
    while !at_rest(&bus, &hall).await {
        moment += 1;
        let running = tokio::spawn(quadrille::run(&bus, shop.participants()).into_future());
        for _ in 0..moment * 7 {
            tokio::task::yield_now().await;
        }
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
    }
    assert!(moment > 3, "it was over after {moment} moments");
    assert_eq!(hall.audit(&bus).await, []);
}

/// Half of the work is done when the services are stopped in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_stop_under_load_repeats_nothing_and_forgets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let bus = Bus::open(dir.path().join("bus")).await.unwrap();
    let hall = Hall::on(&bus, Stores::open(dir.path()).unwrap(), &plan(200, 0.3), 0.0).await;
    hall.order_all(&bus).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let running = quadrille::run(&bus, hall.shop.participants()).with_graceful_shutdown(stopped);
    let running = tokio::spawn(running.into_future());
    until(async || handled(&hall.shop) >= 400).await;
    drop(stop);
    assert_eq!(running.await.unwrap(), Ok(Closed::Left));
    let counts = &hall.shop.counts;
    let begun = |counts: &Counts| counts.stops.begun.load(Ordering::Relaxed);
    let first = handled(&hall.shop);
    assert_eq!(begun(counts), first, "a handling was cut off");
    assert!(!at_rest(&bus, &hall).await, "it was over before it was stopped");
    bus.close(Duration::ZERO).await.unwrap();

    let bus = Bus::open(dir.path().join("bus")).await.unwrap();
    let shop = Shop::new(&bus, hall.shop.stores.clone(), hall.chance, None);
    let running = tokio::spawn(quadrille::run(&bus, shop.participants()).into_future());
    until(async || at_rest(&bus, &hall).await).await;
    running.abort();
    assert_eq!(shop.counts.resent.load(Ordering::Relaxed), 0, "what had finished came again");
    assert_eq!(begun(&shop.counts), handled(&shop) - first);
    assert_eq!(hall.audit(&bus).await, []);
    bus.close(Duration::ZERO).await.unwrap();
}

fn handled(shop: &Shop) -> u64 {
    shop.stores.all().iter().map(|it| it.handled()).sum()
}

async fn at_rest(bus: &Bus, hall: &Hall) -> bool {
    for name in SERVICES {
        match bus.group(name).info().await {
            Ok(info) if info.unsettled == 0 => {}
            _ => return false,
        }
    }
    hall.books().count(Status::Open) == 0
}

async fn until(mut is: impl AsyncFnMut() -> bool) {
    let mut look = tokio::time::interval(Duration::from_millis(1));
    while !is().await {
        look.tick().await;
    }
}

/// The story's three orders that cannot be charged, and its late one.
#[tokio::test]
async fn what_is_parked_is_resolved_by_the_operator_and_every_order_ends() {
    let t = TestBus::new().await;
    t.allow_parked();
    let plan = Plan { story: true, ..plan(24, 0.2) };
    let hall = Hall::open(&t, &plan, 0.1).await;
    let cast = plan.cast(&hall.ids);
    t.run(hall.shop.participants());
    hall.order_all(t.bus()).await;
    t.run_to_end().await;
    let parked = operator::parked(t.bus(), "--data here").await.unwrap();
    let orders: Vec<_> = parked.iter().map(|it| it.order.clone()).collect();
    assert_eq!(orders, cast.poison);
    for it in &parked {
        let tree = &it.timeline;
        assert!(tree.contains(r#"parked: unexpected currency "XTS""#), "{tree}");
        assert!(tree.contains("dlq retry payment") && tree.contains("--data here"), "{tree}");
    }
    let resolved = operator::resolve(t.bus(), &hall.shop.stores).await.unwrap();
    t.run_to_end().await;
    assert_eq!(hall.audit(t.bus()).await, []);
    let ends: Vec<_> = resolved.iter().map(|it| hall.status(&it.order)).collect();
    assert_eq!(ends, [Status::Completed, Status::Cancelled, Status::Completed]);
    assert_eq!(operator::parked(t.bus(), "").await.unwrap().len(), 0);
}
