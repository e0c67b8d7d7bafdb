//! Measures, by hand and on a quiet machine, what the sketch and the set digest cost:
//! `cargo run --release -p p2p-sync-core --example sync_costs`. The figures depend on the machine; their ratios hardly
//! do.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement needs a clock and a screen"
)]

use std::hint::black_box;
use std::time::Instant;

use p2p_sync_core::item::Item;
use p2p_sync_core::set_digest::SetDigest;
use p2p_sync_core::sketch::{Reconciler, Sketch};
use p2p_sync_core::summary::Summary;

const ITEMS: u64 = 200_000;

fn item(number: u64) -> Item {
    Item::from_bytes(blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn measure(what: &str, times: u64, mut work: impl FnMut(u64)) {
    let start = Instant::now();
    for number in 0..times {
        work(number);
    }
    let micros = start.elapsed().as_secs_f64() * 1e6 / f64::from(u32::try_from(times).unwrap_or(u32::MAX));
    println!("{what:<50} {micros:>10.3} µs");
}

fn main() {
    let items: Vec<Item> = (0..ITEMS).map(item).collect();
    let mut next = items.iter().cycle();
    let mut next = || next.next().copied().unwrap_or_default();
    let mut sketch = Sketch::new();
    let mut digest = SetDigest::new();
    let mut summary = Summary::new();
    measure("sketch: one item in", ITEMS, |_| sketch.insert(&next()));
    measure("set digest: one item in", ITEMS, |_| digest.insert(&next()));
    measure("summary: one record replaced by another", ITEMS, |_| {
        summary.replaced(&next(), &next())
    });
    measure("set digest: its 32 bytes", 10_000, |_| {
        black_box(digest.value());
    });
    measure("summary: kept form written", 5, |_| {
        black_box(summary.to_bytes());
    });
    let kept = summary.to_bytes();
    measure("summary: kept form read", 5, |_| {
        black_box(Summary::from_bytes(&kept).is_ok());
    });
    for (differing, cells) in [(10, 64), (100, 200), (1_000, 1_600), (10_000, 16_000), (40_000, 65_536)] {
        let mut other = sketch.clone();
        for number in 0..differing {
            other.insert(&item(ITEMS + number));
        }
        let (mine, theirs) = (sketch.pieces(cells), other.pieces(cells));
        let decoded = Sketch::difference(mine, theirs).is_ok_and(|found| found.len() as u64 == differing);
        measure(
            &format!("{differing} differences from {cells} cells (found: {decoded})"),
            3,
            |_| {
                black_box(Sketch::difference(mine, theirs).is_ok());
            },
        );
    }
    decoding_rates();
}

/// In how many of many runs a number of cells suffices.
fn decoding_rates() {
    for (differing, cells) in [
        (10_u64, 64_usize),
        (20, 64),
        (30, 64),
        (40, 64),
        (100, 170),
        (100, 200),
        (1_000, 1_500),
        (1_000, 1_600),
    ] {
        let runs = if differing < 100 { 1_000 } else { 200 };
        let mut decoded = 0;
        let empty = Sketch::new();
        let mut seed = 1_000_000_000 * differing;
        for _ in 0..runs {
            let mut sketch = Sketch::new();
            for _ in 0..differing {
                seed += 1;
                sketch.insert(&item(seed));
            }
            decoded += u32::from(Sketch::difference(sketch.pieces(cells), empty.pieces(cells)).is_ok());
        }
        println!("{differing:>6} differences from {cells:>6} cells: {decoded} of {runs} runs");
    }
}
