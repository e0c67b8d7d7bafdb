//! The session that brings a conflict, one version each way, is over for both sides.

use p2p_sync_testbed::{Addresses, Lab, tempfile};

use super::{Conflicts, Version, wait_conflicts};
use crate::support::{PATIENCE, launch, tcp};
use crate::sync::SOON;

const ROUNDS: usize = 10;

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_session_that_brings_a_conflict_is_told_by_both_sides_as_done() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let a = launch(&host_a, "a").no_lan().start();
    let directory = tempfile::tempdir().unwrap();
    let launch_b = || launch(&host_b, "b").no_lan().data_dir(directory.path());
    let mut expected = Conflicts::new();
    for round in 0..ROUNDS {
        let key = format!("key {round}");
        // `a` remembers its address.
        host_b.cut();
        let alone = launch_b().start();
        let mut versions = vec![Version::of(Some("by b"), &alone), Version::of(Some("by a"), &a)];
        let [first, last] = if round % 2 == 0 { [&a, &alone] } else { [&alone, &a] };
        for node in [first, last] {
            node.add(&key, &format!("by {}", node.label()));
        }
        if round % 2 == 1 {
            versions.reverse();
        }
        expected.insert(key, versions);
        alone.stop();
        host_b.mend();

        let mark = a.stderr().mark();
        let b = launch_b().peer(&tcp(&host_a)).start();
        wait_conflicts(&[&a, &b], &expected, SOON);
        // Lines about one peer are some time apart, so only `b`, which has just started, tells of each session.
        b.wait_log(0, "Synced with peer", PATIENCE);
        for (node, mark) in [(&a, mark), (&b, 0)] {
            let interrupted = node.stderr().count(mark, "was interrupted");
            assert_eq!(interrupted, 0, "{} in round {round}", node.label());
        }
        b.stop();
    }
}
