//! The command line: flags and environment in, exit code out. `node` does the work, in this process or, reached through `client`, in
//! another one; `command` defines the commands.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};

use clap::error::{ContextKind, ErrorKind};
use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::runtime::Builder;

use crate::command::{Class, Command};
use crate::node::{StartError, StoreError};

mod about;
mod api;
mod backups;
mod completion;
mod demo;
mod descriptors;
mod environment;
mod execute;
mod export;
mod here_document;
mod import;
mod in_conflict;
mod integration;
mod interrupt;
mod journal;
mod lines;
mod linger;
mod logging;
mod mode;
mod nearest;
mod output;
mod pipe;
mod place;
mod prompt;
mod restore_backup;
mod schema;
mod service;
mod settings;
mod shell;
mod start;
mod stop;
mod supervision;
#[cfg(unix)]
mod suspension;
mod terminal;
mod text;
mod transfer;
mod upgrading;
mod values;
mod wait;
mod watch;

use about::{Config, Paths};
use demo::Demo;
use export::Export;
use import::Import;
use integration::{Completions, Man};
use place::Place;
use restore_backup::RestoreBackup;
use schema::PrintSchema;
use service::Service;
use settings::Settings;
use start::Start;
use wait::Wait;
use watch::Watch;

/// The version, in a release build with the commit that it was built from.
const VERSION: &str = env!("P2P_SYNC_VERSION");

/// The machines of a LAN as one replicated key-value store: no server, no configuration
///
/// Start a node with `p2p-sync start`. All other commands work at its prompt, and in the shell: there they talk to the node that runs
/// on the data directory, or, while none does, use its store directly.
#[derive(Debug, Parser)]
#[command(
    name = "p2p-sync",
    version = VERSION,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    action: Action,
    #[arg(skip)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
enum Action {
    Start(Box<Start>),
    #[command(flatten)]
    Command(Command),
    Watch(Watch),
    Wait(Wait),
    Service(Service),
    Export(Export),
    Import(Import),
    #[command(name = "restore-backup")]
    RestoreBackup(RestoreBackup),
    Demo(Demo),
    Config(Config),
    Paths(Paths),
    Schema(PrintSchema),
    Completions(Completions),
    Man(Man),
}

/// Pieces of news about the end of the program: that it has begun, and that it is there.
const PROGRESS_MAX: usize = 2;

/// Threads for everything in a node that waits: it has little to compute, and its store has threads of its own.
const WORKERS: usize = 2;

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

/// The program cannot even begin.
fn cannot_begin(why: &io::Error) -> Failure {
    Failure::new(Class::Failed, format!("cannot start: {why}"))
}

fn fail(failure: &Failure) -> ExitCode {
    output::complain(&failure.text);
    ExitCode::from(failure.class.code())
}

/// The names of the variables that are set for this program, but empty. They are to be taken for unset.
pub fn empty_variables() -> Vec<OsString> {
    environment::empty()
}

impl Cli {
    /// The command line of this process.
    ///
    /// # Errors
    /// With the exit code when there is nothing to run, because it is wrong or only asks for help; the user has been told.
    pub fn from_command_line() -> Result<Self, ExitCode> {
        if let Some(code) = integration::complete() {
            return Err(code);
        }
        let arguments: Vec<OsString> = env::args_os().collect();
        let grammar = grammar();
        let settings = Settings::for_arguments(&grammar, &arguments).map_err(|failure| fail(&failure))?;
        let matches = settings.in_grammar(grammar).try_get_matches_from(arguments);
        let parsed = matches.and_then(|matches| {
            let cli = Self::from_arg_matches(&matches)?;
            Ok((cli, matches))
        });
        let (mut cli, matches) = parsed.map_err(|error| refused(&error, &settings))?;
        cli.place = cli.place.completed(&matches, &settings);
        cli.settings = settings;
        Ok(cli)
    }

