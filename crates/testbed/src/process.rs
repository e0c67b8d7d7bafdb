//! One child process: its streams, its signals, its end. What it says and means is left to [`crate::Node`]
//! and to the tests.

use std::io::Write as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::output::Output;
use crate::wait::poll;
use crate::{Stdin, janitor};

/// Writes that may wait for a process to read its standard input.
const WRITES_MAX: usize = 64;
/// How long a process may leave that queue full.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// Lines of each stream that are shown when a test fails.
const TAIL_LINES: usize = 40;

/// A running (or ended) program with piped streams. Dropping it kills it, with its process group.
pub struct Process {
    label: String,
    pid: u32,
    child: Mutex<Child>,
    stdin: Mutex<Option<SyncSender<Vec<u8>>>>,
    stdout: Arc<Output>,
    stderr: Arc<Output>,
    /// False for the processes of a node: the node shows their streams, which live longer than they do.
    shows_streams: bool,
}

impl Process {
    /// Starts `command` with streams of its own; `label` names it in failures.
    ///
    /// # Panics
    ///
    /// When the program cannot be started.
    #[track_caller]
    pub fn spawn(label: &str, command: Command, stdin: Stdin) -> Self {
        let mut process = Self::with_streams(
            label,
            command,
            stdin,
            Arc::<Output>::default(),
            Arc::<Output>::default(),
        );
        process.shows_streams = true;
        process
    }

    #[track_caller]
    pub(crate) fn with_streams(
        label: &str,
        mut command: Command,
        stdin: Stdin,
        stdout: Arc<Output>,
        stderr: Arc<Output>,
    ) -> Self {
        // A group of its own, so that Ctrl-C at the runner does not end nodes in the middle of a test and so
        // that a process with children can be killed as a whole.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let piped = matches!(stdin, Stdin::Pipe | Stdin::Terminal);
        command
            .stdin(if piped { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("{label}: cannot start {command:?}: {error}"),
        };
        let pid = child.id();
        janitor::watch_group(pid);
        stdout.follow(child.stdout.take().expect("stdout was asked for as a pipe"));
        stderr.follow(child.stderr.take().expect("stderr was asked for as a pipe"));
        let stdin = child.stdin.take().map(|mut pipe| {
            // Writing on a thread of its own: a process that does not read must fail a test, not hang it.
            let (sender, queue) = sync_channel::<Vec<u8>>(WRITES_MAX);
            thread::spawn(move || {
                while let Ok(bytes) = queue.recv() {
                    if pipe.write_all(&bytes).is_err() {
                        return;
                    }
                }
            });
            sender
        });
        Self {
            label: label.to_owned(),
            pid,
            child: Mutex::new(child),
            stdin: Mutex::new(stdin),
            stdout,
            stderr,
            shows_streams: false,
        }
    }

    /// The number of the process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The most memory that it has held so far, in bytes; Linux only.
    ///
    /// # Panics
    ///
    /// When it has ended.
    #[track_caller]
    pub fn memory_peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        match kilobytes {
            Some(kilobytes) => kilobytes * 1024,
            None => panic!("{}: has ended, so it has no memory", self.label),
        }
    }

    /// What it prints on its standard output.
    pub fn stdout(&self) -> &Output {
        &self.stdout
    }

    /// What it prints on its standard error.
    pub fn stderr(&self) -> &Output {
        &self.stderr
    }

