//! The change sequence of one store: the order in which it stored versions, and cursors that name a place in that order.
//! The store saves the numbers, in the transactions that use them.
//!
//! Every version that becomes a key's current one takes the next number: 1, 2, 3 and so on, in commit order. No history is
//! kept, so a cursor never becomes too old: what changed since is whatever has a higher number now.
//!
//! # Epochs
//! Numbers alone cannot show that a store was rolled back to an old copy and continued from there: it would assign the same
//! numbers again to other versions. So each run of a store draws an *epoch*, 64 random bits, and records it, with the first
//! number that it covers, in the transaction that uses that number. A store knows a place in its own past if it knows the
//! epoch, and the epoch reaches that far.
//!
//! A cursor says up to which change its holder has been told, and how far the sequence had come by then. Both matter: a
//! version that was replaced before it was reported is never reported, but a store that was rolled back to before the
//! replacement still has it. The store must know the later place too, or the cursor is *lost*, and its holder is told so.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use crate::limits::EPOCHS_MAX;

/// One run of a store: 64 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// Up to where a reader has been told what changed in one store. As text: `<epoch>-<number>`, the epoch in 16 lower-case
/// hexadecimal digits, followed by `-<seen>` if more had changed by then. Opaque to its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// The run of the store that handed this out.
    pub epoch: Epoch,
    /// The number of the last change that was reported; 0 before the first one.
    pub number: u64,
    /// The number of the newest change at that time.
    pub seen: u64,
}

/// A text that is not a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a cursor, which has 16 hexadecimal digits, a hyphen and a number, such as 00c0ffee00c0ffee-7")]
pub struct InvalidCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch.0, self.number)?;
        if self.seen == self.number {
            return Ok(());
        }
        write!(f, "-{}", self.seen)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    /// Accepts what [`Display`](fmt::Display) writes, and nothing else.
    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (epoch, numbers) = text.split_once('-').ok_or(InvalidCursor)?;
        let (number, seen) = numbers.split_once('-').unwrap_or((numbers, numbers));
        let parsed = |number: &str| number.parse().map_err(|_| InvalidCursor);
        let cursor = Self {
            epoch: Epoch(u64::from_str_radix(epoch, 16).map_err(|_| InvalidCursor)?),
            number: parsed(number)?,
            seen: parsed(seen)?,
        };
        // There is only one way to write it: no sign, no upper case, no extra or missing zeros.
        if cursor.number <= cursor.seen && cursor.to_string() == text {
            Ok(cursor)
        } else {
            Err(InvalidCursor)
        }
    }
}

/// The epochs that a store knows, the newest [`EPOCHS_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Epochs {
    /// Each with the first number that it covers, oldest first.
    known: VecDeque<(Epoch, u64)>,
}

impl Epochs {
    /// Adds an epoch that begins with this number, and drops the oldest beyond [`EPOCHS_MAX`].
    pub fn begin(&mut self, epoch: Epoch, first: u64) {
        self.known.push_back((epoch, first));
        while self.known.len() > EPOCHS_MAX {
            self.known.pop_front();
        }
    }

    /// The current epoch.
    pub fn newest(&self) -> Option<Epoch> {
        self.known.back().map(|(epoch, _)| *epoch)
    }

    /// The cursor of a reader that has been told all changes up to this number, where `last` is the number of the newest
    /// one. None if no epoch is known.
    pub fn cursor(&self, number: u64, last: u64) -> Option<Cursor> {
        let (epoch, _) = *self.known.back()?;
        Some(Cursor {
            epoch,
            number: number.min(last),
            seen: last,
        })
    }

    /// Whether a cursor was handed out by this store, in a past that it still has. `last` is the number of its newest change.
    pub fn know(&self, cursor: Cursor, last: u64) -> bool {
        let Some(at) = self.known.iter().rposition(|(epoch, _)| *epoch == cursor.epoch) else {
            return false;
        };
        // Before the first change of an epoch, the last one is that of the previous epoch.
        let before = |at: usize| self.known.get(at).map(|(_, first)| first.saturating_sub(1));
        let (start, end) = (before(at).unwrap_or(0), before(at + 1).unwrap_or(last));
        (start..=end).contains(&cursor.seen) && cursor.number <= cursor.seen
    }
}

