//! Clocks that are wrong, and that are set right: who is wrong is told, nothing is refused in silence, and what is written
//! after the correction arrives at once.

use std::time::Duration;

use p2p_sync_core::Timestamp;
use p2p_sync_testbed::{Addresses, FakeClock, Lab, Node, Value, poll, wait_until};

use super::{SOON, add_all, measured, now, standing, wait_equal, wait_in_sync, wait_status};
use crate::support::{PATIENCE, launch, seconds};

const MINUTE: f64 = 60.0;
const YEAR: f64 = 365.0 * 24.0 * 3600.0;
/// How far ahead others accept a record.
const ACCEPTED: Duration = Duration::from_secs(120);

struct Pair {
    a: Node,
    b: Node,
    clock_a: FakeClock,
    clock_b: FakeClock,
    _lab: Lab,
}

/// Two nodes that are linked, `b` with a clock that is wrong by so much from its start on.
fn pair(b_ahead: f64) -> Pair {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let (clock_a, clock_b) = (FakeClock::new(), FakeClock::new());
    clock_b.set_ahead(b_ahead);
    let a = launch(&host_a, "a").clock(&clock_a).start();
    let b = launch(&host_b, "b").clock(&clock_b).start();
    a.wait_linked(&b, PATIENCE);
    Pair {
        a,
        b,
        clock_a,
        clock_b,
        _lab: lab,
    }
}

impl Pair {
    /// Each is told how far the other's clock is from its own.
    #[track_caller]
    fn wait_offset_told(&self, b_ahead: f64) {
        for (node, peer, ahead) in [(&self.b, &self.a, -b_ahead), (&self.a, &self.b, b_ahead)] {
            let mut last = Value::Null;
            let told = poll(PATIENCE, || {
                last = standing(node, peer)?["clock_ahead_seconds"].clone();
                last.as_f64().filter(|told| (told - ahead).abs() < 10.0)
            });
            assert!(told.is_some(), "{} says {last} and not {ahead}", node.label());
            let text = node.lines("status").join("\n");
            let words = if ahead > 0.0 {
                "ahead of this one"
            } else {
                "behind this one"
            };
            assert!(ahead.abs() < 1.5 || text.contains(words), "{text}");
        }
    }

    /// A write each way, of keys that nobody has written before, arrives at once.
    #[track_caller]
    fn assert_new_writes_pass(&self, what: &str) {
        for (from, to) in [(&self.a, &self.b), (&self.b, &self.a)] {
            let key = format!("{what} by {}", from.label());
            from.add(&key, "v");
            let took = to.wait_value(&key, "v", SOON);
            measured(&format!("{key}: there after {took:?}"));
        }
    }

    /// `b` writes what nobody else takes yet. Both say that it waits: by the clock of `b` itself nothing is wrong with it.
    /// Returns when it was written, as `b` has it.
    #[track_caller]
    fn write_held_back(&self, key: &str) -> Timestamp {
        let record = self.b.json(&format!("add --json {key} v"));
        wait_until("both say that something waits", PATIENCE, || {
            [(&self.b, &self.a), (&self.a, &self.b)].iter().all(|(node, peer)| {
                standing(node, peer).is_some_and(|one| one["state"] == "waiting" && one["waiting"] == 1)
            })
        });
        assert_eq!(self.a.get(key), None);
        let text = self.b.lines("status").join("\n");
        assert!(text.contains("1 not due yet"), "{text}");
        timestamp(&record["timestamp"])
    }

    /// `b`, whose clock is right again, lists what it wrote as dated ahead, with the time at which others take it.
    #[track_caller]
    fn assert_listed(&self, key: &str, written: Timestamp, what: &str) {
        let ahead = wait_status(&self.b, "/sync/ahead", SOON, |ahead| ahead["records"] == 1);
        assert_eq!(ahead["first"][0]["key"], key, "{what}: {ahead}");
        let early = written.saturating_since(timestamp(&ahead["first"][0]["due"]));
        assert_eq!(early, ACCEPTED, "{what}: {written} is listed as {ahead}");
        let text = self.b.lines("status").join("\n");
        assert!(text.contains(&format!("{key} (due ")), "{what}: {text}");
        assert_eq!(self.b.get(key).as_deref(), Some("v"), "{what}");
        assert_eq!(self.a.get(key), None, "{what}");
    }
}

