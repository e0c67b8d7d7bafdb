//! `start`: starts a node, says so, and lets the user talk to it until either of them ends it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use p2p_sync_core::NetworkName;
use tokio::time::{Instant, sleep, timeout};

use super::Failure;
use super::api;
use super::backups::Backups;
use super::interrupt::Interrupts;
use super::journal;
use super::linger;
use super::logging::{Destination, LogFormat, Logs};
use super::mode::{Mode, PromptChoice};
use super::output::{self, Output};
use super::pipe::{self, Ended};
use super::place::{Place, switch};
use super::prompt::{self, PROMPT, Surroundings};
use super::stop::{Request, StopRequests};
use super::supervision;
#[cfg(unix)]
use super::suspension::Suspension;
use super::terminal::Terminal;
use super::upgrading::Upgrading;
use crate::command::{Class, CommandError};
use crate::config::{self, Config};
use crate::node::{Migration, Node, OpenError, StartError, StoreError};

/// How long replies are still written when the node can store nothing any more.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// How long whoever has the data directory or the port is waited for, and how often it is looked at.
const OTHERS_PATIENCE: Duration = Duration::from_secs(2);
const OTHERS_PAUSE: Duration = Duration::from_millis(50);

/// Starts a node
///
/// At a terminal, it shows a prompt. From a pipe, it reads commands line by line and stops after the last one. With /dev/null
/// as its input, it runs as a service until a signal stops it. Logs go to standard error; -v or RUST_LOG make them more
/// detailed. When standard error is not a terminal, log lines carry dates, leave out values, and are limited to 10 MB a day.
///
/// SIGINT, SIGTERM and SIGQUIT stop the node cleanly, as does closing its terminal. SIGUSR1 writes its status to the log. SIGHUP opens
/// the log file again.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Start {
    /// The TCP and UDP port to listen on; 0 for any free one
    #[arg(long, env = "P2P_SYNC_PORT", default_value_t = config::PORT, value_parser = config::port, allow_negative_numbers = true)]
    port: u16,
    /// What this node is called, here and on the others [default: the name of the machine]
    #[arg(long, env = "P2P_SYNC_NAME", value_parser = config::node_name)]
    name: Option<String>,
    /// The network to join; only nodes with the same network name share data. It is not a password: anyone who knows or guesses
    /// the name can join
    #[arg(
        long,
        value_name = "NAME",
        env = "P2P_SYNC_NETWORK",
        default_value = "",
        hide_default_value = true
    )]
    network: NetworkName,
    /// A peer to stay connected to, such as /ip4/192.168.1.5/tcp/4002 (repeatable)
    #[arg(long = "peer", value_name = "MULTIADDR", env = "P2P_SYNC_PEER", value_delimiter = ',', value_parser = peer)]
    peers: Vec<String>,
    /// Do not look for other nodes on the LAN, and do not announce this one
    #[arg(long, env = "P2P_SYNC_NO_LAN", value_parser = switch)]
    no_lan: bool,
    /// Stop taking data from other nodes once the store reaches this size, such as 500MB or 20GB [default: leave 5 % of the
    /// volume free, at most 1 GiB]
    #[arg(long, value_name = "SIZE", env = "P2P_SYNC_MAX_STORE", value_parser = config::max_store)]
    max_store: Option<u64>,
    /// How many gossip messages to accept from one author within 60 s. p2p-sync nodes never need more, because they also sync. If
    /// another program sends more, raise this on every node
    #[arg(long, value_name = "COUNT", env = "P2P_SYNC_MESSAGE_LIMIT", default_value_t = config::MESSAGE_LIMIT, value_parser = config::message_limit, allow_negative_numbers = true)]
    message_limit: usize,
    /// Where the API for programs on this machine listens: a loopback address with a port, 0 for any free one; or off
    #[arg(long, value_name = "ADDR", env = "P2P_SYNC_API", default_value = "127.0.0.1:0", value_parser = ApiAddress::read)]
    api: ApiAddress,
    /// If there is a store but no identity.key: start as a new peer that keeps the data
    #[arg(long, env = "P2P_SYNC_NEW_IDENTITY", value_parser = switch)]
    new_identity: bool,
    /// Whether to read commands from standard input
    #[arg(long, env = "P2P_SYNC_PROMPT", default_value = "auto")]
    prompt: PromptChoice,
    /// After a pipe that wrote something: how long to wait until a peer has it; 0 means no wait
    #[arg(long, value_name = "SECONDS", env = "P2P_SYNC_LINGER", default_value_t = linger::SECONDS, value_parser = linger::seconds, allow_negative_numbers = true)]
    linger: f64,
    #[command(flatten)]
    backups: Backups,
    /// Show values in the log even if it does not go to a terminal
    #[arg(long, env = "P2P_SYNC_LOG_VALUES", value_parser = switch)]
    log_values: bool,
    /// Append the log to this file instead of writing it to standard error. After SIGHUP, it is opened again: rename it first
    #[arg(long, value_name = "FILE", env = "P2P_SYNC_LOG_FILE")]
    log_file: Option<PathBuf>,
    /// What the lines of the log look like
    #[arg(long, value_name = "FORMAT", env = "P2P_SYNC_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// Where the local API listens; none: nowhere.
