//! The LAN: whether multicast gets through, and who is there.

use super::{finding, listed};
use crate::report::{Finding, Interface, Multicast, MulticastWay, NodeOnLan, Status, Surroundings};

/// The version of the announcement of this program.
const VERSION: &str = "1";

pub(super) fn findings(status: &Status, around: &Surroundings) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !around.running {
        let text = "No node is running on this data directory, so nothing is sent or received";
        findings.push(finding("not_running", text, "Start one: p2p-sync start"));
        findings.extend(clone_of(status, around));
    }
    for not in &status.not_listening {
        let text = format!("This node does not listen on {}: {}", not.address, not.reason);
        let advice =
            "Free the port, or choose another one with --port; nodes that dial it there cannot connect until then";
        findings.push(finding("not_listening", text, advice));
    }
    if around.looked_around {
        let multicast = multicast(status, around);
        let is_deaf = !multicast.is_empty();
        findings.extend(multicast);
        if !is_deaf && status.peers.is_empty() {
            findings.extend(nobody(around));
        }
        findings.extend(other_versions(status, around));
    }
    findings
}

/// Another machine has the identity of a node that does not run.
fn clone_of(status: &Status, around: &Surroundings) -> Option<Finding> {
    let id = Some(status.peer_id.as_str());
    let twin = around.nodes.iter().find(|node| node.peer_id.as_deref() == id)?;
    let text = format!(
        "A node with the identity of this data directory runs elsewhere, at {}: one of the two is a copy",
        twin.address
    );
    let advice = "Before this one is started: remove identity.key here, and start it once with --new-identity";
    Some(finding("same_identity", text, advice))
}

/// What keeps multicast from getting through.
fn multicast(status: &Status, around: &Surroundings) -> Vec<Finding> {
    let has = |interface: &&Interface, way| interface.ipv4 == Some(way) || interface.ipv6 == Some(way);
    let works = |interface: &&Interface| has(interface, MulticastWay::Works);
    let taken = |interface: &&Interface| has(interface, MulticastWay::PortTaken);
    if let Some(interface) = around.interfaces.iter().find(taken) {
        let program = match around.port_5353.as_slice() {
            [] => "another program".to_owned(),
            programs => listed(programs.iter().cloned()),
        };
        let reason = interface.reason.as_deref().unwrap_or_default();
        let text = format!(
            "UDP port 5353 (multicast DNS) is held by {program}, which does not share it ({reason}): nodes on the LAN are not found"
        );
        let advice = "Let that program share the port, or end it; or name the other nodes with --peer";
        return vec![finding("multicast_deaf", text, advice)];
    }
    if let (Multicast::Unknown, None) = (status.multicast, around.interfaces.iter().find(works)) {
        let why = status.multicast_failure.as_deref().unwrap_or("the reason is not known");
        let text = format!("This node cannot hear multicast DNS, so it finds no node by itself: {why}");
        return vec![finding("multicast_deaf", text, "Name the other nodes with --peer")];
    }
    let is_lost = |interface: &&Interface| {
        !interface.loopback && has(interface, MulticastWay::Lost) && !has(interface, MulticastWay::Works)
    };
    let lost = around.interfaces.iter().filter(is_lost).map(|interface| {
        let why = interface.reason.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
        let text = format!(
            "The own multicast question of this machine did not come back on {}{why}: a firewall here drops UDP port 5353, and nodes \
             there are not found",
            interface.name
        );
        let advice = format!(
            "Let UDP port 5353 in and out on {}, or name the other nodes with --peer",
            interface.name
        );
        finding("multicast_blocked", text, advice)
    });
    lost.collect()
}

/// Why there is nobody, although multicast works here.
fn nobody(around: &Surroundings) -> Option<Finding> {
    let works = |way| way == Some(MulticastWay::Works);
    let is_up = |interface: &&Interface| !interface.loopback && (works(interface.ipv4) || works(interface.ipv6));
    let Some(interface) = around.interfaces.iter().find(is_up) else {
        let text = "This machine has no network interface but its loopback on which multicast works";
        let advice = "Connect it to the network, or name the other nodes with --peer";
        return Some(finding("no_interface", text, advice));
    };
    if around.nodes.iter().any(|node| node.same_network && !node.here) {
        return None;
    }
    let others = || {
        around
            .nodes
            .iter()
            .filter(|node| !node.same_network && node.version == VERSION)
    };
    if others().next().is_some() {
        let text = format!(
            "No other node of this network is on the LAN, but of another one: {}",
            listed(others().map(told))
        );
        let advice = "If they belong together, start them with the same --network; a data directory keeps the one that it was made for";
        return Some(finding("another_network", text, advice));
    }
    if around.nodes.iter().any(|node| !node.here) {
        // They are of another version.
        return None;
    }
    if around.heard_others {
        let text = "Other machines are heard on the LAN, but no other node answers";
        let advice = "Start a node on another machine; let UDP port 5353 in and out through its firewall, or name it with --peer";
        return Some(finding("no_nodes", text, advice));
    }
    let text = format!(
        "Nothing is heard from any other machine on {}, although multicast works on this one: there is none, or something between keeps \
         them apart",
        interface.name
    );
    let advice = "Start a node on another machine of this network; let UDP port 5353 in and out through its firewall. Some Wi-Fi networks \
                  keep their devices apart: name the node with --peer there";
    Some(finding("multicast_silent", text, advice))
}

/// Nodes that announce themselves in a way that this version does not know.
fn other_versions(status: &Status, around: &Surroundings) -> Option<Finding> {
    let is_connected = |node: &NodeOnLan| {
        status
            .peers
            .iter()
            .any(|peer| Some(&peer.peer_id) == node.peer_id.as_ref())
    };
    let matters = |node: &&NodeOnLan| {
        // Private networks announce themselves so. They matter to nobody who has company.
        node.version != VERSION && !is_connected(node) && (node.same_network || status.peers.is_empty())
    };
    let others: Vec<String> = around.nodes.iter().filter(matters).map(told).collect();
    if others.is_empty() {
        return None;
    }
    let text = format!(
        "Nodes on the LAN announce themselves as another version does, or as a private network does: {}",
        listed(others)
    );
    Some(finding(
        "version",
        text,
        "If they belong together, update the older ones",
    ))
}

fn told(node: &NodeOnLan) -> String {
    format!("{} at {}", node.instance, node.address)
}