    /// Queues `bytes` for its standard input, as they are. Bytes for a process that has ended are lost.
    ///
    /// # Panics
    ///
    /// When its standard input is no pipe or was closed, or when it does not read for half a minute.
    #[track_caller]
    pub fn send(&self, bytes: &[u8]) {
        let label = &self.label;
        let sent = poll(WRITE_DEADLINE, || {
            let stdin = self.stdin.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(sender) = stdin.as_ref() else {
                panic!("{label}: its standard input is closed or no pipe");
            };
            match sender.try_send(bytes.to_vec()) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => Some(()),
                Err(TrySendError::Full(_)) => None,
            }
        });
        assert!(sent.is_some(), "{label}: does not read its standard input any more");
    }

    /// Closes its standard input, after what was sent.
    pub fn close_stdin(&self) {
        drop(self.stdin.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// The first JSON object on its standard output, from line `from` on, that `wanted` accepts.
    ///
    /// # Panics
    ///
    /// When none comes before `deadline` or the end of the stream.
    #[track_caller]
    pub fn wait_json(
        &self,
        from: u64,
        what: &str,
        deadline: Duration,
        mut wanted: impl FnMut(&Value) -> bool,
    ) -> Value {
        let mut found = None;
        self.stdout.wait_line(from, deadline, |line| {
            found = serde_json::from_slice::<Value>(line).ok().filter(|value| wanted(value));
            found.is_some()
        });
        found.unwrap_or_else(|| panic!("{}: no {what} within {deadline:?}", self.label))
    }

    /// Sends the signal `name` (`TERM`, `INT`, `STOP`, …) by the `kill` program; Unix only.
    ///
    /// # Panics
    ///
    /// When the signal cannot be sent.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        // Holding the child keeps it from being reaped, so the number cannot be another process's by now.
        let mut child = self.lock();
        if matches!(child.try_wait(), Ok(Some(_))) {
            panic!("{}: has ended already", self.label);
        }
        let sent = Command::new("kill").args(["-s", name, &self.pid.to_string()]).status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "{}: cannot send {name}",
            self.label
        );
    }

    /// Kills it as `kill -9` does, waits for its end, and for the end of its streams.
    pub fn kill9(&self) {
        let mut child = self.lock();
        // Already dead is as good as killed.
        let _ignored = child.kill();
        janitor::forget_group(self.pid);
        let _ignored = child.wait();
        drop(child);
        self.wait_streams();
    }

    /// True until it has ended.
    pub fn is_running(&self) -> bool {
        matches!(self.lock().try_wait(), Ok(None))
    }

    /// How it ended; waits for that.
    ///
    /// # Panics
    ///
    /// When it still runs at `deadline`.
    #[track_caller]
    pub fn wait_exit(&self, deadline: Duration) -> ExitStatus {
        let Some(status) = poll(deadline, || self.lock().try_wait().ok().flatten()) else {
            panic!("{}: still running after {deadline:?}", self.label);
        };
        janitor::forget_group(self.pid);
        self.wait_streams();
        status
    }

    fn wait_streams(&self) {
        // Grandchildren may hold a stream open; whoever waits for their words has a deadline of their own.
        self.stdout.wait_end(Duration::from_secs(2));
        self.stderr.wait_end(Duration::from_secs(2));
    }

    fn lock(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.lock();
        if let Ok(None) = child.try_wait() {
            #[cfg(unix)]
            let _ignored = Command::new("kill")
                .args(["-s", "KILL", "--", &format!("-{}", self.pid)])
                .stderr(Stdio::null())
                .status();
            let _ignored = child.kill();
        }
        janitor::forget_group(self.pid);
        let _ignored = child.wait();
        drop(child);
        if self.shows_streams {
            show_if_failing(&self.label, &self.stdout, &self.stderr);
        }
    }
}

/// Prints the ends of both streams if the test that holds them is failing. Not part of one panic message on
/// purpose: this way it comes with every failed assertion, whoever wrote it.
pub(crate) fn show_if_failing(label: &str, stdout: &Output, stderr: &Output) {
    if !thread::panicking() {
        return;
    }
    #[expect(clippy::print_stderr, reason = "the harness prints this with the failure")]
    {
        eprintln!("== {label}, last lines of stdout:");
        eprint!("{}", stdout.tail(TAIL_LINES));
        eprintln!("== {label}, last lines of stderr:");
        eprint!("{}", stderr.tail(TAIL_LINES));
    }
}
