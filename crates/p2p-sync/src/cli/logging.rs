//! Log lines on their way to standard error, into a file, or above the line that is being typed. They go through a bounded queue to
//! a separate thread: a stalled terminal, a full pipe or a slow disk blocks only that thread.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::Failure;

mod budget;
mod filter;
mod line;
mod printer;
mod sink;

use budget::Budget;
use line::{Layout, OneLine};
use printer::Printer;
use sink::Sink;

pub(super) use line::LogFormat;

/// Lines that wait. What does not fit is counted and left out.
const LINES_MAX: usize = 4_096;
/// Longest line. Values are cut far below that where they are logged.
const LOG_LINE_BYTES_MAX: usize = 4 * 1024;
/// How long the end of the program waits for the last lines.
const FLUSH_PATIENCE: Duration = Duration::from_millis(100);

/// Prints whole lines; false when it cannot.
type Print = Box<dyn FnMut(String) -> bool + Send>;

/// Where a node's log goes and what it looks like, as the user has asked for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Destination {
    /// A file to append to; none: standard error.
    pub(super) file: Option<PathBuf>,
    pub(super) format: LogFormat,
}

enum Job {
    Line(Level, Vec<u8>),
    PrintWith(Print),
    PrintDirectly,
    /// The file may have been moved away by whoever rotates logs.
    Reopen,
    /// The program ends; whoever sends this waits until everything is printed.
    End(SyncSender<()>),
}

/// The way to the log.
#[derive(Clone)]
pub(super) struct Logs {
    jobs: SyncSender<Job>,
    left_out: Arc<AtomicU64>,
    is_kept: bool,
}

impl Logs {
    /// Starts to log what the program does; with `verbose`, also why.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(super) fn start(verbose: bool, destination: &Destination) -> Result<Self, Failure> {
        Self::start_with(filter::chosen(verbose, std::env::var("RUST_LOG")), destination)
    }

    /// Starts to log to standard error what is wrong, and nothing else unless it is asked for.
    pub(super) fn start_quiet(verbose: bool) -> Result<Self, Failure> {
        let filter = filter::chosen_quiet(verbose, std::env::var("RUST_LOG"));
        Self::start_with(filter, &Destination::default())
    }

    fn start_with((filter, mistake): (EnvFilter, Option<String>), destination: &Destination) -> Result<Self, Failure> {
        let (sink, layout) = match &destination.file {
            Some(path) => (Sink::file(path)?, Layout::dated(destination.format)),
            None => (Sink::StandardError, Layout::of_standard_error(destination.format)),
        };
        let logs = Self::to(sink, layout);
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .log_internal_errors(false)
            .event_format(OneLine { layout })
            .with_writer(logs.clone())
            .finish();
        // There is one already when this is not the program but a test of it.
        let _ = tracing::subscriber::set_global_default(subscriber);
        if let Some(mistake) = mistake {
            tracing::warn!("RUST_LOG is invalid and was ignored: {mistake}");
        }
        Ok(logs)
    }

    fn to(sink: Sink, layout: Layout) -> Self {
        let (jobs, waiting) = sync_channel(LINES_MAX);
        let left_out = Arc::new(AtomicU64::new(0));
        let is_kept = layout.is_kept();
        let budget = is_kept.then(Budget::default);
        let printer = Printer::new(sink, layout, budget, Arc::clone(&left_out));
        thread::spawn(move || printer.run(&waiting));
        Self {
            jobs,
            left_out,
            is_kept,
        }
    }

    /// Whether the log goes where it is kept, and not to a terminal.
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Opens the log file again, if there is one: its name may belong to a new file. Does not wait.
    pub(super) fn reopen(&self) {
        let _ = self.jobs.try_send(Job::Reopen);
    }

    /// Prints with `print` from now on, while it can.
    pub(super) fn print_with(&self, print: impl FnMut(String) -> bool + Send + 'static) {
        let _ = self.jobs.send(Job::PrintWith(Box::new(print)));
    }

    /// Prints to standard error again. Does not wait.
    pub(super) fn print_directly(&self) {
        let _ = self.jobs.try_send(Job::PrintDirectly);
    }

    /// Waits a moment until what was logged before is printed.
    pub(super) fn flush(&self) {
        let (done, is_done) = sync_channel(1);
        if self.jobs.try_send(Job::End(done)).is_ok() {
            let _ = is_done.recv_timeout(FLUSH_PATIENCE);
        }
    }
}

