//! A link so slow that what is sent stands in line for longer than a dead connection is given.

use p2p_sync_testbed::{Addresses, Lab, wait_until};

use super::{count, fill, wait_equal, wait_sync_ready};
use crate::support::{PATIENCE, launch, peer_field, seconds};

const RECORDS: u64 = 80;
const VALUE_BYTES: usize = 60_000;

/// Pings wait behind the records; the connection is alive all the same.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_connection_that_is_busy_for_long_is_not_taken_for_dead() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    host_b.block_udp_except_mdns();
    host_a.limit_rate(1_000);
    let a = launch(&host_a, "a").start();
    a.stop();
    fill(&a, "k", RECORDS, VALUE_BYTES);
    a.restart();
    wait_sync_ready(&a);
    let b = launch(&host_b, "b").start();
    a.wait_linked(&b, PATIENCE);
    assert_eq!(peer_field(&a, &b.peer_id(), "transport"), Some("tcp".into()));
    wait_until("all records are there", seconds(180), || count(&b) >= RECORDS);
    wait_equal("in the end", &[&a, &b], seconds(30));
    for node in [&a, &b] {
        let closed = node.stderr().count(0, "Connection closed with peer");
        assert_eq!(closed, 0, "{}: so often it was taken for dead", node.label());
    }
}
