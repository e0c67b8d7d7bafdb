//! Commands on the store itself, while no node runs on it. They hold its lock, so that no node starts meanwhile, and leave it as a node
//! that was stopped does. What they write reaches other nodes when one is started here.

use std::future::ready;

use futures::StreamExt;
use futures::future::Either;
use futures::stream::{empty, once};

use super::answers::Answers;
use crate::cli::logging::Logs;
use crate::cli::place::Place;
use crate::cli::{Failure, descriptors, output};
use crate::command::{Class, Command, Progress, Reply};
use crate::node::{DataDir, DataPaths, Node, OpenError, StartError, StoreError};

/// A store that is used directly.
pub(in crate::cli) struct Direct {
    node: Node,
    logs: Logs,
}

/// What came of the attempt.
pub(super) enum Opened {
    Direct(Direct),
    /// Another process has the data directory.
    Held {
        holder: Option<u32>,
    },
}

/// Opens the store, unless somebody has it. A command that only reads makes none.
///
/// # Errors
/// When it cannot be opened, or when the command needs what is not there.
pub(super) async fn open(command: &Command, paths: &DataPaths, place: &Place) -> Result<Opened, Failure> {
    let wants = Wants {
        makes: matches!(command, Command::Add(_)),
        needs_node: command.needs_node(),
        what: match command.shows() {
            Some(crate::command::Shows::Key(key)) => Some(key),
            _ => None,
        },
    };
    let opened = open_for(&wants, paths, place).await;
    if matches!((&opened, command), (Ok(Opened::Direct(_)), Command::Status(_))) {
        output::say("(no node is running: this is what its store says)");
    }
    opened
}

/// What a command wants of a store.
pub(super) struct Wants {
    /// It makes one where there is none.
    pub(super) makes: bool,
    /// It is about other nodes.
    pub(super) needs_node: bool,
    /// The key that it is about.
    pub(super) what: Option<String>,
}

/// The same for anything that uses a store.
///
/// # Errors
/// As for [`open`].
pub(super) async fn open_for(wants: &Wants, paths: &DataPaths, place: &Place) -> Result<Opened, Failure> {
    let makes = wants.makes;
    let directory = if makes {
        DataDir::open(paths.directory()).map(Some)
    } else {
        DataDir::open_if_used(paths.directory())
    };
    let directory = match directory {
        Err(StoreError::Open(OpenError::InUse { holder, .. })) => return Ok(Opened::Held { holder }),
        other => other.map_err(|error| Failure::from(StartError::from(error)))?,
    };
    if wants.needs_node {
        return Err(no_node(paths));
    }
    let has_store = paths.has_store().map_err(StartError::from)?;
    let directory = match directory {
        Some(directory) if has_store || makes => directory,
        _ => return Err(no_store(wants.what.as_deref(), paths)),
    };
    if place.verbose {
        output::say(&format!(
            "(on the store in {}: no node is running)",
            paths.directory().display()
        ));
    }
    descriptors::claim()?;
    let logs = Logs::start_quiet(place.verbose)?;
    let node = Node::start_offline(directory, place.network.clone(), place.lan).await;
    let node = node.map_err(|error| {
        logs.flush();
        Failure::from(error)
    })?;
    Ok(Opened::Direct(Direct { node, logs }))
}

fn no_node(paths: &DataPaths) -> Failure {
    Failure::new(
        Class::NotReachable,
        format!(
            "No node is running on {}, so there are no peers. Start one: p2p-sync start",
            paths.directory().display()
        ),
    )
}

fn no_store(key: Option<&str>, paths: &DataPaths) -> Failure {
    let what = key.map_or_else(|| "there".to_owned(), |key| format!("{key}. There"));
    let text = format!(
        "Not found: {what} is no store in {}, and no node is running on it. To use another one: --data-dir",
        paths.directory().display()
    );
    Failure::new(Class::NotFound, p2p_sync_core::text::printable(text.as_bytes()))
}

impl Direct {
    /// Has a command carried out, while its answers are asked for. `progress` counts the keys that it changes.
    pub(super) fn carry_out(self, command: Command, progress: &Progress) -> Answers {
        let (node, progress) = (self.node.clone(), progress.clone());
        let answers = once(async move {
            let reply = command.run_counting(&node, &progress).await;
            let following = match &reply {
                Ok(Reply::Listed(page)) => Either::Left(page.following(&node).map(|page| page.map(Reply::Listed))),
                _ => Either::Right(empty()),
            };
            once(ready(reply)).chain(following)
        });
        Answers::direct(self, answers.flatten())
    }

    /// The node that has the store, and reaches nobody.
    pub(in crate::cli) fn node(&self) -> &Node {
        &self.node
    }

    /// Closes the store as a node does.
    pub(in crate::cli) async fn end(self) {
        self.node.stop().await;
        self.logs.flush();
    }
}
