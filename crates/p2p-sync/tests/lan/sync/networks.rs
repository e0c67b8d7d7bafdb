//! Two networks on one LAN know nothing of each other's data.

use p2p_sync_testbed::{Addresses, Host, Lab, Node, Sniffer, poll, wait_until};

use super::{add_all, rows, wait_equal, wait_in_sync};
use crate::support::{PATIENCE, launch, seconds, tcp};

/// Stands in the keys of the first network, in all its records.
const NEEDLE: &str = "haystack-needle";

fn node(host: &Host, label: &str, network: &str, others: &[&Host]) -> Node {
    let mut launch = launch(host, label).argument("--network").argument(network);
    // Even those are dialled whom discovery would leave out.
    for other in others {
        launch = launch.peer(&tcp(other));
    }
    launch.spawn()
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn nodes_of_two_networks_exchange_no_record_and_no_key() {
    let lab = Lab::new();
    let hosts: Vec<Host> = (0..4).map(|_| lab.host(Addresses::V4)).collect();
    let sniffers: Vec<Sniffer> = hosts
        .iter()
        .map(|host| Sniffer::start_looking_for(host, NEEDLE))
        .collect();
    let one = [
        node(&hosts[0], "one a", "one", &[&hosts[2], &hosts[3]]),
        node(&hosts[1], "one b", "one", &[]),
    ];
    let two = [
        node(&hosts[2], "two a", "two", &[&hosts[0], &hosts[1]]),
        node(&hosts[3], "two b", "two", &[]),
    ];
    for node in one.iter().chain(&two) {
        node.wait_ready();
    }
    one[0].wait_linked(&one[1], PATIENCE);
    two[0].wait_linked(&two[1], PATIENCE);
    wait_until("the first two networks have met", PATIENCE, || {
        let logged = |node: &Node, id: String| node.stderr().count(0, &id) > 0;
        logged(&one[0], two[0].peer_id()) || logged(&two[0], one[0].peer_id())
    });
    // More than gossip takes, so that sync has its part; and one that both networks have.
    add_all(
        &one[0],
        (0..500).map(|number| (format!("{NEEDLE} {number}"), format!("{NEEDLE} {number}"))),
    );
    one[0].add("common", "of one");
    add_all(
        &two[0],
        (0..500).map(|number| (format!("other {number}"), "v".to_owned())),
    );
    two[0].add("common", "of two");
    wait_equal("network one", &[&one[0], &one[1]], PATIENCE);
    wait_equal("network two", &[&two[0], &two[1]], PATIENCE);
    // A check of everybody, now, if there was one.
    for node in one.iter().chain(&two) {
        node.lines("sync");
    }
    wait_in_sync(&one[0], &one[1], PATIENCE);
    wait_in_sync(&two[0], &two[1], PATIENCE);

    for (mine, others, value) in [(&one, &two, "of one"), (&two, &one, "of two")] {
        let ids = others.each_ref().map(Node::peer_id);
        for node in mine {
            let rows = rows(node);
            assert_eq!(rows.len(), 501, "{}", node.label());
            assert_eq!(rows["common"].value.as_deref(), Some(value.as_bytes()));
            let status = node.status();
            let synced = status["sync"]["peers"].as_array().unwrap();
            let named = |id: &str| synced.iter().any(|peer| peer["peer_id"] == id);
            assert!(!ids.iter().any(|id| named(id)), "{}: {status}", node.label());
            let subscribed = poll(seconds(0), || ids.iter().find(|id| node.is_subscribed(id)));
            assert_eq!(subscribed, None, "{}", node.label());
            for id in &ids {
                assert_eq!(node.stderr().count(0, &format!("Got message from {id}")), 0);
            }
        }
    }
    // Nobody else on the LAN can read a key off the wire either.
    for sniffer in &sniffers {
        assert_eq!(sniffer.seen().needles, 0);
        assert!(sniffer.seen().packets > 0, "it sees what passes");
    }
}
