//! The sketch: a set summarized in 65,536 cells of 40 bytes, from which two nodes compute their difference at a cost that
//! depends only on the difference. Finding the records behind the items is left to sync.
//!
//! It is the start of a rateless invertible Bloom lookup table (Yang, Gilad, Alizadeh: "Practical Rateless Set
//! Reconciliation", SIGCOMM 2024). Every item is put into cell 0, and into cell k with probability 2 / (k + 2); a cell
//! contains the XOR of its items in short form, the XOR of their checks, and their number. Two sketches are subtracted cell by cell:
//! common items cancel out, and a cell with a single remaining item reveals that item. Removing it from its other cells
//! leaves single items in some of those, and so on ("peeling"). The first 1.36 to 1.5 d cells are enough for a difference of
//! d items; a small d needs more.
//!
//! Two nodes must put an item into the same cells, so the mapping is part of the protocol. Tests pin it, and it uses only
//! integers and operations that IEEE 754 defines to the last bit.

mod peeling;

use peeling::Peeling;

use crate::item::{Item, ShortItem};
use crate::random::SplitMix64;

/// Cells of a sketch: enough for differences of some 40,000 items, in 2.5 MiB.
pub const SKETCH_CELLS: usize = 65_536;

/// The key of the hash that gives an item's check and its mapping. It separates them from every other use of BLAKE3, and
/// must never change, because sketches are stored.
const HASH_KEY: &[u8; 32] = b"p2p-sync sketch: check, mapping.";

/// The sum of some items: those in this cell of a sketch, or what remains of them after a subtraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cell {
    /// XOR of the items.
    pub items: ShortItem,
    /// XOR of the items' checks. They only tell when one item is left: several look like one with probability 2^-32 each time
    /// that such a cell is looked at. Measured: decoding 10 items looks at 3 of them, 16,667 items at 11,500, and 40,000 items at
    /// 27,700, so that one attempt in 150,000 fails for this. It fails, and does not lie: that nothing but what was removed was there
    /// is told by the XOR of whole items, 192 bits, in every cell.
    pub checks: u32,
    /// The number of items; after a subtraction, how many more here than there.
    pub count: i64,
}

impl Cell {
    fn add(&mut self, item: ShortItem, check: u32, count: i64) {
        self.items ^= item;
        self.checks ^= check;
        // A peer may send any number, so this must be allowed to wrap; honest counts never come close.
        self.count = self.count.wrapping_add(count);
    }

    /// This cell minus the same cell of another sketch.
    #[must_use]
    fn minus(mut self, other: &Self) -> Self {
        self.add(other.items, other.checks, other.count.wrapping_neg());
        self
    }
}

/// The cells of one item in ascending order, from 0 to 2^32 and beyond: the caller stops.
struct Mapping {
    random: SplitMix64,
    /// Not negative.
    next: i64,
}

impl Iterator for Mapping {
    type Item = u64;

