//! Adds up what a transaction that is held changes, on a thread of its own: the stretching and mixing of items takes as long as a
//! good part of storing the records.

use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use p2p_sync_core::summary::Summary;

use super::summary::Change;

/// Pages that may wait: whoever stores more waits for them.
const PAGES_MAX: usize = 4;

/// The sum of the changes of one transaction.
#[derive(Debug)]
pub(super) enum Summing {
    Aside {
        pages: SyncSender<Vec<Change>>,
        sum: JoinHandle<Box<Summary>>,
    },
    /// The system gave us no thread.
    Here(Box<Summary>),
}

impl Summing {
    /// Of no changes.
    pub(super) fn new() -> Self {
        let (pages, changes) = mpsc::sync_channel::<Vec<Change>>(PAGES_MAX);
        let work = move || {
            let mut sum = Box::new(Summary::new());
            for page in changes {
                page.iter().for_each(|change| change.apply(&mut sum));
            }
            sum
        };
        match thread::Builder::new().name("summing".to_owned()).spawn(work) {
            Ok(sum) => Self::Aside { pages, sum },
            Err(_) => Self::Here(Box::new(Summary::new())),
        }
    }

    pub(super) fn add(&mut self, page: Vec<Change>) {
        match self {
            // If it has ended, that shows in the end.
            Self::Aside { pages, .. } => drop(pages.send(page)),
            Self::Here(sum) => page.iter().for_each(|change| change.apply(sum)),
        }
    }

    /// The sum of all that was added; none if it is lost.
    pub(super) fn end(self) -> Option<Box<Summary>> {
        match self {
            Self::Aside { pages, sum } => {
                drop(pages);
                sum.join().ok()
            }
            Self::Here(sum) => Some(sum),
        }
    }
}

#[cfg(test)]
mod tests {
    use p2p_sync_core::item::Item;

    use super::*;

    #[test]
    fn it_is_the_sum_of_all_pages_wherever_it_is_made() {
        let item = |number: u8| Item::from_bytes(&[number; 32]);
        let change = |old: Option<u8>, new: Option<u8>| Change {
            old: old.map(item),
            new: new.map(item),
        };
        let expected = Summary::of((60..150).map(item));
        for mut summing in [Summing::new(), Summing::Here(Box::new(Summary::new()))] {
            (0..100).for_each(|number| summing.add(vec![change(None, Some(number))]));
            (0..50).for_each(|number| summing.add(vec![change(Some(number), Some(number + 100))]));
            summing.add((50..60).map(|number| change(Some(number), None)).collect());
            assert_eq!(summing.end().as_deref(), Some(&expected));
        }
    }
}
