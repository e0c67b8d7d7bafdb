//! A small client of the local API, for requests over connections that stay open.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use p2p_sync::report::{Running, read};

const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const VALUE: &str =
    "v0123456789v0123456789v0123456789v0123456789v0123456789v0123456789v0123456789v0123456789v0123456789";

/// Where the API of a node is, and its token.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) address: String,
    pub(crate) token: String,
}

impl Api {
    pub(crate) fn of(directory: &Path) -> Self {
        let start = Instant::now();
        loop {
            let running = std::fs::read_to_string(directory.join("node.json"));
            let token = std::fs::read_to_string(directory.join("api.token"));
            if let (Ok(running), Ok(token)) = (running, token) {
                let running: Running = read(&running).unwrap();
                let token = token.trim().to_owned();
                return Self {
                    address: running.api,
                    token,
                };
            }
            assert!(start.elapsed() < PATIENCE, "no API");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn connect(&self) -> BufReader<TcpStream> {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        BufReader::new(stream)
    }

    pub(crate) fn request(&self, method: &str, target: &str, body: &str) -> String {
        format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nAccept: application/x-ndjson\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            self.token,
            body.len()
        )
    }

    pub(crate) fn put(&self, connection: &mut BufReader<TcpStream>, key: &str) {
        let status = exchange(connection, &self.request("PUT", &format!("/v1/kv/{key}"), VALUE));
        assert!((200..300).contains(&status), "{status}");
    }

    /// A watch of changes from now on, and its lines of JSON.
    pub(crate) fn watch(&self) -> impl Iterator<Item = String> + use<> {
        let mut connection = self.connect();
        let request = self.request("GET", "/v1/watch?prefix=&since=now", "");
        connection.get_mut().write_all(request.as_bytes()).unwrap();
        // Chunks have lines of their own, which are no JSON.
        connection
            .lines()
            .map_while(Result::ok)
            .filter(|line| line.starts_with('{'))
    }
}

/// Sends a request and reads the whole answer. Gives its status.
pub(crate) fn exchange(connection: &mut BufReader<TcpStream>, request: &str) -> u16 {
    connection.get_mut().write_all(request.as_bytes()).unwrap();
    let (mut status, mut length) = (0, 0);
    let mut line = String::new();
    loop {
        line.clear();
        connection.read_line(&mut line).unwrap();
        let text = line.trim_end().to_ascii_lowercase();
        if let Some(rest) = text.strip_prefix("http/1.1 ") {
            status = rest[..3].parse().unwrap();
        } else if let Some(rest) = text.strip_prefix("content-length: ") {
            length = rest.parse().unwrap();
        } else if text.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).unwrap();
    status
}
