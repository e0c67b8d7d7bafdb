//! Whether the peers and this node get through to each other: what firewalls do.

use super::finding;
use crate::report::{Finding, Status, Surroundings, Way, Ways};

pub(super) fn findings(status: &Status, around: &Surroundings) -> Vec<Finding> {
    around.ways.iter().flat_map(|ways| of_peer(ways, status.port)).collect()
}

/// Whether something is wrong with the way to a peer, so that other signs of the same need not be told.
pub(super) fn explains(ways: &Ways) -> bool {
    is_bad(ways.tcp_to) && is_bad(ways.udp_to)
}

fn is_bad(way: Way) -> bool {
    !matches!(way, Way::Through | Way::NotTried)
}

fn of_peer(ways: &Ways, port: u16) -> Vec<Finding> {
    let Ways {
        display_name: whom, at, ..
    } = ways;
    let cannot_go = explains(ways);
    let cannot_come = is_bad(ways.tcp_from) && is_bad(ways.udp_from);
    match (cannot_go, cannot_come) {
        (true, _) if !ways.connected => {
            let text = format!(
                "{whom} is on the LAN, but cannot be reached by TCP or UDP at {at}: {}",
                why(ways.tcp_to, ways.udp_to)
            );
            vec![finding(
                "unreachable",
                text,
                advice_to(whom, "TCP and UDP", ways.tcp_to),
            )]
        }
        (true, true) => {
            let text = format!(
                "{whom} is connected, but neither it nor this node can be reached by TCP or UDP any more: {}",
                why(ways.tcp_to, ways.udp_to)
            );
            vec![finding(
                "unreachable",
                text,
                advice_to(whom, "TCP and UDP", ways.tcp_to),
            )]
        }
        (true, false) => {
            let text = format!(
                "{whom} reaches this node, but this node does not reach {whom} by TCP or UDP at {at}: {}. They sync only while {whom} dials",
                why(ways.tcp_to, ways.udp_to)
            );
            vec![finding("one_way", text, advice_to(whom, "TCP and UDP", ways.tcp_to))]
        }
        (false, true) => {
            let text = format!(
                "This node reaches {whom}, but {whom} does not reach this node by TCP or UDP: {}. They sync only while this node dials",
                why(ways.tcp_from, ways.udp_from)
            );
            vec![finding(
                "one_way",
                text,
                advice_from(whom, "TCP and UDP", ways.tcp_from, port),
            )]
        }
        (false, false) => {
            let tcp = by("TCP", ways.tcp_to, ways.tcp_from, ways, port);
            tcp.into_iter()
                .chain(by("UDP", ways.udp_to, ways.udp_from, ways, port))
                .collect()
        }
    }
}

/// One transport does not get through, and the other does.
fn by(name: &str, to: Way, from: Way, ways: &Ways, port: u16) -> Option<Finding> {
    let Ways {
        display_name: whom, at, ..
    } = ways;
    let other = if name == "TCP" { "UDP" } else { "TCP" };
    let meanwhile = if ways.connected {
        format!("They sync by {other} all the same")
    } else {
        format!("By {other} it can")
    };
    let code = if name == "TCP" { "tcp_blocked" } else { "udp_blocked" };
    let (text, advice) = match (is_bad(to), is_bad(from)) {
        (false, false) => return None,
        (true, true) => (
            format!(
                "{whom} and this node do not reach each other by {name}: {}. {meanwhile}",
                word(to)
            ),
            format!(
                "Let {name} in and out through the firewalls of both machines, and what lies between: port {port} here, {at} there"
            ),
        ),
        (true, false) => (
            format!("{whom} cannot be reached by {name} at {at}: {}. {meanwhile}", word(to)),
            advice_to(whom, name, to),
        ),
        (false, true) => (
            format!("{whom} does not reach this node by {name}: {}. {meanwhile}", word(from)),
            advice_from(whom, name, from, port),
        ),
    };
    Some(finding(code, text, advice))
}

fn advice_to(whom: &str, name: &str, way: Way) -> String {
    match way {
        Way::Refused => {
            format!("Nobody listens there: look into the log of the node on {whom}, or whether its firewall refuses")
        }
        Way::NotPermitted => format!("The firewall of this machine does not let {name} out: allow it"),
        _ => {
            format!("Let its port in by {name} through the firewall of {whom}, and out through the one of this machine")
        }
    }
}

fn advice_from(whom: &str, name: &str, way: Way, port: u16) -> String {
    match way {
        Way::NotPermitted => format!("The firewall of {whom} does not let {name} out: allow it there"),
        _ => format!("Let {name} port {port} in through the firewall of this machine"),
    }
}

fn why(tcp: Way, udp: Way) -> String {
    if tcp == udp {
        word(tcp).to_owned()
    } else {
        format!("{} by TCP, {} by UDP", word(tcp), word(udp))
    }
}

fn word(way: Way) -> &'static str {
    match way {
        Way::Through => "it answers",
        Way::NoAnswer => "no answer",
        Way::Refused => "connection refused",
        Way::NoRoute => "no route, or the machine is off",
        Way::NotPermitted => "a firewall does not let it out",
        Way::NotTried => "not tried",
    }
}
