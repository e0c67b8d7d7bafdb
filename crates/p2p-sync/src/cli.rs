//! The command line: flags and environment in, exit code out. `node` does the work; `command` defines the commands.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::command::Class;
use crate::node::{StartError, StoreError};

mod api;
mod completion;
mod descriptors;
mod environment;
mod execute;
mod here_document;
mod in_conflict;
mod interrupt;
mod journal;
mod lines;
mod linger;
mod logging;
mod mode;
mod output;
mod pipe;
mod prompt;
mod schema;
mod start;
mod stop;
#[cfg(unix)]
mod suspension;
mod terminal;
mod text;
mod upgrading;

use schema::PrintSchema;
use start::Start;

/// The machines of a LAN as one replicated key-value store: no server, no configuration
#[derive(Debug, Parser)]
#[command(
    name = "p2p-sync",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Start(Start),
    Schema(PrintSchema),
}

/// Pieces of news about the end of the program: that it has begun, and that it is there.
const PROGRESS_MAX: usize = 2;

enum Progress {
    Stopping,
    Done(Result<(), Failure>),
}

/// Why the program ends with another exit code than 0, and what the user is told.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Failure {
    class: Class,
    text: String,
}

impl Failure {
    fn new(class: Class, text: impl Into<String>) -> Self {
        Self {
            class,
            text: text.into(),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let class = match &error {
            StartError::Port(error) if error.is_not_permitted() => Class::NotPermitted,
            StartError::Port(error) if error.is_of_this_process() => Class::Failed,
            StartError::Port(_) => Class::InUse,
            // Not a failure that passes by itself: somebody has the store.
            StartError::Store(StoreError::Locked { .. }) => Class::InUse,
            StartError::Store(error) => Class::from(error.kind()),
            StartError::Identity(error) if error.is_not_permitted() => Class::NotPermitted,
            StartError::Identity(_) => Class::Storage,
            StartError::Setting(_) => Class::Usage,
            _ => Class::Failed,
        };
        Self::new(class, error.to_string())
    }
}

/// Tells the user that the program cannot even begin.
pub fn cannot_begin(why: &io::Error) -> ExitCode {
    fail(&Failure::new(Class::Failed, format!("cannot start: {why}")))
}

fn fail(failure: &Failure) -> ExitCode {
    output::complain(&failure.text);
    ExitCode::from(failure.class.code())
}

/// The names of the variables that are set for this program, but empty. They are to be taken for unset.
pub fn empty_variables() -> Vec<OsString> {
    environment::empty()
}

/// Prepares the process for a node, before it has any thread or file.
///
/// # Errors
/// With the exit code when the process may not have what a node needs; the user has been told.
pub fn prepare() -> Result<(), ExitCode> {
    descriptors::claim().map_err(|failure| fail(&failure))
}

impl Cli {
    /// The command line of this process.
    ///
    /// # Errors
    /// With the exit code when there is nothing to run, because it is wrong or only asks for help; the user has been told.
    pub fn from_command_line() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            let printed = error.print();
            if let Err(cause) = &printed
                && !error.use_stderr()
                && cause.kind() != std::io::ErrorKind::BrokenPipe
            {
                output::say(&format!("Cannot write to standard output: {cause}"));
                return ExitCode::FAILURE;
            }
            if let Some(variable) = environment::blame(&error) {
                output::say(&format!("note: {variable}"));
            }
            ExitCode::from(if error.use_stderr() { Class::Usage.code() } else { 0 })
        })
    }

    /// Does what was asked for, and returns when that is done; at the latest two seconds after somebody asked for the end,
    /// even if nothing on `runtime` moves any more.
    pub fn run(self, runtime: &Runtime) -> ExitCode {
        match self.action {
            Action::Start(start) => Self::start(start, runtime),
            Action::Schema(schema) => schema.run(),
        }
        .map_or_else(|failure| fail(&failure), |()| ExitCode::SUCCESS)
    }

    fn start(start: Start, runtime: &Runtime) -> Result<(), Failure> {
        let (progress, news) = sync_channel(PROGRESS_MAX);
        runtime.spawn(async move {
            let stopping = progress.clone();
            let done = start.run(move || drop(stopping.try_send(Progress::Stopping))).await;
            let _ = progress.try_send(Progress::Done(done));
        });
        wait(&news)
    }
}

