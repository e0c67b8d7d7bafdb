//! Tells the log what came from other nodes: each change on a line of its own while there are few, their number when there
//! are many, so that a busy network cannot fill the log.

use std::time::Duration;

use p2p_sync_core::text::{printable, shortened};
use p2p_sync_core::{Content, Record, Uptime};

/// Lines within [`WINDOW`].
const LINES_MAX: u32 = 100;
/// The time over which lines are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Writes the lines and keeps count.
#[derive(Debug, Default)]
pub(super) struct ChangeLog {
    window_start: Uptime,
    lines: u32,
    left_out: u64,
}

impl ChangeLog {
    /// A change of another node was stored.
    pub(super) fn received(&mut self, record: &Record, uptime: Uptime) {
        if uptime.saturating_since(self.window_start) >= WINDOW {
            self.summarise();
            self.window_start = uptime;
            self.lines = 0;
        }
        if self.lines >= LINES_MAX {
            self.left_out += 1;
            return;
        }
        self.lines += 1;
        tracing::info!("{}", line(record));
    }

    /// Writes how many changes had no line of their own since the last time.
    pub(super) fn summarise(&mut self) {
        if self.left_out > 0 {
            tracing::info!("Got {} more changes", self.left_out);
            self.left_out = 0;
        }
    }
}

fn line(record: &Record) -> String {
    let key = printable(record.key.as_str().as_bytes());
    match &record.content {
        Content::Put(value) => format!(
            "Got message from {}: Put {{ {key} = {} }}",
            record.author,
            shortened(value.as_bytes())
        ),
        Content::Deleted => format!("Got message from {}: Delete {{ {key} }}", record.author),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2p_sync_core::{Base, Key, NodeId, Timestamp, Value};

    fn record(content: Content) -> Record {
        let author = NodeId::from_bytes(&[0, 1, 2]).unwrap();
        Record {
            key: Key::new("hello").unwrap(),
            content,
            timestamp: Timestamp::MIN,
            author,
            base: Base::Nothing,
        }
    }

    #[test]
    fn lines_are_escaped_and_cut() {
        let put = |value: &[u8]| line(&record(Content::Put(Value::new(value).unwrap())));
        assert_eq!(put(b"world"), "Got message from 15T: Put { hello = world }");
        assert!(!put(b"\x1b]0;owned\x07").contains('\x1b'));
        assert!(put(&[b'x'; 65_536]).len() < 250);
        assert_eq!(
            line(&record(Content::Deleted)),
            "Got message from 15T: Delete { hello }"
        );
    }

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let mut log = ChangeLog::default();
        let record = record(Content::Deleted);
        for _ in 0..1_000 {
            log.received(&record, Uptime::default());
        }
        assert_eq!((log.lines, log.left_out), (LINES_MAX, 1_000 - u64::from(LINES_MAX)));
        log.received(&record, Uptime(WINDOW));
        assert_eq!((log.lines, log.left_out), (1, 0));
    }
}
