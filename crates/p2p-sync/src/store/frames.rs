//! The format of SQLite's write-ahead log, as far as it tells whether a log still holds what was written to it: a header, and
//! before each page a frame header whose checksum covers everything since the start of the log. What is done about a damaged log is
//! left to `log_damage`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;

use super::wal::{FRAME_HEADER_BYTES, HEADER_BYTES};

pub(super) const HEAD_BYTES: usize = HEADER_BYTES as usize;
const FRAME_HEAD_BYTES: usize = FRAME_HEADER_BYTES as usize;
/// The last bit says in which order the checksums take their bytes.
const MAGIC: u32 = 0x377f_0682;
const FORMAT: u32 = 3_007_000;
const PAGE_BYTES: std::ops::RangeInclusive<u32> = 512..=65_536;
/// Frames that are read at a time: about 256 KiB of the usual pages.
const FRAMES_AT_A_TIME: usize = 64;

/// The two sums of a checksum.
type Sum = [u32; 2];

/// The header of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    bytes: [u8; HEAD_BYTES],
}

impl Head {
    /// The header, if it is one.
    pub(super) fn of(bytes: [u8; HEAD_BYTES]) -> Option<Self> {
        let head = Self { bytes };
        let is_one = head.number(0) & !1 == MAGIC
            && head.number(4) == FORMAT
            && PAGE_BYTES.contains(&head.number(8))
            && head.number(8).is_power_of_two()
            && sum([0, 0], part(&bytes, 0, 24), head.is_big_endian()) == [head.number(24), head.number(28)];
        is_one.then_some(head)
    }

    /// What stands at the head of this file; none if it is too short.
    pub(super) fn read(log: &File) -> io::Result<Option<[u8; HEAD_BYTES]>> {
        let mut bytes = [0; HEAD_BYTES];
        Ok((read_at(log, &mut bytes, 0)? == HEAD_BYTES).then_some(bytes))
    }

    fn number(&self, at: usize) -> u32 {
        number(&self.bytes, at)
    }

    fn is_big_endian(&self) -> bool {
        self.number(0) & 1 == 1
    }

    fn page_bytes(&self) -> usize {
        self.number(8) as usize
    }

    /// Two numbers that are others each time the log begins anew.
    pub(super) fn salts(&self) -> &[u8] {
        part(&self.bytes, 16, 8)
    }

    /// Whether the log with this header began when the one with that header was all in the file: SQLite counts then, in the header
    /// and in the first of the salts.
    pub(super) fn follows(&self, earlier: &Self) -> bool {
        [12, 16]
            .into_iter()
            .all(|at| self.number(at) == earlier.number(at).wrapping_add(1))
    }

    /// How many frames a log of this size can hold.
    pub(super) fn frames_in(&self, bytes: u64) -> u64 {
        bytes.saturating_sub(HEADER_BYTES) / (FRAME_HEADER_BYTES + self.page_bytes() as u64)
    }
}

/// One page in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Counted from 1.
    pub(super) number: u64,
    /// Which page of the file; none when the header of the frame is not one of this log.
    pub(super) page: Option<u32>,
    /// It ends a transaction.
    pub(super) is_commit: bool,
    /// It is as it was written, judged by what stands before it.
    pub(super) is_sound: bool,
}