/// Waits for the end, but once it has begun not for long.
fn wait(news: &Receiver<Progress>) -> Result<(), Failure> {
    let bug = || {
        Failure::new(
            Class::Failed,
            "The program crashed because of a bug. Acknowledged writes are stored.",
        )
    };
    match news.recv() {
        Ok(Progress::Done(done)) => return done,
        Ok(Progress::Stopping) => {}
        Err(_) => return Err(bug()),
    }
    match news.recv_timeout(stop::PROCESS_ENDS_WITHIN) {
        Ok(Progress::Done(done)) => done,
        Ok(Progress::Stopping) | Err(RecvTimeoutError::Timeout) => Err(stop::cut_off()),
        Err(RecvTimeoutError::Disconnected) => Err(bug()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::time::{Duration, Instant};

    use super::execute::tests::{config, node};
    use super::*;
    use crate::config::Config;
    use crate::node::Node;

    #[test]
    fn an_end_that_has_begun_comes_within_two_seconds() {
        let (progress, news) = sync_channel(PROGRESS_MAX);
        let start = Instant::now();
        progress.send(Progress::Stopping).unwrap();
        assert_eq!(wait(&news).unwrap_err().class, Class::Failed);
        assert!(start.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn the_end_is_the_one_that_came() {
        let (progress, news) = sync_channel(PROGRESS_MAX);
        progress.send(Progress::Stopping).unwrap();
        progress.send(Progress::Done(Ok(()))).unwrap();
        assert!(wait(&news).is_ok());
        progress
            .send(Progress::Done(Err(Failure::new(Class::InUse, "taken"))))
            .unwrap();
        assert_eq!(wait(&news).unwrap_err().class, Class::InUse);
        drop(progress);
        assert!(wait(&news).unwrap_err().text.contains("bug"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_keeps_a_node_from_starting_has_its_class() {
        let (node, directory) = node().await;
        let config = config(&directory);
        let class = async |config: Config| Failure::from(Node::start(config).await.unwrap_err()).class;
        assert_eq!(class(config.clone()).await, Class::InUse, "the directory");
        let other = tempfile::tempdir().unwrap();
        let elsewhere = Config {
            data_dir: other.path().to_owned(),
            ..config.clone()
        };
        let port = node.status().await.unwrap().port;
        assert_eq!(
            class(Config {
                port,
                ..elsewhere.clone()
            })
            .await,
            Class::InUse,
            "the port"
        );
        node.stop().await;
        drop(node);
        assert_eq!(
            class(Config {
                network: "lab".parse().unwrap(),
                ..config.clone()
            })
            .await,
            Class::Conflict
        );
        std::fs::write(other.path().join("identity.key"), "nonsense").unwrap();
        assert_eq!(class(elsewhere).await, Class::Storage, "a damaged identity");
        std::fs::write(directory.path().join("store.db"), "nonsense".repeat(100)).unwrap();
        assert_eq!(class(config).await, Class::Storage, "a damaged store");
    }

    #[test]
    fn the_command_line_is_checked_before_anything_starts() {
        let parsed = |arguments: &[&str]| Cli::try_parse_from([&["p2p-sync", "start"], arguments].concat());
        for arguments in [
            &[][..],
            &[
                "--port",
                "0",
                "--data-dir",
                "/x",
                "--name",
                "n",
                "--network",
                "lab",
                "--no-lan",
                "--prompt",
                "never",
            ],
            &["--peer", "/ip4/1.2.3.4/tcp/1", "--peer", "/ip6/::1/udp/2/quic-v1"],
            &["--peer", "/ip4/1.2.3.4/tcp/1,/ip6/::1/udp/2/quic-v1"],
        ] {
            assert!(parsed(arguments).is_ok(), "{arguments:?}");
        }
        for arguments in [
            &["--port", "65536"][..],
            &["--peer", "192.168.1.5:4002"],
            &["--peer", "/ip4/1.2.3.4/udp/1"],
            &["--name", ""],
            &["--network", "a\nb"],
            &["--prompt", "sometimes"],
            &["extra"],
        ] {
            assert!(parsed(arguments).is_err(), "{arguments:?}");
        }
        for arguments in [
            ["--port", "x"],
            ["--port", "-1"],
            ["--linger", "-1"],
            ["--message-limit", "-1"],
        ] {
            let told = parsed(&arguments).unwrap_err().to_string();
            assert!(told.contains("expected a"), "{told}");
        }
    }
}
