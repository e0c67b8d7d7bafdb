//! The store, and whether it is equal to those of the others.

use bytesize::ByteSize;

use super::{finding, records, time};
use crate::report::{Closed, Finding, StandingState, Status, Surroundings, SyncPeer, SyncState};

/// Free space below which there is soon too little.
const FREE_BYTES_MIN: u64 = 256 << 20;
/// A log that is larger is not emptied any more.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// For how long two nodes may differ with nothing moving, in seconds: they compare at least once a minute.
const UNEQUAL_MAX_SECONDS: u64 = 75;

pub(super) fn findings(status: &Status, around: &Surroundings) -> Vec<Finding> {
    let mut findings = Vec::new();
    if around.closed == Closed::Rescued {
        let text = "The store was damaged when it was opened: what could be read was copied into a new file, and the rest comes from \
                    other nodes that have it";
        let advice = "Check the disk and the memory of this machine. Keep the damaged file beside the store until all nodes are equal";
        findings.push(finding("rescued", text, advice));
    }
    if status.sync.state == SyncState::OutOfOrder {
        let advice =
            "Look into the log of the node for the reason, and whether the disk is sound; it tries again by itself";
        findings.push(finding(
            "out_of_order",
            "The store cannot be used, and sync waits for it",
            advice,
        ));
    }
    if status.sync.repaired > 0 {
        let (faults, were) = if status.sync.repaired == 1 {
            ("fault", "was")
        } else {
            ("faults", "were")
        };
        let text = format!(
            "{} {faults} in the store {were} repaired since the start",
            status.sync.repaired
        );
        let advice = "Check the disk and the memory of this machine, and whether another program writes to the store";
        findings.push(finding("repaired", text, advice));
    }
    let free = status.store.free_bytes;
    if status.sync.full {
        let text = "There is too little space for what other nodes send, so this node does not take it";
        findings.push(finding(
            "no_room",
            text,
            "Free some of the volume, or raise --max-store; the rest comes by itself then",
        ));
    } else if let Some(free) = free.filter(|free| *free < FREE_BYTES_MIN) {
        let text = format!("Only {} of the volume are free", ByteSize(free).display().si());
        findings.push(finding(
            "little_room",
            text,
            "Free some of it: on a full disk, nothing can be stored",
        ));
    }
    if let Some(log) = status.store.log_bytes.filter(|log| *log > LOG_BYTES_MAX) {
        let text = format!(
            "The log of the store has {}: something reads the file without an end",
            ByteSize(log).display().si()
        );
        findings.push(finding(
            "log",
            text,
            "End other programs that have the store open, and exports that are not read",
        ));
    }
    findings.extend(status.sync.peers.iter().filter_map(|peer| of_peer(peer, status)));
    findings
}

/// Why this node and a peer are not equal, if that will not pass by itself.
fn of_peer(peer: &SyncPeer, status: &Status) -> Option<Finding> {
    let whom = &peer.synced.display_name;
    let standing = &peer.synced.standing;
    let since = peer
        .unequal_seconds
        .map_or_else(String::new, |seconds| format!(", for {}", time(seconds)));
    match standing.state {
        StandingState::NoRoomThere => {
            let text = format!(
                "{whom} has no room for {} of this node{since}",
                records(standing.waiting)
            );
            let advice = "Free some of the volume there, or raise --max-store there; the rest comes by itself then";
            Some(finding("no_room_there", text, advice))
        }
        StandingState::Waiting => {
            let wait = match standing.waiting {
                1 => "waits until it is due, because it is dated ahead",
                _ => "wait until they are due, because they are dated ahead",
            };
            let text = format!(
                "{} between this node and {whom} {wait}{since}",
                records(standing.waiting)
            );
            let advice = "Correct the clock of the machine that wrote them, and run p2p-sync repair-clock there";
            Some(finding("waiting", text, advice))
        }
        StandingState::Differs | StandingState::Unknown => stuck(peer, status),
        // While a session runs, nobody knows how it ends.
        _ => None,
    }
}

/// Two nodes differ, and nothing moves.
fn stuck(peer: &SyncPeer, status: &Status) -> Option<Finding> {
    let whom = &peer.synced.display_name;
    let seconds = peer.unequal_seconds.filter(|seconds| *seconds >= UNEQUAL_MAX_SECONDS)?;
    let moved = |last: &crate::report::Last| last.records_sent + last.records_changed > 0;
    if peer.synced.last.as_ref().is_some_and(moved) || !status.sync.ready || status.sync.full {
        return None;
    }
    let standing = &peer.synced.standing;
    let how_far = match (standing.ahead, standing.behind) {
        (0, 0) => format!("{whom} and this node are not equal"),
        (ahead, 0) => format!("{whom} lacks {}", records(ahead)),
        (0, behind) => format!("This node lacks {} of {whom}", records(behind)),
        (ahead, behind) => format!(
            "{whom} lacks {}, and this node {} of {whom}",
            records(ahead),
            records(behind)
        ),
    };
    let (why, advice) = match peer.hindrance.as_deref() {
        Some("busy") => (
            "the other side has no free place for a session",
            "It has many peers to serve: wait",
        ),
        Some("refused") => (
            "what it sent broke the rules of the sync and was refused",
            "Update the older of the two; the log of this node says which rule it was",
        ),
        Some("slow") => (
            "its sessions were too slow, and were ended so that others have their turn",
            "Look at the network between the two, and at the load of both machines",
        ),
        Some(_) => (
            "their sessions break off",
            "Look into the logs of both nodes, and at the network between them",
        ),
        None => (
            "nothing was exchanged in the last session",
            "Look into the logs of both nodes; p2p-sync verify checks the store",
        ),
    };
    let text = format!("{how_far}, for {}: {why}", time(seconds));
    Some(finding("not_in_sync", text, advice))
}
