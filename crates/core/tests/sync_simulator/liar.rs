//! Peers that lie: what they change in the frames of an otherwise honest session.

use p2p_sync_core::Record;
use p2p_sync_core::item::{KeyHash, ShortItem};
use p2p_sync_core::membership::Signer;
use p2p_sync_core::sync::Frame;

use crate::private;
use crate::support::{Random, Saw, nanos, put, record};

/// How a node lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    WrongCells,
    WrongCounts,
    WrongDigest,
    /// Records that nobody asked for in place of those that were.
    OtherRecords,
    Withholds,
    /// A little of everything, and frames out of turn.
    Anything,
    /// In a private network: changes records that others signed, or signs in their names.
    Forges,
    /// In a private network: holds and passes on everything, its own records first, whether they count or not.
    Rogue,
}

pub(crate) const LIES: [Lie; 6] = [
    Lie::WrongCells,
    Lie::WrongCounts,
    Lie::WrongDigest,
    Lie::OtherRecords,
    Lie::Withholds,
    Lie::Anything,
];

/// What the liar sends in place of this frame; none: nothing. Records that it made up are told to `made_up`.
pub(crate) fn twist(lie: Lie, mut frame: Frame, random: &mut Random, made_up: &mut Vec<Record>) -> Option<Frame> {
    let lie = if lie == Lie::Anything {
        *random.pick(&LIES[..5])
    } else {
        lie
    };
    match (&mut frame, lie) {
        (Frame::Hello { cells, .. } | Frame::Cells { cells, .. }, Lie::WrongCells) => {
            for _ in 0..=random.below(3) {
                if !cells.is_empty() {
                    let place = random.below(cells.len());
                    let cell = &mut cells[place];
                    match random.below(3) {
                        0 => cell.checks ^= random.bits() as u32,
                        1 => cell.count = random.bits().cast_signed(),
                        _ => cell.items = ShortItem::from_bytes(random.bytes(24).as_slice().try_into().unwrap()),
                    }
                }
            }
        }
        (
            Frame::Hello {
                state,
                cells,
                decoded,
                hints,
                more,
            },
            Lie::WrongCounts,
        ) => {
            state.count = random.bits() >> random.below(64);
            *decoded ^= random.percent(30);
            if random.percent(30) {
                *more = u32::try_from(random.below(65_536)).unwrap() >> random.below(16);
            }
            if random.percent(50) {
                let hinted = random.below(513);
                *hints = random.bytes(hinted);
            }
            if let Some(cell) = cells.first_mut() {
                cell.count = (random.bits() >> random.below(64)).cast_signed();
            }
        }
        (Frame::Hello { state, .. } | Frame::Check(state), Lie::WrongDigest) => {
            state.digest[0] ^= 1;
            state.changed = random.bits();
        }
        (Frame::Records { records, .. }, Lie::OtherRecords) => {
            for held in records.iter_mut() {
                let name = format!("liar {}", random.below(20));
                // Old enough to lose against most, and dated like a record of that time; or a year ahead.
                let distance = if random.percent(20) {
                    365 * 86_400 * 1_000_000_000
                } else {
                    -1 - i64::try_from(random.below(1_000_000)).unwrap()
                };
                let stamp = nanos(held.timestamp.as_nanos() + distance);
                let saw = [
                    Saw::Nothing,
                    Saw::AllOlder,
                    Saw::Of(vec![(1, nanos(stamp.as_nanos() - 1))]),
                ];
                *held = record(&name, put(&random.bytes(3)), stamp, 250, random.pick(&saw).clone());
                made_up.push(held.clone());
            }
        }
        (Frame::Records { .. } | Frame::RecordsWanted { .. }, Lie::Withholds) => return None,
        // Now and then it is honest, so that there is something to forge.
        (Frame::Records { records, .. }, Lie::Forges) if random.percent(60) => {
            forge(random.below(records.len().max(1)), records, random);
        }
        (_, Lie::Forges | Lie::Rogue) => {}
        _ if random.percent(2) => return Some(out_of_turn(random)),
        _ => {}
    }
    Some(frame)
}

fn forge(place: usize, records: &mut [Record], random: &mut Random) {
    let Some(record) = records.get_mut(place) else { return };
    match random.below(3) {
        0 => record.content = put(&random.bytes(3)),
        1 => record.timestamp = nanos(record.timestamp.as_nanos() + 1),
        // Its own signature, under the name of another.
        _ => {
            let own = Signer::new(private::network(), private::key(250)).author();
            let signer = Signer::new(private::network(), private::key(250));
            let theirs = std::mem::replace(&mut record.author, own);
            let signature = signer.sign(record);
            record.author = theirs;
            record.signature = Some(signature);
        }
    }
}

fn out_of_turn(random: &mut Random) -> Frame {
    match random.below(6) {
        0 => Frame::Done,
        1 => Frame::BulkWanted { after: None },
        2 => Frame::BulkOffered,
        3 => Frame::CellsWanted { have: 0, count: 65_536 },
        4 => Frame::Range(random.bytes(50)),
        _ => Frame::RecordsWanted {
            keys: (0..100).map(|_| KeyHash::from_bits(random.bits())).collect(),
            last: false,
        },
    }
}
