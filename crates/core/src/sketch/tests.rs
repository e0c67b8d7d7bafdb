//! The mapping is pinned; decoding is compared with the plain difference of sets; hostile cells change nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn full(number: u64) -> Item {
    Item::from_bytes(blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn item(number: u64) -> ShortItem {
    full(number).short()
}

fn sketch(items: impl IntoIterator<Item = u64>) -> Sketch {
    let mut sketch = Sketch::new();
    for number in items {
        sketch.insert(&full(number));
    }
    sketch
}

#[test]
fn the_mapping_is_pinned() {
    for (number, check, places) in GOLDEN {
        let (found, mapping) = check_and_mapping(&item(*number));
        let found_places: Vec<u64> = mapping.take_while(|place| *place < 65_536).collect();
        assert_eq!((found, found_places.as_slice()), (*check, *places), "item {number}");
    }
}

#[test]
fn a_place_is_taken_as_often_as_it_should_be() {
    let mut taken = vec![0_u32; 1_000];
    for number in 0..20_000 {
        let (_, mapping) = check_and_mapping(&item(number));
        for place in mapping.take_while(|place| *place < 1_000) {
            taken[usize::try_from(place).unwrap()] += 1;
        }
    }
    for place in [0_u32, 1, 2, 5, 10, 50, 200, 999] {
        let expected = 20_000.0 * 2.0 / (f64::from(place) + 2.0);
        let found = f64::from(taken[place as usize]);
        // Five standard deviations, and what the inversion is off by for small indices.
        assert!(
            (found - expected).abs() < 5.0 * expected.sqrt() + 0.06 * expected / f64::from(place + 1),
            "place {place}: {found}, not {expected}"
        );
    }
}

#[test]
fn an_item_taken_out_leaves_nothing_behind() {
    let mut changed = sketch(0..100);
    changed.insert(&full(100));
    changed.remove(&full(50));
    assert_eq!(changed.count(), 100);
    changed.remove(&full(100));
    changed.insert(&full(50));
    assert!(changed == sketch(0..100));
}

#[test]
fn few_differences_in_a_large_set_take_few_cells() {
    let mine = sketch(0..20_000);
    let theirs = sketch(10..20_010);
    let difference = Sketch::difference(mine.pieces(64), theirs.pieces(64)).unwrap();
    let expected = |numbers: std::ops::Range<u64>| {
        numbers
            .map(item)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    };
    assert_eq!(difference.mine, expected(0..10));
    assert_eq!(difference.theirs, expected(20_000..20_010));
}

#[test]
fn the_estimate_is_of_the_right_size() {
    for (mine, theirs) in [
        (0..1_000, 1_000..1_000),
        (0..500, 500..1_000),
        (0..3_000, 1_000..5_000),
        (0..20, 20..40),
    ] {
        let differing = (mine.end.min(theirs.start) - mine.start) + (theirs.end - mine.end.max(theirs.start));
        let (mine, theirs) = (sketch(mine), sketch(theirs));
        let estimate = Sketch::estimate(mine.pieces(64), theirs.pieces(64), &[]);
        assert!(
            estimate * 10 > differing * 6 && estimate * 10 < differing * 16,
            "{estimate} for {differing}"
        );
    }
    assert_eq!(Sketch::estimate(&[], &[], &[]), 0);
    let huge = [Cell {
        count: i64::MIN,
        ..Cell::default()
    }; 3];
    assert!(
        Sketch::estimate(
            &huge,
            &[Cell {
                count: i64::MAX,
                ..Cell::default()
            }; 3],
            &[]
        ) > 0
    );
}

#[test]
fn hints_make_the_estimate_three_times_as_good() {
    let mut off = [0.0; 2];
    for run in 0..40 {
        let differing = 20 + 40 * run * run;
        let (mine, theirs) = (sketch(0..differing / 2), sketch(1_000_000..1_000_000 + differing / 2));
        for (hints, off) in [0, 512].into_iter().zip(&mut off) {
            let estimate = Sketch::estimate(mine.pieces(64 + hints), theirs.pieces(64), &theirs.hints(64, hints));
            let ratio = estimate as f64 / differing as f64;
            assert!(hints == 0 || (0.7..1.3).contains(&ratio), "{estimate} for {differing}");
            *off += (ratio - 1.0) * (ratio - 1.0) / 40.0;
        }
    }
    let [without, with] = off.map(f64::sqrt);
    assert!(with < 0.09 && with * 2.0 < without, "{without} {with}");
    // Whatever a peer sends, there is an estimate.
    let mine = sketch(0..100);
    for hint in [0, 127, 128, 255] {
        Sketch::estimate(mine.pieces(576), sketch(0..50).pieces(64), &[hint; 512]);
        Sketch::estimate(mine.pieces(576), &[], &[hint; 512]);
        Sketch::estimate(mine.pieces(1), sketch(0..50).pieces(64), &[hint; 512]);
    }
}

#[test]
fn cells_of_two_moments_do_not_decode_to_a_lie() {
    let before = sketch(0..300);
    let after = sketch(0..340);
    let mut mixed = before.pieces(64).to_vec();
    mixed[20..].copy_from_slice(&after.pieces(64)[20..]);
    assert_eq!(Sketch::difference(&mixed, sketch(5..300).pieces(64)), Err(Undecodable));
}

#[test]
fn an_item_that_comes_and_goes_for_ever_is_found_out() {
    // An item that is in one of its places only reappears in the others with the other sign, and then here again.
    let mut once = vec![Cell::default(); 64];
    once[0].add(item(1), check_and_mapping(&item(1)).0, 1);
    assert_eq!(Sketch::difference(&once, &[Cell::default(); 64]), Err(Undecodable));
    // One that is in a cell to which it does not belong stays there.
    let (check, mapping) = check_and_mapping(&item(1));
    let places: Vec<u64> = mapping.take_while(|place| *place < 64).collect();
    let foreign = (1..64).find(|place| !places.contains(place)).unwrap();
    let mut cells = vec![Cell::default(); 64];
    cells[usize::try_from(foreign).unwrap()].add(item(1), check, 1);
    assert_eq!(Sketch::difference(&cells, &vec![Cell::default(); 64]), Err(Undecodable));
    // One that stands twice in all of its places is no set either.
    let mut twice = vec![Cell::default(); 64];
    add_to_all(&mut twice, item(1), 1);
    add_to_all(&mut twice, item(1), 1);
    assert_eq!(Sketch::difference(&twice, &vec![Cell::default(); 64]), Err(Undecodable));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn decoding_is_the_plain_difference(
        common in prop::collection::btree_set(0..1_000_u64, 0..200),
        mine in prop::collection::btree_set(1_000..2_000_u64, 0..60),
        theirs in prop::collection::btree_set(2_000..3_000_u64, 0..60),
        cells in 1..400_usize,
    ) {
        let a = sketch(common.iter().chain(&mine).copied());
        let b = sketch(common.iter().chain(&theirs).copied());
        let expected = |numbers: &BTreeSet<u64>| {
            let sorted: BTreeSet<ShortItem> = numbers.iter().map(|number| item(*number)).collect();
            sorted.into_iter().collect::<Vec<_>>()
        };
        match Sketch::difference(a.pieces(cells), b.pieces(cells)) {
            Ok(found) => {
                prop_assert_eq!(found.mine, expected(&mine));
                prop_assert_eq!(found.theirs, expected(&theirs));
            }
            Err(Undecodable) => {
                prop_assert!(cells < (mine.len() + theirs.len()) * 2 + 150, "{} cells are plenty", cells);
            }
        }
    }

    #[test]
    fn hostile_cells_never_pass(
        damaged in prop::collection::vec((0..64_usize, 0..4_u8, any::<u64>()), 1..8),
        differing in 0..20_u64,
    ) {
        let a = sketch(0..200);
        let b = sketch(differing..200);
        let honest = b.pieces(64).to_vec();
        let mut cells = honest.clone();
        for (place, what, bits) in damaged {
            let cell = &mut cells[place];
            match what {
                0 => cell.checks ^= bits as u32,
                1 => cell.count = cell.count.wrapping_add(bits as i64),
                2 => cell.items ^= item(bits),
                _ => cell.add(item(bits), bits as u32, 1),
            }
        }
        prop_assume!(cells != honest);
        prop_assert_eq!(Sketch::difference(a.pieces(64), &cells), Err(Undecodable));
    }
}

/// Number of the item, its check, and its places among 65,536 cells.
const GOLDEN: &[(u64, u32, &[u64])] = &[
    (
        0,
        0x39d63b20,
        &[
            0, 1, 4, 5, 13, 39, 158, 275, 411, 660, 840, 916, 1529, 3210, 3404, 4009, 5017, 11_711, 50_761,
        ],
    ),
    (
        1,
        0xc075a7b1,
        &[
            0, 1, 2, 5, 9, 17, 23, 44, 97, 121, 206, 568, 1261, 4413, 6334, 11_282, 45_384, 63_691,
        ],
    ),
    (
        2,
        0xb98ad7b0,
        &[
            0, 4, 5, 8, 15, 17, 18, 20, 23, 27, 36, 221, 367, 540, 1569, 2445, 2993, 3404, 7761, 28_055, 33_577,
        ],
    ),
    (
        1_000_000,
        0xd7974d99,
        &[
            0, 3, 4, 5, 59, 123, 126, 213, 230, 240, 350, 353, 1375, 4127, 8119, 8356, 9699,
        ],
    ),
    (
        u64::MAX,
        0x3d18cdf5,
        &[
            0, 1, 2, 3, 9, 13, 18, 20, 149, 340, 1586, 3463, 10_492, 16_045, 17_247, 58_047,
        ],
    ),
];
