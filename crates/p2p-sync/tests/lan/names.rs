//! Nodes are known by their names wherever people look, and whatever a peer calls itself.

use p2p_sync_testbed::{Addresses, Host, Lab, Launch, Node, Value, poll, wait_until};

use crate::support::{PATIENCE, RECOVERY, Stranger, launch, peer_field, seconds, share_both_ways, tcp, wait_flow};

/// The peers of `node` that tell a name or none, as `peer_id` and `display_name`, once there are so many and each has the name
/// that it is to have.
#[track_caller]
fn wait_names(node: &Node, expected: &[(&str, &str)]) {
    let shown = || {
        let peers = node.status()["peers"].clone();
        let text = |peer: &Value, field: &str| peer[field].as_str().unwrap().to_owned();
        let mut names: Vec<(String, String)> = peers
            .as_array()
            .unwrap()
            .iter()
            .map(|peer| (text(peer, "peer_id"), text(peer, "display_name")))
            .collect();
        names.sort();
        names
    };
    let mut expected: Vec<_> = expected
        .iter()
        .map(|(id, name)| (id.to_string(), name.to_string()))
        .collect();
    expected.sort();
    let came = poll(PATIENCE, || (shown() == expected).then_some(()));
    assert!(came.is_some(), "{} shows {:?}, not {expected:?}", node.label(), shown());
}

/// The name with the end of the peer id.
fn with_end(name: &str, id: &str) -> String {
    format!("{name} (…{})", &id[id.len() - 8..])
}

fn text(node: &Node, command: &str) -> String {
    node.lines(command).join("\n")
}

/// Who wrote the versions of the one key in conflict, the latest first, as people see it.
fn authors(node: &Node) -> Vec<String> {
    let lines = node.lines("conflicts");
    let written = lines.iter().filter(|line| line.trim_start().starts_with("written "));
    written
        .map(|line| line.split_once(" by ").unwrap().1.to_owned())
        .collect()
}

/// A start of the node whose data is in that directory, under another name.
fn renamed(node: &Node, host: &Host, name: &str) -> Launch {
    launch(host, name).data_dir(node.data_dir())
}

/// Both write the same key while they are apart, which both show afterwards.
#[track_caller]
fn conflict(lab: &Lab, (a, host_a): (&Node, &Host), (b, host_b): (&Node, &Host)) {
    lab.partition(&[&[host_a], &[host_b]]);
    for (node, other) in [(a, b), (b, a)] {
        wait_until("apart", PATIENCE, || node.peer(&other.peer_id()).is_none());
        node.add("meal", &node.peer_id());
    }
    lab.heal();
    for node in [a, b] {
        wait_until("the conflict is noticed", PATIENCE, || {
            node.status()["sync"]["conflicts"] == 1
        });
    }
}

#[test]
#[ignore = "needs root: lab of network namespaces"]
fn nodes_show_each_other_by_their_names_also_when_one_is_away_or_renamed() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let a = launch(&host_a, "desk").start();
    let b = launch(&host_b, "Küche 2/%").start();
    a.wait_linked(&b, PATIENCE);
    let (id_a, id_b) = (a.peer_id(), b.peer_id());
    wait_names(&a, &[(&id_b, "Küche 2/%")]);
    wait_names(&b, &[(&id_a, "desk")]);
    assert_eq!(peer_field(&a, &id_b, "name"), Some("Küche 2/%".into()));

    let told = format!("INFO Peer {id_b} calls itself Küche 2/%");
    a.wait_log(0, &told, PATIENCE);
    assert_eq!(a.stderr().count(0, &told), 1, "once for each connection");
    a.wait_log(0, &format!("Connection established with peer: {id_b}"), PATIENCE);
    share_both_ways(&a, &b, "named");
    a.wait_log(0, &format!("Got message from {id_b}: Put"), PATIENCE);
    for command in ["peers", "status", "sync"] {
        let text = text(&a, command);
        assert!(text.contains("  Küche 2/%  ") && !text.contains(&id_b), "{text}");
    }
    let in_full = text(&a, "peers 'küche 2/%'");
    assert!(
        in_full.starts_with("Name:       Küche 2/%\n") && in_full.contains(&id_b),
        "{in_full}"
    );
    assert_eq!(
        a.json(&format!("peers --json {}", &id_b[40..]))["peer_id"],
        id_b.as_str()
    );

    conflict(&lab, (&a, &host_a), (&b, &host_b));
    a.wait_log(0, "Synced with peer Küche 2/%: ", PATIENCE);
    b.stop();
    wait_until("alone", PATIENCE, || a.peer(&id_b).is_none());
    let by_both = |node: &Node, names: [&str; 2]| {
        assert_eq!(authors(node), names, "{}", text(node, "conflicts"));
    };
    by_both(&a, ["Küche 2/%", "desk"]);
    let line = a.json("conflicts --json --limit=1");
    let [latest, other] = [&line["versions"][0], &line["versions"][1]];
    assert_eq!(
        (&latest["author_name"], &latest["author"]),
        (&"Küche 2/%".into(), &id_b.as_str().into()),
        "{line}"
    );
    assert_eq!(
        (&other["author_display_name"], &other["author"]),
        (&"desk".into(), &id_a.as_str().into()),
        "{line}"
    );

    a.stop();
    let a = renamed(&a, &host_a, "attic").start();
    by_both(&a, ["Küche 2/%", "attic"]);
    b.restart();
    wait_names(&b, &[(&id_a, "attic")]);
    b.wait_log(
        0,
        &format!("INFO Peer {id_a} calls itself attic; it was desk before"),
        PATIENCE,
    );
    by_both(&b, ["Küche 2/%", "attic"]);
}

