//! Packets that a host drops or holds back: nftables rules in its namespace, one table, removed as a whole, and the rate of its
//! cable. Its loopback is never touched.

use crate::host::Host;

const TABLE: &str = "inet p2ps";
/// Multicast over UDP only: neighbour discovery of IPv6 is multicast too, and without it nothing works.
const MULTICAST: [&str; 2] = [
    "meta l4proto udp ip daddr 224.0.0.0/4",
    "meta l4proto udp ip6 daddr ff00::/8",
];

impl Host {
    /// Drops all UDP but that to port 5353, both ways: discovery works, QUIC does not.
    pub fn block_udp_except_mdns(&self) {
        self.drop_packets("both", "udp dport != 5353");
    }

    /// Drops all TCP, both ways.
    pub fn block_tcp(&self) {
        self.drop_packets("both", "meta l4proto tcp");
    }

    /// Lets nobody be dialled from here, and only TCP in: whoever is to be connected must dial this host.
    pub fn block_dials(&self) {
        self.block_udp_except_mdns();
        self.drop_packets("out", "tcp flags & (syn | ack) == syn");
    }

    /// Lets nobody open a TCP connection to this host, and no UDP in at the standard port, asked for or not: a filter that looks at
    /// single packets.
    pub fn drop_requests_and_udp(&self) {
        self.drop_packets("in", "tcp flags & (syn | ack) == syn");
        self.drop_packets("in", "udp dport 4002");
    }

    /// Lets nobody in who was not asked, at the standard port, by TCP or UDP, as the firewalls of most desktop systems do.
    pub fn drop_uninvited(&self) {
        self.drop_packets("in", "tcp dport 4002 ct state new");
        self.drop_packets("in", "udp dport 4002 ct state new");
    }

    /// Drops what comes in: whoever dials this host waits for an answer, as if it were switched off but for its cable.
    pub fn swallow_what_comes_in(&self) {
        self.drop_packets("in", "meta l4proto { tcp, udp }");
    }

    /// Drops all multicast over UDP, both ways: no discovery.
    pub fn block_multicast(&self) {
        for rule in MULTICAST {
            self.drop_packets("both", rule);
        }
    }

    /// Drops that many of a hundred multicast packets at random as they arrive.
    pub fn drop_multicast_share(&self, percent: u32) {
        for rule in MULTICAST {
            self.drop_packets("in", &format!("{rule} numgen random mod 100 < {percent}"));
        }
    }

    /// Drops whatever comes from others than `neighbours`, by IPv4, and all IPv6. When every host of a lab does so, the LAN
    /// is a graph: each sees its neighbours only, multicast included.
    pub fn hear_only(&self, neighbours: &[&Self]) {
        let addresses: Vec<String> = neighbours.iter().map(|host| host.ip4()).collect();
        self.drop_packets("in", &format!("ip saddr != {{ {} }}", addresses.join(", ")));
        self.drop_packets("in", "meta nfproto ipv6");
    }

    /// Sends no faster than that many kilobits a second, with as much in the queue as a cheap router has.
    pub fn limit_rate(&self, kilobits: u32) {
        let rate = format!("rate {kilobits}kbit burst 16kb latency 500ms");
        self.shell(&format!("tc qdisc replace dev eth0 root tbf {rate}"));
    }

    /// Lets everything pass again that was dropped.
    pub fn unblock(&self) {
        self.shell(&format!("nft add table {TABLE}; nft delete table {TABLE}"));
    }

    fn drop_packets(&self, way: &str, matching: &str) {
        let ways: &[(&str, &str, &str)] = &[("in", "input", "iif lo accept"), ("out", "output", "oif lo accept")];
        let mut script = format!("add table {TABLE}\n");
        for (chain, hook, spare_loopback) in ways {
            if way == "both" || way == *chain {
                script.push_str(&format!(
                    "add chain {TABLE} {chain} {{ type filter hook {hook} priority 0; policy accept; }}\n\
                     add rule {TABLE} {chain} {spare_loopback}\n\
                     add rule {TABLE} {chain} {matching} drop\n"
                ));
            }
        }
        self.shell(&format!("nft -f - <<'END'\n{script}END"));
    }
}