/// The change sequence of an open store: it assigns the numbers. [`Unsaved`] must be written in the transaction that uses
/// the numbers, so that after a crash both are there or neither.
#[derive(Debug, Clone)]
pub struct Sequence {
    epochs: Epochs,
    /// The highest number that was committed.
    last: u64,
    /// The highest number that the open transaction took, or that must not be used.
    taken: u64,
    /// Another program uses numbers up to this one.
    in_use: u64,
    /// The epoch of this run, until it is recorded.
    drawn: Option<Epoch>,
    /// The recorded epochs are no longer valid.
    broken: bool,
}

/// What a transaction must save of the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsaved {
    /// The highest number that was used.
    pub last: u64,
    /// An epoch that begins with this transaction, and the first number that it covers.
    pub begins: Option<(Epoch, u64)>,
    /// All epochs recorded before must be dropped.
    pub forgets: bool,
}

impl Sequence {
    /// The sequence of a store that knows these epochs and has used the numbers up to `last`. `drawn` is the epoch of this
    /// run: it is recorded with the first number that it covers, so that a run without changes leaves the store as it is.
    pub fn resume(epochs: Epochs, last: u64, drawn: Epoch) -> Self {
        Self {
            // Without any, nobody can tell which cursors were handed out.
            broken: epochs.newest().is_none(),
            epochs,
            last,
            taken: last,
            in_use: 0,
            drawn: Some(drawn),
        }
    }

    /// Starts another run; nothing of an open transaction remains.
    pub fn restart(&mut self, drawn: Epoch) {
        *self = Self::resume(std::mem::take(&mut self.epochs), self.last, drawn);
    }

    /// The next number, for a version that the open transaction stores; none if there are none left.
    pub fn take(&mut self) -> Option<u64> {
        self.taken = self.taken.max(self.in_use).checked_add(1)?;
        Some(self.taken)
    }

    /// Another program uses numbers up to this one; they will not be assigned.
    pub fn pass_over(&mut self, number: u64) {
        self.in_use = self.in_use.max(number);
    }

    /// Another program changed the store's contents: nobody can tell any more what changed since a cursor was handed out,
    /// so all cursors are lost, and a new epoch begins.
    pub fn break_off(&mut self, drawn: Epoch) {
        self.drawn = Some(drawn);
        self.broken = true;
    }

    /// What the open transaction must save; none if it took no number.
    pub fn unsaved(&self) -> Option<Unsaved> {
        // Rows that another program added count as reported from the first cursor of the new epoch on.
        let last = if self.broken {
            self.taken.max(self.in_use)
        } else {
            self.taken
        };
        (self.broken || last > self.last).then(|| Unsaved {
            last,
            begins: self.drawn.map(|epoch| (epoch, self.last.saturating_add(1))),
            forgets: self.broken,
        })
    }

    /// The transaction was committed, including what it had to save.
    pub fn committed(&mut self) {
        let Some(saved) = self.unsaved() else { return };
        if saved.forgets {
            self.epochs = Epochs::default();
            self.broken = false;
        }
        if let Some((epoch, first)) = saved.begins {
            self.epochs.begin(epoch, first);
            self.drawn = None;
        }
        (self.last, self.taken) = (saved.last, saved.last);
    }

    /// The transaction was rolled back: nobody has seen its numbers.
    pub fn rolled_back(&mut self) {
        self.taken = self.last;
    }

    /// The highest number that was committed.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The cursor of a reader that is now told all changes up to this number.
    pub fn cursor(&self, number: u64) -> Cursor {
        let noted = if self.broken {
            None
        } else {
            self.epochs.cursor(number, self.last)
        };
        noted.unwrap_or(Cursor {
            epoch: self.drawn.unwrap_or(Epoch(0)),
            number: number.min(self.last),
            seen: self.last,
        })
    }

