//! Shows events: as JSON, as text for people on a terminal, or one line with tabs for programs.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use p2p_sync_core::text::printable;

use super::{Ended, failed};
use crate::cli::output;
use crate::report::{Change, ChangeKind, KeyChange, WatchEvent, escaped, line};

/// Where events are shown, and how.
#[derive(Debug)]
pub(super) struct Tell {
    out: BufWriter<Stdout>,
    is_terminal: bool,
    json: bool,
    keys_only: bool,
}

impl Tell {
    pub(super) fn new(json: bool, keys_only: bool) -> Self {
        Self {
            out: BufWriter::new(io::stdout()),
            is_terminal: io::stdout().is_terminal(),
            json,
            keys_only,
        }
    }

    /// Shows an event; what is shown may wait for [`flush`](Self::flush).
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn event(&mut self, event: &WatchEvent) -> io::Result<()> {
        let text = match event.change() {
            Some((kind, change)) if self.json && self.keys_only => line(&KeyChange::of(kind, change)),
            _ if self.json => line(event),
            Some((kind, change)) if self.is_terminal => for_people(kind, change, self.keys_only),
            Some((kind, change)) => for_programs(kind, change, self.keys_only),
            None => {
                if matches!(event, WatchEvent::Reset) {
                    reset();
                }
                return Ok(());
            }
        };
        self.out.write_all(text.as_bytes())
    }

    /// Returns when everything that was shown has left the process.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn for_people(kind: ChangeKind, change: &Change, keys_only: bool) -> String {
    let key = printable(change.key.as_bytes());
    let value = change.version.content.bytes().filter(|_| !keys_only);
    let value = value.map_or_else(String::new, |value| format!(" = {}", printable(&value)));
    match kind {
        ChangeKind::Put => format!("{key}{value}\n"),
        ChangeKind::Delete => format!("{key} (deleted)\n"),
        ChangeKind::Conflict => format!("{key}{value} (lost to a write that had not seen it; see conflicts)\n"),
    }
}

fn for_programs(kind: ChangeKind, change: &Change, keys_only: bool) -> String {
    let mut columns = vec![kind.as_str().to_owned(), escaped(change.key.as_bytes())];
    let value = change.version.content.bytes().filter(|_| !keys_only);
    columns.extend(value.map(|value| escaped(&value)));
    format!("{}\n", columns.join("\t"))
}

/// Says that what was told before may be wrong.
pub(super) fn reset() {
    output::say("(the store is another one than before, so everything that it holds is told again)");
}

/// What it means that an event cannot be written.
pub(super) fn ended(error: io::Error) -> Ended {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ended::Closed,
        _ => failed(format!("Cannot write to standard output: {error}")).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::read;

    #[test]
    fn a_change_is_a_line() {
        let change = |content: &str| -> Change {
            let json = format!(
                r#"{{"key":"a\tb",{content},"timestamp":"2026-01-04T08:30:18Z","author":"x","cursor":"c","origin":"peer"}}"#
            );
            read(&json).expect("a change")
        };
        let put = change(r#""value":"1\n2""#);
        let gone = change(r#""deleted":true"#);
        let bytes = change(r#""value_b64":"/wA=""#);
        assert_eq!(for_people(ChangeKind::Put, &put, false), "a\\tb = 1\\n2\n");
        assert_eq!(for_people(ChangeKind::Put, &put, true), "a\\tb\n");
        assert_eq!(for_people(ChangeKind::Delete, &gone, false), "a\\tb (deleted)\n");
        assert_eq!(for_programs(ChangeKind::Put, &put, false), "put\ta\\tb\t1\\n2\n");
        assert_eq!(for_programs(ChangeKind::Delete, &gone, false), "delete\ta\\tb\n");
        assert_eq!(
            for_programs(ChangeKind::Conflict, &bytes, false),
            "conflict\ta\\tb\t\\xff\\u0000\n"
        );
        assert_eq!(for_programs(ChangeKind::Conflict, &bytes, true), "conflict\ta\\tb\n");
    }
}
