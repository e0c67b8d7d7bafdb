//! One machine of a lab: its addresses, interfaces and cable. Filters are in [`crate::filter`], processes in
//! [`crate::Launch`].

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;

use crate::lab::{Inner, finish, ip_in, run};

/// One machine of a [`crate::Lab`]: a network namespace with the interface `eth0` and a loopback.
#[derive(Clone)]
pub struct Host {
    pub(crate) lab: Arc<Inner>,
    pub(crate) space: String,
    /// Number within the lab, 1 and up; also the last part of its addresses.
    pub(crate) number: u32,
    pub(crate) port: Option<String>,
}

impl Host {
    /// The name of its namespace.
    pub fn space(&self) -> &str {
        &self.space
    }

    /// Its IPv4 address in the lab's network, whether it has been given one yet or not.
    pub fn ip4(&self) -> String {
        format!("10.77.{}.{}", self.lab.id % 256, self.number)
    }

    /// Its unique local IPv6 address, whether it has been given one yet or not.
    pub fn ip6(&self) -> String {
        // Never a zero in the middle, so that this is how everybody else writes it too.
        format!("fd77:{:x}::{:x}", self.lab.id % 256 + 1, self.number)
    }

    /// An unused IPv4 address of the lab's network, for a host that moves.
    pub fn spare_ip4(&self) -> String {
        format!("10.77.{}.{}", self.lab.id % 256, self.number + 100)
    }

    /// Gives its cable's interface one more address, as `ADDRESS/PREFIX`.
    pub fn add_address(&self, address: &str) {
        self.add_address_to("eth0", address);
    }

    /// Takes an address (`ADDRESS/PREFIX`) away from its cable's interface.
    pub fn remove_address(&self, address: &str) {
        self.ip(&["addr", "del", address, "dev", "eth0"]);
    }

    /// Adds an interface that is up, has `address` (`ADDRESS/PREFIX`) and leads nowhere: whatever is sent
    /// into it is lost in silence. Returns its name.
    pub fn add_dead_end(&self, address: &str) -> String {
        let number = self.lab.links_made.fetch_add(1, Ordering::Relaxed);
        let (near, far) = (format!("dead{number}"), format!("end{number}"));
        self.lab.bridge(&[
            "link",
            "add",
            &far,
            "type",
            "veth",
            "peer",
            "name",
            &near,
            "netns",
            &self.space,
        ]);
        self.lab.bridge(&["link", "set", &far, "up"]);
        self.ip(&["link", "set", &near, "up"]);
        self.add_address_to(&near, address);
        near
    }

    /// Sends what it has no route for to `gateway`, an IPv4 address. One that does not exist makes every
    /// wrong address a dead end instead of an error at once.
    pub fn set_default_route(&self, gateway: &str) {
        self.ip(&["route", "replace", "default", "via", gateway]);
    }

    /// Pulls its cable: no carrier at the host, nothing passes. Addresses stay.
    pub fn cut(&self) {
        self.lab.bridge(&["link", "set", self.port(), "down"]);
    }

    /// Plugs its cable in again.
    pub fn mend(&self) {
        self.lab.bridge(&["link", "set", self.port(), "up"]);
    }

    /// Bytes that its cable's interface has received and sent so far.
    pub fn traffic_bytes(&self) -> (u64, u64) {
        let text = run("ip", &["-n", &self.space, "-s", "-j", "link", "show", "eth0"]);
        let value: Value = serde_json::from_str(&text).expect("ip prints JSON when asked to");
        let count = |way: &str| {
            value
                .pointer(&format!("/0/stats64/{way}/bytes"))
                .and_then(Value::as_u64)
                .expect("ip -s prints the counters")
        };
        (count("rx"), count("tx"))
    }

    /// A command that will run on this host.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.space]).arg(program.as_ref());
        command
    }

    pub(crate) fn shell(&self, script: &str) {
        let mut command = self.command("sh");
        command.args(["-c", script]);
        finish(command);
    }

    pub(crate) fn ip(&self, arguments: &[&str]) {
        ip_in(&self.space, arguments);
    }

    /// Gives the interface of that name one more address, as `ADDRESS/PREFIX`.
    pub fn add_address_to(&self, interface: &str, address: &str) {
        let mut arguments = vec!["addr", "add", address, "dev", interface];
        if address.contains(':') {
            arguments.push("nodad");
        } else {
            arguments.extend(["broadcast", "+"]);
        }
        self.ip(&arguments);
    }

    pub(crate) fn port(&self) -> &str {
        self.port
            .as_deref()
            .expect("a lonely host has no cable to pull or plug")
    }
}
