//! The test bed tested with programs that everybody has: what a lab isolates, cuts and counts, and that
//! nothing is left behind. Run with `cargo test -p p2p-sync-testbed -- --ignored`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::process::Command;
use std::time::Duration;

use p2p_sync_testbed::{
    Addresses, FakeClock, Host, Lab, Launch, Process, Sniffer, Stdin, poll, require_root, wait_until,
};

const SHORT: Duration = Duration::from_secs(10);

fn reaches(from: &Host, address: &str) -> bool {
    let mut ping = from.command("python3");
    // A TCP connection refused is an answer too; what counts is that something came back.
    ping.args([
        "-c",
        "import socket, sys\n\
         s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)\n\
         s.settimeout(0.5)\n\
         try: s.connect((sys.argv[1], 9))\n\
         except ConnectionRefusedError: pass\n",
        address,
    ]);
    ping.output().unwrap().status.success()
}

/// Joins the discovery group and prints a line for each packet that it hears.
fn listen_multicast(host: &Host) -> Process {
    let mut command = host.command("python3");
    command.args([
        "-u",
        "-c",
        "import socket, struct, sys\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
         s.setsockopt(socket.SOL_SOCKET, 33, 8 << 20) # SO_RCVBUFFORCE: the kernel shall lose nothing\n\
         s.bind(('', 5353))\n\
         group = socket.inet_aton('224.0.0.251') + socket.inet_aton(sys.argv[1])\n\
         s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)\n\
         print('ready')\n\
         while True: print(s.recvfrom(9000)[0].decode())\n",
        &host.ip4(),
    ]);
    let process = Process::spawn("listener", command, Stdin::Null);
    process.stdout().wait_line(0, SHORT, |line| line == b"ready").unwrap();
    process
}

