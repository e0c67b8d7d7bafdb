//! The mapping is pinned; decoding is compared with the plain difference of sets; hostile cells change nothing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn item(number: u64) -> Item {
    Item::from_bytes(blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn sketch(items: impl IntoIterator<Item = u64>) -> Sketch {
    let mut sketch = Sketch::new();
    for number in items {
        sketch.insert(&item(number));
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
    changed.insert(&item(100));
    changed.remove(&item(50));
    assert_eq!(changed.count(), 100);
    changed.remove(&item(100));
    changed.insert(&item(50));
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
        let estimate = Sketch::estimate(mine.pieces(64), theirs.pieces(64));
        assert!(
            estimate * 10 > differing * 6 && estimate * 10 < differing * 16,
            "{estimate} for {differing}"
        );
    }
    assert_eq!(Sketch::estimate(&[], &[]), 0);
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
            }; 3]
        ) > 0
    );
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
    add_to_all(&mut twice, item(1), 1, |_, _| {});
    add_to_all(&mut twice, item(1), 1, |_, _| {});
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
            let sorted: BTreeSet<Item> = numbers.iter().map(|number| item(*number)).collect();
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
                0 => cell.checks ^= bits,
                1 => cell.count = cell.count.wrapping_add(bits as i64),
                2 => cell.items ^= item(bits),
                _ => cell.add(item(bits), bits, 1),
            }
        }
        prop_assume!(cells != honest);
        prop_assert_eq!(Sketch::difference(a.pieces(64), &cells), Err(Undecodable));
    }
}

/// Number of the item, its check, and its places among 65,536 cells.
const GOLDEN: &[(u64, u64, &[u64])] = &[
    (
        0,
        0x4ee8b86d933e73f0,
        &[
            0, 3, 8, 39, 45, 52, 94, 313, 651, 678, 814, 1655, 1930, 2109, 2396, 2868, 8180, 9382, 9881, 10_442,
            12_981, 20_487, 29_567, 41_146, 43_686,
        ],
    ),
    (
        1,
        0x2874b2a577575c4f,
        &[
            0, 2, 8, 9, 12, 18, 19, 27, 34, 60, 64, 88, 153, 163, 327, 399, 606, 894, 2588, 3742, 20_396, 28_514,
            56_671,
        ],
    ),
    (
        2,
        0x71db13605c02330f,
        &[
            0, 2, 12, 32, 150, 342, 699, 2210, 2548, 16_992, 25_383, 34_374, 44_519, 47_996,
        ],
    ),
    (
        1_000_000,
        0xd093190b62d80b0c,
        &[
            0, 1, 4, 6, 17, 21, 29, 103, 179, 242, 256, 445, 487, 827, 1010, 1586, 2159, 2901, 4027, 6942, 8814,
            12_620, 18_433, 18_574, 20_394, 38_447, 46_367,
        ],
    ),
    (
        u64::MAX,
        0xe8544abb69ee10cc,
        &[0, 1, 3, 5, 8, 9, 26, 37, 56, 79, 126, 167, 1516, 2465, 21_527, 65_436],
    ),
];
