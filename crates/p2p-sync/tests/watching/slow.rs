//! A watcher that reads one line a second costs the node no memory, and the others no time.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use p2p_sync_testbed::Value;

use super::LINES;
use super::client::{Api, Lines};

const SLOW: usize = 10;
const ROUNDS: usize = 200;

/// Writes, and waits each time until a watcher has heard of it; returns how long all of that took.
fn rounds(api: &Api, quick: &mut Lines) -> Duration {
    let begun = Instant::now();
    for round in 0..ROUNDS {
        let value = format!("{:x<65000}", begun.elapsed().as_nanos());
        api.put(&format!("/v1/kv/{round}"), value.as_bytes()).expect(200);
        let told: Value = quick.next().unwrap().parse().unwrap();
        assert_eq!(told["value"].as_str(), Some(value.as_str()), "{}", told["key"]);
    }
    begun.elapsed()
}

#[test]
fn whoever_reads_a_line_a_second_costs_no_memory_and_nobody_time() {
    let api = Api::start();
    let mut quick = api.follow("/v1/watch?since=now", &[LINES]);
    assert!(quick.next().unwrap().contains("ready"));
    // The first time is slower than the second, which is the one to compare with.
    rounds(&api, &mut quick);
    let alone = rounds(&api, &mut quick);
    let before = api.node.process().memory_peak_bytes();
    let (over, slow): (Vec<_>, Vec<_>) = (0..SLOW)
        .map(|_| {
            let mut lines = api.follow("/v1/watch", &[LINES]);
            assert!(lines.next().unwrap().contains("put"));
            let (over, is_over) = sync_channel::<()>(1);
            let reading = thread::spawn(move || {
                let mut read = 0;
                while is_over.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                    lines.next().unwrap();
                    read += 1;
                }
                read
            });
            (over, reading)
        })
        .unzip();
    let beside = rounds(&api, &mut quick);
    let grown = api.node.process().memory_peak_bytes().saturating_sub(before);
    drop(over);
    let read: usize = slow.into_iter().map(|slow| slow.join().unwrap()).sum();
    println!("{alone:?} alone, {beside:?} beside slow watchers, which read {read} lines; {grown} bytes more");
    // Each has 13 MB before it, and about three values at hand.
    assert!(grown < SLOW as u64 * (2 << 20), "{grown} bytes");
    assert!(
        beside < 3 * alone + Duration::from_secs(2),
        "{beside:?} in place of {alone:?}"
    );
}