    /// Draws the distance to the next cell by inverting its distribution, as the paper does: the chance that cells
    /// i + 1 to i + j are all left out is (i + 1)(i + 2) / ((i + j + 1)(i + j + 2)), hardly different from
    /// ((i + 1.5) / (i + j + 1.5))². Set equal to a random number from (0, 1], that gives j. The random number keeps 53
    /// bits and an index stays below 2^43, so that both are exact as doubles.
    fn next(&mut self) -> Option<u64> {
        let here = self.next;
        let chance = ((self.random.draw() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        let distance = (here as f64 + 1.5) * (1.0 / chance.sqrt() - 1.0);
        // Rounded up. The method of f64 is a call where the compiler may not assume SSE 4.1, and takes longer than all the rest.
        let floor = distance as i64;
        let ceiling = floor.saturating_add(i64::from((floor as f64) < distance));
        self.next = here.saturating_add(ceiling.max(1));
        Some(here.unsigned_abs())
    }
}

/// The check of an item, and the cells it belongs to. The four bytes between the two are not used.
fn check_and_mapping(item: &ShortItem) -> (u32, Mapping) {
    let hash = blake3::keyed_hash(HASH_KEY, &item.to_bytes());
    let [a, b, c, d, _, _, _, _, i, j, k, l, m, n, o, p, ..] = *hash.as_bytes();
    let check = u32::from_le_bytes([a, b, c, d]);
    let random = u64::from_le_bytes([i, j, k, l, m, n, o, p]);
    let random = SplitMix64::new(random);
    (check, Mapping { random, next: 0 })
}

/// Adds an item `count` times (1 or −1) to all its places among these cells.
fn add_to_all(cells: &mut [Cell], item: ShortItem, count: i64) {
    let (check, mapping) = check_and_mapping(&item);
    add_to(cells, item, count, check, mapping, |_, _| {});
}

/// The same for an item whose check and mapping are known; calls `changed` for each cell.
fn add_to(
    cells: &mut [Cell],
    item: ShortItem,
    count: i64,
    check: u32,
    mapping: Mapping,
    mut changed: impl FnMut(usize, &Cell),
) {
    for index in mapping {
        let Ok(index) = usize::try_from(index) else { break };
        let Some(cell) = cells.get_mut(index) else { break };
        cell.add(item, check, count);
        changed(index, cell);
    }
}

/// The difference between two sets, each side sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// Items of the first set only.
    pub mine: Vec<ShortItem>,
    /// Items of the second set only.
    pub theirs: Vec<ShortItem>,
}

impl Difference {
    /// How many items differ.
    pub fn len(&self) -> usize {
        self.mine.len() + self.theirs.len()
    }

    /// Whether the sets are equal.
    pub fn is_empty(&self) -> bool {
        self.mine.is_empty() && self.theirs.is_empty()
    }
}

/// These cells are not enough to decode the difference: they are too few, were taken at different moments, or are forged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("these cells are not enough to decode the difference")]
pub struct Undecodable;

/// The interface between sync and the method of finding differences: a summary that follows a set, pieces of it that can be
/// sent, and what two nodes learn from each other's pieces.
pub trait Reconciler {
    /// What is sent.
    type Piece: Copy;

    /// Adds an item that is not in the set.
    fn insert(&mut self, item: &Item);

    /// Removes an item that is in the set.
    fn remove(&mut self, item: &Item);

    /// The first pieces: `count` of them, or all if there are fewer.
    fn pieces(&self, count: usize) -> &[Self::Piece];

    /// The exact difference between the sets from which these pieces come, first against second. Time and memory are
    /// bounded by the number of pieces, whatever they contain.
    ///
    /// # Errors
    /// If they are not enough to decode it.
    fn difference(mine: &[Self::Piece], theirs: &[Self::Piece]) -> Result<Difference, Undecodable>;

    /// What lets the other side estimate better: a byte for each of the `count` pieces after the first `from`.
    fn hints(&self, from: usize, count: usize) -> Vec<u8>;

    /// About how many items differ, from a few pieces that are not enough to tell which, and from the hints of the other side
    /// for those that follow. `mine` are as many as these are together. With 64 pieces it is off by 18 % (one standard deviation),
    /// with 512 hints by 6 %, or 8 % for a hundred items and fewer. A lying peer can make it any number.
    fn estimate(mine: &[Self::Piece], theirs: &[Self::Piece], hints: &[u8]) -> u64;
}

/// The sketch of a set of items.
#[derive(Clone, PartialEq, Eq)]
pub struct Sketch {
    /// Always [`SKETCH_CELLS`] of them.
    cells: Box<[Cell]>,
}

impl std::fmt::Debug for Sketch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sketch")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

impl Default for Sketch {
    fn default() -> Self {
        Self::new()
    }
}

impl Sketch {
    /// The sketch of the empty set.
    pub fn new() -> Self {
        Self {
            cells: vec![Cell::default(); SKETCH_CELLS].into_boxed_slice(),
        }
    }

    /// From all its stored cells; none if their number is wrong.
    pub(crate) fn from_cells(cells: Vec<Cell>) -> Option<Self> {
        (cells.len() == SKETCH_CELLS).then(|| Self {
            cells: cells.into_boxed_slice(),
        })
    }

