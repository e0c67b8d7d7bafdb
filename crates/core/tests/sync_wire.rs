//! The bytes of the sync, pinned: cases are added here, never changed, because other versions of the program speak
//! them. And what no bytes whatsoever may do to the reader.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod support;

use p2p_sync_core::item::{KeyHash, ShortItem};
use p2p_sync_core::limits::{SYNC_CELLS_PAGE, SYNC_FRAME_BYTES_MAX, SYNC_PAGE_RECORDS_MAX, SYNC_WANTED_PAGE};
use p2p_sync_core::sequence::{Cursor, Epoch};
use p2p_sync_core::sketch::Cell;
use p2p_sync_core::sync::{
    Frame, FrameBuffer, InvalidFrame, MemorySyncStore, Opening, Session, Slots, State, StoreId, cost,
};
use p2p_sync_core::{Content, NodeId, Record, Signature, Timestamp};
use proptest::prelude::*;
use support::{Random, Saw, nanos, node, put, record};

fn state() -> State {
    State {
        version: 1,
        now: nanos(1_000_000_000),
        store: StoreId(0x0807_0605_0403_0201),
        count: 300,
        digest: [0xdd; 32],
        changed: 2,
    }
}

fn cell(number: u8, count: i64) -> Cell {
    Cell {
        items: ShortItem::from_bytes(&[number; 24]),
        checks: 0x1122_3344,
        count,
    }
}

fn page() -> Vec<Record> {
    vec![
        record("a", put(b"value"), nanos(1_000), 7, Saw::Nothing),
        record("b", Content::Deleted, nanos(990), 7, Saw::UpTo(nanos(900))),
        record("ü", put(b""), nanos(i64::MAX), 8, Saw::AllOlder),
        record(
            "o",
            put(b""),
            nanos(1_000),
            7,
            Saw::Of(vec![(8, nanos(990)), (9, nanos(999))]),
        ),
    ]
}

fn place() -> Cursor {
    let epoch = Epoch(0x0102_0304_0506_0708);
    Cursor {
        epoch,
        number: 300,
        seen: 400,
    }
}

/// Every kind of frame, and its bytes in hex.
fn golden() -> Vec<(Frame, &'static str)> {
    let frames = vec![
        Frame::Check(state()),
        Frame::Hello {
            state: state(),
            decoded: true,
            cells: vec![cell(1, 300), cell(2, 205)],
            hints: vec![7, 8, 9],
            more: 65_534,
        },
        Frame::CellsWanted {
            have: 64,
            count: 65_536,
        },
        Frame::Cells {
            first: 4_096,
            count: 1_000_000,
            cells: vec![cell(3, 500)],
        },
        Frame::RecordsWanted {
            keys: vec![KeyHash::from_bits(1), KeyHash::from_bits(u64::MAX)],
            last: true,
        },
        Frame::Records {
            bulk: None,
            records: page(),
        },
        Frame::Records {
            bulk: Some(place()),
            records: vec![],
        },
        Frame::Done,
        Frame::BulkWanted { after: None },
        Frame::BulkWanted { after: Some(place()) },
        Frame::BulkOffered,
        Frame::Range(vec![0x61, 1, 2, 3]),
        Frame::Credit {
            bytes: 524_288,
            records: 2_000,
        },
        Frame::Busy,
        Frame::End { waiting: 3 },
        Frame::Feed,
        Frame::Full,
    ];
    frames.into_iter().zip(GOLDEN.iter().copied()).collect()
}

