//! At which interfaces other machines are likely to be, for a machine that has more of them than are used: a host of containers,
//! virtual machines and VPNs has one interface for each. It is a guess by what the system tells, and its order is the same each time.

use std::collections::HashSet;
use std::net::IpAddr;

use super::sockets::Link;

/// How the names of interfaces begin that lead to containers and virtual machines of this machine.
const INWARD: [&str; 13] = [
    "br-", "cali", "cni", "docker", "dummy", "flannel", "lxc", "lxd", "podman", "tap", "veth", "virbr", "vnet",
];

/// What the system tells of interfaces, by their names. Empty where it tells nothing.
#[derive(Debug, Default)]
pub(super) struct Roads {
    /// Those by which it leaves the networks that it is in.
    default_routes: HashSet<String>,
    /// Those behind which there is a device.
    devices: HashSet<String>,
}

impl Roads {
    #[cfg(target_os = "linux")]
    pub(super) fn of_this_machine() -> Self {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        let names = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        Self {
            default_routes: default_routes(&read("/proc/net/route"), &read("/proc/net/ipv6_route")),
            devices: names
                .filter(|entry| entry.path().join("device").exists())
                .filter_map(|entry| entry.file_name().into_string().ok())
                .collect(),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn of_this_machine() -> Self {
        Self::default()
    }

    /// Low for an interface that is wanted.
    fn rank(&self, link: &Link) -> u8 {
        let is_link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let is_inward = INWARD.iter().any(|start| link.name.starts_with(start));
        match link {
            // Other nodes on this machine.
            _ if link.addresses.iter().any(IpAddr::is_loopback) => 0,
            _ if self.default_routes.contains(&link.name) => 1,
            _ if self.devices.contains(&link.name) => 2,
            _ if link.addresses.iter().all(is_link_local) => 5,
            _ if is_inward => 4,
            _ => 3,
        }
    }
}

/// Keeps so many.
pub(super) fn keep_best(links: &mut Vec<Link>, most: usize, roads: &Roads) {
    links.sort_by_cached_key(|link| (roads.rank(link), link.index));
    links.truncate(most);
}

/// The interfaces of default routes in Linux's tables of IPv4 and IPv6 routes.
#[cfg(any(target_os = "linux", test))]
fn default_routes(v4: &str, v6: &str) -> HashSet<String> {
    let of_v4 = v4.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields.as_slice() {
            [name, "00000000", _, _, _, _, _, "00000000", ..] => Some(*name),
            _ => None,
        }
    });
    let of_v6 = v6.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields.as_slice() {
            // The kernel's own one that refuses everything is at the loopback.
            ["00000000000000000000000000000000", "00", .., name] if *name != "lo" => Some(*name),
            _ => None,
        }
    });
    of_v4.chain(of_v6).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, address: &str) -> Link {
        Link {
            index,
            name: name.to_owned(),
            addresses: vec![address.parse().unwrap()],
        }
    }

    #[test]
    fn containers_take_no_place_from_what_leads_outside() {
        let mut links = vec![link(1, "lo", "127.0.0.1")];
        for n in 0..60 {
            links.push(link(2 + n, &format!("br-{n:012x}"), &format!("172.18.{n}.1")));
            links.push(link(100 + n, &format!("veth{n}"), "fe80::1"));
        }
        links.push(link(300, "enp0s20u1", "192.168.1.7"));
        links.push(link(301, "wlp3s0", "192.168.2.7"));
        links.push(link(302, "wg0", "10.9.0.2"));
        let roads = Roads {
            default_routes: HashSet::from(["wlp3s0".to_owned()]),
            devices: HashSet::from(["enp0s20u1".to_owned(), "wlp3s0".to_owned()]),
        };
        for roads in [roads, Roads::default()] {
            let mut kept = links.clone();
            keep_best(&mut kept, 32, &roads);
            let names: Vec<&str> = kept.iter().map(|link| link.name.as_str()).collect();
            assert_eq!(names.len(), 32);
            for name in ["lo", "enp0s20u1", "wlp3s0", "wg0"] {
                assert!(names[..4].contains(&name), "{name}: {names:?}");
            }
            assert!(!names.iter().any(|name| name.starts_with("veth")), "{names:?}");
        }
    }

    #[test]
    fn default_routes_are_read_from_the_tables_of_linux() {
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
            docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
            vpn0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n";
        let none = "00000000000000000000000000000000";
        let v6 = format!(
            "{none} 00 {none} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n\
             fe800000000000000000000000000000 40 {none} 00 {none} 00000100 00000001 00000000 00000001     eth1\n\
             {none} 00 {none} 00 {none} ffffffff 00000001 00000000 00200200       lo\n"
        );
        let expected = HashSet::from(["wlan0".to_owned(), "eth0".to_owned()]);
        assert_eq!(default_routes(v4, &v6), expected);
        assert_eq!(default_routes("", "nonsense\n\n"), HashSet::new());
    }
}