    /// Adds the cells of another set.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.cells.iter_mut().zip(other.cells.iter()) {
            mine.items ^= theirs.items;
            mine.checks ^= theirs.checks;
            mine.count = mine.count.wrapping_add(theirs.count);
        }
    }

    /// How many items the set has: every one of them is in cell 0.
    pub fn count(&self) -> u64 {
        self.cells
            .first()
            .map_or(0, |cell| u64::try_from(cell.count).unwrap_or(0))
    }
}

impl Reconciler for Sketch {
    type Piece = Cell;

    fn insert(&mut self, item: &Item) {
        add_to_all(&mut self.cells, item.short(), 1);
    }

    fn remove(&mut self, item: &Item) {
        add_to_all(&mut self.cells, item.short(), -1);
    }

    fn pieces(&self, count: usize) -> &[Cell] {
        self.cells.get(..count).unwrap_or(&self.cells)
    }

    fn difference(mine: &[Cell], theirs: &[Cell]) -> Result<Difference, Undecodable> {
        Peeling::new(
            mine.iter()
                .zip(theirs)
                .map(|(mine, theirs)| mine.minus(theirs))
                .collect(),
        )
        .run()
    }

    fn hints(&self, from: usize, count: usize) -> Vec<u8> {
        let cells = self.cells.iter().skip(from).take(count);
        cells.map(|cell| cell.count as u8).collect()
    }

    /// The mean of what the cells say, each weighted by how well it knows. The cast at the end saturates.
    fn estimate(mine: &[Cell], theirs: &[Cell], hints: &[u8]) -> u64 {
        let mut pairs = (0_u32..).zip(mine.iter().zip(theirs));
        let Some((_, (first, of_them))) = pairs.next() else {
            return 0;
        };
        let surplus = first.count.wrapping_sub(of_them.count);
        let whole = pairs.map(|(index, (mine, theirs))| {
            let (share, expected) = expectation(index, surplus);
            (share, mine.count.wrapping_sub(theirs.count) as f64 - expected)
        });
        let mut deviations: Vec<(f64, f64)> = whole.collect();
        let coarse = weighted(&deviations, weighted(&deviations, f64::INFINITY));
        let hinted = (0_u32..).zip(mine).skip(theirs.len()).zip(hints);
        deviations.extend(hinted.filter_map(|((index, mine), hint)| {
            let (share, expected) = expectation(index, surplus);
            // A byte says the deviation as long as that is a small number.
            let off = (mine.count as u8)
                .wrapping_sub(*hint)
                .wrapping_sub(expected.round() as i64 as u8);
            let near = expected.round() - expected;
            (coarse * share <= HINT_VARIANCE_MAX).then(|| (share, f64::from(off.cast_signed()) + near))
        }));
        (weighted(&deviations, coarse) as u64).max(surplus.unsigned_abs())
    }
}

/// Up to which expected variance a hint is used: a byte holds 6 standard deviations then, and still 4 where the coarse estimate
/// is too low by half.
const HINT_VARIANCE_MAX: f64 = 400.0;

/// For a surplus of so many items: by which share of d the count of this cell varies, if d items differ, and around what.
fn expectation(index: u32, surplus: i64) -> (f64, f64) {
    let chance = 2.0 / (f64::from(index) + 2.0);
    (chance * (1.0 - chance), chance * surplus as f64)
}

/// The number d of differing items, from the shares and deviations of some cells. The count of a cell is spread around its
/// expected value with a variance v of d·p(1 − p), p being the cell's probability: so each squared deviation, divided by p(1 − p),
/// is an estimate of d. Its own relative variance is 2 + 1/v, which an earlier estimate of d gives.
fn weighted(deviations: &[(f64, f64)], earlier: f64) -> f64 {
    let (mut sum, mut weights) = (0.0, 0.0);
    for (share, deviation) in deviations {
        let weight = 1.0 / (2.0 + 1.0 / (share * earlier).max(f64::MIN_POSITIVE));
        sum += weight * deviation * deviation / share;
        weights += weight;
    }
    if weights > 0.0 { sum / weights } else { 0.0 }
}

#[cfg(test)]
mod tests;
