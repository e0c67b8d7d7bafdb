//! A write that is covered by a floor alone: whoever overwrote it may not have seen it, so every node counts and logs it.

use p2p_sync_core::Timestamp;
use p2p_sync_testbed::Node;

use super::foreign::{Scene, put};
use super::lies::saying;
use super::{Conflicts, wait_conflicts};
use crate::support::{PATIENCE, RECOVERY};
use crate::sync::{SOON, now, wait_equal};

/// How many versions this node has counted.
fn folded(node: &Node) -> u64 {
    let status = node.status();
    let refused = status["sync"]["refused"].as_array().unwrap();
    let folded = refused.iter().find(|one| one["cause"] == "overwritten perhaps unseen");
    folded.map_or(0, |one| one["count"].as_u64().unwrap())
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn what_a_floor_alone_covers_is_counted_and_logged_by_every_node() {
    let scene = Scene::start();
    let Scene { trio, .. } = &scene;
    let all = trio.all();
    for key in ["hours", "plain"] {
        trio.c.add(key, "by c");
    }
    wait_equal("before", &all, PATIENCE);

    // What overwrites everything older says so.
    scene.say(&[put("plain", "foreign", now())], &all);
    for node in all {
        assert_eq!(folded(node), 0, "{}", node.label());
    }

    let at = now();
    let floor = Timestamp::from_nanos(at.as_nanos() - 1_000).unwrap();
    let message = saying("hours", "folded", at, &format!(r#"{{"floor":"{floor}"}}"#));
    scene.say(&[message], &all);
    wait_conflicts(&all, &Conflicts::new(), SOON);
    for node in all {
        assert_eq!(node.get("hours").as_deref(), Some("folded"), "{}", node.label());
        assert_eq!(folded(node), 1, "{}", node.label());
        node.wait_log(
            0,
            "A write of hours was overwritten by a node that may not have seen it",
            RECOVERY,
        );
    }
}
