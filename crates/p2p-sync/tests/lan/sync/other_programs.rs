//! Other programs that work on the file of a running node: rows that they add become records everywhere, and tables of their own
//! are no business of the sync.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use p2p_sync_testbed::{Addresses, Lab, Node, poll, wait_until};

use super::{count, fill, full, measured, standing, wait_equal, wait_in_sync, wait_sync_ready};
use crate::support::{PATIENCE, launch, seconds};

/// Another program's connection to the file of a node.
fn shell(node: &Node) -> rusqlite::Connection {
    let other = rusqlite::Connection::open(node.data_dir().join("store.db")).unwrap();
    other.busy_timeout(seconds(10)).unwrap();
    other
}

/// Adds rows with what another program can know of them.
fn add_rows(node: &Node, prefix: &str, rows: u64) {
    let sql = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
        INSERT INTO kv_store (key, value, timestamp, author)
        SELECT '{prefix} ' || i, 'theirs', 1700000000000000000 + i, '{}' FROM n",
        node.peer_id()
    );
    shell(node).execute_batch(&sql).unwrap();
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn rows_that_another_program_adds_become_records_everywhere() {
    let many = if full() { 1_000_000 } else { 20_001 };
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let (a, b) = (launch(&host_a, "a").start(), launch(&host_b, "b").start());
    a.wait_linked(&b, PATIENCE);
    a.add("ours", "v");
    wait_equal("at first", &[&a, &b], PATIENCE);

    add_rows(&a, "running", many);
    let start = Instant::now();
    let patience = seconds(60 + many / 2_000);
    wait_until("those added while it runs", patience, || count(&b) > many);
    wait_equal("those added while it runs", &[&a, &b], PATIENCE);
    wait_in_sync(&a, &b, PATIENCE);
    measured(&format!(
        "{many} rows of another program: in sync after {:?}",
        start.elapsed()
    ));

    a.stop();
    add_rows(&a, "stopped", 1_001);
    a.restart();
    wait_equal("those added while it is stopped", &[&a, &b], PATIENCE);
    wait_in_sync(&a, &b, PATIENCE);

    for node in [&a, &b] {
        let verdict = node.json("verify --json");
        assert_eq!(
            (&verdict["damaged"], &verdict["records"], &verdict["summary_was_right"]),
            (&0.into(), &(many + 1_001 + 1).into(), &true.into()),
            "{}: {verdict}",
            node.label()
        );
    }
    // Nothing is left that sessions would move again and again.
    let last = poll(PATIENCE, || {
        a.json("sync --json");
        // It is not there while the two reconnect.
        let last = standing(&a, &b)?["last"].clone();
        last.is_object().then_some(last)
    });
    let last = last.expect("a session with the other node");
    assert_eq!(
        (&last["records_sent"], &last["records_changed"]),
        (&0.into(), &0.into()),
        "{last}"
    );
}

/// As the replication tool Litestream does, which keeps its place in tables of its own; far more often than that, because the copy of
/// the records takes less than a second.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_tool_that_keeps_its_books_in_the_same_file_does_not_hold_up_the_sync() {
    let records = if full() { 300_000 } else { 30_000 };
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let a = launch(&host_a, "a").start();
    a.stop();
    fill(&a, "k", records, 50);
    let tool = shell(&a);
    tool.execute_batch(
        "CREATE TABLE IF NOT EXISTS _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER);
        CREATE TABLE IF NOT EXISTS _litestream_lock (id INTEGER)",
    )
    .unwrap();
    a.restart();
    wait_sync_ready(&a);
    let (over, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let thread = std::thread::spawn({
        let (over, written) = (Arc::clone(&over), Arc::clone(&written));
        move || {
            while !over.load(Ordering::Relaxed) {
                let book =
                    "INSERT INTO _litestream_seq (id, seq) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET seq = seq + 1";
                tool.execute_batch(book).unwrap();
                written.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
    let b = launch(&host_b, "b").start();
    a.wait_linked(&b, PATIENCE);
    wait_until("all records are there", seconds(120), || count(&b) >= records);
    for round in 0..5 {
        let (key, value) = (format!("fresh {round}"), format!("{round}"));
        a.add(&key, &value);
        b.wait_value(&key, &value, seconds(5));
        assert_eq!(a.status()["sync"]["ready"], true);
    }
    wait_equal("beside the tool", &[&a, &b], PATIENCE);
    wait_in_sync(&a, &b, PATIENCE);
    wait_until("the tool has written often enough", PATIENCE, || {
        written.load(Ordering::Relaxed) > 10
    });
    over.store(true, Ordering::Relaxed);
    thread.join().unwrap();
    let read_again = a.stderr().count(0, "checking them all") + a.stderr().count(0, "Rebuilt the summary");
    assert_eq!(read_again, 0, "tables of another program are none of ours");
}