#[derive(Debug, Clone, Copy)]
struct ApiAddress(Option<SocketAddr>);

impl ApiAddress {
    fn read(text: &str) -> Result<Self, config::InvalidApi> {
        config::api(text).map(Self)
    }
}

/// As for [`config::peer_address`], but blanks round it are left out, and nothing is nothing: a list may end with a comma.
fn peer(text: &str) -> Result<String, config::InvalidPeerAddress> {
    let text = text.trim();
    if text.is_empty() {
        Ok(String::new())
    } else {
        config::peer_address(text)
    }
}

impl Start {
    /// Runs a node until somebody asks for its end, and calls `stopping` when that happens.
    pub(super) async fn run(self, place: Place, stopping: impl FnOnce()) -> Result<(), Failure> {
        let destination = Destination {
            file: self.log_file.clone(),
            format: self.log_format,
        };
        let logs = Logs::start(place.verbose, &destination)?;
        let done = self.run_logged(place, &logs, stopping).await;
        logs.flush();
        done
    }

    async fn run_logged(self, place: Place, logs: &Logs, stopping: impl FnOnce()) -> Result<(), Failure> {
        let mode = Mode::of_process(self.prompt);
        let mut terminal = match mode {
            Mode::Prompt => Terminal::for_editor(),
            Mode::PlainPrompt | Mode::Pipe | Mode::Service => Terminal::default(),
        };
        let linger = Duration::from_secs_f64(self.linger);
        let (address, backups) = (self.api.0, self.backups.clone());
        let config = self.config(place, logs)?;
        let linger = if config.lan || !config.peers.is_empty() {
            linger
        } else {
            Duration::ZERO
        };
        let (mut requests, status_requests) = StopRequests::listen(logs)
            .map_err(|error| Failure::new(Class::Failed, format!("cannot set up signal handling: {error}")))?;
        let mut upgrading = Upgrading::new();
        let node = tokio::select! {
            node = start_behind_others(config, move |migration| upgrading.show(migration)) => node?,
            _ = requests.requested() => return Ok(()),
        };
        let server = api::start(&node, address).await?;
        journal::started(&node, logs);
        supervision::started(&node);
        let surroundings = Surroundings {
            history: node.paths().history_file(),
            editing: terminal.editing(),
            logs: logs.clone(),
            stop: requests.switch(),
            interrupts: Interrupts::default(),
            #[cfg(unix)]
            suspension: Suspension::listen()
                .map_err(|error| Failure::new(Class::Failed, format!("cannot set up signal handling: {error}")))?,
        };
        let interrupts = surroundings.interrupts.clone();
        let (ended, why) = {
            let mut answers =
                pin!(async { tokio::join!(journal::answer(status_requests, &node), backups.keep(&node)).0 });
            let mut watchdog = pin!(supervision::feed_watchdog(&node));
            let mut talk = pin!(talk(&node, mode, linger, surroundings));
            tokio::select! {
                never = &mut answers => match never {},
                never = &mut watchdog => match never {},
                ended = &mut talk => {
                    let why = ended.as_ref().map_or_else(ToString::to_string, ToString::to_string);
                    (ended.map(drop), why)
                }
                // While a command is carried out, an interrupt ends that and nothing else.
                request = requests.requested_unless(|request| {
                    mode == Mode::Prompt && request == Request::Interrupt && interrupts.interrupt()
                }) => {
                    (Ok(()), request.to_string())
                }
                error = node.failed() => {
                    // Whoever has just been answered is to hear it.
                    let _ = timeout(LAST_WORDS, &mut talk).await;
                    let why = error.to_string();
                    (Err(Ended::Node(error)), why)
                }
            }
        };
        journal::stopping(&why, logs);
        supervision::stopping();
        stopping();
        terminal.restore();
        logs.print_directly();
        let stopped = requests.in_time(api::leave(&node, server), node.stop()).await;
        match ended {
            Err(Ended::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => stopped,
            Err(Ended::Node(error)) => {
                let error = CommandError::from(error);
                Err(Failure::new(error.class, error.to_string()))
            }
            Err(ended) => Err(Failure::new(Class::Failed, ended.to_string())),
            Ok(()) => stopped,
        }
    }

    fn config(self, place: Place, logs: &Logs) -> Result<Config, Failure> {
        let peers: Vec<_> = self.peers.into_iter().filter(|peer| !peer.is_empty()).collect();
        if peers.len() > config::PEERS_MAX {
            return Err(Failure::new(
                Class::Usage,
                format!("At most {} --peer addresses are allowed", config::PEERS_MAX),
            ));
        }
        Ok(Config {
            data_dir: place.data_dir()?,
            port: self.port,
            name: self.name.unwrap_or_else(config::default_name),
            network: self.network,
            peers,
            lan: !self.no_lan,
            max_store: self.max_store,
            message_limit: self.message_limit,
            new_identity: self.new_identity,
            log_values: self.log_values || !logs.is_kept(),
        })
    }
}

/// Starts the node. Whoever has the directory or the port is waited for: a node that was told to end needs a moment for that, also one
/// that was killed, and a command of a shell that uses the store is done soon.
async fn start_behind_others(config: Config, mut observe: impl FnMut(Migration) + Send) -> Result<Node, StartError> {
    let deadline = Instant::now() + OTHERS_PATIENCE;
    loop {
        match Node::start_observed(config.clone(), &mut observe).await {
            Err(StartError::Store(StoreError::Open(OpenError::InUse { .. }))) if Instant::now() < deadline => {}
            Err(StartError::Port(error)) if error.is_in_use() && Instant::now() < deadline => {}
            other => return other,
        }
        sleep(OTHERS_PAUSE).await;
    }
}

/// Says that the node runs, and lets the user talk to it. Returns why nobody does any more.
async fn talk(node: &Node, mode: Mode, patience: Duration, surroundings: Surroundings) -> Result<&'static str, Ended> {
    let said = Output::stdout().print(&head(node)).await;
    match mode {
        // Nobody talks to a service, and it lives on when the reader of its first lines has left.
        Mode::Service => std::future::pending().await,
        Mode::Prompt => {
            said?;
            output::say(OPEN);
            prompt::run(node, surroundings).await?;
            Ok("the user left the prompt")
        }
        Mode::PlainPrompt => {
            said?;
            let told = pipe::run(PROMPT, node).await?;
            linger::until_somebody_has_it(node, told.writes, patience).await;
            Ok(told.why)
        }
        Mode::Pipe => {
            said?;
            let told = pipe::run("", node).await?;
            linger::until_somebody_has_it(node, told.writes, patience).await;
            if told.lines == 0 {
                output::say(
                    "Standard input was empty, so there was nothing to do. To run as a service instead: --prompt \
                     never, or </dev/null",
                );
            }
            Ok(told.why)
        }
    }
}

/// What whoever starts a node at a terminal is to know. It follows the first lines, which are read by programs too.
const OPEN: &str = "(open network: whoever is on this LAN can read and write)";

fn head(node: &Node) -> String {
    let mut text = format!("=== P2P Sync System Started ===\nPeer ID: {}\n", node.id());
    for address in node.listening() {
        text.push_str(&format!("Listening on {address}\n"));
    }
    text.push_str("Commands: add, get, delete, list, status   (help for all)\n");
    text
}
