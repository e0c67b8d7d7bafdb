//! Talks to the node that runs on a data directory, through its local API. Which commands there are is `command`'s business, and what
//! to do while no node answers is `cli`'s. It costs one connection and no thread.

use std::fs::File;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::command::{Class, Command, CommandError, Reply};
use crate::node::{DataDir, DataPaths};
use crate::report::{ImportPage, PageImported, Problem, Running, WatchEvent, line, read};

mod blocks;
mod lines;
mod token;

pub use blocks::Blocks;
pub use lines::Lines;

/// How long a connection within the machine may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long a node that has a request may be silent: one that works on it gives signs of life.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long a page of an import may take: longer than the node gives itself for it.
const PAGE_WITHIN: Duration = Duration::from_secs(40);
/// The largest `node.json` that is read.
const RUNNING_BYTES_MAX: u64 = 4 * 1024;
/// The largest description of an error that is read.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

/// The type of a stream of JSON, one value a line.
const NDJSON: &str = "application/x-ndjson";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The node was not asked: it does not listen, or not yet, or not any more. It can be asked again.
    #[error("{0}")]
    NotReached(String),
    /// The node was asked, and went away before it had answered. What came of the request nobody knows.
    #[error("{0}")]
    Unanswered(String),
    /// The node has the request, and has not answered in time.
    #[error("the node does not answer")]
    TimedOut,
    /// There is no use in asking again.
    #[error(transparent)]
    Refused(#[from] CommandError),
}

/// The node that runs on a data directory.
#[derive(Debug, Clone)]
pub struct Client {
    running: Running,
    address: SocketAddr,
    token: String,
}

/// The answers to a command: a list comes page by page, everything else is one.
pub type Replies = Lines<Result<Reply, CommandError>>;
/// What a watcher is told.
pub type Events = Lines<WatchEvent>;

impl Client {
    /// The node that says in this directory that it runs; none if none does. It may be gone all the same.
    ///
    /// # Errors
    /// When its files may not be read, or its token is not safe: other users must not be able to read or to place it.
    pub fn of(paths: &DataPaths) -> Result<Option<Self>, CommandError> {
        // What a node that was killed has left says nothing: by now anybody may listen there, and would be sent the token.
        if !DataDir::is_held(paths) {
            return nobody(paths);
        }
        let file = paths.running_file();
        let Some(running) = read_running(&file)? else {
            return Ok(None);
        };
        let Ok(address) = running.api.parse::<SocketAddr>() else {
            return Ok(None);
        };
        // The token goes nowhere else, whatever the file says.
        if !address.ip().is_loopback() {
            let text = format!(
                "{} names {address}, which is not on this machine. Nothing was sent. Remove the file if no node runs here",
                file.display()
            );
            return Err(CommandError::new(Class::NotPermitted, text));
        }
        let token = token::read(&paths.token_file())?;
        Ok(token.map(|token| Self {
            running,
            address,
            token,
        }))
    }

    /// What the node says of itself.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Has a command carried out. It may take as long as it takes while the node gives signs of life: it must not be silent for longer than
    /// [`SILENCE_MAX`], neither now nor before the next answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn command(&self, command: &Command) -> Result<Replies, ClientError> {
        let body = command.sent()?;
        let request = self
            .request(Method::POST, "/v1/command")
            .header(header::CONTENT_TYPE, "application/json");
        let answer = timeout(SILENCE_MAX, self.send(request, body)).await;
        let answer = answer.unwrap_or(Err(ClientError::TimedOut))?;
        Ok(Lines::of(answer.into_body(), Some(SILENCE_MAX)))
    }

    /// Asks whether the node is there.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn greet(&self) -> Result<(), ClientError> {
        let asked = self.send(self.request(Method::GET, "/healthz"), String::new());
        let answer = timeout(SILENCE_MAX, asked).await;
        answer.unwrap_or(Err(ClientError::TimedOut)).map(drop)
    }

    /// Watches the keys with this prefix, from a cursor on, or from `now`, or with everything that there is.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn watch(&self, prefix: &str, since: Option<&str>) -> Result<Events, ClientError> {
        let since = since
            .map(|since| format!("&since={}", encoded(since)))
            .unwrap_or_default();
        let target = format!("/v1/watch?prefix={}{since}", encoded(prefix));
        let answer = self.send(self.request(Method::GET, &target), String::new()).await?;
        Ok(Lines::of(answer.into_body(), None))
    }

    /// Everything that the node holds under this prefix at this moment, as lines of JSON; the last one says how many there are.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn export(&self, prefix: &str, with_deleted: bool) -> Result<Blocks, ClientError> {
        let target = format!("/v1/export?prefix={}&deleted={with_deleted}", encoded(prefix));
        let answer = self.send(self.request(Method::GET, &target), String::new()).await?;
        Ok(Blocks::of(answer.into_body()))
    }

    /// Has a page of records imported.
    ///
    /// # Errors
    /// When there is no answer, or nothing of it was written.
    pub async fn import(&self, page: &ImportPage<'_>) -> Result<PageImported, ClientError> {
        let request = self
            .request(Method::POST, "/v1/import")
            .header(header::CONTENT_TYPE, "application/json");
        let answer = timeout(PAGE_WITHIN, self.send(request, line(page))).await;
        let answer = answer.unwrap_or(Err(ClientError::TimedOut))?;
        let text = lines::whole(answer.into_body(), PROBLEM_BYTES_MAX).await;
        let imported = text.and_then(|text| read(&text).ok());
        imported.ok_or_else(|| ClientError::Unanswered("its answer broke off".to_owned()))
    }

    fn request(&self, method: Method, target: &str) -> hyper::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, self.address.to_string())
            .header(header::ACCEPT, NDJSON)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
    }

    async fn send(
        &self,
        request: hyper::http::request::Builder,
        body: String,
    ) -> Result<Response<Incoming>, ClientError> {
        let not_reached = |error: &dyn std::error::Error| ClientError::NotReached(error.to_string());
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| not_reached(&error))?;
        let stream = match timeout(CONNECT_WITHIN, TcpStream::connect(self.address)).await {
            Ok(stream) => stream.map_err(|error| not_reached(&error))?,
            Err(elapsed) => return Err(not_reached(&elapsed)),
        };
        // Small requests are not to wait for an acknowledgement; where it cannot be set, they work all the same.
        let _ = stream.set_nodelay(true);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| not_reached(&error))?;
        tokio::spawn(async move {
            // What went wrong is told to whoever reads.
            let _ = connection.await;
        });
        let answer = sender.send_request(request).await.map_err(|error| {
            if error.is_canceled() {
                not_reached(&error)
            } else {
                ClientError::Unanswered(error.to_string())
            }
        })?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            status => Err(refusal(status, answer).await),
        }
    }
}