    /// Does what was asked for, and returns when that is done. A node ends at the latest two seconds after somebody asked for that,
    /// even if nothing moves any more.
    pub fn run(self) -> ExitCode {
        match self.action {
            Action::Start(start) => Self::start(*start, self.place),
            Action::Command(command) => shell::run(command, &self.place),
            Action::Watch(watch) => watch.run(&self.place),
            Action::Wait(wait) => wait.run(&self.place),
            Action::Service(service) => service.run(&self.place),
            Action::Export(export) => export.run(&self.place),
            Action::RestoreBackup(restore) => restore.run(&self.place),
            Action::Demo(demo) => demo.run(),
            Action::Import(import) => import.run(&self.place),
            Action::Config(config) => config.run(&self.place, &self.settings).map(|()| ExitCode::SUCCESS),
            Action::Paths(paths) => paths.run(&self.place).map(|()| ExitCode::SUCCESS),
            Action::Completions(completions) => completions.run().map(|()| ExitCode::SUCCESS),
            Action::Man(man) => man.run().map(|()| ExitCode::SUCCESS),
            Action::Schema(schema) => schema.run().map(|()| ExitCode::SUCCESS),
        }
        .unwrap_or_else(|failure| fail(&failure))
    }

    fn start(start: Start, place: Place) -> Result<ExitCode, Failure> {
        descriptors::claim()?;
        let runtime = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
        let runtime = runtime.map_err(|error| cannot_begin(&error))?;
        let (progress, news) = sync_channel(PROGRESS_MAX);
        runtime.spawn(async move {
            let stopping = progress.clone();
            let done = start
                .run(place, move || drop(stopping.try_send(Progress::Stopping)))
                .await;
            let _ = progress.try_send(Progress::Done(done));
        });
        let done = wait(&news);
        // Nobody waits for a thread that reads from a terminal.
        runtime.shutdown_background();
        done.map(|()| ExitCode::SUCCESS)
    }
}

/// Tells the user why there is no command to carry out, or the help that was asked for.
fn refused(error: &clap::Error, settings: &Settings) -> ExitCode {
    if error.kind() == ErrorKind::MissingSubcommand && env::args_os().count() < 2 {
        output::tell(&grammar().render_help().to_string());
        return ExitCode::from(Class::Usage.code());
    }
    let printed = error.print();
    if let Err(cause) = &printed
        && !error.use_stderr()
        && cause.kind() != io::ErrorKind::BrokenPipe
    {
        output::say(&cannot_write(cause).text);
        return ExitCode::FAILURE;
    }
    if let Some(meant) = meant(error) {
        output::say(&format!("note: did you mean `{meant}`?"));
    }
    if let Some(source) = environment::blame(error, settings) {
        output::say(&format!("note: {source}"));
    }
    ExitCode::from(if error.use_stderr() { Class::Usage.code() } else { 0 })
}

/// The command that somebody may have meant, where the parser itself has no idea.
fn meant(error: &clap::Error) -> Option<String> {
    let written = error.get(ContextKind::InvalidSubcommand)?.to_string();
    if error.get(ContextKind::SuggestedSubcommand).is_some() {
        return None;
    }
    let grammar = grammar();
    let commands = grammar.get_subcommands().filter(|command| !command.is_hide_set());
    let words: Vec<&str> = commands
        .flat_map(|command| [command.get_name()].into_iter().chain(command.get_all_aliases()))
        .collect();
    nearest::nearest(&written, words).map(str::to_owned)
}

/// The grammar of the shell.
fn grammar() -> clap::Command {
    // What is no terminal gets no colours, whatever the environment says: CLICOLOR_FORCE=0 alone would switch them on.
    let colour = if io::stdout().is_terminal() && io::stderr().is_terminal() {
        ColorChoice::Auto
    } else {
        ColorChoice::Never
    };
    // `exit` leaves the prompt, and here is none.
    Cli::command()
        .color(colour)
        .mut_subcommand("exit", |exit| exit.hide(true))
}

/// Prints the help of the shell about a command, or about all of them.
///
/// # Errors
/// When there is no such command, or the help cannot be written.
fn help(command: Option<&str>) -> Result<(), Failure> {
    let words = ["p2p-sync"].into_iter().chain(command).chain(["--help"]);
    match grammar().try_get_matches_from(words) {
        Ok(_) => Ok(()),
        Err(error) if error.use_stderr() => {
            let text = error.to_string();
            let text = text.split("\n\nUsage").next().unwrap_or_default();
            let text = text.strip_prefix("error: ").unwrap_or(text);
            let meant = meant(&error).map_or_else(String::new, |meant| format!(". Did you mean: {meant}"));
            Err(Failure::new(
                Class::Usage,
                format!("{}{meant}", text.replace("\n\n", ";").replace('\n', " ")),
            ))
        }
        Err(error) => error.print().or_else(|cause| match cause.kind() {
            io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(cannot_write(&cause)),
        }),
    }
}

fn cannot_write(cause: &io::Error) -> Failure {
    Failure::new(Class::Failed, format!("Cannot write to standard output: {cause}"))
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