/// Reads the first `frames` frames in order. One that is missing counts as damaged.
pub(super) fn walk(
    log: &File,
    head: &Head,
    frames: u64,
    mut each: impl FnMut(Frame) -> ControlFlow<()>,
) -> io::Result<()> {
    let frame_bytes = FRAME_HEAD_BYTES + head.page_bytes();
    let mut buffer = vec![0; frame_bytes * FRAMES_AT_A_TIME];
    let mut seed = [head.number(24), head.number(28)];
    let mut number = 0;
    while number < frames {
        let wanted = usize::try_from(frames - number).map_or(FRAMES_AT_A_TIME, |left| left.min(FRAMES_AT_A_TIME));
        buffer.truncate(wanted * frame_bytes);
        let read = read_at(log, &mut buffer, HEADER_BYTES + number * frame_bytes as u64)?;
        // What is missing is no page of this log.
        buffer.iter_mut().skip(read).for_each(|byte| *byte = 0);
        for frame in buffer.chunks_exact(frame_bytes) {
            number += 1;
            let found;
            (found, seed) = judge(head, frame, number, seed);
            if each(found).is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// What a frame is, and the checksum from which the next one goes on.
fn judge(head: &Head, frame: &[u8], number: u64, seed: Sum) -> (Frame, Sum) {
    let (header, content) = frame.split_at(FRAME_HEAD_BYTES);
    let is_of_this_log = part(header, 8, 8) == head.salts();
    let stored = [self::number(header, 16), self::number(header, 20)];
    let big_endian = head.is_big_endian();
    let computed = sum(sum(seed, part(header, 0, 8), big_endian), content, big_endian);
    let found = Frame {
        number,
        page: is_of_this_log.then(|| self::number(header, 0)),
        is_commit: is_of_this_log && self::number(header, 4) > 0,
        is_sound: is_of_this_log && computed == stored,
    };
    // A damaged page must not make all that follow it look damaged.
    (found, if is_of_this_log { stored } else { computed })
}

/// What a look at a log came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Soundness {
    /// The first damaged frame: SQLite would forget it after a crash, with everything behind it.
    pub(super) damaged: Option<u64>,
    /// A page that is nowhere else is in a damaged frame.
    pub(super) is_content_lost: bool,
}

/// Whether the first `frames` frames are as they were written; `moved` of them are in the file as well.
pub(super) fn soundness(log: &File, head: &Head, frames: u64, moved: u64) -> io::Result<Soundness> {
    let mut soundness = Soundness::default();
    let mut lost_pages = BTreeSet::new();
    walk(log, head, frames, |frame| {
        match frame.page {
            Some(page) if frame.is_sound => {
                // Only the latest of each page is moved into the file.
                lost_pages.remove(&page);
            }
            _ => {
                soundness.damaged.get_or_insert(frame.number);
                if frame.number > moved {
                    match frame.page {
                        Some(page) => drop(lost_pages.insert(page)),
                        None => soundness.is_content_lost = true,
                    }
                }
            }
        }
        ControlFlow::Continue(())
    })?;
    soundness.is_content_lost |= !lost_pages.is_empty();
    Ok(soundness)
}

/// So many bytes from there on; none where there are fewer.
fn part(bytes: &[u8], at: usize, length: usize) -> &[u8] {
    bytes.get(at..at + length).unwrap_or_default()
}

fn number(bytes: &[u8], at: usize) -> u32 {
    part(bytes, at, 4).first_chunk().copied().map_or(0, u32::from_be_bytes)
}

/// The checksum goes on over these bytes, a multiple of eight.
fn sum(seed: Sum, bytes: &[u8], big_endian: bool) -> Sum {
    let word = if big_endian {
        u32::from_be_bytes
    } else {
        u32::from_le_bytes
    };
    let (eights, _) = bytes.as_chunks::<8>();
    eights.iter().fold(seed, |[first, second], [a, b, c, d, e, f, g, h]| {
        let first = first.wrapping_add(word([*a, *b, *c, *d])).wrapping_add(second);
        [first, second.wrapping_add(word([*e, *f, *g, *h])).wrapping_add(first)]
    })
}

/// Reads as much as there is at this place; how many bytes that were.
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match some_at(file, rest, offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(unix)]
fn some_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn some_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::testing::{Place, put, store};

    /// A log of some transactions, and the bytes of its file.
    fn log() -> (Place, Vec<u8>) {
        let place = Place::new();
        let mut sqlite = place.open();
        for n in 0..10 {
            store(&mut sqlite, &[put(&format!("key {n}"), &[7; 9_000], n + 1)]);
        }
        let bytes = fs::read(place.sibling("-wal")).unwrap();
        std::mem::forget(sqlite);
        (place, bytes)
    }

    fn look(place: &Place, bytes: &[u8], moved: u64) -> Soundness {
        let copy = place.dir.path().join("copy");
        fs::write(&copy, bytes).unwrap();
        let file = File::open(copy).unwrap();
        let head = Head::of(Head::read(&file).unwrap().unwrap()).unwrap();
        soundness(&file, &head, head.frames_in(bytes.len() as u64), moved).unwrap()
    }

    #[test]
    fn what_sqlite_wrote_is_sound_and_each_frame_is_judged_by_itself() {
        let (place, bytes) = log();
        assert_eq!(look(&place, &bytes, 0), Soundness::default());
        let mut head = [0; HEAD_BYTES];
        head.copy_from_slice(&bytes[..HEAD_BYTES]);
        for at in 0..24 {
            let mut damaged = head;
            damaged[at] ^= 0x40;
            assert_eq!(Head::of(damaged), None, "{at}");
        }
        let frames = (bytes.len() - HEAD_BYTES) / 4_120;
        for frame in 0..frames {
            for at in [0, 9, 17, 24, 4_119] {
                let mut damaged = bytes.clone();
                damaged[HEAD_BYTES + frame * 4_120 + at] ^= 0x40;
                let found = look(&place, &damaged, 0);
                assert_eq!(found.damaged, Some(frame as u64 + 1), "{frame} {at}");
                // Everything is in the file already.
                assert!(!look(&place, &damaged, frames as u64).is_content_lost);
            }
        }
    }

    #[test]
    fn a_damaged_page_that_was_written_again_is_not_missed() {
        let place = Place::new();
        let mut sqlite = place.open();
        for n in 0..10 {
            store(&mut sqlite, &[put("key", b"1", n + 1)]);
        }
        let mut bytes = fs::read(place.sibling("-wal")).unwrap();
        let last = bytes.len() - 1;
        bytes[HEAD_BYTES + 24] ^= 1;
        let found = look(&place, &bytes, 0);
        assert_eq!((found.damaged, found.is_content_lost), (Some(1), false));
        bytes[last] ^= 1;
        assert!(look(&place, &bytes, 0).is_content_lost);
    }
}