/// No node runs on the directory, unless this user may not know.
fn nobody(paths: &DataPaths) -> Result<Option<Client>, CommandError> {
    let file = paths.lock_file();
    match File::open(&file) {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(cannot_read(&file, &error))
        }
        _ => Ok(None),
    }
}

fn read_running(file: &Path) -> Result<Option<Running>, CommandError> {
    match token::read_small(file, RUNNING_BYTES_MAX) {
        // One that is being written is not there yet.
        Ok(text) => Ok(text.and_then(|text| read(&text).ok())),
        Err(error) => Err(cannot_read(file, &error)),
    }
}

fn cannot_read(file: &Path, error: &std::io::Error) -> CommandError {
    let class = match error.kind() {
        ErrorKind::PermissionDenied => Class::NotPermitted,
        _ => Class::Storage,
    };
    let advice = match class {
        Class::NotPermitted => "Run this as the user who started the node",
        _ => "Look at what is there, or name another data directory with --data-dir",
    };
    let text = format!("Cannot read {}: {error}. Nothing was done. {advice}", file.display());
    CommandError::new(class, text)
}

async fn refusal(status: StatusCode, answer: Response<Incoming>) -> ClientError {
    let text = lines::whole(answer.into_body(), PROBLEM_BYTES_MAX).await;
    let problem = text.and_then(|text| read::<Problem>(&text).ok());
    let (class, text) = match problem {
        Some(problem) => (problem.code, problem.detail),
        None => (Class::Failed, format!("the node answered {status}")),
    };
    if status == StatusCode::SERVICE_UNAVAILABLE {
        return ClientError::NotReached(text);
    }
    CommandError::new(class, text).into()
}

/// The text as a part of a query.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_a_part_of_a_query() {
        assert_eq!(encoded("a-Z_0.~"), "a-Z_0.~");
        assert_eq!(encoded("a/b c%&=+ü"), "a%2Fb%20c%25%26%3D%2B%C3%BC");
    }

    #[test]
    fn a_node_that_does_not_say_where_it_is_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let held = DataDir::open(directory.path()).unwrap();
        let paths = held.paths().clone();
        assert!(Client::of(&paths).unwrap().is_none());
        std::fs::write(paths.running_file(), "{\"api\":").unwrap();
        assert!(Client::of(&paths).unwrap().is_none());
        let running = |api: &str| format!(r#"{{"api":"{api}","pid":1,"peer_id":"p","version":"1"}}"#);
        std::fs::write(paths.running_file(), running("127.0.0.1:1")).unwrap();
        assert!(Client::of(&paths).unwrap().is_none(), "it has no token yet");
        std::fs::write(paths.running_file(), running("192.0.2.1:1")).unwrap();
        assert_eq!(Client::of(&paths).unwrap_err().class, Class::NotPermitted);
        drop(held);
        assert!(Client::of(&paths).unwrap().is_none(), "nobody runs here");
    }

    /// A user who may not look there is told so, and does not wait for ever.
    #[test]
    #[cfg(unix)]
    fn a_directory_that_cannot_be_looked_into_is_no_node_that_does_not_run() {
        let directory = tempfile::tempdir().unwrap();
        let paths = DataPaths::new(directory.path()).unwrap();
        assert!(Client::of(&paths).unwrap().is_none());
        // Unlike permissions, this stops even root.
        std::os::unix::fs::symlink(paths.lock_file(), paths.lock_file()).unwrap();
        let refused = Client::of(&paths).unwrap_err();
        assert!(refused.to_string().contains("Nothing was done. Look at"), "{refused}");
    }
}