    /// Whether a cursor was handed out in the past of this sequence. One that was not is lost: nobody can tell what changed
    /// since.
    pub fn knows(&self, cursor: Cursor) -> bool {
        !self.broken && self.epochs.know(cursor, self.last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cursor(epoch: u64, number: u64, seen: u64) -> Cursor {
        let epoch = Epoch(epoch);
        Cursor { epoch, number, seen }
    }

    #[test]
    fn a_cursor_has_one_text() {
        assert_eq!(cursor(0xab, 7, 7).to_string(), "00000000000000ab-7");
        assert_eq!(cursor(0xab, 7, 10).to_string(), "00000000000000ab-7-10");
        assert_eq!(
            "ffffffffffffffff-18446744073709551615".parse(),
            Ok(cursor(u64::MAX, u64::MAX, u64::MAX))
        );
        for text in [
            "",
            "-",
            "00000000000000ab",
            "00000000000000ab-",
            "-7",
            "ab-7",
            "00000000000000AB-7",
            "000000000000000ab-7",
            "+0000000000000ab-7",
            "00000000000000ab-+7",
            "00000000000000ab-07",
            "00000000000000ab--7",
            "00000000000000ab-7-7",
            "00000000000000ab-7-6",
            "00000000000000ab-7-",
            "00000000000000ab-7-08",
            "00000000000000ab-7-8-9",
            "00000000000000ab-7 ",
            " 00000000000000ab-7",
            "00000000000000ab-18446744073709551616",
            "00000000000000äb-7",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn cursors_survive_their_text(epoch: u64, a: u64, b: u64) {
            let one = cursor(epoch, a.min(b), a.max(b));
            prop_assert_eq!(one.to_string().parse(), Ok(one));
            let current = cursor(epoch, a, a);
            prop_assert_eq!(current.to_string().parse(), Ok(current));
        }

        #[test]
        fn no_text_does_harm(text in ".{0,40}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }

    #[test]
    fn an_epoch_covers_its_numbers_and_no_others() {
        let mut epochs = Epochs::default();
        assert!(!epochs.know(cursor(1, 0, 0), 0) && epochs.cursor(0, 0).is_none());
        epochs.begin(Epoch(1), 1);
        epochs.begin(Epoch(2), 11);
        for (epoch, numbers) in [(1, 0..=10), (2, 10..=15)] {
            for seen in 0..30 {
                let known = epochs.know(cursor(epoch, seen, seen), 15);
                assert_eq!(known, numbers.contains(&seen), "{epoch}-{seen}");
                assert_eq!(
                    epochs.know(cursor(epoch, 0, seen), 15),
                    known,
                    "whatever was told by then"
                );
                assert!(
                    !epochs.know(cursor(epoch, seen + 1, seen), 15),
                    "but no more than there was"
                );
            }
        }
        assert!(!epochs.know(cursor(3, 11, 11), 15), "another store's");
        assert_eq!(epochs.cursor(0, 15), Some(cursor(2, 0, 15)));
        assert_eq!(epochs.cursor(15, 15), Some(cursor(2, 15, 15)));
    }

    #[test]
    fn the_newest_epochs_are_kept() {
        let mut epochs = Epochs::default();
        let runs = EPOCHS_MAX as u64 + 10;
        for run in 1..=runs {
            epochs.begin(Epoch(run), run * 10);
        }
        let known = |run: u64| epochs.know(cursor(run, 0, run * 10), runs * 10);
        assert!(!known(10) && known(11) && known(runs));
    }

    /// What a store keeps.
    #[derive(Debug, Clone, Default)]
    struct Disk {
        epochs: Epochs,
        last: u64,
        /// For each change, in their order, its number and what was stored.
        changes: Vec<(u64, u32)>,
        /// How often another program changed something, and how often by what the store noted last.
        meddled: u32,
        noted: u32,
    }

    impl Disk {
        fn highest(&self) -> u64 {
            self.changes.last().map_or(0, |(number, _)| *number)
        }
    }

    #[derive(Debug, Clone)]
    enum Deed {
        /// So many changes in one transaction, that is committed or rolled back.
        Change { changes: u64, commits: bool },
        /// The process ends, in a transaction that took some numbers.
        Crash { taken: u64 },
        /// The file is replaced by the copy that was made that many deeds ago.
        RollBack { deeds: usize },
        /// Another program takes out the oldest record, and adds some with numbers that it chose.
        Meddle { numbers: u64 },
    }

    fn deeds() -> impl Strategy<Value = Vec<Deed>> {
        let deed = prop_oneof![
            6 => (0..4_u64, any::<bool>()).prop_map(|(changes, commits)| Deed::Change { changes, commits }),
            2 => (0..4_u64).prop_map(|taken| Deed::Crash { taken }),
            1 => (0..12_usize).prop_map(|deeds| Deed::RollBack { deeds }),
            1 => (0..4_u64).prop_map(|numbers| Deed::Meddle { numbers }),
        ];
        prop::collection::vec(deed, 1..60)
    }

    /// A store as the model has it: what is on the disk, what was ever told, and what a cursor that was told stood for.
    struct World {
        disk: Disk,
        sequence: Sequence,
        drawn: u64,
        stored: u32,
        /// Cursors that were handed out, each with all changes that were current then.
        told: Vec<(Cursor, Vec<(u64, u32)>)>,
    }

    impl World {
        fn draw(&mut self) -> Epoch {
            self.drawn += 1;
            Epoch(self.drawn)
        }

        fn start(&mut self) {
            let drawn = self.draw();
            self.sequence = Sequence::resume(self.disk.epochs.clone(), self.disk.last, drawn);
            self.look();
        }

        /// How a store notices what others did.
        fn look(&mut self) {
            self.sequence.pass_over(self.disk.highest());
            if self.disk.meddled != self.disk.noted {
                let drawn = self.draw();
                self.sequence.break_off(drawn);
            }
        }

        fn save(&mut self) {
            if let Some(unsaved) = self.sequence.unsaved() {
                if unsaved.forgets {
                    self.disk.epochs = Epochs::default();
                }
                if let Some((epoch, first)) = unsaved.begins {
                    self.disk.epochs.begin(epoch, first);
                }
                (self.disk.last, self.disk.noted) = (unsaved.last, self.disk.meddled);
            }
            self.sequence.committed();
            let disk = &self.disk;
            assert_eq!(
                (&self.sequence.epochs, self.sequence.last),
                (&disk.epochs, disk.last),
                "memory and disk agree"
            );
        }

        fn change(&mut self, changes: u64, commits: bool) {
            let before = self.disk.changes.clone();
            for _ in 0..changes {
                let number = self.sequence.take().unwrap();
                let highest = self.disk.highest().max(self.disk.last);
                assert!(number > highest, "numbers rise, and none is used twice");
                self.stored += 1;
                self.disk.changes.push((number, self.stored));
            }
            if commits {
                self.save();
                // To somebody who is told some of it now, and to somebody who is told all.
                for number in [self.sequence.last() / 2, self.sequence.last()] {
                    self.told
                        .push((self.sequence.cursor(number), self.disk.changes.clone()));
                }
            } else {
                self.disk.changes = before;
                self.sequence.rolled_back();
            }
        }

        /// A cursor is known only if the store has still all that it had then.
        fn check(&self) {
            for (cursor, then) in self.told.iter().filter(|(cursor, _)| self.sequence.knows(*cursor)) {
                let held = self.disk.changes.get(..then.len());
                assert_eq!(held, Some(then.as_slice()), "{cursor} is taken for what it is not");
            }
            let now = self.sequence.cursor(self.sequence.last());
            assert!(
                self.sequence.broken || self.sequence.knows(now),
                "the newest place is known: {now}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_cursor_is_right_or_lost(deeds in deeds()) {
            let sequence = Sequence::resume(Epochs::default(), 0, Epoch(0));
            let mut world = World { disk: Disk::default(), sequence, drawn: 0, stored: 0, told: Vec::new() };
            let mut copies = Vec::new();
            for deed in deeds {
                copies.push(world.disk.clone());
                match deed {
                    Deed::Change { changes, commits } => world.change(changes, commits),
                    Deed::Crash { taken } => {
                        for _ in 0..taken {
                            world.sequence.take().unwrap();
                        }
                        world.start();
                    }
                    Deed::RollBack { deeds } => {
                        let copy = copies.len().saturating_sub(deeds + 1);
                        world.disk = copies[copy].clone();
                        world.start();
                    }
                    Deed::Meddle { numbers } => {
                        if !world.disk.changes.is_empty() {
                            world.disk.changes.remove(0);
                        }
                        let highest = world.disk.highest();
                        for number in 1..=numbers {
                            world.stored += 1;
                            world.disk.changes.push((highest + number, world.stored));
                        }
                        world.disk.meddled += 1;
                        world.look();
                    }
                }
                world.check();
            }
        }

        #[test]
        fn without_other_programs_and_old_copies_no_cursor_is_lost(deeds in deeds()) {
            let sequence = Sequence::resume(Epochs::default(), 0, Epoch(0));
            let mut world = World { disk: Disk::default(), sequence, drawn: 0, stored: 0, told: Vec::new() };
            for deed in deeds {
                match deed {
                    Deed::Change { changes, commits } => world.change(changes, commits),
                    Deed::Crash { .. } => world.start(),
                    Deed::RollBack { .. } | Deed::Meddle { .. } => {}
                }
                prop_assert!(world.told.iter().all(|(cursor, _)| world.sequence.knows(*cursor)));
            }
        }
    }
}
