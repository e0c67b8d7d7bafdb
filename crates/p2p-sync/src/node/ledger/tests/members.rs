//! The ledger of a private network: what it writes is signed, and what others send is admitted or counted.

use std::sync::Arc;

use p2p_sync_core::membership::{Entry, EntryId, MemberName, Role, Roster, SecretKey, Signer, Statement};
use p2p_sync_core::sync::{FrameBuffer, Opening, Outcome, Session, Slots};
use p2p_sync_core::{Signature, Via};

use super::Entry as Work;
use super::*;

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

/// A founder (1), a writer (2) and a reader (3).
fn roster() -> Roster {
    let sign = |network, statement| Entry::sign(network, &secret(1), Timestamp::MIN, statement).unwrap();
    let genesis = Statement::Genesis {
        recovery: secret(9).public(),
        secret: [0; 32],
        nonce: [0; 16],
        name: "home".parse().unwrap(),
    };
    let genesis = sign(EntryId([0; 32]), genesis);
    let mut roster = Roster::new(genesis.clone()).unwrap();
    let grants = [(2, Role::Writer), (3, Role::Reader)].map(|(seed, role)| {
        let (device, name) = (secret(seed).public(), MemberName::new("device").unwrap());
        sign(genesis.id(), Statement::Grant { device, role, name })
    });
    roster.add(grants.into());
    roster
}

/// With the writer out, from now on.
fn without_the_writer() -> Roster {
    let mut roster = roster();
    let network = roster.network();
    let device = secret(2).public();
    let list = p2p_sync_core::membership::KeepList::of(&[0; 16], []);
    let lower = Statement::Lower {
        device,
        to: Role::Reader,
        secret: None,
        accepted: Vec::new(),
    };
    let keep = Statement::Keep {
        device,
        salt: [0; 16],
        count: 0,
        list: list.hash(),
    };
    let [lower, keep] = [lower, keep].map(|one| Entry::sign(network, &secret(1), Timestamp::MIN, one).unwrap());
    let id = keep.id();
    roster.add(vec![lower, keep]);
    assert!(roster.add_list(id, &[]));
    roster
}

fn private(directory: &TempDir, seed: u8) -> Ledger {
    let store = SqliteStore::open(&directory.path().join("store.db"), &NetworkName::default()).unwrap();
    let signer = Signer::new(roster().network(), secret(seed));
    let mut ledger = Ledger::new(Replica::signing(signer, Clock::new(None)), store);
    ledger.keep_members(Arc::new(roster())).unwrap();
    ledger
}

fn by(seed: u8, text: &str) -> Record {
    let signer = Signer::new(roster().network(), secret(seed));
    let mut record = Record {
        author: signer.author(),
        ..theirs(text)
    };
    record.signature = Some(Signature::claimed(*signer.sign(&record).as_bytes()));
    record
}

fn feed(ledger: &mut Ledger, records: &[Record]) -> Merged {
    let via = Via::Feed {
        neighbour: secret(1).public().node_id(),
    };
    let mut committed = ledger.commit(
        &[Work::Receive {
            via,
            records,
            reached: None,
        }],
        now(),
    );
    match committed.done.pop() {
        Some(Ok(Done::Received(merged))) => merged,
        other => panic!("{other:?}"),
    }
}

/// Runs a session to its end, through the bytes of a private network.
fn sync(asks: &mut Ledger, answers: &mut Ledger) -> (Outcome, Outcome) {
    let (one, other) = (secret(1).public().node_id(), secret(2).public().node_id());
    let mut asking = {
        let mut view = PeerView::new(&mut *asks, other, now());
        Session::ask(Opening::Hello, Slots::default(), &mut view, system::now())
    };
    let mut answering = Session::answer(Slots::default());
    let [mut there, mut back] = [FrameBuffer::signed(), FrameBuffer::signed()];
    for _ in 0..1_000 {
        let frame = asking
            .next_frame(&mut PeerView::new(&mut *asks, other, now()), system::now())
            .unwrap();
        if let Some(frame) = frame.frame() {
            there.push(&frame.encode());
            let frame = there.next_frame().unwrap().unwrap();
            answering
                .receive(frame, &mut PeerView::new(&mut *answers, one, now()), system::now())
                .unwrap();
        }
        let frame = answering
            .next_frame(&mut PeerView::new(&mut *answers, one, now()), system::now())
            .unwrap();
        if let Some(frame) = frame.frame() {
            back.push(&frame.encode());
            let frame = back.next_frame().unwrap().unwrap();
            asking
                .receive(frame, &mut PeerView::new(&mut *asks, other, now()), system::now())
                .unwrap();
        }
        if let (Some(one), Some(other)) = (asking.outcome(), answering.outcome()) {
            return (one, other);
        }
    }
    panic!("the session does not end");
}

