//! Nodes that are killed and come back, again and again, while somebody writes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use p2p_sync_testbed::{Addresses, Lab, Node, wait_until};

use crate::support::{PATIENCE, RECOVERY, launch, share_both_ways, wait_flow};

const TICK: &str = "tick";
/// How long the killed one stays away, in turn: shorter and longer than it takes the other to notice.
const AWAY: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(7),
];

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn killed_and_restarted_twenty_times_under_a_write_a_second() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let (a, b) = (launch(&host_a, "a").start(), launch(&host_b, "b").start());
    a.wait_linked(&b, PATIENCE);
    share_both_ways(&a, &b, "before");
    // One of the two has the smaller peer id and dials at once, the other waits: each has its turn.
    let ticks = AtomicU64::new(0);
    kill_and_restart(&b, &a, &ticks);
    kill_and_restart(&a, &b, &ticks);
}

/// Ten rounds of it.
fn kill_and_restart(victim: &Node, survivor: &Node, ticks: &AtomicU64) {
    let done = AtomicBool::new(false);
    let id = victim.peer_id();
    thread::scope(|scope| {
        // When a round fails, the ticking must end with it.
        let _end = Finally(&done);
        scope.spawn(|| tick(survivor, ticks, &done));
        for (round, away) in AWAY.iter().cycle().take(10).enumerate() {
            victim.kill9();
            thread::sleep(*away);
            let restarted_at = Instant::now();
            victim.restart();
            assert_eq!(victim.peer_id(), id);
            let tick_before = ticks.load(Ordering::SeqCst);
            let left = || RECOVERY.saturating_sub(restarted_at.elapsed());

            victim.wait_linked(survivor, left());
            wait_until(&format!("round {round}: a new tick has arrived"), left(), || {
                let tick = victim.get(TICK).and_then(|text| text.parse().ok());
                tick.is_some_and(|tick: u64| tick > tick_before)
            });
            wait_flow(victim, survivor, &format!("round {round}"), left());
        }
    });
}

struct Finally<'a>(&'a AtomicBool);

impl Drop for Finally<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Writes the next number once a second, until it is told that all is done.
fn tick(node: &Node, ticks: &AtomicU64, done: &AtomicBool) {
    let start = Instant::now();
    for count in 1.. {
        let tick = ticks.fetch_add(1, Ordering::SeqCst) + 1;
        node.add(TICK, &tick.to_string());
        let next = start + Duration::from_secs(count);
        while Instant::now() < next {
            if done.load(Ordering::SeqCst) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
