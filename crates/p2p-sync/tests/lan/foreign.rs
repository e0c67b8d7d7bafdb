//! Another program, plain libp2p gossip and nothing of ours, says changes and hears them.

use p2p_sync_testbed::{Addresses, Lab, Process, Stdin, json, wait_until};

use crate::support::{PATIENCE, RECOVERY, Stranger, launch, quic, seconds, tcp};

/// Opens connections to an address, says nothing on them, and opens them again when they are closed.
const SILENT_CROWD: &str = r#"
import selectors, socket, sys
crowd = selectors.DefaultSelector()
def join():
    one = socket.create_connection((sys.argv[1], 4002))
    crowd.register(one, selectors.EVENT_READ)
for _ in range(int(sys.argv[2])):
    join()
while True:
    for key, _ in crowd.select():
        try:
            closed = not key.fileobj.recv(65536)
        except OSError:
            closed = True
        if closed:
            crowd.unregister(key.fileobj)
            key.fileobj.close()
            join()
"#;

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_stranger_says_changes_with_three_fields_and_hears_ours() {
    let lab = Lab::new();
    let (host, elsewhere) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let node = launch(&host, "a").start();
    let stranger = Stranger::start(&elsewhere, 1, &[tcp(&host)]);
    stranger.wait_linked(&node);

    stranger.publish(r#"{"Put":{"key":"hello","value":"world","timestamp":"2025-01-04T08:30:15Z"}}"#);
    node.wait_value("hello", "world", RECOVERY);
    assert_eq!(node.command("get hello"), "✓ hello = world");
    let record = node.json("get --json hello");
    assert_eq!(record["timestamp"], "2025-01-04T08:30:15Z");
    assert_eq!(record["author"], stranger.peer_id());
    let line = format!("Got message from {}: Put {{ hello = world }}", stranger.peer_id());
    node.wait_log(0, &line, RECOVERY);

    stranger.publish(r#"{"Delete":{"key":"hello","timestamp":"2025-01-04T08:30:16.000000001Z"}}"#);
    wait_until("deleted", RECOVERY, || node.get("hello").is_none());
    let line = format!("Got message from {}: Delete {{ hello }}", stranger.peer_id());
    node.wait_log(0, &line, RECOVERY);

    stranger.publish(
        r#"{"Batch":[{"Put":{"key":"b1","value":"1","timestamp":"2025-01-04T08:30:17Z","colour":"unknown"}},{"Put":{"key":"b2","value":"2","timestamp":"2025-01-04T08:30:17.123456789Z"}}]}"#,
    );
    node.wait_value("b2", "2", RECOVERY);
    assert_eq!(node.get("b1").as_deref(), Some("1"));
    assert_eq!(
        node.json("get --json b2")["timestamp"],
        "2025-01-04T08:30:17.123456789Z"
    );

    node.add("greeting", "good morning");
    let message = stranger.wait_message(&node.peer_id(), |message| message["Put"]["key"] == "greeting");
    assert_eq!(message["Put"]["value"], "good morning");
    let stored = node.json("get --json greeting");
    assert_eq!(message["Put"]["timestamp"], stored["timestamp"]);
    assert_eq!(node.command("delete greeting"), "✓ Deleted: greeting");
    let message = stranger.wait_message(&node.peer_id(), |message| message.get("Delete").is_some());
    assert_eq!(message["Delete"]["key"], "greeting");
    assert!(message["Delete"]["timestamp"].is_string(), "{message}");
}

/// It answers no ping and no identify; that is no reason to cut it off.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_stranger_that_speaks_nothing_but_gossip_stays_connected() {
    let lab = Lab::new();
    let (host, elsewhere) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let node = launch(&host, "a").start();
    let stranger = Stranger::start(&elsewhere, 1, &[tcp(&host)]);
    stranger.wait_linked(&node);
    // Twice as long as a watchdog on pings would wait.
    let cut_off = stranger.process().stdout().wait_line(0, seconds(15), |line| {
        String::from_utf8_lossy(line).contains("disconnected")
    });
    assert!(cut_off.is_none(), "{cut_off:?}");
    stranger.publish(r#"{"Put":{"key":"still","value":"here","timestamp":"2025-01-04T08:30:15Z"}}"#);
    node.wait_value("still", "here", RECOVERY);
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn the_message_limit_is_a_setting_and_whoever_goes_beyond_it_is_told_of_by_its_program() {
    let lab = Lab::new();
    let (host, elsewhere) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let node = launch(&host, "a").argument("--message-limit").argument("7").start();
    let stranger = Stranger::start(&elsewhere, 1, &[tcp(&host)]);
    stranger.wait_linked(&node);
    for number in 0..9 {
        stranger.publish(&format!(
            r#"{{"Put":{{"key":"k{number}","value":"v","timestamp":"2025-01-04T08:30:15Z"}}}}"#
        ));
    }
    node.wait_log(
        0,
        &format!("Rate limit exceeded for peer {}", stranger.peer_id()),
        RECOVERY,
    );
    node.wait_value("k6", "v", RECOVERY);
    assert_eq!(node.get("k7"), None);
    assert_eq!(node.get("k8"), None);
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn what_a_stranger_says_is_passed_on_under_its_own_name() {
    let lab = Lab::new();
    let hosts = [(); 3].map(|()| lab.host(Addresses::V4));
    let a = launch(&hosts[0], "a").no_lan().start();
    let b = launch(&hosts[1], "b").no_lan().peer(&tcp(&hosts[0])).start();
    a.wait_linked(&b, PATIENCE);
    let stranger = Stranger::start(&hosts[2], 1, &[tcp(&hosts[0])]);
    stranger.wait_linked(&a);
    stranger.publish(r#"{"Put":{"key":"far","value":"away","timestamp":"2025-01-04T08:30:15Z"}}"#);
    b.wait_value("far", "away", RECOVERY);
    let expected = json!({
        "key": "far",
        "value": "away",
        "timestamp": "2025-01-04T08:30:15Z",
        "author": stranger.peer_id(),
        "conflicts": 0,
    });
    for node in [&a, &b] {
        assert_eq!(node.json("get --json far"), expected, "{}", node.label());
    }
    // And the other way round: what a node behind ours says reaches the stranger.
    b.add("near", "by");
    stranger.wait_message(&b.peer_id(), |message| message["Put"]["key"] == "near");
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn what_a_stranger_says_wrong_is_refused_named_and_counted() {
    let lab = Lab::new();
    let (host, elsewhere) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let node = launch(&host, "a").start();
    let stranger = Stranger::start(&elsewhere, 1, &[tcp(&host)]);
    stranger.wait_linked(&node);
    let id = stranger.peer_id();

    stranger.publish("this is no JSON");
    node.wait_log(0, &format!("Invalid message from peer {id}"), RECOVERY);
    let long = "k".repeat(257);
    stranger.publish(&format!(
        r#"{{"Put":{{"key":"{long}","value":"v","timestamp":"2025-01-04T08:30:15Z"}}}}"#
    ));
    node.wait_log(0, &format!("Invalid key from peer {id}"), RECOVERY);

    // Larger than a message may be, and small enough to pass the transport.
    let directory = p2p_sync_testbed::tempfile::tempdir().unwrap();
    let file = directory.path().join("large");
    std::fs::write(&file, vec![b'x'; (1 << 20) + 1]).unwrap();
    stranger.publish(&format!("@file {}", file.display()));
    node.wait_log(0, &format!("Message too large from peer {id}"), RECOVERY);

    // None of it was stored, all of it was counted, and the connection is as good as before.
    stranger.publish(r#"{"Put":{"key":"good","value":"one","timestamp":"2025-01-04T08:30:15Z"}}"#);
    node.wait_value("good", "one", RECOVERY);
    let status = node.status();
    assert_eq!(status["keys"], 1, "{status}");
    let dropped = status["dropped"].as_array().unwrap();
    let count: u64 = dropped.iter().map(|cause| cause["count"].as_u64().unwrap()).sum();
    assert_eq!(count, 3, "{status}");
    assert_eq!(stranger.process().stdout().count(0, "disconnected"), 0);
}

/// Opens connections from many addresses of its machine and never says a word; each one that is closed is replaced.
const HALF_OPEN_CROWD: &str = r#"
import selectors, socket, sys
crowd = selectors.DefaultSelector()
def join(source):
    one = socket.socket()
    one.bind((source, 0))
    one.setblocking(False)
    one.connect_ex((sys.argv[1], 4002))
    crowd.register(one, selectors.EVENT_READ, source)
for source in sys.argv[2:]:
    for _ in range(16):
        join(source)
print("here", flush=True)
while True:
    for key, _ in crowd.select():
        try:
            closed = not key.fileobj.recv(65536)
        except OSError:
            closed = True
        if closed:
            crowd.unregister(key.fileobj)
            key.fileobj.close()
            join(key.data)
"#;

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn handshakes_that_never_end_keep_no_node_out() {
    let lab = Lab::new();
    let hosts = [(); 4].map(|()| lab.host(Addresses::V4));
    let a = launch(&hosts[0], "a").no_lan().start();
    let prefix = hosts[1].ip4().rsplit_once('.').unwrap().0.to_owned();
    let sources: Vec<String> = (150..180).map(|number| format!("{prefix}.{number}")).collect();
    for source in &sources {
        hosts[1].add_address(&format!("{source}/24"));
    }
    let mut command = hosts[1].command("python3");
    command.args(["-c", HALF_OPEN_CROWD, &hosts[0].ip4()]).args(&sources);
    let crowd = Process::spawn("crowd", command, Stdin::Null);
    crowd.stdout().wait_line(0, PATIENCE, |line| line == b"here").unwrap();
    a.wait_log(0, "inbound connections are being set up at once", PATIENCE);
    // They know where it is, and it does not know them.
    for (host, address) in [(&hosts[2], tcp(&hosts[0])), (&hosts[3], quic(&hosts[0]))] {
        let begun = std::time::Instant::now();
        let honest = launch(host, &address).no_lan().peer(&address).start();
        wait_until("it is connected", PATIENCE, || {
            honest.status()["peers"].as_array().unwrap().len() == 1
        });
        assert!(begun.elapsed() < seconds(5), "{address}: {:?}", begun.elapsed());
    }
    let lines = a.stderr().count(0, "inbound connections are being set up at once");
    assert!(lines <= 2, "{lines} lines");
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn one_address_takes_neither_all_connections_nor_the_log() {
    let lab = Lab::new();
    let hosts = [(); 3].map(|()| lab.host(Addresses::V4));
    let a = launch(&hosts[0], "a").start();
    let mut command = hosts[1].command("python3");
    command.args(["-c", SILENT_CROWD, &hosts[0].ip4(), "100"]);
    let _crowd = Process::spawn("crowd", command, Stdin::Null);
    let refused = || {
        let status = a.status();
        let dropped = status["dropped"].as_array().unwrap().iter();
        let mut refused = dropped.filter(|cause| cause["cause"] == "too many connections");
        refused.next().map_or(0, |cause| cause["count"].as_u64().unwrap())
    };
    let start = std::time::Instant::now();
    wait_until("they are refused", PATIENCE, || refused() > 1_000);
    let line = format!(
        "Refused a connection from {0}: too many connections from {0}",
        hosts[1].ip4()
    );
    let lines = a.stderr().count(0, &line);
    let most = start.elapsed().as_secs() as usize + 2;
    assert!((1..=most).contains(&lines), "{lines} lines in {most} s");
    // And others find their way.
    let b = launch(&hosts[2], "b").start();
    a.wait_linked(&b, PATIENCE);
}