#[test]
fn what_a_writer_writes_is_signed_and_reaches_others_and_a_reader_passes_it_on() {
    let directories = [(); 3].map(|()| TempDir::new().unwrap());
    let [mut founder, mut writer, mut reader] =
        [1, 2, 3].map(|seed: u8| private(&directories[usize::from(seed) - 1], seed));
    let written = write(&mut writer, "signed");
    assert_eq!(written.author, secret(2).public().node_id());
    assert!(written.signature.as_ref().unwrap().holds_for(&written.digest()));
    assert_eq!(sync(&mut reader, &mut writer), (Outcome::Equal, Outcome::Equal));
    assert_eq!(sync(&mut founder, &mut reader), (Outcome::Equal, Outcome::Equal));
    let held = founder.store().versions(&key()).unwrap();
    assert_eq!(held.winner(), Some(&written));
    // A reader writes nothing.
    let content = value("mine");
    let mut committed = reader.commit(
        &[Work::Write {
            key: &key(),
            content: &content,
            terms: Terms::default(),
        }],
        now(),
    );
    assert!(matches!(committed.done.pop(), Some(Err(NodeError::NotPermitted))));
    assert_eq!(reader.store().versions(&key()).unwrap().winner(), Some(&written));
}

#[test]
fn what_does_not_count_is_counted_by_cause_whatever_way_it_comes() {
    let directory = TempDir::new().unwrap();
    let mut founder = private(&directory, 1);
    let forged = Record {
        content: Content::Deleted,
        ..by(2, "v")
    };
    let bare = Record {
        signature: None,
        ..by(2, "v")
    };
    let merged = feed(
        &mut founder,
        &[by(3, "reader"), forged, by(2, "writer"), by(7, "stranger"), bare],
    );
    assert_eq!(
        (
            merged.changed,
            merged.refused.not_permitted,
            merged.refused.bad_signature
        ),
        (1, 2, 2)
    );
    let causes: Vec<_> = founder.refused().collect();
    assert_eq!(causes, [("not permitted", 2), ("bad signature", 2)]);
    let held = founder.store().versions(&key()).unwrap();
    assert_eq!(held.winner().and_then(Record::text), Some("writer"));
}

#[test]
fn what_does_not_count_any_longer_leaves_and_sessions_do_not_bring_it_back() {
    let directories = [(); 2].map(|()| TempDir::new().unwrap());
    let mut founder = private(&directories[0], 1);
    let mut writer = private(&directories[1], 2);
    let kept = write(&mut founder, "ours");
    sync(&mut founder, &mut writer);
    write(&mut writer, "theirs");
    assert_eq!(sync(&mut founder, &mut writer), (Outcome::Equal, Outcome::Equal));
    // The founder's was overwritten, and is gone.
    let recounted = founder.keep_members(Arc::new(without_the_writer())).unwrap();
    assert_eq!((recounted.aside, recounted.back), (1, 0));
    assert_eq!(founder.store().versions(&key()).unwrap(), Versions::NONE);
    // The writer has not heard of it, and offers it again.
    assert_eq!(sync(&mut founder, &mut writer).0, Outcome::Delivered);
    assert_eq!(founder.store().versions(&key()).unwrap(), Versions::NONE);
    let own = write(&mut founder, "again");
    assert!(own.timestamp > kept.timestamp);
    writer.keep_members(Arc::new(without_the_writer())).unwrap();
    assert_eq!(sync(&mut founder, &mut writer), (Outcome::Equal, Outcome::Equal));
    assert_eq!(writer.store().versions(&key()).unwrap().winner(), Some(&own));
}
