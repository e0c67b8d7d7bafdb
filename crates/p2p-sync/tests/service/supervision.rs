//! What the node tells a service manager that starts it (sd_notify(3)).

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use p2p_sync_testbed::{Launch, Node, Stdin, tempfile};
use rusqlite::Connection;

use super::{PATIENCE, PROGRAM};

/// A short watchdog, so that the test is short: it is fed every half second.
const WATCHDOG_MICROSECONDS: &str = "2000000";

struct Manager {
    socket: UnixDatagram,
    directory: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        Self { socket, directory }
    }

    fn start(&self) -> Node {
        let launch = Launch::new(PROGRAM)
            .label("service")
            .no_lan()
            .stdin(Stdin::Null)
            .env("NOTIFY_SOCKET", self.directory.path().join("notify").to_str().unwrap())
            .env("WATCHDOG_USEC", WATCHDOG_MICROSECONDS);
        launch.spawn()
    }

    /// The next notification, unless none comes in this time.
    fn hears(&self, within: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(within)).unwrap();
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// Waits for a notification with this line.
    #[track_caller]
    fn waits_for(&self, line: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        while Instant::now() < end {
            heard.extend(self.hears(PATIENCE));
            if let Some(last) = heard.last().filter(|text| text.lines().any(|told| told == line)) {
                return last.clone();
            }
        }
        panic!("no {line} among {heard:?}");
    }
}

#[test]
fn a_node_says_when_it_is_ready_that_it_works_and_that_it_stops() {
    let manager = Manager::new();
    let node = manager.start();
    let ready = manager.waits_for("READY=1");
    assert!(ready.contains("STATUS=Peer id 12D3KooW"), "{ready}");
    for _ in 0..3 {
        manager.waits_for("WATCHDOG=1");
    }
    node.process().signal("TERM");
    manager.waits_for("STOPPING=1");
    assert_eq!(node.wait_exit(PATIENCE).code(), Some(0));
}

#[test]
fn a_node_whose_store_hangs_does_not_feed_the_watchdog() {
    let manager = Manager::new();
    let node = manager.start();
    manager.waits_for("READY=1");
    manager.waits_for("WATCHDOG=1");
    let other = Connection::open(node.data_dir().join("store.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // A write waits for the lock, and everything behind it for the write.
    let data_dir = node.data_dir().to_owned();
    let (done, is_done) = std::sync::mpsc::sync_channel::<()>(1);
    let writes = std::thread::spawn(move || {
        while is_done.try_recv() == Err(TryRecvError::Empty) {
            let mut command = Command::new(PROGRAM);
            command.arg("--data-dir").arg(&data_dir).args(["add", "a", "b"]);
            command.output().unwrap();
        }
    });
    // A node waits up to a second for the lock. Meanwhile, the next feed is missing.
    let end = Instant::now() + PATIENCE;
    while manager.hears(Duration::from_millis(900)).is_some() {
        assert!(Instant::now() < end, "fed all the same");
    }
    node.wait_log(0, "the watchdog will end it", PATIENCE);
    drop(other);
    manager.waits_for("WATCHDOG=1");
    drop(done);
    writes.join().unwrap();
    node.process().signal("TERM");
    assert_eq!(node.wait_exit(PATIENCE).code(), Some(0));
}
