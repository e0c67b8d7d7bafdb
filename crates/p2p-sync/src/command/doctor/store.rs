//! The store, and whether it is equal to those of the others.

use bytesize::ByteSize;

use super::finding;
use crate::report::{Finding, StandingState, Status, SyncState};

/// Free space below which there is soon too little.
const FREE_BYTES_MIN: u64 = 256 << 20;
/// A log that is larger is not emptied any more.
const LOG_BYTES_MAX: u64 = 64 << 20;

pub(super) fn findings(status: &Status) -> Vec<Finding> {
    let mut findings = Vec::new();
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
        let text = format!(
            "{} faults in the store were repaired since the start",
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
    for peer in &status.sync.peers {
        let whom = &peer.synced.display_name;
        let standing = &peer.synced.standing;
        let last = peer.synced.last.as_ref().map_or_else(
            || "no session with it has completed".to_owned(),
            |last| format!("the last session with it ended at {}", last.at),
        );
        if standing.state == StandingState::NoRoomThere {
            let text = format!(
                "{whom} has no room for {} records of this node; {last}",
                standing.waiting
            );
            findings.push(finding(
                "no_room_there",
                text,
                "Free some of the volume there; the rest comes by itself then",
            ));
        }
        if standing.state == StandingState::Waiting {
            let text = format!(
                "{} records wait with {whom} until they are due: they are dated ahead; {last}",
                standing.waiting
            );
            findings.push(finding(
                "waiting",
                text,
                "Correct the clock of the machine that wrote them, and run repair-clock there",
            ));
        }
    }
    findings
}
