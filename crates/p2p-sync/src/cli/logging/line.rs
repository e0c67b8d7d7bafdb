//! What a log line looks like: a time, the level, the text. At a terminal the time of day is enough; a log that is kept has dates,
//! except the journal, which adds its own.

use std::fmt;
use std::io::{self, IsTerminal};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p2p_sync_core::Timestamp;
use p2p_sync_core::text::printable;
use serde::Serialize;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::report;

/// What kind of lines the user wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum LogFormat {
    /// A time, the level, the text
    #[default]
    Text,
    /// One JSON object per line: time, level, message, and for lines of a library its module as target
    Json,
}

/// What comes before the text of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamp {
    /// `08:30:15.123Z INFO`
    TimeOfDay,
    /// `2026-11-28T08:30:15.123Z INFO`
    Date,
    /// `<6>`: the journal knows the time, and takes the level from this (sd-daemon(3)).
    Priority,
}

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Text { stamp: Stamp },
    Json,
}

/// A line as JSON.
#[derive(Serialize)]
struct JsonLine<'a> {
    time: String,
    level: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    message: &'a str,
}

impl Layout {
    /// For lines that go to a file.
    pub(super) fn dated(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text { stamp: Stamp::Date },
            LogFormat::Json => Self::Json,
        }
    }

    /// For lines that go to standard error.
    pub(super) fn of_standard_error(format: LogFormat) -> Self {
        let stamp = if io::stderr().is_terminal() {
            Stamp::TimeOfDay
        } else if is_journal() {
            Stamp::Priority
        } else {
            Stamp::Date
        };
        match format {
            LogFormat::Text => Self::Text { stamp },
            LogFormat::Json => Self::Json,
        }
    }

    /// Whether somebody keeps the lines. JSON is for a program, which does.
    pub(super) fn is_kept(self) -> bool {
        self != Self::Text {
            stamp: Stamp::TimeOfDay,
        }
    }

    /// A line that the log itself writes.
    pub(super) fn own_line(self, level: Level, message: &str) -> String {
        match self {
            Self::Text { stamp: Stamp::Priority } => format!("{}({message})\n", priority(level)),
            Self::Text { .. } => format!("({message})\n"),
            Self::Json => json(level, None, message),
        }
    }

    /// Adds a line as the subscriber has written it. Whatever others have put into it, it stays one line of visible text.
    pub(super) fn push(self, text: &mut String, line: &[u8]) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        match self {
            Self::Text { .. } => text.push_str(&printable(line)),
            // Its strings are escaped already. A line that was cut is not JSON any more.
            Self::Json => text.push_str(&String::from_utf8_lossy(line)),
        }
        text.push('\n');
    }
}

/// `08:30:15.123Z INFO Connection established with peer: …`; other people's code says where it comes from.
pub(super) struct OneLine {
    pub(super) layout: Layout,
}

impl<S, N> FormatEvent<S, N> for OneLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = *event.metadata().level();
        let target = event.metadata().target();
        let target = (!target.starts_with("p2p_sync")).then_some(target);
        let mut message = String::new();
        context.format_fields(Writer::new(&mut message), event)?;
        match self.layout {
            Layout::Json => return writer.write_str(&json(level, target, cut(&message))),
            Layout::Text { stamp: Stamp::Priority } => writer.write_str(priority(level))?,
            Layout::Text { stamp } => write!(writer, "{} {level} ", now(stamp == Stamp::Date))?,
        }
        if let Some(target) = target {
            write!(writer, "{target}: ")?;
        }
        writeln!(writer, "{message}")
    }
}

/// The longest message that is sure to be a whole line of JSON: a character may take six bytes there.
const JSON_MESSAGE_BYTES_MAX: usize = super::LOG_LINE_BYTES_MAX / 6 - 40;

fn cut(message: &str) -> &str {
    if message.len() <= JSON_MESSAGE_BYTES_MAX {
        return message;
    }
    let ends = (0..=JSON_MESSAGE_BYTES_MAX).rev();
    ends.filter_map(|end| message.get(..end)).next().unwrap_or_default()
}

fn json(level: Level, target: Option<&str>, message: &str) -> String {
    let line = JsonLine {
        time: now(true),
        level: level.as_str(),
        target,
        message,
    };
    report::line(&line)
}

/// The priority of syslog(3) in the brackets that the journal reads.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

/// Whether standard error goes to systemd's journal, which says so in a variable: the device and the inode of its socket.
#[cfg(target_os = "linux")]
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(io::stderr()).is_ok_and(|found| stream == format!("{}:{}", found.st_dev, found.st_ino))
}

#[cfg(not(target_os = "linux"))]
fn is_journal() -> bool {
    false
}

fn now(dated: bool) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    time(now.as_secs(), now.subsec_millis(), dated)
}

/// A time so long after the start of 1970.
fn time(seconds: u64, millis: u32, dated: bool) -> String {
    let date = if dated { date(seconds) } else { String::new() };
    let of_day = seconds % 86_400;
    let (hours, minutes, seconds) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{date}{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}

/// `2026-11-28T`
fn date(seconds: u64) -> String {
    let midnight = Timestamp::from_epoch(Duration::from_secs(seconds / 86_400 * 86_400)).to_string();
    midnight
        .split_once('T')
        .map_or_else(String::new, |(date, _)| format!("{date}T"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_kept_has_dates() {
        let seconds = 1_795_854_615;
        assert_eq!(time(seconds, 7, true), "2026-11-28T08:30:15.007Z");
        assert_eq!(time(seconds, 7, false), "08:30:15.007Z");
        assert_eq!(time(1_709_164_800, 0, true), "2024-02-29T00:00:00.000Z");
    }

    #[derive(serde::Deserialize)]
    struct Read {
        level: String,
        target: String,
        message: String,
    }

    #[test]
    fn a_line_of_json_is_json_whatever_it_says() {
        let message = "a \"b\" \u{1b}[31m \u{202e} \n é".repeat(500);
        let line = json(Level::WARN, Some("libp2p_swarm"), cut(&message));
        assert!(line.len() <= crate::cli::logging::LOG_LINE_BYTES_MAX, "{}", line.len());
        let mut text = String::new();
        Layout::Json.push(&mut text, line.as_bytes());
        assert_eq!(text.lines().count(), 1);
        let read: Read = report::read(&text).unwrap();
        assert_eq!(read.level, "WARN");
        assert_eq!(read.target, "libp2p_swarm");
        assert!(message.starts_with(&read.message));
        let own = Layout::Json.own_line(Level::WARN, "7 log lines were dropped");
        assert!(own.contains(r#""message":"7 log lines were dropped""#), "{own}");
    }
}
