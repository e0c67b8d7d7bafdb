//! A `p2p-sync` process: how it starts, what it has printed, and the ways to end it. What is said to it is in
//! [`crate::talk`].

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use crate::launch::Launch;
use crate::output::Output;
use crate::process::{Process, show_if_failing};
use crate::schema::Schemas;

/// How long a start may take on a machine that is busy with other tests.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// How long a clean stop may take, there. The program's own promise is tested where it is the point.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// The last line of what the program prints at its start.
const READY: &str = "Commands: ";

/// A node: its description, its data directory, its streams, and the process while it runs. All methods
/// take `&self`, so that threads may share it; one command is on its way at a time.
pub struct Node {
    pub(crate) launch: Launch,
    data_dir: PathBuf,
    /// Present when the directory is ours to remove.
    _directory: Option<TempDir>,
    pub(crate) stdout: Arc<Output>,
    stderr: Arc<Output>,
    process: Mutex<Option<Arc<Process>>>,
    /// Number of the first line of the running process on its standard output.
    started_at: AtomicU64,
    port: Mutex<u16>,
    pub(crate) one_command: Mutex<()>,
    pub(crate) markers: AtomicU64,
}

impl Node {
    #[track_caller]
    pub(crate) fn spawn(launch: Launch) -> Self {
        let directory = match launch.data_dir {
            Some(_) => None,
            None => Some(tempfile::tempdir().expect("the system's temporary directory is writable")),
        };
        let data_dir = match (&launch.data_dir, &directory) {
            (Some(chosen), _) => chosen.clone(),
            (None, Some(made)) => made.path().to_owned(),
            (None, None) => unreachable!("one of the two was made just above"),
        };
        let node = Self {
            port: Mutex::new(launch.port),
            launch,
            data_dir,
            _directory: directory,
            stdout: Arc::default(),
            stderr: Arc::default(),
            process: Mutex::new(None),
            started_at: AtomicU64::new(0),
            one_command: Mutex::new(()),
            markers: AtomicU64::new(0),
        };
        node.spawn_again();
        node
    }

    /// Starts the process again after it has ended, with the same data directory and port, and does not wait.
    ///
    /// # Panics
    ///
    /// When it still runs.
    #[track_caller]
    pub fn spawn_again(&self) {
        let mut process = lock(&self.process);
        if process.as_ref().is_some_and(|process| process.is_running()) {
            panic!("{}: still running", self.label());
        }
        let command = self.launch.command(&self.data_dir, *lock(&self.port));
        self.stdout.note("start");
        self.stderr.note("start");
        self.started_at.store(self.stdout.mark(), Ordering::SeqCst);
        *process = Some(Arc::new(Process::with_streams(
            self.label(),
            command,
            self.launch.stdin,
            Arc::clone(&self.stdout),
            Arc::clone(&self.stderr),
        )));
    }

    /// Starts the process again after it has ended and waits until it takes commands.
    #[track_caller]
    pub fn restart(&self) {
        self.spawn_again();
        self.wait_ready();
    }

    /// Waits until the start-up text is complete; learns the port if it was to be any.
    ///
    /// # Panics
    ///
    /// When the process ends or stays silent instead.
    #[track_caller]
    pub fn wait_ready(&self) {
        let from = self.started_at.load(Ordering::SeqCst);
        let ready = self
            .stdout
            .wait_line(from, READY_DEADLINE, |line| contains(line, READY.as_bytes()));
        assert!(ready.is_some(), "{}: did not start", self.label());
        let mut port = lock(&self.port);
        if *port == 0 {
            *port = self
                .listening()
                .iter()
                .find_map(|address| port_of(address))
                .unwrap_or_else(|| panic!("{}: no address with a port", self.label()));
        }
    }

    /// What its JSON has to look like.
    pub(crate) fn schemas(&self) -> Schemas {
        Schemas::of(&self.launch.program)
    }

    /// Its name in failures.
    pub fn label(&self) -> &str {
        &self.launch.label
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its port; known once it is ready.
    pub fn port(&self) -> u16 {
        *lock(&self.port)
    }

    /// The addresses that the running process has printed so far.
    pub fn listening(&self) -> Vec<String> {
        self.start_lines("Listening on ")
    }

    /// The peer id that the running process has printed.
    #[track_caller]
    pub fn peer_id(&self) -> String {
        // Replies to commands may have such lines too.
        let ids = self.start_lines("Peer ID: ");
        ids.into_iter()
            .next()
            .unwrap_or_else(|| panic!("{}: has printed no peer id", self.label()))
    }

    fn start_lines(&self, prefix: &str) -> Vec<String> {
        self.stdout
            .lines_from(self.started_at.load(Ordering::SeqCst))
            .iter()
            .filter_map(|line| {
                let line = String::from_utf8_lossy(line);
                line.strip_prefix(prefix).map(|rest| rest.trim().to_owned())
            })
            .collect()
    }

    /// Everything it has printed on standard output, over restarts.
    pub fn stdout(&self) -> &Output {
        &self.stdout
    }

    /// Everything it has logged, over restarts.
    pub fn stderr(&self) -> &Output {
        &self.stderr
    }

    /// The running process.
    #[track_caller]
    pub fn process(&self) -> Arc<Process> {
        match lock(&self.process).as_ref() {
            Some(process) => Arc::clone(process),
            None => panic!("{}: was never started", self.label()),
        }
    }

    /// Waits for a line on standard error, from line `from` on, that contains `pattern`; returns its number.
    ///
    /// # Panics
    ///
    /// When none comes.
    #[track_caller]
    pub fn wait_log(&self, from: u64, pattern: &str, deadline: Duration) -> u64 {
        let found = self
            .stderr
            .wait_line(from, deadline, |line| String::from_utf8_lossy(line).contains(pattern));
        match found {
            Some((number, _)) => number,
            None => panic!("{}: has not logged `{pattern}`", self.label()),
        }
    }

    /// Ends it as a power cut would, and waits for its end.
    #[track_caller]
    pub fn kill9(&self) {
        self.process().kill9();
    }

    /// Closes its standard input and waits for its clean end.
    ///
    /// # Panics
    ///
    /// When it does not stop, or not with exit code 0.
    #[track_caller]
    pub fn stop(&self) {
        let process = self.process();
        process.close_stdin();
        let status = process.wait_exit(STOP_DEADLINE);
        assert!(status.success(), "{}: stopped with {status}", self.label());
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// When it still runs at `deadline`.
    #[track_caller]
    pub fn wait_exit(&self, deadline: Duration) -> ExitStatus {
        self.process().wait_exit(deadline)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The process first: its last words belong to the streams that are shown.
        drop(lock(&self.process).take());
        show_if_failing(self.label(), &self.stdout, &self.stderr);
        // Also what no method here asked for. A test that has failed already says why.
        if !std::thread::panicking() {
            for line in self.stdout.lines_from(0) {
                self.schemas().check_any(&line);
            }
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn contains(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

/// The port in a multiaddress such as `/ip4/10.0.0.1/tcp/4002`.
fn port_of(address: &str) -> Option<u16> {
    let mut parts = address.split('/').skip_while(|part| *part != "tcp" && *part != "udp");
    parts.nth(1)?.parse().ok()
}
