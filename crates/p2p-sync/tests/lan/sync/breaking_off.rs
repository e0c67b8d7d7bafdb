//! A copy that is broken off goes on from where it was, whichever side is killed.

use std::time::{Duration, Instant};

use p2p_sync_testbed::{Addresses, Lab, poll, wait_until};

use super::{Chance, count, fill, gist, measured, wait_equal};
use crate::support::{launch, seconds};

const VALUE_BYTES: usize = 100;
/// What a record costs on the way, with its key, timestamps and author, at most.
const RECORD_BYTES: u64 = 170;
/// What a restart costs at most: finding each other again, sketches, and the pages that were on their way.
const RESTART_BYTES: u64 = 3 << 19;
/// A store large enough for all the kills to fall into the middle of its copy.
const RECORDS: u64 = 200_000;
const KILLS: u64 = 20;

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn killed_again_and_again_in_the_middle_of_a_catch_up_it_goes_on_from_where_it_was() {
    let mut chance = Chance::drawn();
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let a = launch(&host_a, "a").start();
    a.stop();
    fill(&a, "k", RECORDS, VALUE_BYTES);
    let b = launch(&host_b, "b").start();
    a.restart();
    let start = Instant::now();
    let mut held = 0;
    for kill in 1..=KILLS {
        // Somewhere in its share of the way, so that there is something left for the next ones.
        let share = RECORDS / (KILLS + 1);
        let target = share * (kill - 1) + 1 + chance.below(share);
        wait_until(&format!("kill {kill}: past {target} records"), seconds(120), || {
            count(&b) >= target
        });
        let victim = if chance.below(2) == 0 { &a } else { &b };
        victim.kill9();
        let now = count(&b);
        assert!(now >= held, "kill {kill}: {now} records are left of {held}");
        assert!(now < RECORDS, "kill {kill}: it was over before, so nothing was tested");
        held = now;
        victim.restart();
        let now = count(&b);
        assert!(
            now >= held,
            "kill {kill}: {now} records are left of {held} after the restart"
        );
    }
    wait_until("all records are there", seconds(240), || count(&b) >= RECORDS);
    wait_equal("at the end", &[&a, &b], seconds(60));
    assert_eq!(gist(&b).records, RECORDS);
    let (received, _) = host_b.traffic_bytes();
    let limit = RECORDS * RECORD_BYTES + KILLS * RESTART_BYTES;
    measured(&format!(
        "{RECORDS} records with {KILLS} kills in {:?}, {received} bytes received of at most {limit}",
        start.elapsed()
    ));
    assert!(received < limit, "{received} bytes received for {RECORDS} records");
    // And it stays so.
    let moved = poll(Duration::from_secs(1), || (gist(&a) != gist(&b)).then_some(()));
    assert!(moved.is_none());
}
