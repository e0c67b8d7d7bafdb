//! How a `p2p-sync` is to be started: where, with which arguments, standard input and data directory.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host::Host;
use crate::node::Node;

/// What a process gets as standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// A pipe, held by the test. When the test ends, the pipe does, and with it a node.
    Pipe,
    /// `/dev/null`, as under a service manager.
    Null,
    /// None at all: the descriptor is closed. Unix only.
    Closed,
    /// A terminal (a pseudo terminal by python3, 100 columns), fed from a pipe that the test holds. Standard
    /// output is what the terminal shows, standard error included. Unix only.
    Terminal,
}

/// Gives the program a terminal and copies between it and the pipes. A `Process` sends and sees what a
/// person would type and see. Ends with the program's exit code.
const TERMINAL: &str = r#"
import fcntl, os, pty, select, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
sources = [terminal, 0]
while terminal in sources:
    for source in select.select(sources, [], [])[0]:
        try:
            data = os.read(source, 65536)
        except OSError:
            data = b""
        if not data:
            sources.remove(source)
        elif source == terminal:
            os.write(1, data)
        else:
            os.write(terminal, data)
os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xff)
"#;

/// A description of a node, completed step by step; [`Launch::start`] starts it.
#[derive(Clone)]
pub struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) label: String,
    pub(crate) host: Option<Host>,
    pub(crate) port: u16,
    pub(crate) stdin: Stdin,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) data_dir: Option<PathBuf>,
}

/// These words as a command that has a terminal, as [`Stdin::Terminal`] gives a node one.
pub fn on_terminal<S: AsRef<OsStr>>(words: &[S]) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", TERMINAL]).args(words);
    command
}

impl Launch {
    /// A node of the given `program` on this machine, on any free port, with a pipe as standard input and a
    /// fresh data directory that is removed with the node.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            label: "node".to_owned(),
            host: None,
            port: 0,
            stdin: Stdin::Pipe,
            arguments: Vec::new(),
            environment: Vec::new(),
            data_dir: None,
        }
    }

    /// Runs it on `host`, on the standard port 4002 unless told otherwise.
    #[must_use]
    pub fn on(mut self, host: &Host) -> Self {
        self.host = Some(host.clone());
        self.port = 4002;
        self
    }

    /// The name that failures use for it; also its `--name`.
    #[must_use]
    pub fn label(mut self, label: &str) -> Self {
        label.clone_into(&mut self.label);
        self
    }

    /// The port to listen on, TCP and UDP; 0 for any.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// A static peer, as a multiaddress.
    #[must_use]
    pub fn peer(self, address: &str) -> Self {
        self.argument("--peer").argument(address)
    }

    /// No discovery.
    #[must_use]
    pub fn no_lan(self) -> Self {
        self.argument("--no-lan")
    }

    /// What it gets as standard input.
    #[must_use]
    pub fn stdin(mut self, stdin: Stdin) -> Self {
        self.stdin = stdin;
        self
    }

    /// One more argument after `start` and what this description adds by itself.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// One more environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A data directory of the caller's; it is not removed with the node.
    #[must_use]
    pub fn data_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.data_dir = Some(directory.as_ref().to_owned());
        self
    }

    /// Starts it and waits until it takes commands.
    ///
    /// # Panics
    ///
    /// When it ends or stays silent instead.
    #[track_caller]
    pub fn start(self) -> Node {
        let node = self.spawn();
        node.wait_ready();
        node
    }

    /// Starts it and does not wait for anything.
    #[track_caller]
    pub fn spawn(self) -> Node {
        Node::spawn(self)
    }

    pub(crate) fn command(&self, data_dir: &Path, port: u16) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        match self.stdin {
            Stdin::Pipe | Stdin::Null => {}
            Stdin::Closed => {
                words.extend(["sh", "-c", "exec \"$0\" \"$@\" <&-"].map(OsString::from));
            }
            Stdin::Terminal => words.extend(["python3", "-c", TERMINAL].map(OsString::from)),
        }
        words.push(self.program.clone().into());
        words.extend(["start", "--port"].map(OsString::from));
        words.push(port.to_string().into());
        words.push("--data-dir".into());
        words.push(data_dir.into());
        words.push("--name".into());
        words.push(self.label.clone().into());
        words.extend(self.arguments.iter().cloned());

        let (first, rest) = words.split_first().expect("the program is in there");
        let mut command = match &self.host {
            Some(host) => host.command(first),
            None => Command::new(first),
        };
        command.args(rest);
        // Nothing of the environment in which the tests run may change what is tested.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("P2P_SYNC_") || text == "RUST_LOG" {
                command.env_remove(&name);
            }
        }
        // Tests look for values in the log, and stop nodes that have nobody to tell.
        command.env("P2P_SYNC_LOG_VALUES", "true").env("P2P_SYNC_LINGER", "0");
        command.envs(
            self.environment
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        command
    }
}
