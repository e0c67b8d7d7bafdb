//! A member of the network that lies about what it has seen: what cannot be true is refused and counted, and what can gives it no
//! more power than any write has that says nothing. No honest write that is made later is lost without a conflict.

use std::time::Duration;

use p2p_sync_core::{NodeId, Timestamp};
use p2p_sync_testbed::{Node, Value, json, wait_until};

use super::foreign::{Scene, put};
use super::{Conflicts, Version, wait_conflicts};
use crate::support::{PATIENCE, RECOVERY};
use crate::sync::{SOON, add_all, now, rows, wait_equal};

/// The end of time.
const TOP: &str = "2262-04-11T23:47:16.854775807Z";

/// A put of which `seen` is given as JSON.
pub(super) fn saying(key: &str, value: &str, at: Timestamp, seen: &str) -> String {
    let plain = put(key, value, at);
    let inner = plain.strip_suffix("}}").unwrap();
    format!("{inner},\"seen\":{seen}}}}}")
}

/// The id of a node that nobody has heard of.
fn nobody(number: u16) -> String {
    let [high, low] = number.to_be_bytes();
    NodeId::from_bytes(&[0, 2, high, low]).unwrap().to_string()
}

fn entries(authors: impl IntoIterator<Item = String>, at: &str) -> String {
    let entries: Vec<String> = authors
        .into_iter()
        .map(|author| format!("\"{author}\":\"{at}\""))
        .collect();
    format!("{{{}}}", entries.join(","))
}

fn count(node: &Node, cause: &str) -> u64 {
    let status = node.status();
    let dropped = status["dropped"].as_array().unwrap();
    let counted = dropped.iter().find(|one| one["cause"] == cause);
    counted.map_or(0, |one| one["count"].as_u64().unwrap())
}

