//! Questions about the way to a node, over loopback.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::net::libp2p::multiaddrs::port;
use crate::net::libp2p::reach::knock;
use crate::net::{Knock, Knocks, Told};

impl Net {
    async fn ask_back(&self, peer: NodeId) -> Option<Told> {
        let (reply, answer) = oneshot::channel();
        let order = ToPeers::AskBack { peer, reply };
        self.link.outbound.send(order).await.unwrap();
        timeout(PATIENCE, answer).await.unwrap().ok()
    }
}

/// Whatever the listeners of this program do with packets in front of their handshakes, they answer a knock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_answers_a_knock_by_both_transports() {
    let node = Net::start("", &[]).await;
    let through = Knocks {
        tcp: Knock::Through,
        udp: Knock::Through,
    };
    let port = port(&node.address).unwrap();
    assert_eq!(knock(IpAddr::V4(Ipv4Addr::LOCALHOST), port).await, through);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_tells_its_clock_and_port_and_knocks_at_no_loopback() {
    let (a, b) = pair().await;
    let told = a.ask_back(b.id).await.expect("it knows how");
    assert_eq!(told.port, port(&b.address).unwrap());
    assert_eq!(told.address, IpAddr::V4(Ipv4Addr::LOCALHOST));
    assert_eq!(told.knocks, Knocks::NONE);
    // It is the same clock.
    assert!(
        told.clock_ahead_nanos.unsigned_abs() <= told.clock_within_nanos + 1_000_000,
        "{told:?}"
    );
    let again = a.ask_back(b.id).await.expect("too soon to knock, but not to answer");
    assert_eq!(again.knocks, Knocks::NONE);
    assert_eq!(a.ask_back(a.id).await, None, "nobody is connected with itself");
    a.stop().await;
    b.stop().await;
}
