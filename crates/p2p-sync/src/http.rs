//! The local API: what programs on this machine ask a node, over HTTP on a loopback address. It shows what `command` and `node`
//! do, and decides nothing about the data. Whoever may ask is decided by `guard`, before anything else is looked at.
//!
//! Reading order: `accept` (connections), `guard`, `routes` (what there is), and one file for each group of routes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::node::{Node, write_private};
use crate::report::{Class, Running, line};

mod accept;
mod batch;
mod bodies;
mod body;
mod checks;
mod command;
mod conditions;
mod conflicts;
mod guard;
mod health;
mod kv;
mod list;
mod metrics;
mod openapi;
mod places;
mod problem;
mod query;
mod routes;
mod state;
mod token;
mod transfer;
mod watching;

use bodies::Bodies;
use checks::Checks;
use metrics::Answers;
use places::Places;
use token::Token;

/// Why the local API did not start. The node itself is not concerned.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The address cannot be bound to.
    #[error("cannot listen on {address} for the local API: {source}{}", advice(source))]
    Address {
        /// Which one.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The address can be reached from other machines.
    #[error("the local API listens on loopback addresses only, and {0} is none")]
    NotLoopback(SocketAddr),
    /// Others can read the file with the token, or may have written it.
    #[error(
        "{} {why}, so others may know the token of the local API. The API was not started. Make sure that the file belongs to you, \
         and `chmod 600` it; or delete it, and a new token is made at the next start",
        file.display()
    )]
    TokenExposed {
        /// Which file.
        file: PathBuf,
        /// In what way.
        why: String,
    },
    /// The file with the token does not contain one.
    #[error("{} does not contain a token. It was left untouched. Delete it, and a new token is made at the next start", file.display())]
    NoToken {
        /// Which file.
        file: PathBuf,
    },
    /// A file of the API cannot be read or written.
    #[error("cannot use {}: {source}. The local API was not started", file.display())]
    File {
        /// Which file.
        file: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl ApiError {
    /// Whether there is no room on the disk for the files of the API.
    pub fn is_for_want_of_room(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::File { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// The class of the failure.
    pub fn class(&self) -> Class {
        use std::io::ErrorKind;
        match self {
            Self::Address { source, .. } if source.kind() == ErrorKind::PermissionDenied => Class::NotPermitted,
            Self::Address { source, .. } if source.kind() == ErrorKind::AddrInUse => Class::InUse,
            Self::Address { .. } => Class::Failed,
            Self::NotLoopback(_) => Class::Usage,
            Self::TokenExposed { .. } => Class::NotPermitted,
            Self::NoToken { .. } => Class::Storage,
            Self::File { source, .. } if source.kind() == ErrorKind::PermissionDenied => Class::NotPermitted,
            Self::File { .. } => Class::Storage,
        }
    }
}

fn advice(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => ". Choose another port with --api, such as 127.0.0.1:0 for any free one",
        std::io::ErrorKind::AddrNotAvailable => {
            ". This machine does not have that address: choose another one with --api"
        }
        std::io::ErrorKind::PermissionDenied => ". Choose a port above 1023 with --api",
        _ => "",
    }
}

/// The running local API of a node. Dropping it ends it at once; [`stop`](Self::stop) lets requests finish.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    running: PathBuf,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

/// What all requests share.
struct Api {
    node: Node,
    /// Where it listens.
    address: SocketAddr,
    token: Token,
    /// The memory for bodies of requests.
    bodies: Arc<Bodies>,
    checks: Checks,
    places: Arc<Places>,
    answers: Answers,
    /// Turns true when the API ends.
    stopping: watch::Receiver<bool>,
}

impl Server {
    /// Starts the local API of a node that runs: creates the token if there is none, listens, and says in `node.json` where.
    ///
    /// # Errors
    /// If the address is not a loopback one or is taken, or the token is unusable or known to others.
    pub async fn start(node: Node, address: SocketAddr) -> Result<Self, ApiError> {
        if !address.ip().is_loopback() {
            return Err(ApiError::NotLoopback(address));
        }
        let token = Token::load_or_create(&node.paths().token_file())?;
        let listener = accept::listen(address)?;
        let address = listener
            .local_addr()
            .map_err(|source| ApiError::Address { address, source })?;
        let running = node.paths().running_file();
        let content = line(&Running {
            api: address.to_string(),
            pid: std::process::id(),
            peer_id: node.id().to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        });
        let (stop, stopping) = watch::channel(false);
        let api = Arc::new(Api {
            node,
            address,
            token,
            bodies: Arc::new(Bodies::new()),
            checks: Checks::default(),
            answers: Answers::default(),
            places: Arc::new(Places::new(accept::connections_max())),
            stopping,
        });
        let accepting = tokio::spawn(accept::run(listener, api));
        let server = Self {
            address,
            running,
            stop,
            accepting,
        };
        write_private(&server.running, content.as_bytes()).map_err(|source| ApiError::File {
            file: server.running.clone(),
            source,
        })?;
        tracing::debug!("the local API listens on {address}");
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing any more, ends the watches, gives requests half a second to finish, and forgets the node.
    pub async fn stop(mut self) {
        remove(&self.running);
        let _ = self.stop.send(true);
        if let Err(error) = (&mut self.accepting).await {
            tracing::error!("the local API ended abnormally: {error}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its connections end with the task that has them.
        self.accepting.abort();
    }
}

/// Removes what a node that did not stop cleanly has left, where no API is started that would replace it.
pub fn forget(node: &Node) {
    remove(&node.paths().running_file());
}

fn remove(file: &std::path::Path) {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!("Cannot remove {}: {error}", file.display());
        }
        _ => {}
    }
}
