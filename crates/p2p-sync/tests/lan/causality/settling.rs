//! How a conflict is told, and how it ends.

use p2p_sync_testbed::Value;

use super::{Conflicts, Trio, Version, one, wait_conflicts};
use crate::support::{PATIENCE, status_number};
use crate::sync::{SOON, wait_equal};

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_deletion_against_an_edit_is_told_as_such_and_a_write_over_it_says_what_it_did_not_keep() {
    let trio = Trio::start();
    let Trio { a, b, .. } = &trio;
    for key in ["hours", "menu", "door", "plain"] {
        trio.c.add(key, "before");
    }
    wait_equal("before", &trio.all(), PATIENCE);
    trio.cut_b();
    b.add("hours", "8-16");
    assert_eq!(a.command("delete hours"), "✓ Deleted: hours");
    assert_eq!(b.command("delete menu"), "✓ Deleted: menu");
    a.add("menu", "soup");
    b.add("door", "green");
    a.add("door", "red");
    b.add("plain", "after");
    trio.lab.heal();
    trio.wait_linked();
    let [hours, menu, door] = [
        ("hours", (None, Some("8-16"))),
        ("menu", (Some("soup"), None)),
        ("door", (Some("red"), Some("green"))),
    ]
    .map(|(key, (of_a, of_b))| (key.to_owned(), vec![Version::of(of_a, a), Version::of(of_b, b)]));
    let mut expected = Conflicts::from([hours, menu, door]);
    wait_conflicts(&trio.all(), &expected, SOON);

    // In words, in the status, at the key and in the log.
    for node in trio.all() {
        let text = node.lines("conflicts").join("\n");
        for line in [
            "Keys in conflict (3):",
            "hours (deleted) (the current state)",
            "    hours = 8-16",
            "menu = soup (the current state)",
            "    menu (deleted)",
            "door = red (the current state)",
        ] {
            assert!(text.contains(line), "{}: no {line} in {text}", node.label());
        }
        assert_eq!(
            node.lines("conflicts plain"),
            ["Keys in conflict (0):"],
            "{}",
            node.label()
        );
        let status = node.lines("status").join("\n");
        assert!(status.contains("Conflicts: 3 (to see them: conflicts)"), "{status}");
        assert_eq!(status_number(node, "/sync/conflicts"), 3);
        assert_eq!(node.json("get --json door")["conflicts"], 1);
        assert_eq!(node.json("get --json plain")["conflicts"], 0);
        assert_eq!(node.json("get --json hours")["code"], 3, "the deletion won");
        node.wait_log(0, "kept: run `conflicts`", SOON);
    }

    // A write over it, a deletion, and a choice, each on another node, end it everywhere, and the log says what went.
    let gone = |key: &str| {
        let at = |place: usize| trio.c.conflicts()[key][place]["timestamp"].as_str().unwrap().to_owned();
        [at(0), at(1)]
    };
    let [[deleted_at, hours_at], [soup_at, _], [red_at, door_at]] = ["hours", "menu", "door"].map(gone);
    trio.c.add("hours", "9-17");
    let line = format!(
        "The conflict of hours is settled; not kept: a deletion written {deleted_at} by {}, 8-16 written {hours_at} by {}",
        a.label(),
        b.label()
    );
    trio.c.wait_log(0, &line, SOON);
    expected.remove("hours");
    wait_conflicts(&trio.all(), &expected, SOON);

    assert_eq!(a.command("delete menu"), "✓ Deleted: menu");
    let line = format!(
        "The conflict of menu is settled; not kept: soup written {soup_at} by {}",
        a.label()
    );
    a.wait_log(0, &line, SOON);
    expected.remove("menu");
    wait_conflicts(&trio.all(), &expected, SOON);

    let resolved: Value = b.json(&format!("resolve --json door {door_at}"));
    assert_eq!(
        (&resolved["resolved"], &resolved["value"]),
        (&true.into(), &"green".into())
    );
    let line = format!(
        "The conflict of door is settled; not kept: red written {red_at} by {}",
        a.label()
    );
    b.wait_log(0, &line, SOON);
    wait_conflicts(&trio.all(), &Conflicts::new(), SOON);
    wait_equal("in the end", &trio.all(), SOON);
    for node in trio.all() {
        let values = ["hours", "menu", "door", "plain"].map(|key| node.get(key));
        let expected = [Some("9-17"), None, Some("green"), Some("after")].map(|value| value.map(str::to_owned));
        assert_eq!(values, expected, "{}", node.label());
        let status = node.lines("status").join("\n");
        assert!(status.contains("Conflicts: none"), "{status}");
    }
    // Where it was ended, and nowhere else.
    for node in trio.all() {
        assert_eq!(node.stderr().count(0, "is settled"), 1, "{}", node.label());
    }
}

/// Two people end the same conflict in two ways, apart: that is one again, between their two choices.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_conflict_that_two_sides_settle_apart_is_one_between_the_two_choices() {
    let trio = Trio::start();
    let Trio { a, b, .. } = &trio;
    trio.cut_b();
    a.add("hours", "9-17");
    b.add("hours", "8-16");
    trio.lab.heal();
    trio.wait_linked();
    let first = one("hours", &[Version::of(Some("8-16"), b), Version::of(Some("9-17"), a)]);
    wait_conflicts(&trio.all(), &first, SOON);
    trio.cut_b();
    let older = a.conflicts()["hours"][1]["timestamp"].as_str().unwrap().to_owned();
    assert_eq!(a.json(&format!("resolve --json hours {older}"))["resolved"], true);
    assert_eq!(b.json("resolve --json hours")["value"], "8-16");
    trio.lab.heal();
    trio.wait_linked();
    let second = one("hours", &[Version::of(Some("8-16"), b), Version::of(Some("9-17"), a)]);
    wait_equal("after both were settled", &trio.all(), SOON);
    wait_conflicts(&trio.all(), &second, SOON);
    trio.c.add("hours", "10-18");
    wait_conflicts(&trio.all(), &Conflicts::new(), SOON);
}
