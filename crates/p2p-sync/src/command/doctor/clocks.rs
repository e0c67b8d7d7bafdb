//! Whose clock is wrong: the one that is far from the median of all.

use super::finding;
use crate::report::{Finding, Status};

/// How far clocks may differ, in seconds: an estimate from one message is not exact.
const DIFFERENCE_MAX: f64 = 5.0;

pub(super) fn findings(status: &Status) -> Vec<Finding> {
    let clocks: Vec<(&str, f64)> = (status.sync.peers.iter())
        .filter_map(|peer| Some((peer.synced.display_name.as_str(), peer.clock_ahead_seconds?)))
        .collect();
    let advice = "Let it set its clock from a time server; writes that are dated too far ahead wait on the other nodes";
    let mut findings = Vec::new();
    if let [(peer, ahead)] = clocks.as_slice() {
        if ahead.abs() > DIFFERENCE_MAX {
            let text = format!(
                "The clock of {peer} is {}, and which of the two is wrong is not known",
                apart(*ahead, "this one")
            );
            findings.push(finding("clock", text, advice));
        }
    } else {
        let mut all: Vec<f64> = clocks.iter().map(|(_, ahead)| *ahead).chain([0.0]).collect();
        all.sort_by(f64::total_cmp);
        let median = all.get(all.len() / 2).copied().unwrap_or_default();
        if median.abs() > DIFFERENCE_MAX {
            let text = format!("The clock of this machine is {}", apart(-median, "those of most nodes"));
            findings.push(finding("clock_here", text, advice));
        }
        for (peer, ahead) in clocks {
            if (ahead - median).abs() > DIFFERENCE_MAX {
                let text = format!(
                    "The clock of {peer} is {}",
                    apart(ahead - median, "those of most nodes")
                );
                findings.push(finding("clock", text, advice));
            }
        }
    }
    if status.sync.ahead.records > 0 {
        let text = format!(
            "{} records here are dated so far ahead that other nodes do not accept them yet: some clock was wrong when they were written",
            status.sync.ahead.records
        );
        findings.push(finding(
            "dated_ahead",
            text,
            "Once the clock of this machine is right, run repair-clock",
        ));
    }
    findings
}

fn apart(ahead: f64, of: &str) -> String {
    let way = if ahead > 0.0 { "ahead of" } else { "behind" };
    format!("{:.0} s {way} {of}", ahead.abs())
}
