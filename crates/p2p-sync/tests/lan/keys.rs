//! Identities of every type that libp2p programs make: their changes are stored, gossiped on and synced like any others.

use std::path::Path;

use p2p_sync_testbed::{Addresses, Lab, tempfile};

use crate::support::{PATIENCE, RECOVERY, Stranger, launch, peer_field, quic, share_both_ways, tcp};

/// A key pair made for this test, as PKCS #8: an RSA key takes too long to make here.
const RSA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lan/rsa.pk8");
/// What libp2p writes before the 32 bytes of a secp256k1 key: the fields `Type` and `Data` of its protobuf message.
const SECP256K1_HEAD: [u8; 4] = [0x08, 2, 0x12, 32];

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn records_by_authors_with_any_type_of_key_are_stored_and_synced() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let elsewhere = lab.host(Addresses::V4);
    let a = launch(&host_a, "a").start();
    let mut authors = Vec::new();
    // A peer id holds a short key itself, and the hash of a long one.
    for (key, start) in [("secp256k1", "16Uiu2HA"), ("ecdsa", "Qm"), (RSA, "Qm")] {
        let stranger = Stranger::with_key(&elsewhere, key, &[tcp(&host_a)]);
        let name = Path::new(key).file_stem().unwrap().to_str().unwrap();
        stranger.wait_linked(&a);
        assert!(stranger.peer_id().starts_with(start), "{name}: {}", stranger.peer_id());
        stranger.publish(&format!(
            r#"{{"Put":{{"key":"{name}","value":"by {name}","timestamp":"2025-01-04T08:30:15Z"}}}}"#
        ));
        a.wait_value(name, &format!("by {name}"), RECOVERY);
        authors.push((name, stranger.peer_id().to_owned()));
    }

    // This node never met them: it gets their records by sync, in a page with all of their ids. Its own key is none of Ed25519
    // either, and it is reached by QUIC.
    let directory = tempfile::tempdir().unwrap();
    let key = [&SECP256K1_HEAD[..], &[7; 32]].concat();
    std::fs::write(directory.path().join("identity.key"), key).unwrap();
    let b = launch(&host_b, "b")
        .no_lan()
        .peer(&quic(&host_a))
        .data_dir(directory.path())
        .start();
    assert!(b.peer_id().starts_with("16Uiu2HA"), "{}", b.peer_id());
    a.wait_linked(&b, PATIENCE);
    for (name, author) in &authors {
        b.wait_value(name, &format!("by {name}"), RECOVERY);
        assert_eq!(b.json(&format!("get --json {name}"))["author"], author.as_str());
    }
    share_both_ways(&a, &b, "between two types of keys");
    assert_eq!(peer_field(&a, &b.peer_id(), "transport"), Some("quic".into()));
    // And they come back from the disk.
    b.stop();
    b.restart();
    for (name, author) in &authors {
        assert_eq!(b.json(&format!("get --json {name}"))["author"], author.as_str());
    }
    assert_eq!(b.json("verify --json")["damaged"], 0);
}
