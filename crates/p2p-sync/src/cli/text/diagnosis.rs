//! What is wrong, one line for each finding, and what was looked at.

use super::facts::size;
use super::shown;
use crate::report::{Closed, Diagnosis, Examined, Finding, Interface, MulticastWay, Surroundings};

/// Everything that was found.
pub(super) fn text(diagnosis: &Diagnosis) -> String {
    let line = |finding: &Finding| format!("✗ {}. {}\n", shown(&finding.text), shown(&finding.advice));
    let mut text: String = diagnosis.findings.iter().map(line).collect();
    if diagnosis.findings.is_empty() {
        text.push_str("✓ Nothing wrong was found\n");
    }
    for line in looked_at(&diagnosis.examined) {
        text.push_str(&format!("  {}\n", shown(&line)));
    }
    text
}

fn looked_at(examined: &Examined) -> Vec<String> {
    let Examined {
        version,
        sqlite,
        descriptors,
        descriptors_open,
        store,
        surroundings: around,
        ..
    } = examined;
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), size);
    let closed = match around.closed {
        Closed::New => "new",
        Closed::Cleanly => "last closed cleanly",
        Closed::Killed => "last left by a kill or a power cut, which loses nothing that was acknowledged",
        Closed::Rescued => "rescued when it was opened",
    };
    let open = match (descriptors_open, descriptors) {
        (Some(open), Some(most)) => format!("; {open} of {most} files open"),
        (None, Some(most)) => format!("; {most} open files allowed"),
        _ => String::new(),
    };
    let mut lines = vec![
        format!("Program: p2p-sync {version}, SQLite {sqlite}{open}"),
        format!(
            "Store: {}, its log {}; {} free on the volume; {closed}",
            bytes(store.bytes),
            bytes(store.log_bytes),
            bytes(store.free_bytes)
        ),
    ];
    lines.extend(lan(around));
    lines.extend(peers(around));
    lines
}

fn lan(around: &Surroundings) -> Vec<String> {
    if !around.looked_around {
        return vec!["LAN: not looked at (--no-lan)".to_owned()];
    }
    let interfaces = around
        .interfaces
        .iter()
        .filter(|interface| !interface.loopback)
        .map(interface);
    let interfaces: Vec<String> = interfaces.collect();
    let multicast = if interfaces.is_empty() {
        "no interface".to_owned()
    } else {
        interfaces.join(", ")
    };
    let (ours, others): (Vec<_>, Vec<_>) = around
        .nodes
        .iter()
        .filter(|node| !node.here)
        .partition(|node| node.same_network);
    let nodes = match (ours.len(), others.len()) {
        (0, 0) => "no other node answers".to_owned(),
        (ours, 0) => format!("{ours} other {} answered", nodes(ours)),
        (ours, others) => format!(
            "{ours} other {} answered, and {others} of other networks or versions",
            nodes(ours)
        ),
    };
    let mut lines = vec![format!("LAN: multicast {multicast}; {nodes}")];
    if !around.port_5353.is_empty() {
        lines.push(format!("UDP port 5353 here also has: {}", around.port_5353.join(", ")));
    }
    if !around.responders.is_empty() {
        lines.push(format!(
            "Other multicast DNS programs answer at: {}",
            around.responders.join(", ")
        ));
    }
    lines
}

fn nodes(count: usize) -> &'static str {
    if count == 1 { "node" } else { "nodes" }
}

fn interface(interface: &Interface) -> String {
    let word = |way: MulticastWay| match way {
        MulticastWay::Works => "works",
        MulticastWay::Lost => "does not come back",
        MulticastWay::PortTaken => "has no port",
        MulticastWay::Unavailable => "is not available",
    };
    let name = &interface.name;
    match (interface.ipv4, interface.ipv6) {
        (Some(v4), Some(v6)) if v4 != v6 => format!("{} on {name} by IPv4, {} by IPv6", word(v4), word(v6)),
        (Some(way), _) | (None, Some(way)) => format!("{} on {name}", word(way)),
        (None, None) => format!("is not available on {name}"),
    }
}

fn peers(around: &Surroundings) -> Option<String> {
    let furthest = around
        .clocks
        .iter()
        .max_by(|one, other| one.ahead_seconds.abs().total_cmp(&other.ahead_seconds.abs()))?;
    let way = if furthest.ahead_seconds < 0.0 {
        "behind"
    } else {
        "ahead of"
    };
    let (count, ahead) = (around.clocks.len(), furthest.ahead_seconds.abs());
    Some(match count {
        1 => format!("Clock of {}: {ahead:.1} s {way} this one", furthest.display_name),
        _ => format!(
            "Clocks of {count} peers: the furthest, of {}, is {ahead:.1} s {way} this one",
            furthest.display_name
        ),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::report::examples;

    #[test]
    fn all_is_well_in_one_line_and_what_was_looked_at_in_a_few() {
        let told = text(&Diagnosis {
            findings: Vec::new(),
            examined: examples::examined(),
        });
        assert_eq!(
            told,
            "✓ Nothing wrong was found\n  \
             Program: p2p-sync 0.1.0, SQLite 3.54.1; 24 of 1024 files open\n  \
             Store: 1.2 MB, its log 0 B; 10.0 GB free on the volume; last closed cleanly\n  \
             LAN: multicast works on eth0; 1 other node answered\n  \
             UDP port 5353 here also has: avahi-daemon (process 12)\n  \
             Clock of kitchen: 0.1 s behind this one\n"
        );
    }

    #[test]
    fn a_finding_is_one_line_with_what_to_do_whatever_others_put_into_it() {
        let told = text(&Diagnosis {
            findings: vec![Finding {
                finding: "unreachable".to_owned(),
                text: "kit\u{1b}chen\n✓ is gone".to_owned(),
                advice: "Look after it".to_owned(),
            }],
            examined: examples::examined(),
        });
        let first = told.lines().next().unwrap();
        assert_eq!(first, "✗ kit\\u{1b}chen\\n✓ is gone. Look after it");
    }
}
