//! The network: bridges in a namespace of their own, and the making and removing of namespaces. What a host
//! can do is in [`crate::Host`].
//!
//! Names of namespaces are `p2ps.<pid of the runner>.<lab>.<host>`; links are made inside the namespaces and
//! never appear on the machine itself, so their names may repeat.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};

use crate::host::Host;
use crate::janitor;

const PREFIX: &str = "p2ps";
/// The bridge to which every cable leads until somebody partitions the lab.
const MAIN_BRIDGE: &str = "br0";

/// Which addresses a new host gets on its cable. A link-local IPv6 address comes with every one of them, as
/// on a real machine, as soon as the link is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// `10.77.x.n/24`.
    V4,
    /// A unique local one, `fd77:x::n/64`, without duplicate detection.
    V6,
    /// Both.
    Both,
    /// None yet.
    None,
}

/// One separate network with its hosts. Dropping it removes everything.
pub struct Lab {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) id: u32,
    bridge_space: String,
    hosts_made: AtomicU32,
    pub(crate) links_made: AtomicU32,
    /// Port of the bridge namespace to the bridge it is in.
    ports: Mutex<BTreeMap<String, String>>,
    spaces: Mutex<Vec<String>>,
}

/// Fails with an explanation unless this process may make network namespaces.
///
/// # Panics
///
/// Without root, or without iproute2 or nftables.
#[track_caller]
pub fn require_root() {
    let uid = Command::new("id").arg("-u").output();
    let root = uid.is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    assert!(root, "needs root: it makes network namespaces (run it with sudo)");
    for (program, argument) in [("ip", "-V"), ("nft", "-v"), ("python3", "-V")] {
        assert!(
            Command::new(program).arg(argument).output().is_ok(),
            "needs the program `{program}` (packages: iproute2, nftables, python3)"
        );
    }
}

impl Lab {
    /// A network without hosts.
    ///
    /// # Panics
    ///
    /// Without root, see [`require_root`].
    #[track_caller]
    #[expect(
        clippy::new_without_default,
        reason = "it makes things on the machine, which a default should not"
    )]
    pub fn new() -> Self {
        static LABS_MADE: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        require_root();
        SWEEP.call_once(sweep);
        let id = LABS_MADE.fetch_add(1, Ordering::Relaxed);
        let bridge_space = format!("{PREFIX}.{}.{id}.bridge", std::process::id());
        let inner = Arc::new(Inner {
            id,
            bridge_space: bridge_space.clone(),
            hosts_made: AtomicU32::new(0),
            links_made: AtomicU32::new(0),
            ports: Mutex::default(),
            spaces: Mutex::default(),
        });
        inner.make_space(&bridge_space);
        inner.make_bridge(MAIN_BRIDGE);
        Self { inner }
    }

    /// A host with a cable to the bridge.
    pub fn host(&self, addresses: Addresses) -> Host {
        let mut host = self.lonely_host();
        let port = format!("p{}", host.number);
        self.inner.bridge(&[
            "link",
            "add",
            &port,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            &host.space,
        ]);
        self.inner.bridge(&["link", "set", &port, "master", MAIN_BRIDGE, "up"]);
        lock(&self.inner.ports).insert(port.clone(), MAIN_BRIDGE.to_owned());
        host.port = Some(port);
        host.ip(&["link", "set", "eth0", "up"]);
        if matches!(addresses, Addresses::V4 | Addresses::Both) {
            host.add_address(&format!("{}/24", host.ip4()));
        }
        if matches!(addresses, Addresses::V6 | Addresses::Both) {
            host.add_address(&format!("{}/64", host.ip6()));
        }
        host
    }

    /// A host without any network but its loopback.
    pub fn lonely_host(&self) -> Host {
        let number = self.inner.hosts_made.fetch_add(1, Ordering::Relaxed) + 1;
        let space = format!("{PREFIX}.{}.{}.{number}", std::process::id(), self.inner.id);
        self.inner.make_space(&space);
        let host = Host {
            lab: Arc::clone(&self.inner),
            space,
            number,
            port: None,
        };
        host.ip(&["link", "set", "lo", "up"]);
        // Duplicate detection would keep IPv6 addresses unusable for a second or two.
        host.shell("echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad");
        host
    }

    /// Writes down for each host where all others are on the link, as if it had asked. The machine's table of neighbours has a
    /// thousand places for all namespaces together, which some thirty hosts fill that all speak to each other.
    pub fn know_neighbours(&self, hosts: &[Host]) {
        let entry = |host: &Host| {
            let text = run("ip", &["-n", &host.space, "-j", "link", "show", "eth0"]);
            let value: serde_json::Value = serde_json::from_str(&text).expect("ip prints JSON when asked to");
            let link = value.pointer("/0/address").and_then(serde_json::Value::as_str);
            let link = link.expect("every interface has a link address");
            format!("neigh replace {} lladdr {link} nud permanent dev eth0\n", host.ip4())
        };
        let entries: Vec<String> = hosts.iter().map(entry).collect();
        for (own, host) in hosts.iter().enumerate() {
            let others = entries.iter().enumerate().filter(|(other, _)| *other != own);
            let batch: String = others.map(|(_, entry)| entry.as_str()).collect();
            let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
            file.write_all(batch.as_bytes())
                .expect("a temporary file can be written");
            let path = file.path().to_str().expect("its name is text");
            ip_in(&host.space, &["-batch", path]);
        }
    }

    /// Splits the hosts: each group on a bridge of its own, hosts not named stay on the main one. Carriers
    /// stay up, so that nobody is told: the silent kind of cut.
    pub fn partition(&self, groups: &[&[&Host]]) {
        for (index, group) in groups.iter().enumerate() {
            let bridge = format!("br{}", index + 1);
            if !lock(&self.inner.ports).values().any(|name| *name == bridge) {
                self.inner.make_bridge(&bridge);
            }
            for host in *group {
                self.inner.plug(host.port(), &bridge);
            }
        }
    }

    /// Puts every host back on the main bridge.
    pub fn heal(&self) {
        let ports: Vec<String> = lock(&self.inner.ports).keys().cloned().collect();
        for port in ports {
            self.inner.plug(&port, MAIN_BRIDGE);
        }
    }
}

