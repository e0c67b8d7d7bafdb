//! Log lines on their way to standard error, or above the line that is being typed. They go through a bounded queue to a
//! thread of their own: a terminal that stands still or a full pipe makes nobody wait but that thread.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p2p_sync_core::text::printable;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// What is logged unless RUST_LOG says otherwise.
const FILTER: &str = "error,p2p_sync=info";
/// Lines that wait. What does not fit is counted and left out.
const LINES_MAX: usize = 4_096;
/// Longest line. Values are cut far below that where they are logged.
const LOG_LINE_BYTES_MAX: usize = 4 * 1024;
/// Lines that are printed at once.
const BATCH_LINES_MAX: usize = 256;
/// How long the end of the program waits for the last lines.
const FLUSH_PATIENCE: Duration = Duration::from_millis(100);

/// Prints whole lines; false when it cannot.
type Print = Box<dyn FnMut(String) -> bool + Send>;

enum Job {
    Line(Vec<u8>),
    PrintWith(Print),
    PrintDirectly,
    Flush(SyncSender<()>),
}

/// The way to the log.
#[derive(Clone)]
pub(super) struct Logs {
    jobs: SyncSender<Job>,
    left_out: Arc<AtomicU64>,
}

impl Logs {
    /// Starts to log what the program does.
    pub(super) fn start() -> Self {
        let logs = Self::to(Box::new(|text| io::stderr().write_all(text.as_bytes()).is_ok()));
        let chosen = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
        let parsed = chosen.as_deref().map(|text| EnvFilter::builder().parse(text));
        let (filter, mistake) = match parsed {
            None => (EnvFilter::new(FILTER), None),
            Some(Ok(filter)) => (filter, None),
            Some(Err(error)) => (EnvFilter::new(FILTER), Some(error)),
        };
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .log_internal_errors(false)
            .event_format(OneLine)
            .with_writer(logs.clone())
            .finish();
        // There is one already when this is not the program but a test of it.
        let _ = tracing::subscriber::set_global_default(subscriber);
        if let Some(mistake) = mistake {
            tracing::warn!("RUST_LOG is not understood and was ignored: {mistake}");
        }
        logs
    }

    fn to(directly: Print) -> Self {
        let (jobs, waiting) = sync_channel(LINES_MAX);
        let left_out = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&left_out);
        thread::spawn(move || {
            Printer {
                directly,
                with: None,
                left_out: counter,
            }
            .run(&waiting)
        });
        Self { jobs, left_out }
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
        if self.jobs.try_send(Job::Flush(done)).is_ok() {
            let _ = is_done.recv_timeout(FLUSH_PATIENCE);
        }
    }
}

impl Write for Logs {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let kept = line.get(..LOG_LINE_BYTES_MAX).unwrap_or(line);
        if let Err(TrySendError::Full(_)) = self.jobs.try_send(Job::Line(kept.to_vec())) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

struct Printer {
    directly: Print,
    with: Option<Print>,
    left_out: Arc<AtomicU64>,
}

impl Printer {
    fn run(mut self, waiting: &Receiver<Job>) {
        while let Ok(first) = waiting.recv() {
            let mut text = String::new();
            let mut next = Some(first);
            let mut lines = 0;
            let mut then = None;
            while let Some(job) = next {
                match job {
                    Job::Line(line) => push_line(&mut text, &line),
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
                count => text.push_str(&format!(
                    "({count} log lines were left out: they came faster than they could be shown)\n"
                )),
            }
            if !text.is_empty() {
                self.print(text);
            }
            match then {
                Some(Job::PrintWith(print)) => self.with = Some(print),
                Some(Job::PrintDirectly) => self.with = None,
                // Whoever waits may have lost patience.
                Some(Job::Flush(done)) => drop(done.try_send(())),
                Some(Job::Line(_)) | None => {}
            }
        }
    }

    fn print(&mut self, text: String) {
        if let Some(print) = &mut self.with {
            if print(text.clone()) {
                return;
            }
            self.with = None;
        }
        // A standard error that is gone takes the log with it; the node lives on.
        (self.directly)(text);
    }
}

/// Whatever others have put into a log line, it stays one line of visible text.
fn push_line(text: &mut String, line: &[u8]) {
    text.push_str(&printable(line.strip_suffix(b"\n").unwrap_or(line)));
    text.push('\n');
}

/// `08:30:15.123Z INFO Connection established with peer: …`; other people's code says where it comes from.
struct OneLine;

impl<S, N> FormatEvent<S, N> for OneLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = now.as_secs() % 86_400;
        let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        write!(
            writer,
            "{hours:02}:{minutes:02}:{seconds:02}.{:03}Z {} ",
            now.subsec_millis(),
            event.metadata().level()
        )?;
        let target = event.metadata().target();
        if !target.starts_with("p2p_sync") {
            write!(writer, "{target}: ")?;
        }
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    type Printed = Arc<Mutex<String>>;

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
        logs.jobs.send(Job::Flush(done)).unwrap();
        is_done.recv().unwrap();
    }

    #[test]
    fn lines_are_made_visible_and_stay_lines() {
        let (printed, print) = collecting();
        let mut logs = Logs::to(print);
        logs.write_all(b"one\n").unwrap();
        logs.write_all(b"two \x1b[31m\ntwo and a half\xff\n").unwrap();
        logs.write_all(&[b'x'; 2 * LOG_LINE_BYTES_MAX]).unwrap();
        settle(&logs);
        let printed = printed.lock().unwrap();
        let lines: Vec<_> = printed.lines().collect();
        assert_eq!(lines[..2], ["one", "two \\u{1b}[31m\\ntwo and a half\\xFF"]);
        assert_eq!((lines.len(), lines[2].len()), (3, LOG_LINE_BYTES_MAX));
    }

    #[test]
    fn another_printer_takes_over_while_it_can() {
        let (directly, print) = collecting();
        let (above, mut print_above) = collecting();
        let mut logs = Logs::to(print);
        logs.write_all(b"1\n").unwrap();
        let mut left = 1;
        logs.print_with(move |text| {
            left -= 1;
            left >= 0 && print_above(text)
        });
        logs.write_all(b"2\n").unwrap();
        settle(&logs);
        logs.write_all(b"3\n").unwrap();
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
        let mut logs = Logs::to(Box::new(move |text| {
            let _ = began.try_send(());
            let _ = may_go.recv();
            print(text)
        }));
        logs.write_all(b"first\n").unwrap();
        has_begun.recv().unwrap();
        for _ in 0..LINES_MAX + 7 {
            logs.write_all(b"line\n").unwrap();
        }
        drop(go);
        settle(&logs);
        let printed = printed.lock().unwrap();
        assert_eq!(printed.matches("line\n").count(), LINES_MAX);
        assert!(
            printed.contains("(7 log lines were left out"),
            "{}",
            &printed[printed.len() - 200..]
        );
    }

    #[test]
    fn the_filter_is_understood() {
        assert!(EnvFilter::builder().parse(FILTER).is_ok());
    }
}