fn send_multicast(host: &Host, count: usize, bytes: usize) {
    let mut command = host.command("python3");
    command.args([
        "-c",
        "import socket, sys\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[1]))\n\
         for i in range(int(sys.argv[2])): s.sendto(b'x' * int(sys.argv[3]), ('224.0.0.251', 5353))\n",
        &host.ip4(),
        &count.to_string(),
        &bytes.to_string(),
    ]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn names() -> String {
    let output = Command::new("ip").args(["netns", "list"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn hosts_reach_each_other_until_they_are_cut_blocked_or_split() {
    let lab = Lab::new();
    let a = lab.host(Addresses::Both);
    let b = lab.host(Addresses::Both);
    for address in [b.ip4(), b.ip6()] {
        wait_until("reached", SHORT, || reaches(&a, &address));
    }
    b.cut();
    assert!(!reaches(&a, &b.ip4()));
    b.mend();
    wait_until("reached again", SHORT, || reaches(&a, &b.ip4()));

    lab.partition(&[&[&a]]);
    assert!(!reaches(&a, &b.ip4()));
    lab.heal();
    wait_until("healed", SHORT, || reaches(&a, &b.ip4()));
    lab.partition(&[&[&a], &[&b]]);
    assert!(!reaches(&a, &b.ip4()));
    lab.heal();
    wait_until("healed again", SHORT, || reaches(&a, &b.ip4()));

    b.block_tcp();
    assert!(!reaches(&a, &b.ip4()));
    b.unblock();
    assert!(reaches(&a, &b.ip4()));

    b.remove_address(&format!("{}/24", b.ip4()));
    b.add_address(&format!("{}/24", b.spare_ip4()));
    assert!(!reaches(&a, &b.ip4()));
    wait_until("moved", SHORT, || reaches(&a, &b.spare_ip4()));

    let (received, sent) = b.traffic_bytes();
    assert!(received > 100 && sent > 100, "{received} {sent}");
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_host_hears_only_its_neighbours() {
    let lab = Lab::new();
    let [a, b, c] = [(); 3].map(|()| lab.host(Addresses::V4));
    wait_until("reached", SHORT, || reaches(&a, &c.ip4()));
    a.hear_only(&[&b]);
    b.hear_only(&[&a, &c]);
    c.hear_only(&[&b]);
    for (from, to, whether) in [(&a, &b, true), (&b, &c, true), (&a, &c, false), (&c, &a, false)] {
        assert_eq!(reaches(from, &to.ip4()), whether);
    }
}

#[test]
#[ignore = "needs libfaketime; .ci/run runs it"]
fn a_clock_is_set_while_a_process_runs_and_intervals_stay_right() {
    let directory = p2p_sync_testbed::tempfile::tempdir().unwrap();
    let script = directory.path().join("program");
    std::fs::write(
        &script,
        "#!/usr/bin/env -S python3 -u\nimport sys, time\nfor line in sys.stdin: print(time.time(), time.monotonic())\n",
    )
    .unwrap();
    Command::new("chmod").arg("+x").arg(&script).status().unwrap();
    let clock = FakeClock::new();
    let process = Launch::new(&script).clock(&clock).spawn();
    // What the process believes to be the time, in seconds, with the seconds of the clock for intervals.
    let ask = || {
        let mark = process.stdout().mark();
        process.send(b"\n");
        let (_, line) = process.stdout().wait_line(mark, SHORT, |_| true).unwrap();
        let line = String::from_utf8(line).unwrap();
        let (wall, interval) = line.split_once(' ').unwrap();
        let right = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        (
            wall.parse::<f64>().unwrap() - right.as_secs_f64(),
            interval.parse::<f64>().unwrap(),
        )
    };
    let (_, start) = ask();
    for ahead in [0.0, 540.0, -1_700_000_000.0, 31_536_000.0, 0.0] {
        clock.set_ahead(ahead);
        let (wrong_by, interval) = ask();
        assert!((wrong_by - ahead).abs() < 5.0, "{ahead}: {wrong_by}");
        assert!((0.0..60.0).contains(&(interval - start)), "{ahead}: {interval}");
    }
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn labs_do_not_see_each_other() {
    let (one, two) = (Lab::new(), Lab::new());
    let a = one.host(Addresses::V4);
    let b = one.host(Addresses::V4);
    let stranger = two.host(Addresses::None);
    stranger.add_address(&format!("{}/24", a.spare_ip4()));
    wait_until("reached", SHORT, || reaches(&a, &b.ip4()));
    assert!(!reaches(&stranger, &a.ip4()));
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn multicast_passes_is_lost_by_share_and_is_seen_with_its_size() {
    let lab = Lab::new();
    let a = lab.host(Addresses::V4);
    let b = lab.host(Addresses::V4);
    let c = lab.host(Addresses::V4);
    let sniffer = Sniffer::start(&a);
    let (all, some) = (listen_multicast(&b), listen_multicast(&c));
    c.drop_multicast_share(30);
    send_multicast(&a, 1_000, 500);
    wait_until("all heard", SHORT, || all.stdout().count(0, "xxx") == 1_000);
    wait_until("some heard", SHORT, || some.stdout().count(0, "xxx") > 600);
    let heard = some.stdout().count(0, "xxx");
    assert!((600..800).contains(&heard), "{heard} of 1000");
    let seen = sniffer.seen();
    assert_eq!(seen.largest_bytes, 528);
    assert_eq!(seen.fragments, 0);
    assert!(seen.packets >= 1_000, "{seen:?}");

    let looking = Sniffer::start_looking_for(&b, "xxxxx");
    let not_looking = Sniffer::start_looking_for(&b, "xyxyx");
    send_multicast(&a, 5, 100);
    wait_until("seen", SHORT, || looking.seen().needles == 5);
    assert_eq!(not_looking.seen().needles, 0);

    // A packet over the MTU is seen as its fragments.
    send_multicast(&a, 1, 3_000);
    assert_eq!(sniffer.seen().fragments, 3);

    let before = all.stdout().mark();
    b.block_multicast();
    c.unblock();
    send_multicast(&a, 10, 100);
    wait_until("heard", SHORT, || some.stdout().count(0, "") > heard + 10);
    assert_eq!(all.stdout().mark(), before);
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn nothing_is_left_behind_even_after_a_panic() {
    let space = std::thread::spawn(|| {
        let lab = Lab::new();
        let host = lab.host(Addresses::V4);
        let mut command = host.command("sleep");
        command.arg("1000");
        let process = Process::spawn("sleeper", command, Stdin::Null);
        assert!(process.is_running());
        assert!(names().contains(host.space()));
        // Left running in the namespace, and known to nobody.
        std::mem::forget(process);
        std::panic::panic_any((host.space().to_owned(), ()));
    })
    .join()
    .unwrap_err();
    let (space, ()) = *space.downcast::<(String, ())>().unwrap();
    assert!(!names().contains(&space));
}

/// Runs this very test program again, as the runner that gets killed.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn nothing_is_left_behind_when_the_runner_is_killed() {
    const VICTIM: &str = "P2P_SYNC_TESTBED_VICTIM";
    if std::env::var_os(VICTIM).is_some() {
        let lab = Lab::new();
        let host = lab.host(Addresses::V4);
        let mut command = host.command("sleep");
        command.arg("1000");
        let process = Process::spawn("sleeper", command, Stdin::Null);
        #[allow(clippy::print_stdout)]
        {
            println!("\nspace {} pid {}", host.space(), process.pid());
        }
        poll(Duration::from_secs(600), || None::<()>);
        unreachable!("to be killed long before");
    }
    require_root();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "nothing_is_left_behind_when_the_runner_is_killed",
        ])
        .env(VICTIM, "1");
    let runner = Process::spawn("runner", command, Stdin::Null);
    let (_, line) = runner
        .stdout()
        .wait_line(0, SHORT, |line| line.starts_with(b"space "))
        .unwrap();
    let line = String::from_utf8(line).unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    let (space, sleeper) = (words[1], format!("/proc/{}", words[3]));
    assert!(names().contains(space));
    assert!(std::fs::exists(&sleeper).unwrap());
    runner.kill9();
    wait_until("the janitor has cleaned up", SHORT, || {
        !names().contains(space) && !std::fs::exists(&sleeper).unwrap()
    });
}

#[test]
fn a_process_is_driven_by_its_streams_and_a_wait_for_what_never_comes_fails() {
    let process = Process::spawn("cat", Command::new("cat"), Stdin::Pipe);
    process.send(b"one\ntwo\n");
    let (number, line) = process
        .stdout()
        .wait_line(0, SHORT, |line| line.starts_with(b"tw"))
        .unwrap();
    assert_eq!((number, line.as_slice()), (1, &b"two"[..]));
    let never = process
        .stdout()
        .wait_line(0, Duration::from_millis(50), |line| line == b"three");
    assert!(never.is_none());
    process.close_stdin();
    assert!(process.wait_exit(SHORT).success());
    assert!(!process.is_running());
}

#[test]
fn a_stream_that_nobody_reads_does_not_hang_the_test() {
    let mut command = Command::new("sleep");
    command.arg("1000");
    let process = Process::spawn("deaf", command, Stdin::Pipe);
    // More than a pipe holds: the write waits on its own thread.
    process.send(&vec![b'x'; 1 << 20]);
    assert!(process.is_running());
    // Until the program is loaded, the memory is that of the process that started it.
    wait_until("the memory is that of the program", SHORT, || {
        (10_000..100_000_000).contains(&process.memory_peak_bytes())
    });
    process.kill9();
    assert!(!process.is_running());
}
