//! The id window's table: two generations of open addressing in one budget of memory. What an id
//! costs when a batch is probed at once, one by one, or in a `HashMap`; what the load costs; what
//! hashing costs. Decides how the window probes and how full a generation gets (DESIGN §8).
#![expect(clippy::print_stdout, reason = "a program that prints what it measured")]

use std::hash::BuildHasherDefault;
use std::hint::black_box;

use hashbrown::{DefaultHashBuilder, HashMap};
use quadrille_benches::{Options, Report, Spread, Table, timed};
use siphasher::sip128::SipHasher13;
use window::{Generation, Identity, Maps, SLOTS, Slot, Window};

mod window;

const PRELOADED: u64 = 1_000_000;
const PER_ROUND: u64 = 1_000_000;

fn main() {
    let options = Options::parse();
    println!(
        "{}",
        Report::new("physics_dedup", vec![probing(&options), upkeep(&options)])
            .render(options.json)
    );
}

/// `count` ids from `first` on; the same number gives the same id.
fn ids(first: u64, count: u64) -> Vec<Slot> {
    let id = |offset| {
        let mut random = fastrand::Rng::with_seed(offset);
        let hash = [random.u64(1..), random.u64(1..)];
        Slot { hash, digest: random.u64(..), offset }
    };
    (first..first + count).map(id).collect()
}

type Admit = Box<dyn FnMut(&[Slot]) -> u64>;

/// Every way to keep the window, with its name and load.
fn ways() -> Vec<(&'static str, String, Admit)> {
    let mut ways: Vec<(&'static str, String, Admit)> = Vec::new();
    for load in [0.5, 0.75, 0.875] {
        let (mut one, mut batched) = (Window::new(load), Window::new(load));
        ways.push(("one by one", load.to_string(), Box::new(move |ids| one.one_by_one(ids))));
        ways.push(("batches of 64", load.to_string(), Box::new(move |ids| batched.batched(ids))));
    }
    let full = || "0.875".to_owned();
    let mut plain = Maps::<DefaultHashBuilder>::new();
    ways.push(("HashMap, foldhash", full(), Box::new(move |ids| plain.one_by_one(ids))));
    let mut one = Maps::<BuildHasherDefault<Identity>>::new();
    ways.push(("HashMap, no hash", full(), Box::new(move |ids| one.one_by_one(ids))));
    let mut batched = Maps::<BuildHasherDefault<Identity>>::new();
    ways.push(("HashMap, no hash, 64", full(), Box::new(move |ids| batched.batched(ids))));
    ways
}

fn probing(options: &Options) -> Table {
    let mut table = Table::new(
        "probe and insert, 1 M ids in the window, ns per id with turning generations over; \
         median [min..max] of rounds",
        &["table", "load", "all new", "all repeats"],
    );
    let mut ways = ways();
    let mut times = vec![(Vec::new(), Vec::new()); ways.len()];
    for (_, _, admit) in &mut ways {
        assert_eq!(admit(&ids(0, PRELOADED)), 0);
    }
    for round in 0..u64::from(options.rounds) {
        let new = ids(PRELOADED + round * PER_ROUND, PER_ROUND);
        // The last that came in, in another order.
        let mut repeats = new.iter().rev().take(400_000).copied().collect::<Vec<_>>();
        fastrand::Rng::with_seed(round).shuffle(&mut repeats);
        for ((_, _, admit), (fresh, again)) in ways.iter_mut().zip(&mut times) {
            let (time, known) = timed(|| admit(&new));
            assert_eq!(known, 0, "a new id was taken for a known one");
            fresh.push(time.as_nanos() as f64 / new.len() as f64);
            let (time, known) = timed(|| admit(&repeats));
            assert_eq!(known, repeats.len() as u64, "a repeat was not seen");
            again.push(time.as_nanos() as f64 / repeats.len() as f64);
        }
    }
    for ((name, load, _), (fresh, again)) in ways.into_iter().zip(times) {
        let (fresh, again) = (Spread::of(fresh), Spread::of(again));
        table.row(vec![name.into(), load.into(), fresh.into(), again.into()]);
    }
    table
}

/// What else the window costs.
fn upkeep(options: &Options) -> Table {
    let mut table = Table::new("what else the window costs", &["what", "unit", "time"]);
    let texts: Vec<[u8; 36]> = (0..100_000_u128)
        .map(|n| {
            let mut text = [b'-'; 36];
            for (to, from) in text.iter_mut().zip(format!("{n:036x}").bytes()) {
                *to = from;
            }
            text
        })
        .collect();
    let hasher = SipHasher13::new_with_keys(1, 2);
    let mut generation = Generation::new();
    let mut map = HashMap::<u128, (u64, u64)>::with_capacity(SLOTS / 8 * 7);
    let [mut hashing, mut clearing, mut making, mut clearing_map] = [const { Vec::new() }; 4];
    for _ in 0..options.rounds {
        let (time, _) = timed(|| {
            for text in &texts {
                black_box(hasher.hash(text));
            }
        });
        hashing.push(time.as_nanos() as f64 / texts.len() as f64);
        let (time, ()) = timed(|| black_box(&mut generation).slots.fill(Slot::default()));
        clearing.push(time.as_secs_f64() * 1e3);
        map.insert(1, (1, 1));
        let (time, ()) = timed(|| black_box(&mut map).clear());
        clearing_map.push(time.as_secs_f64() * 1e3);
        let (time, fresh) = timed(|| black_box(Generation::new()));
        drop(fresh);
        making.push(time.as_secs_f64() * 1e3);
    }
    let mut row = |what: &str, unit: &str, times| {
        table.row(vec![what.into(), unit.into(), Spread::of(times).into()])
    };
    row("SipHash-1-3-128 of 36 bytes", "ns", hashing);
    row("clearing a generation of 32 MiB", "ms", clearing);
    row("clearing a HashMap of as many slots", "ms", clearing_map);
    row("allocating a new one instead, not yet touched", "ms", making);
    table
}
