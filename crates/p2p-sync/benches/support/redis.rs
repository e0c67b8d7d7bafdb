//! The same work by Redis, where it is installed.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::local_api::VALUE;

const PATIENCE: Duration = Duration::from_secs(60);

/// A Redis that writes nothing to the disk, and is killed at the end.
pub(crate) struct Redis(Child);

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn start(mut command: Command, port: u16, more: &[&str]) -> Option<Redis> {
    let port = port.to_string();
    command.args([
        "--port",
        &port,
        "--save",
        "",
        "--appendonly",
        "no",
        "--protected-mode",
        "no",
    ]);
    let child = command.args(more).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    child.ok().map(Redis)
}

pub(crate) fn reached(address: &str) {
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(start.elapsed() < PATIENCE, "{address} does not listen");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sets keys one after the other, and prints when each was acknowledged.
pub(crate) fn put_in_turn(address: &str, times: usize, mut acknowledged: impl FnMut()) {
    let mut connection = BufReader::new(TcpStream::connect(address).unwrap());
    connection.get_ref().set_nodelay(true).unwrap();
    for n in 0..times {
        let key = format!("k{n}");
        let request = format!(
            "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{VALUE}\r\n",
            key.len(),
            VALUE.len()
        );
        connection.get_mut().write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        connection.read_line(&mut line).unwrap();
        assert_eq!(line, "+OK\r\n");
        acknowledged();
        thread::sleep(Duration::from_millis(20));
    }
}

/// Tells of keys that are set, once it does.
pub(crate) fn tell_events(address: &str, ready: impl Fn(), event: impl Fn()) {
    let mut connection = BufReader::new(TcpStream::connect(address).unwrap());
    let pattern = "__keyspace@0__:k*";
    let request = format!("*2\r\n$10\r\nPSUBSCRIBE\r\n${}\r\n{pattern}\r\n", pattern.len());
    connection.get_mut().write_all(request.as_bytes()).unwrap();
    for line in connection.lines().map_while(Result::ok) {
        match line.as_str() {
            ":1" => ready(),
            "set" => event(),
            _ => {}
        }
    }
}
