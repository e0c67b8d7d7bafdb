//! What a log line looks like: a time, the level, the text. At a terminal the time of day is enough; a log that is kept has dates.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p2p_sync_core::Timestamp;
use p2p_sync_core::text::printable;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// `08:30:15.123Z INFO Connection established with peer: …`; other people's code says where it comes from.
pub(super) struct OneLine {
    /// Whether the time has a date: `2026-11-28T08:30:15.123Z`.
    pub(super) dated: bool,
}

impl<S, N> FormatEvent<S, N> for OneLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        write!(
            writer,
            "{} {} ",
            time(now.as_secs(), now.subsec_millis(), self.dated),
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

/// Whatever others have put into a log line, it stays one line of visible text.
pub(super) fn push_line(text: &mut String, line: &[u8]) {
    text.push_str(&printable(line.strip_suffix(b"\n").unwrap_or(line)));
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_kept_has_dates() {
        let seconds = 1_795_854_615;
        assert_eq!(time(seconds, 7, true), "2026-11-28T08:30:15.007Z");
        assert_eq!(time(seconds, 7, false), "08:30:15.007Z");
        assert_eq!(time(1_709_164_800, 0, true), "2024-02-29T00:00:00.000Z");
    }
}
