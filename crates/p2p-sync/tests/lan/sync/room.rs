//! A disk without room: its node takes nothing more from others, says so, gives what it has, and is filled when there is room.

use p2p_sync_testbed::{Addresses, Lab, Node, Value, Volume, wait_until};

use super::{SOON, count, fill, measured, rows, wait_equal, wait_in_sync, wait_sync_ready};
use crate::support::{PATIENCE, launch, seconds};

/// Together they take four times the room of the small volume.
const RECORDS: u64 = 1_000;
const VALUE_BYTES: usize = 64_000;

fn without_room(node: &Node) -> u64 {
    let status = node.status();
    let refused = status.pointer("/sync/refused").and_then(Value::as_array).unwrap();
    let cause = refused.iter().find(|refused| refused["cause"] == "no room on the disk");
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

    b.add("by b", "there is still room for this");
    a.wait_value("by b", "there is still room for this", SOON);
    assert_eq!(b.stderr().count(0, "There is no room for what other nodes send"), 1);

    volume.resize(256);
    let took = wait_equal("there is room", &[&a, &b], seconds(90));
    measured(&format!("equal {took:?} after there was room"));
    assert_eq!(rows(&b).len() as u64, RECORDS + 1);
    wait_in_sync(&a, &b, PATIENCE);
}
