//! Other nodes: whether they can be found and reached.

use super::finding;
use crate::report::{Finding, Multicast, Status, Trouble};

/// How long silence means nothing yet, in seconds.
const SILENCE_SECONDS: u64 = 10;

pub(super) fn findings(status: &Status) -> Vec<Finding> {
    let mut findings = Vec::new();
    for not in &status.not_listening {
        let text = format!("This node does not listen on {}: {}", not.address, not.reason);
        let advice =
            "Free the port, or choose another one with --port; nodes that dial it there cannot connect until then";
        findings.push(finding("not_listening", text, advice));
    }
    match status.multicast {
        Multicast::Unknown => {
            let why = status.multicast_failure.as_deref().unwrap_or("the reason is not known");
            let text = format!("This node cannot hear multicast DNS, so it finds no node by itself: {why}");
            let advice = "Another program may have UDP port 5353 for itself: let it share the port, or end it. Or name a node with --peer";
            findings.push(finding("multicast_deaf", text, advice));
        }
        Multicast::Silent if status.peers.is_empty() && status.uptime_seconds >= SILENCE_SECONDS => {
            let text = format!(
                "Nothing was heard from any other machine in {} s: multicast does not get through, or there is no other machine",
                status.uptime_seconds
            );
            let advice = "Start a node on another machine of this network. Let UDP port 5353 in through the firewalls; some Wi-Fi \
                          networks keep their devices apart. Or name a node with --peer";
            findings.push(finding("multicast_silent", text, advice));
        }
        _ => {}
    }
    findings.extend(status.troubles.iter().map(trouble));
    findings
}

fn trouble(trouble: &Trouble) -> Finding {
    let first = trouble.attempts.first();
    let address = first.map_or("", |attempt| attempt.address.as_str());
    let whom = trouble.display_name.as_deref().unwrap_or(address);
    let since = &trouble.since;
    let why = first.map_or(trouble.cause.as_str(), |attempt| attempt.text.as_str());
    let (text, advice) = match trouble.cause.as_str() {
        "same_identity" => (
            format!("Another machine has the identity of this node, at {address}: its data directory was copied"),
            "Stop one of the two, remove identity.key there, and start it once with --new-identity",
        ),
        "another_network" => (
            format!("{whom} belongs to another network (since {since})"),
            "Start both with the same --network, or remove its --peer address",
        ),
        "version" => (
            format!("{whom} runs a version with which this one cannot sync: {why} (since {since})"),
            "Update the older of the two",
        ),
        "not_a_node" | "another_identity" | "key_type" => (
            format!("Somebody else than {whom} answers at {address}: {why} (since {since})"),
            "Correct the --peer address",
        ),
        "refused" => (
            format!("{whom} cannot be reached {}: {why} (since {since})", by(trouble)),
            "Nobody listens at that port: start the node there, or correct the port",
        ),
        "no_route" | "host_unreachable" | "link_local" => (
            format!("{whom} cannot be reached {}: {why} (since {since})", by(trouble)),
            "Is that machine on, and in this network? Correct the --peer address if it is an old one",
        ),
        _ => (
            format!("{whom} cannot be reached {}: {why} (since {since})", by(trouble)),
            "Let its TCP and UDP port in through the firewall of that machine; it is the same number for both",
        ),
    };
    let code = match trouble.cause.as_str() {
        known @ ("same_identity" | "another_network" | "version") => known,
        "not_a_node" | "another_identity" | "key_type" => "another_peer",
        _ => "unreachable",
    };
    finding(code, text, advice)
}

/// By which transports it was tried.
fn by(trouble: &Trouble) -> &'static str {
    let is_udp = |address: &str| address.contains("/udp/");
    let udp = trouble.attempts.iter().any(|attempt| is_udp(&attempt.address));
    let tcp = trouble.attempts.iter().any(|attempt| !is_udp(&attempt.address));
    match (tcp, udp) {
        (true, true) => "by TCP or UDP",
        (false, true) => "by UDP",
        _ => "by TCP",
    }
}