/// Where the lines of one level go.
#[derive(Clone)]
pub(super) struct LineWriter {
    logs: Logs,
    level: Level,
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let kept = line.get(..LOG_LINE_BYTES_MAX).unwrap_or(line);
        if let Err(TrySendError::Full(_)) = self.logs.jobs.try_send(Job::Line(self.level, kept.to_vec())) {
            self.logs.left_out.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        self.lines(Level::INFO)
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> LineWriter {
        self.lines(*metadata.level())
    }
}

impl Logs {
    fn lines(&self, level: Level) -> LineWriter {
        LineWriter {
            logs: self.clone(),
            level,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::sync::Mutex;

    use super::line::Stamp;
    use super::*;

    type Printed = Arc<Mutex<String>>;

    const AT_A_TERMINAL: Layout = Layout::Text {
        stamp: Stamp::TimeOfDay,
    };
    const KEPT: Layout = Layout::Text { stamp: Stamp::Date };

    fn collecting() -> (Printed, Print) {
        let printed = Printed::default();
        let into = Arc::clone(&printed);
        let print = Box::new(move |text: String| {
            into.lock().unwrap().push_str(&text);
            true
        });
        (printed, print)
    }

    /// Waits, however busy the machine is, until everything is printed.
    fn settle(logs: &Logs) {
        let (done, is_done) = sync_channel(1);
        logs.jobs.send(Job::End(done)).unwrap();
        is_done.recv().unwrap();
    }

    #[test]
    fn lines_are_made_visible_and_stay_lines() {
        let (printed, print) = collecting();
        let logs = Logs::to(Sink::Other(print), AT_A_TERMINAL);
        let mut lines = logs.lines(Level::INFO);
        lines.write_all(b"one\n").unwrap();
        lines.write_all(b"two \x1b[31m\ntwo and a half\xff\n").unwrap();
        lines.write_all(&[b'x'; 2 * LOG_LINE_BYTES_MAX]).unwrap();
        settle(&logs);
        let printed = printed.lock().unwrap();
        let shown: Vec<_> = printed.lines().collect();
        assert_eq!(shown[..2], ["one", "two \\u{1b}[31m\\ntwo and a half\\xFF"]);
        assert_eq!((shown.len(), shown[2].len()), (3, LOG_LINE_BYTES_MAX));
    }

    #[test]
    fn another_printer_takes_over_while_it_can() {
        let (directly, print) = collecting();
        let (above, mut print_above) = collecting();
        let logs = Logs::to(Sink::Other(print), AT_A_TERMINAL);
        let mut lines = logs.lines(Level::INFO);
        lines.write_all(b"1\n").unwrap();
        let mut left = 1;
        logs.print_with(move |text| {
            left -= 1;
            left >= 0 && print_above(text)
        });
        lines.write_all(b"2\n").unwrap();
        settle(&logs);
        lines.write_all(b"3\n").unwrap();
        settle(&logs);
        assert_eq!(
            (directly.lock().unwrap().as_str(), above.lock().unwrap().as_str()),
            ("1\n3\n", "2\n")
        );
    }

    #[test]
    fn a_printer_that_hangs_makes_nobody_wait_and_what_is_left_out_is_counted() {
        let (printed, mut print) = collecting();
        let (go, may_go) = sync_channel::<()>(0);
        let (began, has_begun) = sync_channel(1);
        let print = move |text| {
            let _ = began.try_send(());
            let _ = may_go.recv();
            print(text)
        };
        let logs = Logs::to(Sink::Other(Box::new(print)), AT_A_TERMINAL);
        let mut lines = logs.lines(Level::INFO);
        lines.write_all(b"first\n").unwrap();
        has_begun.recv().unwrap();
        for _ in 0..LINES_MAX + 7 {
            lines.write_all(b"line\n").unwrap();
        }
        drop(go);
        settle(&logs);
        let printed = printed.lock().unwrap();
        assert_eq!(printed.matches("line\n").count(), LINES_MAX);
        assert!(
            printed.contains("(7 log lines were dropped"),
            "{}",
            &printed[printed.len() - 200..]
        );
    }

    #[test]
    fn a_log_that_is_kept_says_what_its_budget_left_out() {
        let (printed, print) = collecting();
        let logs = Logs::to(Sink::Other(print), KEPT);
        let mut lines = logs.lines(Level::INFO);
        let line = [&[b'x'; LOG_LINE_BYTES_MAX - 1][..], b"\n"].concat();
        for _ in 0..1_200 {
            lines.write_all(&line).unwrap();
        }
        settle(&logs);
        let printed = printed.lock().unwrap();
        assert!(printed.len() < 5_000_000, "{}", printed.len());
        let told: Vec<_> = printed.lines().filter(|line| line.starts_with('(')).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().all(|line| line.contains("10 MB a day")), "{told:?}");
    }
}
