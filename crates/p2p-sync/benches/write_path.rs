//! What an acknowledged write costs, beside raw SQLite doing the same inserts into the same table with the same indexes and
//! pragmas in the same run. Rounds alternate between the two, because a shared machine is never twice as fast as itself.
//!
//! `cargo bench --bench write_path [-- ROUNDS]`

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

use std::time::{Duration, Instant};

use p2p_sync::Node;

mod support;

use support::{VALUE_BYTES, key, median, raw};

const SINGLE: u64 = 2_000;
const WRITERS: u64 = 64;
const WRITES_EACH: u64 = 100;

fn main() {
    let rounds: usize = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(7);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (mut single, mut grouped) = (Vec::new(), Vec::new());
    println!("round | raw 1/tx | node 1 writer | ratio | raw 64/tx | node 64 writers | ratio   (rows a second)");
    for round in 1..=rounds {
        let raw_single = rate(SINGLE, || raw(SINGLE, 1));
        let node_single = rate(SINGLE, || runtime.block_on(node(1, SINGLE)));
        let total = WRITERS * WRITES_EACH;
        let raw_grouped = rate(total, || raw(total, WRITERS));
        let node_grouped = rate(total, || runtime.block_on(node(WRITERS, WRITES_EACH)));
        single.push(node_single / raw_single);
        grouped.push(node_grouped / raw_grouped);
        println!(
            "{round:5} | {raw_single:8.0} | {node_single:13.0} | {:5.2} | {raw_grouped:9.0} | {node_grouped:15.0} | {:5.2}",
            node_single / raw_single,
            node_grouped / raw_grouped
        );
    }
    println!(
        "median ratio: one writer {:.2} (at least 0.70), {WRITERS} writers {:.2} (at least 0.50)",
        median(&mut single),
        median(&mut grouped)
    );
}

fn rate(rows: u64, work: impl FnOnce() -> Duration) -> f64 {
    rows as f64 / work().as_secs_f64()
}

/// Writers that each wait for the acknowledgement of one put before the next.
async fn node(writers: u64, each: u64) -> Duration {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::builder(directory.path())
        .port(0)
        .lan(false)
        .start()
        .await
        .unwrap();
    let start = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let node = node.clone();
            tokio::spawn(async move {
                for n in writer * each..(writer + 1) * each {
                    node.put(key(n), &[b'v'; VALUE_BYTES]).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let elapsed = start.elapsed();
    node.stop().await;
    elapsed
}
