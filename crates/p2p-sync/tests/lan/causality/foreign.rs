//! A foreign program says three fields, and nothing of what it has seen: it overwrites all that is older, and nothing else.

use p2p_sync_core::Timestamp;
use p2p_sync_testbed::{Node, json};

use super::{Conflicts, Trio, Version, wait_conflicts};
use crate::support::{PATIENCE, RECOVERY, Stranger, tcp};
use crate::sync::{SOON, conflict_rows, now, rows, wait_equal};

/// Three nodes, and a stranger who talks to `a`.
pub(super) struct Scene {
    pub(super) trio: Trio,
    pub(super) stranger: Stranger,
}

impl Scene {
    #[track_caller]
    pub(super) fn start() -> Self {
        let trio = Trio::start();
        let outside = trio.lab.host(p2p_sync_testbed::Addresses::V4);
        let stranger = Stranger::start(&outside, 1, &[tcp(&trio.hosts[0])]);
        stranger.wait_linked(&trio.a);
        Self { trio, stranger }
    }

    /// The stranger says these one after the other; returns when all nodes, or these, have heard the last.
    #[track_caller]
    pub(super) fn say(&self, messages: &[String], nodes: &[&Node]) {
        for message in messages {
            self.stranger.publish(message);
        }
        // Changes are merged in the order in which they are heard.
        let mark = now().to_string();
        self.stranger.publish(&put("mark", &mark, now()));
        for node in nodes {
            node.wait_value("mark", &mark, RECOVERY);
        }
        wait_equal("after what the stranger said", nodes, SOON);
    }

    /// Saying these again changes nothing on any node.
    #[track_caller]
    pub(super) fn assert_replays_change_nothing(&self, messages: &[String]) {
        let all = self.trio.all();
        let held = || {
            let held = |node: &Node| {
                let mut rows = rows(node);
                rows.remove("mark");
                (rows, conflict_rows(node).unwrap())
            };
            all.map(held)
        };
        let before = held();
        let replays: Vec<String> = messages.iter().map(|message| format!("@repeat 5 {message}")).collect();
        self.say(&replays, &all);
        assert!(held() == before, "a replay has changed something");
    }
}

pub(super) fn put(key: &str, value: &str, at: Timestamp) -> String {
    json!({ "Put": { "key": key, "value": value, "timestamp": at.to_string() } }).to_string()
}

fn delete(key: &str, at: Timestamp) -> String {
    json!({ "Delete": { "key": key, "timestamp": at.to_string() } }).to_string()
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn what_a_foreign_program_says_overwrites_what_is_older_and_its_replays_change_nothing() {
    let scene = Scene::start();
    let Scene { trio, stranger } = &scene;
    let all = trio.all();
    let foreign = |value: &str| Version {
        value: Some(value.to_owned()),
        author: stranger.peer_id().to_owned(),
    };
    let early = now();
    for key in ["hours", "late", "gone"] {
        trio.a.add(key, "by a");
        trio.b.wait_value(key, "by a", RECOVERY);
        trio.b.add(key, "by b");
        trio.a.wait_value(key, "by b", RECOVERY);
    }
    wait_equal("before", &all, PATIENCE);

    // Later than all: it overwrites them, and whoever writes after it has seen it.
    let first = put("hours", "foreign", now());
    scene.say(std::slice::from_ref(&first), &all);
    wait_conflicts(&all, &Conflicts::new(), SOON);
    for node in all {
        assert_eq!(node.get("hours").as_deref(), Some("foreign"), "{}", node.label());
    }
    trio.c.add("hours", "by c");
    wait_equal("after the write over it", &all, SOON);
    scene.assert_replays_change_nothing(&[first]);
    wait_conflicts(&all, &Conflicts::new(), SOON);

    // Earlier than what nobody who wrote here had seen: it has lost, and is shown, once, however often it is said.
    let late = put("late", "late", early);
    scene.say(std::slice::from_ref(&late), &all);
    let expected = super::one("late", &[Version::of(Some("by b"), &trio.b), foreign("late")]);
    wait_conflicts(&all, &expected, SOON);
    scene.assert_replays_change_nothing(std::slice::from_ref(&late));
    wait_conflicts(&all, &expected, SOON);
    // Its own next one takes the place of it.
    let next = put("late", "less late", early.next().unwrap());
    scene.say(std::slice::from_ref(&next), &all);
    let expected = super::one("late", &[Version::of(Some("by b"), &trio.b), foreign("less late")]);
    wait_conflicts(&all, &expected, SOON);
    scene.assert_replays_change_nothing(&[late.clone(), next.clone()]);
    wait_conflicts(&all, &expected, SOON);

    // What overwrites all that is older also ends a conflict of it, and deletes like any other.
    let last = [put("late", "in the end", now()), delete("gone", now())];
    scene.say(&last, &all);
    wait_conflicts(&all, &Conflicts::new(), SOON);
    scene.assert_replays_change_nothing(&[late, next, last[0].clone(), last[1].clone()]);
    wait_conflicts(&all, &Conflicts::new(), SOON);
    for node in all {
        assert_eq!(node.get("late").as_deref(), Some("in the end"), "{}", node.label());
        assert_eq!(node.get("gone"), None, "{}", node.label());
    }
}
