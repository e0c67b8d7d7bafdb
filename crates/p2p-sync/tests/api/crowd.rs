//! Many watchers, and slow ones.

use std::io::Write;
use std::net::TcpStream;

use p2p_sync_testbed::wait_until;

use super::client::{Api, Lines, PATIENCE, raise_descriptor_limit};

const LINES: (&str, &str) = ("Accept", "application/x-ndjson");

#[test]
fn a_thousand_watchers_hear_of_a_change() {
    let allowed = raise_descriptor_limit();
    let count = 1_000.min(allowed.saturating_sub(200) / 2);
    assert!(count >= 400, "{allowed} descriptors are too few");
    let api = Api::start();
    let mut watchers: Vec<Lines> = (0..count)
        .map(|_| api.follow("/v1/watch?since=now", &[LINES]))
        .collect();
    for watcher in &mut watchers {
        assert!(watcher.next().unwrap().contains("ready"));
    }
    api.put("/v1/kv/k", b"v").expect(200);
    for watcher in &mut watchers {
        assert!(watcher.next().unwrap().contains("\"put\""));
    }
}

/// Each begins with all that is there, and reads none of it.
#[test]
fn watchers_that_do_not_read_cost_little_memory() {
    let api = Api::start();
    for number in 0..200 {
        api.put(&format!("/v1/kv/{number}"), &[b'x'; 65_536]).expect(200);
    }
    let before = api.node.process().memory_peak_bytes();
    let head = format!("{}\r\n", api.head("GET", "/v1/watch", &[LINES]));
    let slow: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = api.connect();
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    // They are full when the first bytes have reached all of them.
    wait_until("the first bytes", PATIENCE, || {
        slow.iter()
            .all(|stream| stream.peek(&mut [0; 4_096]).is_ok_and(|read| read == 4_096))
    });
    api.get("/v1/kv?values=false").expect(200);
    let grown = api.node.process().memory_peak_bytes().saturating_sub(before);
    // Of 13 MB each, about three values.
    assert!(grown < 60 << 20, "{grown} bytes");
}

/// Each could still become a megabyte, and nothing more of it comes.
#[test]
fn uploads_that_have_stalled_keep_nobody_out() {
    let api = Api::start();
    let chunked = ("Transfer-Encoding", "chunked");
    let kind = ("Content-Type", "application/json");
    let head = api.head("POST", "/v1/command", &[chunked, kind]);
    let almost_all = vec![b' '; 1_000_000];
    let begun = format!("{head}\r\n{:x}\r\n", almost_all.len() + 2);
    let stalled: Vec<TcpStream> = (0..80)
        .map(|_| {
            let mut stream = api.connect();
            stream.write_all(begun.as_bytes()).unwrap();
            // The last of them find no memory, and are not read.
            let _ = stream.set_write_timeout(Some(std::time::Duration::from_millis(300)));
            let _ = stream.write_all(&almost_all);
            stream
        })
        .collect();
    for number in 0..20 {
        let begun = std::time::Instant::now();
        api.put(&format!("/v1/kv/{number}"), &[b'x'; 65_536]).expect(200);
        assert!(begun.elapsed() < std::time::Duration::from_secs(8), "{number}");
    }
    drop(stalled);
}
