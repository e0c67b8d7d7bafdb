//! A node with nobody around works, and does not complain.

use p2p_sync_testbed::{Addresses, Lab};

use crate::support::launch;

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_node_alone_takes_a_hundred_writes_without_a_word_of_complaint() {
    let lab = Lab::new();
    let node = launch(&lab.host(Addresses::Both), "alone").start();
    for number in 1..=100 {
        node.add(&format!("key {number}"), &format!("value {number}"));
    }
    let items = node.lines("list");
    assert_eq!(items.len(), 101);
    assert_eq!(items[0], "Stored items (100):");
    for number in 1..=100 {
        let value = node.get(&format!("key {number}"));
        assert_eq!(value, Some(format!("value {number}")));
    }
    let log = node.stderr().lines_from(0);
    for line in log {
        let line = String::from_utf8(line).unwrap();
        for bad in ["ERROR", "WARN", "panicked", "✗"] {
            assert!(!line.contains(bad), "{line}");
        }
    }
    assert!(node.process().is_running());
    node.stop();
}
