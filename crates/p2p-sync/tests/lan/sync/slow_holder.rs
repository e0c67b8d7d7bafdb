//! A peer that brings its records at a trickle does not keep an empty node from those of another.

use std::time::Instant;

use p2p_sync_testbed::{Addresses, Lab, wait_until};

use super::{count, fill, full, measured, standing, wait_equal, wait_sync_ready};
use crate::support::{PATIENCE, launch, seconds};

/// At 4 kB a second a record takes five seconds, and a page of them a minute.
const SLOW_KBIT: u32 = 32;
/// More than a Hello can tell: they travel in bulk, for which there is one slot.
const SLOW_RECORDS: u64 = 200;
const SLOW_VALUE_BYTES: usize = 20_000;
const RECORDS: u64 = 3_000;

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn an_empty_node_is_filled_in_time_beside_a_peer_that_trickles() {
    let lab = Lab::new();
    let [host_empty, host_slow, host_fast] = [(); 3].map(|()| lab.host(Addresses::V4));
    let slow = launch(&host_slow, "slow").start();
    slow.stop();
    fill(&slow, "slow", SLOW_RECORDS, SLOW_VALUE_BYTES);
    let fast = launch(&host_fast, "fast").start();
    fast.stop();
    fill(&fast, "fast", RECORDS, 100);
    host_slow.limit_rate(SLOW_KBIT);
    slow.restart();
    wait_sync_ready(&slow);
    let empty = launch(&host_empty, "empty").start();
    empty.wait_linked(&slow, seconds(60));
    // It has the slot once its session goes on and on: its first page takes a minute.
    let mut since = None;
    wait_until("the slow one sends its bulk", seconds(60), || {
        let syncing = standing(&empty, &slow).is_some_and(|one| one["state"] == "syncing");
        let began = *since.get_or_insert_with(Instant::now);
        if !syncing {
            since = None;
        }
        syncing && began.elapsed() > seconds(10)
    });
    assert_eq!(count(&empty), 0, "it is slow, or nothing is tested");

    let start = Instant::now();
    fast.restart();
    wait_sync_ready(&fast);
    empty.wait_linked(&fast, PATIENCE);
    wait_until("all records of the fast one are there", seconds(10), || {
        count(&empty) >= RECORDS
    });
    measured(&format!("{RECORDS} records beside a trickle in {:?}", start.elapsed()));
    if full() {
        // Whoever is slow and honest is not left out.
        wait_equal("in the end", &[&empty, &fast, &slow], seconds(2_400));
    }
}