const GOLDEN: &[&str] = &[
    "3201018094ebdc030102030405060708ac02dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\
     02",
    "7502018094ebdc030102030405060708ac02dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\
     0201020101010101010101010101010101010101010101010101014433221100020202020202020202020202020202020202\
     020202020202443322110a03070809feff03",
    "050340808004",
    "24048020c0843d010303030303030303030303030303030303030303030303034433221118",
    "130501020100000000000000ffffffffffffffff",
    "b401060003260707070707070707070707070707070707070707070707070707070707070707070707070707260808080808\
     0808080808080808080808080808080808080808080808080808080808080808082609090909090909090909090909090909\
     09090909090909090909090909090909090909090909040c0000d00f01610576616c756506030013590162110201c2f0ffff\
     ffffffffff010002c3bc00140400adf0ffffffffffffff010201090200016f00",
    "1006010807060504030201ac0290030000",
    "0107",
    "020800",
    "0e08010807060504030201ac029003",
    "0109",
    "060a0461010203",
    "060b808020d00f",
    "010c",
    "020d03",
    "010e",
    "010f",
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decode(bytes: &[u8]) -> Result<Option<Frame>, InvalidFrame> {
    let mut buffer = FrameBuffer::new();
    buffer.push(bytes);
    buffer.next_frame()
}

/// A frame of this kind and body, well framed.
fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut length = body.len() + 1;
    let mut bytes = Vec::new();
    while length >= 0x80 {
        bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes.push(kind);
    bytes.extend(body);
    bytes
}

#[test]
fn every_frame_has_its_bytes() {
    assert_eq!(golden().len(), 17);
    for (frame, bytes) in golden() {
        assert_eq!(hex(&frame.encode()), bytes, "{frame:?}");
        assert_eq!(decode(&frame.encode()), Ok(Some(frame)));
    }
}

/// In a private network 64 bytes stand behind each value, or behind the key of a deletion.
#[test]
fn records_of_a_private_network_have_their_bytes() {
    let decode = |bytes: &[u8]| {
        let mut buffer = FrameBuffer::signed();
        buffer.push(bytes);
        buffer.next_frame()
    };
    let with = |byte, mut record: Record| {
        record.signature = Some(Signature::claimed([byte; 64]));
        record
    };
    let put = with(0xaa, record("k", put(b"v"), nanos(5), 9, Saw::Nothing));
    let delete = with(0xbb, record("l", Content::Deleted, nanos(7), 9, Saw::Nothing));
    let page = Frame::Records {
        bulk: None,
        records: vec![put.clone(), delete.clone()],
    };
    let author = node(9);
    let authors = [&[1, u8::try_from(author.as_bytes().len()).unwrap()], author.as_bytes()].concat();
    let first = [&[7 + 64, 0, 0, 10, 1, b'k', 1, b'v'][..], &[0xaa; 64]].concat();
    let second = [&[5 + 64, 1, 0, 4, 1, b'l'][..], &[0xbb; 64]].concat();
    let body = [&[0][..], &authors, &[2], &first, &second].concat();
    assert_eq!(hex(&page.encode()), hex(&framed(6, &body)));
    let Ok(Some(Frame::Records { records, .. })) = decode(&framed(6, &body)) else {
        panic!("refused")
    };
    assert_eq!(records, [put.clone(), delete]);
    assert_eq!(*records[0].signature.as_ref().unwrap().as_bytes(), [0xaa; 64]);
    assert!(
        !records[0].signature.as_ref().unwrap().holds_for(&put.digest()),
        "nobody has verified it"
    );
    // An open network passes over them, as over anything behind a record.
    let Ok(Some(Frame::Records { records, .. })) = self::decode(&framed(6, &body)) else {
        panic!("refused")
    };
    assert!(records.iter().all(|record| record.signature.is_none()));
    // What is behind the signature is for later versions; one that is cut off is none.
    let single = |signature: usize| {
        let record = [
            &[7 + u8::try_from(signature).unwrap(), 0, 0, 10, 1, b'k', 1, b'v'][..],
            &vec![0xaa; signature],
        ]
        .concat();
        decode(&framed(6, &[&[0][..], &authors, &[1], &record].concat()))
    };
    assert!(matches!(single(64), Ok(Some(_))) && matches!(single(70), Ok(Some(_))));
    for cut in [0, 1, 63] {
        assert_eq!(
            single(cut),
            Err(InvalidFrame::Malformed("a record without a signature")),
            "{cut}"
        );
    }
}

/// The largest page there can be, with a signature behind each record, fits a frame.
#[test]
fn a_full_page_of_signed_records_fits() {
    let records: Vec<Record> = (0..1_000)
        .map(|number: i64| {
            let mut record = record(
                &format!("{number:0>166}"),
                Content::Deleted,
                nanos(1 + number),
                1,
                Saw::Nothing,
            );
            record.author = NodeId::from_bytes(&[&[1; 34], &number.to_be_bytes()[..]].concat()).unwrap();
            record.signature = Some(Signature::claimed([7; 64]));
            record
        })
        .collect();
    let costs: usize = records.iter().map(p2p_sync_core::sync::cost).sum();
    assert!((262_000..=262_144).contains(&costs), "a full page: {costs}");
    let bytes = Frame::Records { bulk: None, records }.encode();
    assert!(bytes.len() < 524_288, "{}", bytes.len());
    let mut buffer = FrameBuffer::signed();
    buffer.push(&bytes);
    assert!(matches!(buffer.next_frame(), Ok(Some(Frame::Records { records, .. })) if records.len() == 1_000));
}

#[test]
fn frames_come_out_however_the_stream_is_cut() {
    let frames: Vec<Frame> = golden().into_iter().map(|(frame, _)| frame).collect();
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
    for step in [1, 2, 3, 7, 64, bytes.len()] {
        let mut buffer = FrameBuffer::new();
        let mut found = Vec::new();
        for part in bytes.chunks(step) {
            buffer.push(part);
            while let Some(frame) = buffer.next_frame().unwrap() {
                found.push(frame);
            }
        }
        assert_eq!(found, frames, "in steps of {step}");
    }
}

#[test]
fn what_a_later_version_adds_is_passed_over() {
    let mut bytes = framed(200, b"a kind of later days");
    bytes.extend(framed(0, b""));
    bytes.extend(framed(7, b"more to say"));
    assert_eq!(decode(&bytes), Ok(Some(Frame::Done)));
    // Bytes behind the known end of a body, and of a record.
    let check = Frame::Check(state()).encode();
    let mut longer = check[2..].to_vec();
    longer.extend(b"more");
    assert_eq!(decode(&framed(1, &longer)), Ok(Some(Frame::Check(state()))));
    let body = [0, 1, 1, 9, 1, 9, 0, 0, 2, 1, b'k', 1, b'v', 0xff, 0xff];
    let Ok(Some(Frame::Records { records, .. })) = decode(&framed(6, &body)) else {
        panic!("refused")
    };
    assert_eq!(
        (records.len(), records[0].key.as_str(), records[0].timestamp),
        (1, "k", nanos(1))
    );
}

#[test]
fn what_cannot_be_is_refused() {
    use InvalidFrame::{Malformed, Short, TooLong};
    let long = SYNC_FRAME_BYTES_MAX as u64 + 1;
    let mut bytes = framed(7, b"");
    bytes[0] = 0xff;
    assert_eq!(decode(&bytes[..1]), Ok(None), "a length that is not complete");
    assert_eq!(decode(&[0x81, 0x80, 0x20]), Err(TooLong { bytes: long }));
    assert!(matches!(decode(&[0xff; 11]), Err(Malformed(_))));
    assert_eq!(decode(&[0]), Err(Short), "a frame without a kind");
    for (kind, body) in [
        (1, &[0; 60][..]),                                                    // version 0
        (3, &[0x40, 0x81, 0x80, 0x04]),                                       // 65,537 cells
        (3, &[0x81, 0x80, 0x04, 0x40]),                                       // 65,537 cells that it has
        (5, &[1, 0x81, 0x40]),                                                // 8,193 keys
        (6, &[0, 0, 0xe9, 0x07]),                                             // 1,001 records
        (6, &[0, 0, 1, 5, 0, 0, 2, 1, b'k']),                                 // no such author
        (6, &[0, 1, 1, 9, 1, 6, 8, 0, 2, 1, b'k', 0]),                        // an unknown flag
        (6, &[0, 1, 1, 9, 1, 7, 2, 0, 2, 0, 1, b'k', 0]),                     // a floor before the first instant
        (6, &[0, 1, 1, 9, 1, 9, 4, 0, 20, 1, 0, 0, 1, b'k', 0]),              // an author that names itself as seen
        (6, &[0, 1, 1, 9, 1, 9, 4, 0, 20, 1, 1, 0, 1, b'k', 0]),              // nobody named as seen
        (6, &[0, 2, 1, 8, 1, 9, 1, 11, 4, 1, 20, 2, 0, 0, 0, 1, 1, b'k', 0]), // somebody named twice
        (6, &[0, 2, 1, 8, 1, 9, 1, 10, 6, 1, 20, 0, 1, 0, 0, 1, b'k', 0]), // an entry that the floor makes superfluous
        (6, &[0, 1, 1, 9, 1, 6, 0, 0, 0, 1, b'k', 0]),                     // timestamp 0
        (6, &[0, 1, 1, 9, 1, 6, 0, 0, 1, 1, b'k', 0]),                     // timestamp −1
        (6, &[0, 1, 1, 9, 1, 5, 0, 0, 2, 0, 0]),                           // no key
        (6, &[0, 1, 1, 9, 1, 6, 0, 0, 2, 1, 0x07, 0]),                     // a control character as a key
        (6, &[0, 1, 0, 0]),                                                // an author of no bytes
    ] {
        assert!(decode(&framed(kind, body)).is_err(), "{kind} {body:?}");
    }
}

#[test]
fn a_hello_announces_and_hints_no_more_than_there_can_be() {
    let hello = |cells: usize, hints: usize, more: u32| Frame::Hello {
        state: state(),
        decoded: false,
        cells: vec![cell(1, 300); cells],
        hints: vec![1; hints],
        more,
    };
    for fits in [hello(0, 512, 65_536), hello(64, 0, 65_472)] {
        assert_eq!(decode(&fits.encode()), Ok(Some(fits)));
    }
    for excessive in [
        hello(0, 513, 0),
        hello(64, 0, 65_473),
        hello(0, 0, u32::MAX),
        hello(65, 0, 0),
    ] {
        let refused = decode(&excessive.encode());
        assert!(matches!(refused, Err(InvalidFrame::Malformed(_))), "{refused:?}");
    }
}

#[test]
fn lengths_are_believed_only_as_far_as_there_are_bytes() {
    // Each claims as much as its limit allows, and brings nothing.
    let number = |mut n: usize| {
        let mut bytes = Vec::new();
        while n >= 0x80 {
            bytes.push(u8::try_from(n & 0x7f).unwrap() | 0x80);
            n >>= 7;
        }
        bytes.push(u8::try_from(n).unwrap());
        bytes
    };
    let claims = [
        (4, [vec![0, 0], number(SYNC_CELLS_PAGE)].concat()),
        (5, [vec![0], number(SYNC_WANTED_PAGE)].concat()),
        (6, [vec![0, 0], number(SYNC_PAGE_RECORDS_MAX)].concat()),
        (10, number(1_000)),
    ];
    for (kind, body) in claims {
        assert_eq!(decode(&framed(kind, &body)), Err(InvalidFrame::Short), "kind {kind}");
    }
}

#[test]
fn a_full_page_fits_a_frame_and_costs_no_more_than_it_says() {
    let mut random = Random::new(1);
    let largest = record(
        &"k".repeat(256),
        put(&random.bytes(65_536)),
        Timestamp::MAX,
        200,
        Saw::UpTo(nanos(1)),
    );
    let frame = Frame::Records {
        bulk: Some(place()),
        records: vec![largest.clone(); 3],
    };
    assert!(frame.encode().len() <= 3 * cost(&largest) + 64);
    let small: Vec<Record> = (0..1_000)
        .map(|n| {
            record(
                &format!("{n}"),
                Content::Deleted,
                nanos(1 + i64::try_from(random.bits() >> 2).unwrap()),
                u8::try_from(n % 250).unwrap(),
                Saw::UpTo(nanos(1)),
            )
        })
        .collect();
    let total: usize = small.iter().map(cost).sum();
    assert!(
        Frame::Records {
            bulk: None,
            records: small
        }
        .encode()
        .len()
            <= total
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_bytes_do_harm(kind in 0..16_u8, body in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(Some(frame)) = decode(&framed(kind, &body)) {
            let again = decode(&frame.encode());
            prop_assert_eq!(again, Ok(Some(frame)));
        }
        let _ = decode(&body);
    }

    #[test]
    fn damaged_frames_do_no_harm(
        which in 0..16_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (frame, _) = &golden()[which];
        let mut bytes = frame.encode();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = decode(&bytes);
    }

    #[test]
    fn no_frames_do_harm(
        asks in any::<bool>(),
        frames in prop::collection::vec((0..16_u8, prop::collection::vec(any::<u8>(), 0..80), 0..30_usize), 1..8),
    ) {
        let mut store = MemorySyncStore::new(StoreId(1));
        let mut session = if asks {
            Session::ask(Opening::Hello, Slots::default(), &mut store, nanos(5))
        } else {
            Session::answer(Slots::default())
        };
        for (kind, body, known) in frames {
            let frame = match golden().into_iter().nth(known) {
                Some((frame, _)) => Some(frame),
                None => decode(&framed(kind, &body)).ok().flatten(),
            };
            let Some(frame) = frame else { continue };
            if session.receive(frame, &mut store, nanos(5)).is_err() {
                break;
            }
            for _ in 0..4 {
                let _ = session.next_frame(&mut store, nanos(5)).unwrap();
            }
        }
    }
}
