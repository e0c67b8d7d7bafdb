//! A node with its API, and a client that sends exactly the bytes that a test wants to send.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use p2p_sync_testbed::{Launch, Node, Stdin, Value, poll};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_p2p-sync");
/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A node by itself: no discovery, any free port.
pub(crate) fn launch(label: &str) -> Launch {
    Launch::new(PROGRAM).label(label).no_lan().stdin(Stdin::Pipe)
}

/// A running node, and how to ask it.
pub(crate) struct Api {
    pub(crate) node: Node,
    door: Door,
}

/// Where a node can be asked.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) address: String,
    pub(crate) token: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header; none if it is not there.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        self.text().parse().unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The same, if it has this status; a failure must be one that programs can read.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "{} {}",
            self.head,
            String::from_utf8_lossy(&self.body)
        );
        if status >= 400 && !self.body.is_empty() {
            assert_eq!(
                self.header("content-type"),
                Some("application/problem+json"),
                "{}",
                self.head
            );
            let problem = self.json();
            assert_eq!(problem["status"], status, "{problem}");
            assert_eq!(problem["type"], "about:blank", "{problem}");
            for field in ["title", "detail", "name"] {
                assert!(
                    problem[field].as_str().is_some_and(|text| !text.is_empty()),
                    "{problem}"
                );
            }
            assert!(
                problem["code"].as_u64().is_some_and(|code| (1..=10).contains(&code)),
                "{problem}"
            );
        }
        assert!(self.header("access-control-allow-origin").is_none(), "{}", self.head);
        self
    }
}

impl Api {
    pub(crate) fn start() -> Self {
        Self::of(launch("node").start())
    }

    /// The API of a node that runs.
    pub(crate) fn of(node: Node) -> Self {
        let door = poll(PATIENCE, || Door::of(node.data_dir())).expect("node.json");
        Self { node, door }
    }
}

impl Deref for Api {
    type Target = Door;

    fn deref(&self) -> &Door {
        &self.door
    }
}

impl Door {
    /// That of the node that runs on this directory, as far as its files say it.
    pub(crate) fn of(data_dir: &Path) -> Option<Self> {
        let running: Value = fs::read_to_string(data_dir.join("node.json")).ok()?.parse().ok()?;
        let token = fs::read_to_string(data_dir.join("api.token")).ok()?;
        Some(Self {
            address: running["api"].as_str()?.to_owned(),
            token: token.trim().to_owned(),
        })
    }

    pub(crate) fn connect(&self) -> TcpStream {
        self.try_connect().unwrap()
    }

    /// A connection, if anybody listens there.
    pub(crate) fn try_connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Sends these bytes on a new connection, and reads one answer; none if there is none, or nobody there.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Option<Answer> {
        let mut stream = self.try_connect().ok()?;
        // It may be closed before everything is sent.
        let _ = stream.write_all(bytes);
        read_answer(&mut BufReader::new(stream), bytes.starts_with(b"HEAD"))
    }

    /// The head of a request that is permitted.
    pub(crate) fn head(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> String {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.address);
        head.push_str(&format!("Authorization: Bearer {}\r\n", self.token));
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head
    }

    #[track_caller]
    pub(crate) fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let answer = self.try_send(method, target, headers, body);
        answer.unwrap_or_else(|| panic!("no answer to {method} {target}"))
    }

    /// The answer, if the node lives to give it.
    pub(crate) fn try_send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Answer> {
        let mut request = self.head(method, target, headers);
        if !body.is_empty() || matches!(method, "PUT" | "POST") {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let bytes = [request.as_bytes(), body].concat();
        self.raw(&bytes)
    }

    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], b"")
    }

    #[track_caller]
    pub(crate) fn put(&self, target: &str, body: &[u8]) -> Answer {
        self.send("PUT", target, &[], body)
    }

    #[track_caller]
    pub(crate) fn delete(&self, target: &str) -> Answer {
        self.send("DELETE", target, &[], b"")
    }

    #[track_caller]
    pub(crate) fn post(&self, target: &str, body: &Value) -> Answer {
        let headers = [("Content-Type", "application/json")];
        self.send("POST", target, &headers, body.to_string().as_bytes())
    }

    /// Begins a request whose answer does not end, and returns its body as lines.
    pub(crate) fn follow(&self, target: &str, headers: &[(&str, &str)]) -> Lines {
        let mut stream = self.connect();
        let head = self.head("GET", target, headers);
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let (status, head) = read_head(&mut reader).unwrap();
        assert_eq!(status, 200, "{head}");
        Lines {
            reader,
            head,
            rest: Vec::new(),
        }
    }
}

/// The lines of a body that does not end.
pub(crate) struct Lines {
    reader: BufReader<TcpStream>,
    pub(crate) head: String,
    rest: Vec<u8>,
}

impl Iterator for Lines {
    type Item = String;

    /// The next line; none at the end of the body.
    fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(String::from_utf8(line).unwrap().trim_end().to_owned());
            }
            let chunk = read_chunk(&mut self.reader)?;
            self.rest.extend(chunk);
        }
    }
}

/// One chunk; none at the end, or when the connection has ended.
fn read_chunk(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut size = String::new();
    reader.read_line(&mut size).ok()?;
    let size = usize::from_str_radix(size.trim(), 16).ok()?;
    let mut chunk = vec![0; size + 2];
    reader.read_exact(&mut chunk).ok()?;
    chunk.truncate(size);
    (size > 0).then_some(chunk)
}

fn read_head(reader: &mut impl BufRead) -> Option<(u16, String)> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, head))
}

/// Reads an answer; none if the connection ends before one.
pub(crate) fn read_answer(reader: &mut impl BufRead, is_head: bool) -> Option<Answer> {
    let (status, head) = read_head(reader)?;
    let mut answer = Answer {
        status,
        head,
        body: Vec::new(),
    };
    if is_head || matches!(status, 204 | 304) {
        return Some(answer);
    }
    if answer.header("transfer-encoding").is_some() {
        while let Some(chunk) = read_chunk(reader) {
            answer.body.extend(chunk);
        }
    } else {
        let length: usize = answer.header("content-length").unwrap_or("0").parse().ok()?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        answer.body = body;
    }
    Some(answer)
}

/// Lets this process, and the nodes that it starts, have as many connections as the system allows, and says how many.
pub(crate) fn raise_descriptor_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let _ = setrlimit(Resource::Nofile, raised);
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(allowed).unwrap_or(usize::MAX)
}