/// What nobody can have seen, or in a form that is not valid, by someone who writes at `at` what `other` writes too.
fn malformed(at: Timestamp, other: &str) -> Vec<(&'static str, String)> {
    let before = Timestamp::from_nanos(at.as_nanos() - 1).unwrap().to_string();
    let at = at.to_string();
    let ten_thousand = || (0..10_000).map(nobody);
    vec![
        ("another author far above", entries([other.to_owned()], TOP)),
        ("another author at its own time", entries([other.to_owned()], &at)),
        (
            "one of many above",
            entries((0..15).map(nobody), &before).replacen(&before, TOP, 1),
        ),
        ("a floor at the top", format!(r#"{{"floor":"{TOP}"}}"#)),
        ("a floor at its own time", format!(r#"{{"floor":"{at}"}}"#)),
        ("a floor that is no timestamp", r#"{"floor":"yesterday"}"#.to_owned()),
        ("a floor that is a number", r#"{"floor":5}"#.to_owned()),
        ("a floor that is null", r#"{"floor":null}"#.to_owned()),
        (
            "a floor before the epoch",
            r#"{"floor":"1969-12-31T23:59:59Z"}"#.to_owned(),
        ),
        ("two floors", format!(r#"{{"floor":"{before}","floor":"{before}"}}"#)),
        (
            "an entry at the floor",
            format!(r#"{{"floor":"{before}","{other}":"{before}"}}"#),
        ),
        (
            "an author twice",
            format!(r#"{{"{other}":"{before}","{other}":"{before}"}}"#),
        ),
        ("no peer id", format!(r#"{{"0OIl":"{before}"}}"#)),
        ("an empty peer id", format!(r#"{{"":"{before}"}}"#)),
        ("a peer id that is too long", entries(["1".repeat(60)], &before)),
        ("a list in an entry", format!(r#"{{"{other}":["{before}"]}}"#)),
        ("seventeen authors", entries((0..17).map(nobody), &before)),
        ("ten thousand authors", entries(ten_thousand(), &before)),
        (
            "ten thousand times one author",
            entries((0..10_000).map(|_| other.to_owned()), &before),
        ),
        ("an array", format!(r#"["{before}"]"#)),
        ("an empty array", "[]".to_owned()),
        (
            "an array of ten thousand",
            json!(ten_thousand().collect::<Vec<_>>()).to_string(),
        ),
        ("a text", format!(r#""{before}""#)),
        ("a number", "7".to_owned()),
        ("true", "true".to_owned()),
    ]
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn what_nobody_can_have_seen_is_refused_and_counted_and_changes_nothing() {
    let scene = Scene::start();
    let Scene { trio, stranger } = &scene;
    let all = trio.all();
    trio.b.add("hours", "9-17");
    wait_equal("before", &all, PATIENCE);
    let before = all.map(|node| rows(node)["hours"].clone());
    let at = now();
    let lies = malformed(at, &trio.b.peer_id());
    for (number, (what, seen)) in lies.iter().enumerate() {
        let message = saying("hours", "a lie", at, seen);
        // One bad change makes its whole message bad.
        let message = match number % 2 {
            0 => message,
            _ => format!(r#"{{"Batch":[{},{message}]}}"#, put("good", "one", at)),
        };
        stranger.publish(&message);
        wait_until(what, RECOVERY, || count(&trio.a, "invalid message") > number as u64);
    }
    let id = stranger.peer_id();
    trio.a.wait_log(0, &format!("Invalid message from peer {id}"), RECOVERY);
    scene.say(&[], &all);
    assert_eq!(count(&trio.a, "invalid message"), lies.len() as u64);
    for (node, before) in all.iter().zip(before) {
        assert_eq!(rows(node)["hours"], before, "{}", node.label());
        assert_eq!(node.get("good"), None, "{}", node.label());
    }
    // They were not passed on.
    for node in [&trio.b, &trio.c] {
        assert_eq!(node.status()["dropped"], Value::Array(Vec::new()), "{}", node.label());
    }
    assert_eq!(stranger.process().stdout().count(0, "disconnected"), 0);
    trio.c.add("hours", "10-18");
    wait_equal("an honest write", &all, SOON);
    assert_eq!(trio.a.get("hours").as_deref(), Some("10-18"));
    wait_conflicts(&all, &Conflicts::new(), SOON);
}

struct Lie {
    key: String,
    message: String,
    /// Whether it says that it has seen what `c` wrote.
    covers_c: bool,
}

/// All that can be said of what was seen by someone who writes at `at`: as late as it may be.
fn lies(at: Timestamp, nodes: [&Node; 3], what: &str) -> Vec<Lie> {
    let before = Timestamp::from_nanos(at.as_nanos() - 1).unwrap().to_string();
    let low = "1970-01-01T00:00:01Z";
    let ids = || nodes.iter().map(|node| node.peer_id());
    let crowd = |from: u16| (from..16).map(nobody);
    let all = [
        ("all before", format!(r#"{{"floor":"{before}"}}"#), true),
        ("all three", entries(ids(), &before), true),
        ("all three and others", entries(ids().chain(crowd(3)), &before), true),
        ("a crowd", entries(crowd(0), &before), false),
        (
            "a crowd over a floor",
            entries(crowd(0), &before).replacen('{', &format!(r#"{{"floor":"{low}","#), 1),
            false,
        ),
        ("nothing", "{}".to_owned(), false),
    ];
    let lie = |(name, seen, covers_c): (&str, String, bool)| {
        let key = format!("{name} {what}");
        let message = saying(&key, "a lie", at, &seen);
        Lie { key, message, covers_c }
    };
    all.into_iter().map(lie).collect()
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn after_lies_about_what_was_seen_no_later_write_is_lost_without_a_conflict() {
    let scene = Scene::start();
    let Scene { trio, stranger } = &scene;
    let (a, b, c) = (&trio.a, &trio.b, &trio.c);
    let all = trio.all();
    // As far ahead as others accept, with some seconds to spare, and right now.
    let ahead = now().saturating_add(Duration::from_secs(110));
    let names: Vec<String> = [(ahead, "ahead"), (now(), "now")]
        .iter()
        .flat_map(|(at, what)| lies(*at, all, what))
        .map(|lie| lie.key)
        .collect();
    add_all(c, names.iter().map(|key| (key.clone(), "9-17".to_owned())));
    wait_equal("before", &all, PATIENCE);
    let lies: Vec<Lie> = [(ahead, "ahead"), (now(), "now")]
        .into_iter()
        .flat_map(|(at, what)| lies(at, all, what))
        .collect();
    let messages: Vec<String> = lies.iter().map(|lie| lie.message.clone()).collect();
    scene.say(&messages, &all);
    for node in all {
        assert_eq!(
            node.status()["dropped"],
            Value::Array(Vec::new()),
            "well-formed: {}",
            node.label()
        );
    }
    // What it does not say that it has seen is in conflict with it.
    let lie = Version {
        value: Some("a lie".to_owned()),
        author: stranger.peer_id().to_owned(),
    };
    let shown = lies.iter().filter(|lie| !lie.covers_c);
    let shown = shown.map(|one| (one.key.clone(), vec![lie.clone(), Version::of(Some("9-17"), c)]));
    wait_conflicts(&all, &shown.collect(), SOON);

    // A write over it counts, everywhere; so do two that are made apart by nodes that have heard the lie.
    add_all(a, names.iter().map(|key| (key.clone(), "10-18".to_owned())));
    wait_equal("after the write over it", &all, SOON);
    wait_conflicts(&all, &Conflicts::new(), SOON);
    trio.cut_b();
    add_all(b, names.iter().map(|key| (key.clone(), "apart by b".to_owned())));
    add_all(a, names.iter().map(|key| (key.clone(), "apart by a".to_owned())));
    add_all(a, names.iter().map(|key| (key.clone(), "again by a".to_owned())));
    trio.lab.heal();
    trio.wait_linked();
    let expected: Conflicts = names
        .iter()
        .map(|key| {
            // Ahead of all clocks, each adds a nanosecond to what it holds; `a` has written twice.
            let versions = vec![Version::of(Some("again by a"), a), Version::of(Some("apart by b"), b)];
            (key.clone(), versions)
        })
        .collect();
    wait_conflicts(&all, &expected, SOON);
    scene.assert_replays_change_nothing(&messages[..6]);
    wait_conflicts(&all, &expected, SOON);
}

/// The node that was away when the lie came knows nothing of it. What it writes later than the lie is dated is as good as any.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_lie_does_nothing_to_later_writes_of_a_node_that_has_not_heard_it() {
    let scene = Scene::start();
    let Scene { trio, stranger } = &scene;
    let (a, b, c) = (&trio.a, &trio.b, &trio.c);
    let all = trio.all();
    let keys: Vec<String> = lies(now(), all, "now").into_iter().map(|lie| lie.key).collect();
    add_all(c, keys.iter().map(|key| (key.clone(), "9-17".to_owned())));
    wait_equal("before", &all, PATIENCE);
    trio.cut_b();
    let lies = lies(now(), all, "now");
    let messages: Vec<String> = lies.iter().map(|lie| lie.message.clone()).collect();
    scene.say(&messages, &[a, c]);
    add_all(b, keys.iter().map(|key| (key.clone(), "later by b".to_owned())));
    // Over some of the lies somebody has written honestly, and so passes on what they say.
    let (over, left) = keys.split_at(keys.len() / 2);
    add_all(a, over.iter().map(|key| (key.clone(), "later by a".to_owned())));
    trio.lab.heal();
    trio.wait_linked();
    let of = |key: &String, version: Version| (key.clone(), vec![version, Version::of(Some("later by b"), b)]);
    let mut expected: Conflicts = over
        .iter()
        .map(|key| of(key, Version::of(Some("later by a"), a)))
        .collect();
    let lie = Version {
        value: Some("a lie".to_owned()),
        author: stranger.peer_id().to_owned(),
    };
    expected.extend(left.iter().map(|key| {
        let (key, mut versions) = of(key, lie.clone());
        versions.reverse();
        (key, versions)
    }));
    wait_conflicts(&all, &expected, SOON);
    wait_equal("all versions", &all, SOON);
}
