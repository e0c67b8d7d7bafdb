//! What a process has printed: lines as bytes, bounded, numbered, and awaited with a condition variable.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Lines kept of one stream; the oldest are forgotten first.
const LINES_MAX: usize = 50_000;
/// Bytes kept of one stream, line ends not counted.
const BYTES_MAX: usize = 32 << 20;
/// Characters of a line that are shown in a failure.
const SHOWN_CHARACTERS_MAX: usize = 240;

/// One stream of a process, line by line. Numbers of lines go on across restarts of the process, so that a
/// mark taken before a restart stays good.
#[derive(Default)]
pub struct Output {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    /// The number of the first line that is kept.
    first: u64,
    bytes: usize,
    /// Readers that have not reached the end of their stream.
    readers: usize,
}

impl Output {
    /// Reads `source` to its end on a thread of its own.
    pub(crate) fn follow(self: &Arc<Self>, source: impl Read + Send + 'static) {
        self.lock().readers += 1;
        let output = Arc::clone(self);
        thread::spawn(move || {
            let mut source = BufReader::new(source);
            let mut line = Vec::new();
            // A stream that breaks is at its end: the process is gone, and its exit says why.
            while matches!(source.read_until(b'\n', &mut line), Ok(read) if read > 0) {
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                output.push(std::mem::take(&mut line));
            }
            output.lock().readers -= 1;
            output.changed.notify_all();
        });
    }

    /// Adds a line of our own, to tell a reader of the failure what happened between the lines.
    pub(crate) fn note(&self, text: &str) {
        self.push(format!("--- {text} ---").into_bytes());
    }

    fn push(&self, line: Vec<u8>) {
        let mut state = self.lock();
        state.bytes += line.len();
        state.lines.push_back(line);
        while state.lines.len() > LINES_MAX || state.bytes > BYTES_MAX {
            let dropped = state.lines.pop_front().map_or(0, |line| line.len());
            state.bytes -= dropped;
            state.first += 1;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The number that the next line will have.
    pub fn mark(&self) -> u64 {
        let state = self.lock();
        state.first + state.lines.len() as u64
    }

    /// The first line from number `from` on that `wanted` accepts, with its number; waits for it until
    /// `deadline` passes or the stream has ended without it.
    pub fn wait_line(
        &self,
        from: u64,
        deadline: Duration,
        mut wanted: impl FnMut(&[u8]) -> bool,
    ) -> Option<(u64, Vec<u8>)> {
        let end = Instant::now() + deadline;
        let mut next = from;
        let mut state = self.lock();
        loop {
            next = next.max(state.first);
            let skip = usize::try_from(next - state.first).expect("fewer lines than LINES_MAX");
            for line in state.lines.iter().skip(skip) {
                if wanted(line) {
                    return Some((next, line.clone()));
                }
                next += 1;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.readers == 0 {
                return None;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits until every reader has reached the end of its stream, so that nothing more can come.
    pub(crate) fn wait_end(&self, deadline: Duration) {
        let _ended = self
            .changed
            .wait_timeout_while(self.lock(), deadline, |state| state.readers > 0);
    }

    /// Every line from number `from` on that is still kept.
    pub fn lines_from(&self, from: u64) -> Vec<Vec<u8>> {
        let state = self.lock();
        let skip = usize::try_from(from.saturating_sub(state.first)).unwrap_or(usize::MAX);
        state.lines.iter().skip(skip).cloned().collect()
    }

    /// How many of the lines from number `from` on contain `pattern`.
    pub fn count(&self, from: u64, pattern: &str) -> usize {
        self.lines_from(from)
            .iter()
            .filter(|line| String::from_utf8_lossy(line).contains(pattern))
            .count()
    }

    /// The last `count` lines as text for a failure: escaped, long lines cut.
    pub fn tail(&self, count: usize) -> String {
        let state = self.lock();
        let skip = state.lines.len().saturating_sub(count);
        let mut text = String::new();
        for line in state.lines.iter().skip(skip) {
            let line = String::from_utf8_lossy(line);
            let shown: String = line.chars().take(SHOWN_CHARACTERS_MAX).collect();
            text.push_str("    ");
            text.extend(shown.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }));
            if shown.len() < line.len() {
                text.push_str(&format!(" … ({} bytes)", line.len()));
            }
            text.push('\n');
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
