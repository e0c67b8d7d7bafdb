//! A disk without room: its node takes nothing more from others but what makes room, says so, gives what it has, and is filled
//! when there is room.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use p2p_sync_testbed::{Addresses, Lab, Launch, Node, Value, Volume, wait_until};

use super::{
    SOON, add_all, count, delete_all, fill, measured, rows, standing, wait_equal, wait_in_sync, wait_sync_ready,
};
use crate::support::{PATIENCE, RECOVERY, launch, seconds};

/// Together they take four times the room of the small volume.
const RECORDS: u64 = 1_000;
const VALUE_BYTES: usize = 64_000;
/// With such values, three times that of the small store.
const SMALL_VALUE_BYTES: usize = 16_000;
const MAX_STORE: &str = "6MB";

fn without_room(node: &Node) -> u64 {
    let status = node.status();
    let refused = status.pointer("/sync/refused").and_then(Value::as_array).unwrap();
    let cause = refused.iter().find(|refused| refused["cause"] == "no room");
    cause.map_or(0, |cause| cause["count"].as_u64().unwrap())
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_full_volume_takes_local_writes_only_until_there_is_room_again() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let volume = Volume::new(16);
    let a = launch(&host_a, "a").start();
    a.stop();
    fill(&a, "key ", RECORDS, VALUE_BYTES);
    a.restart();
    wait_sync_ready(&a);
    let b = launch(&host_b, "b").data_dir(volume.path()).start();
    a.wait_linked(&b, PATIENCE);
    wait_until("the volume is full", PATIENCE, || without_room(&b) > 0);
    assert!(count(&b) < RECORDS, "all of it had room, so nothing was tested");
    // The session that brought it may still be under way.
    wait_until("it says so", PATIENCE, || b.status()["sync"]["state"] == "no_room");

    b.add("by b", "there is still room for this");
    a.wait_value("by b", "there is still room for this", SOON);
    assert_eq!(b.stderr().count(0, "No space for data from other nodes"), 1);

    volume.resize(256);
    let took = wait_equal("there is room", &[&a, &b], seconds(90));
    measured(&format!("equal {took:?} after there was room"));
    assert_eq!(rows(&b).len() as u64, RECORDS + 1);
    wait_in_sync(&a, &b, PATIENCE);
    b.wait_log(0, "There is space again for data from other nodes", PATIENCE);
}

/// Bytes of a volume, and those of them that are free.
fn space(volume: &Volume) -> (u64, u64) {
    let space = fs4::statvfs(volume.path()).unwrap();
    (space.total_space(), space.available_space())
}

/// Fills what is left of a volume to its last byte, with a file of somebody else.
fn fill_up(volume: &Volume) -> PathBuf {
    let path = volume.path().join("of somebody else");
    let mut file = fs::File::create(&path).unwrap();
    for block in [1 << 20, 1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![7; block]).is_ok() {}
    }
    path
}

/// Whether a write was refused for want of room, which is told with the code for it.
fn is_refused(node: &Node, key: &str, value: &str) -> bool {
    let reply = node.json(&format!("add --json {key} {value}"));
    assert!(reply.get("error").is_none() || reply["code"] == 9, "{reply}");
    reply.get("error").is_some()
}

/// What the sender tells of it, and what it costs while nothing changes.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_node_is_told_that_a_peer_has_no_room_and_sends_nothing_in_vain() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let a = launch(&host_a, "a").start();
    let b = launch(&host_b, "b").argument("--max-store=1MB").start();
    a.wait_linked(&b, PATIENCE);
    let value = "v".repeat(40_000);
    add_all(&a, (0..40).map(|number| (format!("key {number}"), value.clone())));
    wait_until("the peer has no room", PATIENCE, || {
        standing(&a, &b).is_some_and(|known| known["state"] == "no_room_there" && known["waiting"].as_u64() > Some(0))
    });
    a.wait_log(0, "has no space for the records it is missing", PATIENCE);
    wait_until("and says so itself", PATIENCE, || {
        standing(&b, &a).is_some_and(|known| known["state"] == "no_room_here")
    });
    let mark = a.stderr().mark();
    let before = host_a.traffic_bytes().1;
    std::thread::sleep(seconds(12));
    let sent = host_a.traffic_bytes().1 - before;
    measured(&format!("{sent} bytes sent in 12 s beside a peer without room"));
    assert!(sent < 100_000, "{sent} bytes were sent");
    assert_eq!(a.stderr().count(mark, "Synced with peer"), 0, "nothing moved");
    // A change of a key that it has is still taken, and so is the deletion that makes room.
    let held = rows(&b).keys().next().unwrap().clone();
    a.add(&held, "short");
    b.wait_value(&held, "short", RECOVERY);
    delete_all(
        &a,
        (0..40).map(|number| format!("key {number}")).filter(|key| *key != held),
    );
    a.add("new", "there is room for this");
    b.wait_value("new", "there is room for this", PATIENCE);
}

