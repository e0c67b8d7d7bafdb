//! The command line: flags and environment in, exit code out. What a node does is left to `node`, what the commands
//! mean to `command`.

use std::io;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::command::Class;
use crate::node::StartError;

mod completion;
mod json;
mod lines;
mod logging;
mod mode;
mod output;
mod pipe;
mod prompt;
mod session;
mod start;
mod stop;
mod terminal;
mod text;

use start::Start;

/// The machines of a LAN as one replicated key-value store: no server, no configuration
#[derive(Debug, Parser)]
#[command(name = "p2p-sync", version, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Start(Start),
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
        Self { class, text: text.into() }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let class = match &error {
            StartError::PortTaken(_) => Class::InUse,
            StartError::Store(error) => Class::from(error.kind()),
            StartError::Identity(_) => Class::Storage,
            StartError::PeerAddress(_) => Class::Usage,
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

impl Cli {
    /// The command line of this process.
    ///
    /// # Errors
    /// With the exit code when there is nothing to run, because it is wrong or only asks for help; the user has been told.
    pub fn from_command_line() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            // Nobody is left to tell when this fails as well.
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { Class::Usage.code() } else { 0 })
        })
    }

    /// Does what was asked for, and returns when that is done; at the latest two seconds after somebody asked for the end,
    /// even if nothing on `runtime` moves any more.
    pub fn run(self, runtime: &Runtime) -> ExitCode {
        let Action::Start(start) = self.action;
        let (progress, news) = sync_channel(PROGRESS_MAX);
        runtime.spawn(async move {
            let stopping = progress.clone();
            let done = start.run(move || drop(stopping.try_send(Progress::Stopping))).await;
            let _ = progress.try_send(Progress::Done(done));
        });
        let done = match news.recv() {
            Ok(Progress::Stopping) => news.recv_timeout(stop::PROCESS_ENDS_WITHIN).map_err(|error| error == RecvTimeoutError::Timeout),
            first => first.map_err(|_| false),
        };
        match done {
            Ok(Progress::Done(Ok(()))) => ExitCode::SUCCESS,
            Ok(Progress::Done(Err(failure))) => fail(&failure),
            Ok(Progress::Stopping) | Err(true) => fail(&stop::cut_off()),
            Err(false) => fail(&Failure::new(Class::Failed, "A bug has ended the program. What was acknowledged is stored.")),
        }
    }
}
