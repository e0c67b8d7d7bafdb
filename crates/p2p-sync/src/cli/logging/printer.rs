//! The thread that writes log lines where they go, within the budget of a log that is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Instant;

use tracing::Level;

use super::budget::{Budget, Verdict};
use super::line::Layout;
use super::sink::Sink;
use super::{Job, Print};

/// Lines that are printed at once.
const BATCH_LINES_MAX: usize = 256;

/// The thread's state.
pub(super) struct Printer {
    sink: Sink,
    layout: Layout,
    with: Option<Print>,
    /// None at a terminal, which keeps nothing.
    budget: Option<Budget>,
    began: Instant,
    /// Lines that found the queue full.
    left_out: Arc<AtomicU64>,
}

impl Printer {
    pub(super) fn new(sink: Sink, layout: Layout, budget: Option<Budget>, left_out: Arc<AtomicU64>) -> Self {
        Self {
            sink,
            layout,
            with: None,
            budget,
            began: Instant::now(),
            left_out,
        }
    }

    /// Prints until nobody can log any more.
    pub(super) fn run(mut self, waiting: &Receiver<Job>) {
        while let Ok(first) = waiting.recv() {
            let mut text = String::new();
            let mut next = Some(first);
            let mut lines = 0;
            let mut then = None;
            while let Some(job) = next {
                match job {
                    Job::Line(level, line) => self.add(&mut text, level, &line),
                    other => {
                        then = Some(other);
                        break;
                    }
                }
                lines += 1;
                next = if lines < BATCH_LINES_MAX {
                    waiting.try_recv().ok()
                } else {
                    None
                };
            }
            match self.left_out.swap(0, Ordering::Relaxed) {
                0 => {}
                count => {
                    let told = format!("{count} log lines were dropped: they came faster than they could be shown");
                    let told = self.layout.own_line(Level::WARN, &told);
                    self.add(&mut text, Level::WARN, told.as_bytes());
                }
            }
            if matches!(then, Some(Job::End(_))) {
                self.tell_rest(&mut text);
            }
            if !text.is_empty() {
                self.print(text);
            }
            match then {
                // Lines for a file do not go to the terminal.
                Some(Job::PrintWith(print)) => self.with = self.sink.is_standard_error().then_some(print),
                Some(Job::Reopen) => self.sink.reopen(),
                Some(Job::PrintDirectly) => self.with = None,
                // Whoever waits may have lost patience.
                Some(Job::End(done)) => drop(done.try_send(())),
                Some(Job::Line(..)) | None => {}
            }
        }
    }

    /// Adds a line to what is printed next, if there is room for it in the log.
    fn add(&mut self, text: &mut String, level: Level, line: &[u8]) {
        let mut shown = String::new();
        self.layout.push(&mut shown, line);
        let verdict = match &mut self.budget {
            Some(budget) => budget.take(shown.len(), level, self.began.elapsed()),
            None => Verdict::Write,
        };
        match verdict {
            Verdict::Write => text.push_str(&shown),
            Verdict::WriteBehind(count) => {
                text.push_str(&self.limited(count));
                text.push_str(&shown);
            }
            Verdict::LeaveOutFirst => text.push_str(&self.layout.own_line(
                Level::WARN,
                "Dropping log lines from here on: the log is limited to 10 MB a day",
            )),
            Verdict::LeaveOut => {}
        }
    }

    /// Tells at the end of the program what was left out.
    fn tell_rest(&mut self, text: &mut String) {
        match self.budget.as_mut().map_or(0, Budget::take_left_out) {
            0 => {}
            count => text.push_str(&self.limited(count)),
        }
    }

    fn limited(&self, count: u64) -> String {
        let told = format!("{count} log lines were dropped: the log is limited to 10 MB a day");
        self.layout.own_line(Level::WARN, &told)
    }

    fn print(&mut self, text: String) {
        if let Some(print) = &mut self.with {
            if print(text.clone()) {
                return;
            }
            self.with = None;
        }
        // A standard error that is gone takes the log with it; the node lives on.
        self.sink.print(text);
    }
}
