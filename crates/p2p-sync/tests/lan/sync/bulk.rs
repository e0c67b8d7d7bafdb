//! A very long absence: the bulk costs little memory and does not hold up what is written now.

use std::time::Instant;

use p2p_sync_testbed::{Addresses, Lab, poll, wait_until};

use super::{count, fill, full, gist, measured, wait_sync_ready};
use crate::support::{PATIENCE, launch, seconds};

const MEMORY_MAX_BYTES: u64 = 200 * 1024 * 1024;
const VALUE_BYTES: usize = 100;

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn while_a_million_records_are_caught_up_with_memory_is_small_and_a_fresh_write_arrives_in_a_second() {
    let records = if full() { 1_000_000 } else { 400_000 };
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let a = launch(&host_a, "a").start();
    a.stop();
    fill(&a, "k", records, VALUE_BYTES);
    let start = Instant::now();
    a.restart();
    measured(&format!(
        "ready for commands {:?} after the start with {records} records",
        start.elapsed()
    ));
    wait_sync_ready(&a);
    let b = launch(&host_b, "b").start();
    let start = Instant::now();
    a.wait_linked(&b, PATIENCE);
    wait_until("the bulk runs", PATIENCE, || count(&b) > 1_000);

    let mut slowest = seconds(0);
    let mut fresh = 0;
    // What shares a transaction is not seen before that is committed, and a fresh write has it committed.
    while count(&b) < records / 2 {
        let (key, value) = (format!("fresh {fresh}"), format!("{fresh}"));
        a.add(&key, &value);
        slowest = slowest.max(b.wait_value(&key, &value, seconds(1)));
        assert!(count(&b) < records, "the bulk was over before, so nothing was tested");
        fresh += 1;
        // Now and then, not as fast as it goes: the bulk is to have its share.
        poll(seconds(1), || None::<()>);
    }
    assert!(fresh >= 2, "the bulk was over too soon, nothing was tested");
    wait_until("all records are there", seconds(600), || count(&b) >= records + fresh);
    let took = start.elapsed();
    let equal = poll(seconds(30), || (gist(&a) == gist(&b)).then_some(()));
    assert!(equal.is_some());
    let memory = [&a, &b].map(|node| node.process().memory_peak_bytes());
    measured(&format!(
        "{records} records in {took:?}; the slowest of {fresh} fresh writes took {slowest:?}; most memory {} and {} MiB",
        memory[0] >> 20,
        memory[1] >> 20
    ));
    for bytes in memory {
        assert!(bytes < MEMORY_MAX_BYTES, "{bytes} bytes of memory");
    }
}
