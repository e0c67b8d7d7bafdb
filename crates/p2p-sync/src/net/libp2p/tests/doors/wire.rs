//! What everybody on the LAN can read: processes on hosts of their own find each other by discovery alone, and exchange writes, while
//! every packet is looked through.

use std::collections::BTreeSet;
use std::process::Command;

use p2p_sync_core::{Content, Key, Record, Value};
use p2p_sync_testbed::{Addresses, Host, Lab, Process, Sniffer, Stdin};

use super::*;
use crate::system;

/// Makes this test a node: the number of its device, and whether its network is private.
const ROLE: &str = "P2P_SYNC_DOOR_NODE";
const TEST: &str = "net::libp2p::tests::doors::wire::nothing_that_passes_says_who_is_there";
/// What the nodes call themselves, and what they write.
const NAME: &str = "cupboard-of-somebody";
const VALUE: &str = "a value of somebody";
const DEVICES: [u8; 3] = [FOUNDER, LAPTOP, PHONE];

/// Runs a node until the input ends: says when it has a connection with all others, and when it has heard a write of each.
fn node(role: &str) {
    let (device, is_private) = role.split_once(' ').unwrap();
    let device = device.parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut config = config(key(device), private::NETWORK_NAME, Vec::new());
        (config.lan, config.name) = (true, NAME.to_owned());
        let (private, mut keep) = private::home(device);
        config.private = (is_private == "true").then_some(private);
        let mut net = Net::start_with(config).await;
        for other in DEVICES.into_iter().filter(|other| *other != device) {
            net.has_peer(node_id(&key(other).public().to_peer_id()).unwrap()).await;
        }
        println!("linked");
        let stopped = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin()));
        let mut stopped = std::pin::pin!(stopped);
        let mut says = tokio::time::interval(Duration::from_secs(1));
        let mut heard = BTreeSet::new();
        loop {
            tokio::select! {
                _ = &mut stopped => break,
                _ = says.tick() => net.tell(ToPeers::Live(Record {
                    key: Key::new(VALUE).unwrap(),
                    content: Content::Put(Value::new(VALUE.as_bytes()).unwrap()),
                    timestamp: system::now(),
                    ..crate::net::suite::record(net.id, 0, 0)
                })).await,
                _ = keep.told.recv() => {}
                message = net.link.inbound.recv() => if let Some(FromPeers::Records { records, .. }) = message {
                    heard.extend(records.iter().map(|record| record.author));
                    if heard.len() == DEVICES.len() - 1 {
                        println!("heard");
                    }
                },
            }
        }
        net.stop().await;
    });
}

fn start(host: &Host, device: u8, is_private: bool) -> Process {
    let mut command: Command = host.command(std::env::current_exe().unwrap());
    command.args([TEST, "--exact", "--ignored", "--nocapture", "--quiet"]);
    command.env(ROLE, format!("{device} {is_private}"));
    Process::spawn(&format!("device {device}"), command, Stdin::Pipe)
}

/// How many packets, on any of the hosts, held one of the needles, and how many were seen.
fn looked_through(is_private: bool) -> (u64, u64) {
    let lab = Lab::new();
    let hosts: Vec<Host> = DEVICES.iter().map(|_| lab.host(Addresses::Both)).collect();
    let network = private::founded(7).entries().network().0;
    let mut needles: Vec<Vec<u8>> = [NAME, VALUE, private::NETWORK_NAME, private::DEVICE_NAME]
        .map(|text| text.as_bytes().to_vec())
        .into();
    needles.extend([network.to_vec(), data_encoding::HEXLOWER.encode(&network).into_bytes()]);
    for device in DEVICES {
        let key = key(device).public();
        let id = key.to_peer_id().to_base58();
        // As an instance ends in it, whatever its case.
        let end = id[id.len() - 8..].to_owned();
        needles.extend([end.to_ascii_lowercase(), end, id].map(String::into_bytes));
        needles.push(key.try_into_ed25519().unwrap().to_bytes().to_vec());
    }
    let needles: Vec<&[u8]> = needles.iter().map(Vec::as_slice).collect();
    let sniffers: Vec<Sniffer> = hosts
        .iter()
        .map(|host| Sniffer::start_looking_for_any(host, &needles))
        .collect();
    let nodes: Vec<Process> = hosts
        .iter()
        .zip(DEVICES)
        .map(|(host, device)| start(host, device, is_private))
        .collect();
    for said in ["linked", "heard"] {
        for node in &nodes {
            let said_it = node.stdout().wait_line(0, PATIENCE, |line| line == said.as_bytes());
            assert!(said_it.is_some(), "a node of {DEVICES:?} is not {said}");
        }
    }
    for node in &nodes {
        node.close_stdin();
        assert!(node.wait_exit(PATIENCE).success());
    }
    let seen = sniffers.iter().map(Sniffer::seen);
    seen.fold((0, 0), |(needles, packets), seen| {
        (needles + seen.needles, packets + seen.packets)
    })
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn nothing_that_passes_says_who_is_there() {
    if let Ok(role) = std::env::var(ROLE) {
        return node(&role);
    }
    let (needles, packets) = looked_through(true);
    assert!(packets > 0, "it sees what passes");
    assert_eq!(needles, 0);
    // An open network says a lot, so they would be found.
    let (needles, _) = looked_through(false);
    assert!(needles > 0);
}
