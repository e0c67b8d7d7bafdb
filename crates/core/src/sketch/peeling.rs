//! Peeling: takes the difference of two sketches apart into its items.

use std::collections::VecDeque;
use std::iter::zip;

use super::{Cell, Difference, Mapping, Undecodable, add_to, check_and_mapping};
use crate::item::ShortItem;

/// The subtracted cells while they are peeled.
pub(super) struct Peeling {
    cells: Vec<Cell>,
    /// Cells that may contain a single item, each at most once.
    candidates: VecDeque<usize>,
    waiting: Vec<bool>,
}

impl Peeling {
    pub(super) fn new(cells: Vec<Cell>) -> Self {
        let mut peeling = Self {
            candidates: VecDeque::with_capacity(cells.len()),
            waiting: vec![false; cells.len()],
            cells,
        };
        for index in 0..peeling.cells.len() {
            if let Some(cell) = peeling.cells.get(index) {
                note_candidate(&mut peeling.candidates, &mut peeling.waiting, index, cell);
            }
        }
        peeling
    }

    /// Removes single items until nothing is left. If nothing is left, the cells were the sum of exactly these items. An
    /// honest peer's cells need at most one step per cell, because each step empties the cell that it starts from for good;
    /// cells that need more are forged, and end the attempt.
    pub(super) fn run(mut self) -> Result<Difference, Undecodable> {
        let mut difference = Difference::default();
        while let Some(index) = self.candidates.pop_front() {
            if let Some(waiting) = self.waiting.get_mut(index) {
                *waiting = false;
            }
            let Some(cell) = self.cells.get(index).copied() else {
                continue;
            };
            let Some(mapping) = mapping_of_single(&cell) else {
                continue;
            };
            if difference.len() == self.cells.len() {
                return Err(Undecodable);
            }
            let Self {
                cells,
                candidates,
                waiting,
            } = &mut self;
            add_to(cells, cell.items, -cell.count, cell.checks, mapping, |index, cell| {
                note_candidate(candidates, waiting, index, cell);
            });
            if cell.count == 1 {
                difference.mine.push(cell.items);
            } else {
                difference.theirs.push(cell.items);
            }
        }
        if self.cells.iter().any(|cell| *cell != Cell::default()) {
            return Err(Undecodable);
        }
        sorted_without_repeats(difference)
    }
}

/// Adds a cell to the list if it may contain a single item; whether it does is checked when its turn comes.
fn note_candidate(candidates: &mut VecDeque<usize>, waiting: &mut [bool], index: usize, cell: &Cell) {
    if let (1 | -1, Some(waiting @ false)) = (cell.count, waiting.get_mut(index)) {
        *waiting = true;
        candidates.push_back(index);
    }
}

/// If one item is left in a cell, the cells that it belongs to: its check is the cell's. See [`Cell::checks`] for how often
/// several items look like one.
fn mapping_of_single(cell: &Cell) -> Option<Mapping> {
    if !matches!(cell.count, 1 | -1) {
        return None;
    }
    let (check, mapping) = check_and_mapping(&cell.items);
    (check == cell.checks).then_some(mapping)
}

/// An item that turned up twice, on one side or on both, came from cells that are not those of any set.
fn sorted_without_repeats(mut difference: Difference) -> Result<Difference, Undecodable> {
    difference.mine.sort_unstable();
    difference.theirs.sort_unstable();
    let repeats = |items: &[ShortItem]| zip(items, items.iter().skip(1)).any(|(one, next)| one == next);
    let mut theirs = difference.theirs.iter().peekable();
    let on_both = difference.mine.iter().any(|mine| {
        while theirs.next_if(|theirs| *theirs < mine).is_some() {}
        theirs.peek() == Some(&mine)
    });
    if on_both || repeats(&difference.mine) || repeats(&difference.theirs) {
        Err(Undecodable)
    } else {
        Ok(difference)
    }
}
