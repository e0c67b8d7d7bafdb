//! Both sides dial at the same moment: changes pass at once and always, and one connection remains. Nothing looks like a loss
//! that is none.

use std::thread;
use std::time::{Duration, Instant};

use p2p_sync_testbed::{Addresses, Host, Lab, Node, wait_until};

use crate::support::{PATIENCE, launch, peer_field, quic, seconds, start_together, tcp, wait_subscribed};

/// Rounds of each of the four pairs.
const ROUNDS: usize = 25;
/// How soon a change must be there when both sides hear each other. No repetition helps it on its way.
const AT_ONCE: Duration = Duration::from_secs(5);
/// How soon spare connections must be gone.
const SETTLED: Duration = Duration::from_secs(15);

/// How often each side writes until then, and how many times at most: the budget of messages a minute is not the point.
const MEANWHILE: Duration = Duration::from_millis(300);
const MEANWHILE_MAX: u32 = 15;

/// Nodes that meet at once, each with four addresses.
const CROWD: usize = 6;

type Address = fn(&Host) -> String;

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn both_dial_tcp_at_once() {
    dial_each_other("tcp", tcp, tcp);
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn both_dial_quic_at_once() {
    dial_each_other("quic", quic, quic);
}

/// Both transports are up for a moment, and one of the two connections is closed.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn one_dials_tcp_and_the_other_quic_at_once() {
    dial_each_other("tcp and quic", tcp, quic);
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn one_dials_quic_and_the_other_tcp_at_once() {
    dial_each_other("quic and tcp", quic, tcp);
}

fn dial_each_other(what: &str, of_a: Address, of_b: Address) {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let mut pair: Option<(Node, Node)> = None;
    for round in 0..ROUNDS {
        // Strangers to each other in one round, known by their peer ids in the next.
        let (a, b) = match pair.take() {
            Some((a, b)) if round % 2 == 1 => {
                a.spawn_again();
                b.spawn_again();
                (a, b)
            }
            _ => (
                launch(&host_a, "a").no_lan().peer(&of_b(&host_b)).spawn(),
                launch(&host_b, "b").no_lan().peer(&of_a(&host_a)).spawn(),
            ),
        };
        a.wait_ready();
        b.wait_ready();
        one_round(&a, &b, &format!("{what}, round {round}"));
        thread::scope(|scope| {
            scope.spawn(|| a.stop());
            scope.spawn(|| b.stop());
        });
        pair = Some((a, b));
    }
}

#[track_caller]
fn one_round(a: &Node, b: &Node, what: &str) {
    let sides = [(a, b), (b, a)];
    thread::scope(|scope| {
        for (from, to) in sides {
            scope.spawn(move || {
                let id = to.peer_id();
                wait_until(&format!("{what}: linked"), PATIENCE, || from.is_subscribed(&id));
                from.add(&format!("first by {}", from.label()), what);
            });
        }
    });
    for (from, to) in sides {
        to.wait_value(&format!("first by {}", from.label()), what, AT_ONCE);
    }
    // Meanwhile both go on writing, now and then: closing a spare connection must cost nothing.
    let start = Instant::now();
    let mut written = 0;
    wait_until(&format!("{what}: one connection remains"), SETTLED, || {
        if written < MEANWHILE_MAX && start.elapsed() >= MEANWHILE * written {
            for (from, _) in sides {
                from.add(&format!("meanwhile {written} by {}", from.label()), what);
            }
            written += 1;
        }
        sides
            .iter()
            .all(|(node, other)| peer_field(node, &other.peer_id(), "connections") == Some(1.into()))
    });
    for (from, to) in sides {
        from.add(&format!("second by {}", from.label()), what);
        to.wait_value(&format!("second by {}", from.label()), what, AT_ONCE);
        for number in 0..written {
            to.wait_value(&format!("meanwhile {number} by {}", from.label()), what, AT_ONCE);
        }
    }
}

/// Every node has several ways to every other one, and a processor that is busy: no second handshake becomes a connection that is
/// then lost.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn nobody_loses_a_connection_when_all_meet_for_the_first_time() {
    let lab = Lab::new();
    let hosts: Vec<Host> = (0..CROWD).map(|_| lab.host(Addresses::Both)).collect();
    let nodes = start_together(&hosts);
    for node in &nodes {
        wait_subscribed(node, CROWD - 1, PATIENCE);
    }
    // Whoever was dialled twice has learned by now which connection is of no use.
    thread::sleep(seconds(3));
    for node in &nodes {
        for loss in ["Connection closed", "re-established"] {
            assert_eq!(node.stderr().count(0, loss), 0, "{}: {loss}", node.label());
        }
    }
}