fn timestamp(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// Whether a node has counted something as too far ahead of its clock, by gossip or by sync.
fn counts_future(node: &Node) -> bool {
    let status = node.status();
    let mut causes = [&status["dropped"], &status["sync"]["refused"]]
        .into_iter()
        .flat_map(|list| list.as_array().unwrap());
    causes.any(|one| one["cause"].as_str().unwrap().contains("ahead"))
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_clock_that_is_fast_by_less_than_two_minutes_holds_nothing_up() {
    let pair = pair(50.0);
    pair.assert_new_writes_pass("fast by 50 s");
    pair.wait_offset_told(50.0);
    pair.clock_b.set_ahead(110.0);
    pair.assert_new_writes_pass("fast by 110 s");
    // By sync as well as by gossip.
    pair.b.lines("sync");
    pair.wait_offset_told(110.0);
    pair.a.stop();
    add_all(
        &pair.b,
        (0..50).map(|number| (format!("while a was stopped {number}"), "v".to_owned())),
    );
    pair.a.restart();
    pair.a.wait_linked(&pair.b, PATIENCE);
    wait_equal("fast by 110 s", &[&pair.a, &pair.b], SOON);
    wait_in_sync(&pair.a, &pair.b, PATIENCE);
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn what_is_dated_nine_minutes_ahead_waits_and_is_taken_when_it_is_due() {
    let pair = pair(9.0 * MINUTE);
    pair.write_held_back("early");
    pair.wait_offset_told(9.0 * MINUTE);
    assert!(counts_future(&pair.a), "{}", pair.a.status());
    // Time passes, for both.
    let passed = 9.0 * MINUTE - ACCEPTED.as_secs_f64() + 5.0;
    pair.clock_b.set_ahead(9.0 * MINUTE + passed);
    pair.clock_a.set_ahead(passed);
    let took = pair.a.wait_value("early", "v", seconds(10));
    measured(&format!("taken {took:?} after it was due"));
    wait_equal("when it is due", &[&pair.a, &pair.b], SOON);
    wait_in_sync(&pair.a, &pair.b, PATIENCE);
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn after_a_clock_that_was_nine_minutes_fast_is_set_right_what_it_dated_is_listed_and_taken_when_due() {
    let pair = pair(9.0 * MINUTE);
    let written = pair.write_held_back("early");
    pair.clock_b.set_ahead(0.0);
    pair.assert_new_writes_pass("set right");
    pair.assert_listed("early", written, "set right");
    let passed = 9.0 * MINUTE - ACCEPTED.as_secs_f64() + 5.0;
    pair.clock_b.set_ahead(passed);
    pair.clock_a.set_ahead(passed);
    let took = pair.a.wait_value("early", "v", seconds(10));
    measured(&format!("taken {took:?} after it was due"));
    wait_in_sync(&pair.a, &pair.b, PATIENCE);
    wait_status(&pair.b, "/sync/ahead/records", SOON, |records| *records == 0);
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn after_a_clock_that_was_a_year_fast_is_set_right_all_new_writes_pass_and_the_old_ones_wait() {
    let pair = pair(YEAR);
    pair.a.add("before", "v");
    pair.b.wait_value("before", "v", SOON);
    let written = pair.write_held_back("early");
    pair.wait_offset_told(YEAR);
    pair.clock_b.set_ahead(0.0);
    for round in 0..3 {
        pair.assert_new_writes_pass(&format!("set right, {round}"));
    }
    pair.b.lines("sync");
    pair.wait_offset_told(0.0);
    pair.assert_listed("early", written, "set right");
    pair.b.stop();
    pair.b.restart();
    pair.a.wait_linked(&pair.b, PATIENCE);
    pair.assert_new_writes_pass("after a restart");
    pair.assert_listed("early", written, "after a restart");
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_clock_in_january_1970_is_told_and_after_it_is_set_right_everything_is_there() {
    let since_1970 = now().as_nanos() as f64 / 1e9;
    let ten_days = 10.0 * 24.0 * 3600.0;
    let wrong = ten_days - since_1970;
    let pair = pair(wrong);
    pair.b.add("written in 1970", "v");
    pair.a.wait_value("written in 1970", "v", SOON);
    add_all(
        &pair.a,
        (0..20).map(|number| (format!("written now {number}"), "v".to_owned())),
    );
    pair.wait_offset_told(wrong);
    wait_until("what is not taken is counted", PATIENCE, || counts_future(&pair.b));
    assert_eq!(pair.b.get("written now 0"), None);
    pair.clock_b.set_ahead(0.0);
    let took = wait_equal("set right", &[&pair.a, &pair.b], seconds(10));
    measured(&format!("equal {took:?} after the clock was set right"));
    pair.assert_new_writes_pass("set right");
    pair.wait_offset_told(0.0);
}
