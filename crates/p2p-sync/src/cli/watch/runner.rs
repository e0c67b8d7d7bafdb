//! Runs a program for each change: those of one key one after the other, those of different keys in parallel, within bounds. Says how
//! far everything has been handled, which is what a later watch may rely on.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use p2p_sync_core::text::printable;
use tokio::task::JoinSet;

use super::failed;
use crate::cli::{Failure, output};
use crate::report::{Change, ChangeKind, WatchEvent};

/// Programs that run at the same time.
const RUNNING_MAX: usize = 4;
/// Changes that are taken before the earliest of them has been handled.
const TAKEN_MAX: usize = 64;

/// Runs the program.
pub(super) struct Runner {
    command: Vec<OsString>,
    data_dir: OsString,
    /// What was taken, in its order.
    taken: VecDeque<Taken>,
    last: u64,
    running: JoinSet<(u64, String, io::Result<ExitStatus>)>,
}

struct Taken {
    number: u64,
    cursor: Option<String>,
    state: State,
}

enum State {
    Waiting(Box<(ChangeKind, Change)>),
    Running(String),
    Handled,
}

impl Runner {
    /// For this program with its arguments. What it asks p2p-sync, it asks the same node.
    pub(super) fn new(command: Vec<OsString>, data_dir: &Path) -> Self {
        Self {
            command,
            data_dir: data_dir.into(),
            taken: VecDeque::new(),
            last: 0,
            running: JoinSet::new(),
        }
    }

    /// Whether another event can be taken.
    pub(super) fn has_room(&self) -> bool {
        self.taken.len() < TAKEN_MAX
    }

    /// Whether a program is running.
    pub(super) fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// Takes an event. Gives the cursor up to which everything has been handled, if that is another one than before.
    pub(super) fn take(&mut self, event: &WatchEvent) -> Option<String> {
        self.last += 1;
        let state = match event.change() {
            Some((kind, change)) => State::Waiting(Box::new((kind, change.clone()))),
            None => State::Handled,
        };
        self.taken.push_back(Taken {
            number: self.last,
            cursor: event.cursor().map(str::to_owned),
            state,
        });
        self.start();
        self.handled()
    }

    /// Waits until a program has ended. Gives the cursor up to which everything has been handled, if that is another one than before.
    ///
    /// # Errors
    /// When the program cannot be run at all.
    pub(super) async fn done(&mut self) -> Result<Option<String>, Failure> {
        let Some(done) = self.running.join_next().await else {
            return Ok(None);
        };
        let (number, key, status) = done.map_err(|error| failed(format!("A bug has ended a thread: {error}")))?;
        let program = self.program().to_string_lossy().into_owned();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => {
                let key = printable(key.as_bytes());
                output::say(&format!(
                    "✗ {program} failed for {key}: {status}. Its change is not handled again"
                ));
            }
            Err(error) => {
                return Err(failed(format!(
                    "Cannot run {program}: {error}. The change of {} has not been handled",
                    printable(key.as_bytes())
                )));
            }
        }
        if let Some(taken) = self.taken.iter_mut().find(|taken| taken.number == number) {
            taken.state = State::Handled;
        }
        self.start();
        Ok(self.handled())
    }

    fn program(&self) -> &OsStr {
        self.command.first().map(OsString::as_os_str).unwrap_or_default()
    }

    /// Starts what may run now.
    fn start(&mut self) {
        let mut busy: Vec<String> = Vec::new();
        for taken in &mut self.taken {
            let key = match &taken.state {
                State::Handled => continue,
                State::Running(key) => key.clone(),
                State::Waiting(waiting) => waiting.1.key.clone(),
            };
            let is_free = !busy.contains(&key) && self.running.len() < RUNNING_MAX;
            if let State::Waiting(waiting) = &taken.state
                && is_free
            {
                let command = command(&self.command, &self.data_dir, waiting);
                let value = waiting.1.version.content.bytes().unwrap_or_default();
                let (number, key) = (taken.number, key.clone());
                taken.state = State::Running(key.clone());
                self.running.spawn_blocking(move || (number, key, run(command, &value)));
            }
            busy.push(key);
        }
    }

    /// Forgets what has been handled from the front on.
    fn handled(&mut self) -> Option<String> {
        let mut cursor = None;
        while self
            .taken
            .front()
            .is_some_and(|taken| matches!(taken.state, State::Handled))
        {
            cursor = self.taken.pop_front().and_then(|taken| taken.cursor).or(cursor);
        }
        cursor
    }
}

fn command(words: &[OsString], data_dir: &OsStr, (kind, change): &(ChangeKind, Change)) -> Command {
    let (program, arguments) = words
        .split_first()
        .map_or((OsStr::new(""), &[][..]), |(program, rest)| (program, rest));
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("P2P_SYNC_DATA_DIR", data_dir)
        .env("P2P_SYNC_EVENT", kind.as_str())
        .env("P2P_SYNC_KEY", &change.key)
        .env("P2P_SYNC_TIMESTAMP", &change.version.timestamp)
        .env("P2P_SYNC_AUTHOR", &change.version.author)
        .env("P2P_SYNC_CURSOR", change.cursor.as_deref().unwrap_or_default())
        .stdin(Stdio::piped());
    command
}

/// Runs it to its end. Whether it reads the value is its own affair.
fn run(mut command: Command, value: &[u8]) -> io::Result<ExitStatus> {
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(value);
    }
    child.wait()
}