#[test]
#[ignore = "needs root: lab of network namespaces"]
fn nodes_of_the_same_name_are_told_apart_by_the_end_of_their_peer_ids() {
    let lab = Lab::new();
    let hosts: Vec<Host> = (0..3).map(|_| lab.host(Addresses::V4)).collect();
    let a = launch(&hosts[0], "kitchen").start();
    let b = launch(&hosts[1], "kitchen").start();
    a.wait_linked(&b, PATIENCE);
    let (id_a, id_b) = (a.peer_id(), b.peer_id());
    wait_names(&a, &[(&id_b, &with_end("kitchen", &id_b))]);

    let c = launch(&hosts[2], "attic").start();
    let id_c = c.peer_id();
    let (shown_a, shown_b) = (with_end("kitchen", &id_a), with_end("kitchen", &id_b));
    wait_names(&c, &[(&id_a, &shown_a), (&id_b, &shown_b)]);
    wait_names(&a, &[(&id_b, &shown_b), (&id_c, "attic")]);
    let ambiguous = c.command("peers kitchen");
    for part in ["✗ kitchen may be any of", &shown_a, &id_a, &shown_b, &id_b] {
        assert!(ambiguous.contains(part), "{ambiguous}");
    }
    assert_eq!(c.json("peers --json kitchen")["code"], 2);
    assert_eq!(c.json(&format!("peers --json '{shown_a}'"))["peer_id"], id_a.as_str());

    conflict(&lab, (&a, &hosts[0]), (&b, &hosts[1]));
    for node in [&a, &b, &c] {
        wait_until("the conflict is everywhere", PATIENCE, || {
            authors(node) == [shown_b.as_str(), &shown_a]
        });
    }

    b.stop();
    let b = renamed(&b, &hosts[1], "cellar").start();
    c.wait_linked(&b, RECOVERY);
    wait_names(&c, &[(&id_a, "kitchen"), (&id_b, "cellar")]);
}

#[test]
#[ignore = "needs root: lab of network namespaces"]
fn whatever_a_peer_calls_itself_is_shown_safely() {
    let lab = Lab::new();
    let (host, other) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let outside = lab.host(Addresses::V4);
    let node = launch(&host, "desk").start();
    let honest = launch(&other, "kitchen").start();
    node.wait_linked(&honest, PATIENCE);
    let id = honest.peer_id();
    wait_names(&node, &[(&id, "kitchen")]);

    // Control characters, and a text that runs from right to left.
    let nonce = "p2p-sync/0.1.0/0123456789abcdef";
    let dirty = Stranger::with_agent(
        &outside,
        &format!("{nonce}/a%1B%5B2J%0Ab%E2%80%AEnehctik%E2%80%8B%7F%C2%9B"),
        &[tcp(&host)],
    );
    // The name of another, and one that looks like what is shown of that.
    let same = Stranger::with_agent(&outside, &format!("{nonce}/Kitchen"), &[tcp(&host)]);
    let copy = with_end("kitchen", &id).replace(' ', "%20").replace('…', "%E2%80%A6");
    let copy = Stranger::with_agent(&outside, &format!("{nonce}/{copy}"), &[tcp(&host)]);
    // No name at all.
    let broken = ["/%zz", "/%ff%fe", "/", "", "/%20%0A", &format!("/{}", "k".repeat(65))];
    let broken = broken.map(|name| Stranger::with_agent(&outside, &format!("{nonce}{name}"), &[tcp(&host)]));
    let huge = Stranger::with_agent(&outside, &format!("{nonce}/{}", "k".repeat(10_000)), &[tcp(&host)]);
    let shown_dirty = "a\\u{1b}[2J\\nb\\u{202e}nehctik\\u{200b}\\u{7f}\\u{9b}";
    let (shown_same, shown_id) = (with_end("Kitchen", same.peer_id()), with_end("kitchen", &id));
    let shown_copy = with_end(&with_end("kitchen", &id), copy.peer_id());
    let mut expected = vec![
        (id.as_str(), shown_id.as_str()),
        (dirty.peer_id(), shown_dirty),
        (same.peer_id(), &shown_same),
        (copy.peer_id(), &shown_copy),
        (huge.peer_id(), huge.peer_id()),
    ];
    expected.extend(broken.iter().map(|one| (one.peer_id(), one.peer_id())));
    wait_names(&node, &expected);

    // Its gossip counts as that of any other.
    dirty.publish(r#"{"Put":{"key":"hello","value":"world","timestamp":"2025-01-04T08:30:15Z"}}"#);
    node.wait_value("hello", "world", RECOVERY);
    for command in ["peers", "status", "conflicts", "sync", "peers nobody", "peers --json"] {
        node.lines(command);
    }
    node.wait_log(
        0,
        &format!("Peer {} calls itself {shown_dirty}", dirty.peer_id()),
        PATIENCE,
    );
    for stream in [node.stdout(), node.stderr()] {
        for line in stream.lines_from(0) {
            let line = String::from_utf8_lossy(&line).into_owned();
            let is_safe = |c: char| !c.is_control() && !"\u{202e}\u{200b}".contains(c);
            assert!(line.chars().all(is_safe), "{line:?}");
        }
    }

    // A visitor's name goes with it.
    drop(same);
    drop(copy);
    wait_until("its name is free again", PATIENCE, || {
        peer_field(&node, &id, "display_name") == Some("kitchen".into())
    });
    wait_flow(&node, &honest, "after all that", seconds(10));
}
