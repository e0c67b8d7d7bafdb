//! Peers that the node cannot reach, as far as the ways to them do not say it already.

use super::{finding, ways};
use crate::report::{Finding, NodeOnLan, Status, Surroundings, Trouble};

pub(super) fn findings(status: &Status, around: &Surroundings) -> Vec<Finding> {
    let is_told = |trouble: &&Trouble| {
        let of_peer = around
            .ways
            .iter()
            .find(|ways| Some(&ways.peer_id) == trouble.peer_id.as_ref());
        let is_silence = matches!(
            trouble.cause.as_str(),
            "no_answer" | "refused" | "no_route" | "host_unreachable" | "link_local" | "closed" | "other"
        );
        // What announces itself as another version is told as that.
        let is_other =
            |node: &NodeOnLan| node.peer_id.is_some() && node.peer_id == trouble.peer_id && node.version != "1";
        if is_silence && around.nodes.iter().any(is_other) {
            return true;
        }
        // Where somebody answers now, it is over.
        is_silence && of_peer.is_some_and(|of_peer| ways::explains(of_peer) || of_peer.connected)
    };
    let is_about_us = |trouble: &&Trouble| trouble.cause == "ourselves" && !trouble.configured;
    status
        .troubles
        .iter()
        .filter(|trouble| !is_told(trouble) && !is_about_us(trouble))
        .map(trouble)
        .collect()
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
        "ourselves" => (
            format!("The address {address} is this node's own"),
            "Remove that --peer address",
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
            "If that machine is off, nothing is wrong here. Otherwise: is it in this network? Correct the --peer address if it is an old one",
        ),
        _ => (
            format!("{whom} cannot be reached {}: {why} (since {since})", by(trouble)),
            "If that machine is off, nothing is wrong here. Otherwise let its TCP and UDP port in through its firewall; it is the same \
             number for both",
        ),
    };
    let code = match trouble.cause.as_str() {
        known @ ("same_identity" | "another_network" | "version" | "ourselves") => known,
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
