//! Whose clock is wrong: the one that is far from those of most nodes.

use super::{finding, listed, records};
use crate::report::{Finding, PeerClock, Status, Surroundings};

/// How far clocks may differ, in seconds.
const DIFFERENCE_MAX: f64 = 5.0;

const ADVICE: &str =
    "Let it set its clock from a time server; writes that are dated too far ahead wait on the other nodes";

pub(super) fn findings(status: &Status, around: &Surroundings) -> Vec<Finding> {
    let mut findings = differences(&around.clocks);
    let ahead = status.sync.ahead.records;
    if ahead > 0 {
        let (are, they) = if ahead == 1 {
            ("is", "it was")
        } else {
            ("are", "they were")
        };
        let text = format!(
            "{} here {are} dated so far ahead that other nodes do not accept them yet: some clock was wrong when {they} written",
            records(ahead)
        );
        findings.push(finding(
            "dated_ahead",
            text,
            "Once the clock of this machine is right, run p2p-sync repair-clock",
        ));
    }
    findings
}

fn differences(clocks: &[PeerClock]) -> Vec<Finding> {
    // What cannot be told apart from a difference that is allowed is none.
    let ahead = |clock: &PeerClock, of: f64| {
        let ahead = clock.ahead_seconds - of;
        (ahead.abs() - clock.within_seconds.unwrap_or_default() > DIFFERENCE_MAX).then_some(ahead)
    };
    let mut all: Vec<f64> = clocks.iter().map(|clock| clock.ahead_seconds).chain([0.0]).collect();
    all.sort_by(f64::total_cmp);
    let median = all.get((all.len() - 1) / 2).copied().unwrap_or_default();
    let agree = all
        .iter()
        .filter(|clock| (**clock - median).abs() <= DIFFERENCE_MAX)
        .count();
    let differ = |of: f64| clocks.iter().filter_map(move |clock| Some((clock, ahead(clock, of)?)));
    if agree * 2 <= all.len() {
        let told = differ(0.0).map(|(clock, ahead)| format!("{} is {}", clock.display_name, apart(ahead, "this one")));
        let told: Vec<String> = told.collect();
        if told.is_empty() {
            return Vec::new();
        }
        let text = format!(
            "Clocks differ, and which of them are wrong is not known: that of {}",
            listed(told)
        );
        let advice = "Let each machine set its clock from a time server; writes that are dated too far ahead wait on the other nodes";
        return vec![finding("clock", text, advice)];
    }
    let mut findings = Vec::new();
    if median.abs() > DIFFERENCE_MAX {
        let text = format!("The clock of this machine is {}", apart(-median, "those of most nodes"));
        findings.push(finding("clock_here", text, ADVICE));
    }
    findings.extend(differ(median).map(|(clock, ahead)| {
        let text = format!(
            "The clock of {} is {}",
            clock.display_name,
            apart(ahead, "those of most nodes")
        );
        finding("clock", text, ADVICE)
    }));
    findings
}

fn apart(ahead: f64, of: &str) -> String {
    let way = if ahead > 0.0 { "ahead of" } else { "behind" };
    format!("{:.0} s {way} {of}", ahead.abs())
}