impl Inner {
    fn make_space(&self, name: &str) {
        janitor::watch_space(name);
        lock(&self.spaces).push(name.to_owned());
        run("ip", &["netns", "add", name]);
    }

    /// Runs `ip` in the namespace of the bridges.
    pub(crate) fn bridge(&self, arguments: &[&str]) {
        ip_in(&self.bridge_space, arguments);
    }

    fn make_bridge(&self, name: &str) {
        // A bridge of another partition may be left from before.
        let _ignored = Command::new("ip")
            .args(["-n", &self.bridge_space, "link", "del", name])
            .output();
        // Snooping would hold back multicast until a querier has been heard, and there is none here.
        self.bridge(&[
            "link",
            "add",
            name,
            "type",
            "bridge",
            "mcast_snooping",
            "0",
            "stp_state",
            "0",
        ]);
        self.bridge(&["link", "set", name, "up"]);
    }

    fn plug(&self, port: &str, bridge: &str) {
        let mut ports = lock(&self.ports);
        if ports.get(port).is_none_or(|name| name != bridge) {
            self.bridge(&["link", "set", port, "master", bridge]);
            ports.insert(port.to_owned(), bridge.to_owned());
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for space in lock(&self.spaces).iter() {
            remove_space(space);
            janitor::forget_space(space);
        }
    }
}

pub(crate) fn ip_in(space: &str, arguments: &[&str]) {
    let mut all = vec!["-n", space];
    all.extend(arguments);
    run("ip", &all);
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    finish(command)
}

/// Runs `command` to its end and returns what it has printed.
///
/// # Panics
///
/// When it fails.
pub(crate) fn finish(mut command: Command) -> String {
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => panic!("cannot run {command:?}: {error}"),
    };
    assert!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Ends what still runs in a namespace of ours and removes it. Never panics: it is called while unwinding.
fn remove_space(name: &str) {
    if let Ok(pids) = Command::new("ip").args(["netns", "pids", name]).output() {
        for pid in String::from_utf8_lossy(&pids.stdout).split_whitespace() {
            let _ignored = Command::new("kill").args(["-s", "KILL", pid]).output();
        }
    }
    let _ignored = Command::new("ip").args(["netns", "del", name]).output();
}

/// Removes the namespaces of runners that no longer live (killed together with their janitor).
fn sweep() {
    let Ok(names) = fs::read_dir("/run/netns") else {
        return;
    };
    for name in names.flatten() {
        let name = name.file_name().to_string_lossy().into_owned();
        let mut parts = name.split('.');
        let ours = parts.next() == Some(PREFIX);
        let owner = parts.next().and_then(|pid| pid.parse::<u32>().ok());
        if let (true, Some(pid)) = (ours, owner)
            && !Path::new(&format!("/proc/{pid}")).exists()
        {
            remove_space(&name);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
