//! Conflicts outlive the nodes that wrote them.

use p2p_sync_testbed::{Addresses, wait_until};

use super::{Trio, Version, conflicts, one, wait_apart, wait_conflicts};
use crate::support::{PATIENCE, launch};
use crate::sync::{SOON, measured, wait_equal};

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn what_lost_is_still_shown_when_the_only_node_that_had_it_as_its_value_is_destroyed() {
    let Trio { a, b, c, hosts, lab } = Trio::start();
    let all = [&a, &b, &c];
    a.add("hours", "9-17");
    wait_equal("before", &all, PATIENCE);
    // Each is alone.
    lab.partition(&[&[&hosts[1]], &[&hosts[2]]]);
    wait_apart(&b, &[&a, &c]);
    wait_apart(&a, &[&c]);
    b.add("hours", "8-16");
    b.add("hours", "8-12");
    a.add("hours", "10-18");
    let expected = one(
        "hours",
        &[Version::of(Some("10-18"), &a), Version::of(Some("8-12"), &b)],
    );
    // `b` meets `a` once, and is gone as soon as one of the two shows the conflict.
    lab.partition(&[&[&hosts[0], &hosts[1]]]);
    wait_until("a shows the conflict", PATIENCE, || conflicts(&a) == expected);
    b.kill9();
    std::fs::remove_dir_all(b.data_dir()).unwrap();
    lab.heal();
    a.wait_linked(&c, PATIENCE);
    let took = wait_conflicts(&[&a, &c], &expected, SOON);
    measured(&format!("c shows it {took:?} after it was linked"));
    wait_equal("the two that are left", &[&a, &c], SOON);

    // The newcomer hears of it from one that heard of it from another.
    a.stop();
    let newcomer = launch(&lab.host(Addresses::V4), "d").start();
    newcomer.wait_linked(&c, PATIENCE);
    let took = wait_conflicts(&[&newcomer], &expected, SOON);
    measured(&format!("a newcomer shows it {took:?} after it was linked"));
    wait_equal("the newcomer", &[&c, &newcomer], SOON);

    // What the destroyed node wrote can be chosen on a node that never met it.
    let chosen = newcomer.conflicts()["hours"][1]["timestamp"]
        .as_str()
        .unwrap()
        .to_owned();
    let resolved = newcomer.json(&format!("resolve --json hours {chosen}"));
    assert_eq!(resolved["value"], "8-12", "{resolved}");
    a.restart();
    wait_equal("after it was resolved", &[&a, &c, &newcomer], PATIENCE);
    for node in [&a, &c, &newcomer] {
        assert_eq!(node.get("hours").as_deref(), Some("8-12"), "{}", node.label());
    }
    wait_conflicts(&[&a, &c, &newcomer], &super::Conflicts::new(), SOON);
}