/// However full the disk is, and whoever has filled it.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_disk_without_a_byte_still_takes_deletions_and_what_fits_into_what_they_freed() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let volume = Volume::new(24);
    let a = launch(&host_a, "a").data_dir(volume.path()).start();
    let b = launch(&host_b, "b").start();
    a.wait_linked(&b, PATIENCE);
    let value = "v".repeat(8_000);
    add_all(&a, (0..600).map(|number| (format!("key {number}"), value.clone())));
    wait_equal("at first", &[&a, &b], PATIENCE);
    let filler = fill_up(&volume);
    assert!(is_refused(&a, "more", &"m".repeat(60_000)), "there is no room");
    delete_all(&a, (0..300).map(|number| format!("key {number}")));
    assert!(!is_refused(&a, "less", &value), "what was deleted has made room for it");
    wait_equal("after local deletions", &[&a, &b], PATIENCE);
    delete_all(&b, (300..600).map(|number| format!("key {number}")));
    wait_equal("after deletions elsewhere", &[&a, &b], PATIENCE);
    assert_eq!(a.get("less").as_deref(), Some(value.as_str()));
    let lines = a.stderr().lines_from(0);
    let warnings = lines
        .iter()
        .filter(|line| String::from_utf8_lossy(line).contains("The disk is full: "));
    assert!((1..=2).contains(&warnings.count()), "not at each of the deletions");

    a.kill9();
    a.restart();
    assert_eq!(
        a.get("less").as_deref(),
        Some(value.as_str()),
        "it also starts without a byte"
    );
    a.command("delete less");
    fs::remove_file(filler).unwrap();
    assert!(!is_refused(&a, "again", &"m".repeat(60_000)));
    b.wait_value("again", &"m".repeat(60_000), RECOVERY);
}

/// What others send leaves it free, however small the volume, and whether values are large or small.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_small_volume_keeps_its_five_percent() {
    for (records, value_bytes) in [(RECORDS / 2, VALUE_BYTES), (60_000, 300)] {
        let lab = Lab::new();
        let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
        let volume = Volume::new(24);
        let a = launch(&host_a, "a").start();
        a.stop();
        fill(&a, "key ", records, value_bytes);
        a.restart();
        wait_sync_ready(&a);
        let b = launch(&host_b, "b").data_dir(volume.path()).start();
        a.wait_linked(&b, PATIENCE);
        wait_until("the volume is full", PATIENCE, || without_room(&b) > 0);
        // As long as a look for room takes.
        std::thread::sleep(seconds(6));
        let (total, free) = space(&volume);
        measured(&format!(
            "{} of {records} values of {value_bytes} bytes, {free} of {total} bytes free",
            count(&b)
        ));
        assert!(free >= total / 20, "{free} of {total} bytes are free");
        assert!(
            free < total / 5,
            "{free} of {total} bytes are free: it could have taken more"
        );
    }
}

/// A node that has all, and one that is full.
fn full_beside(lab: &Lab, limit: impl FnOnce(Launch) -> Launch) -> (Node, Node) {
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let a = launch(&host_a, "a").start();
    a.stop();
    fill(&a, "key ", RECORDS, SMALL_VALUE_BYTES);
    a.restart();
    wait_sync_ready(&a);
    let b = limit(launch(&host_b, "b")).start();
    a.wait_linked(&b, PATIENCE);
    wait_until("it is full", PATIENCE, || without_room(&b) > 0);
    let held = count(&b);
    assert!(held < RECORDS - 100, "{held} of it had room, so nothing was tested");
    (a, b)
}

fn delete_most(a: &Node) {
    let most = (0..RECORDS).filter(|number| number % 10 != 0);
    delete_all(a, most.map(|number| format!("key {number:08}")));
}

#[track_caller]
fn assert_equal_without_help(a: &Node, b: &Node) {
    let took = wait_equal("what is left has room", &[a, b], seconds(60));
    measured(&format!("equal {took:?} after most were deleted"));
    let live = rows(b).values().filter(|row| row.value.is_some()).count();
    assert_eq!((live as u64, count(b)), (RECORDS / 10, RECORDS));
    wait_in_sync(a, b, PATIENCE);
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn what_is_deleted_elsewhere_makes_room_in_a_store_that_has_reached_its_size() {
    let lab = Lab::new();
    let (a, b) = full_beside(&lab, |b| b.argument(format!("--max-store={MAX_STORE}")));
    delete_most(&a);
    assert_equal_without_help(&a, &b);
}

/// It finds the deletions behind all that it has no room for.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn what_was_deleted_while_a_full_node_was_away_makes_room_when_it_is_back() {
    let lab = Lab::new();
    let (a, b) = full_beside(&lab, |b| b.argument(format!("--max-store={MAX_STORE}")));
    b.stop();
    delete_most(&a);
    b.restart();
    assert_equal_without_help(&a, &b);
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn what_is_deleted_elsewhere_makes_room_in_a_store_that_fills_its_volume() {
    let lab = Lab::new();
    let volume = Volume::new(14);
    let (a, b) = full_beside(&lab, |b| b.data_dir(volume.path()));
    delete_most(&a);
    assert_equal_without_help(&a, &b);
}
