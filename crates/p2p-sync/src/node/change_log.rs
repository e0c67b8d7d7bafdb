//! Tells the log what came from other nodes: each change on a line of its own while there are few, their number when there
//! are many, so that a busy network cannot fill the log.

use std::time::Duration;

use p2p_sync_core::text::{printable, shortened};
use p2p_sync_core::{Content, Record, Uptime};

use super::NodeError;

/// Lines within [`WINDOW`].
const LINES_MAX: u32 = 100;
/// The time over which lines are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Writes the lines and keeps count.
#[derive(Debug, Default)]
pub(super) struct ChangeLog {
    /// Whether lines show values.
    pub(super) values: bool,
    window_start: Uptime,
    lines: u32,
    left_out: u64,
    /// Lost versions of which no line has told yet, and when the last one did.
    lost: u64,
    told_lost: Option<Uptime>,
    /// When it was last told that something could not be stored.
    told_failure: Option<Uptime>,
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
        tracing::info!("{}", line(record, self.values));
    }

    /// So many versions lost to others whose authors had not seen them.
    pub(super) fn lost(&mut self, count: u64, uptime: Uptime) {
        self.lost += count;
        let told = |last: Uptime| uptime.saturating_since(last) < WINDOW;
        if self.lost > 0 && !self.told_lost.is_some_and(told) {
            self.told_lost = Some(uptime);
            self.tell_lost();
        }
    }

    /// Received records could not be stored.
    pub(super) fn not_stored(&mut self, error: &NodeError, uptime: Uptime) {
        let told = |last: Uptime| uptime.saturating_since(last) < WINDOW;
        if !self.told_failure.is_some_and(told) {
            self.told_failure = Some(uptime);
            tracing::error!("Changes of other nodes were not stored, and come again by sync: {error}");
        }
    }

    fn tell_lost(&mut self) {
        match std::mem::take(&mut self.lost) {
            0 => {}
            1 => tracing::warn!("A write lost to one whose author had not seen it: see conflicts"),
            count => tracing::warn!("{count} writes lost to others whose authors had not seen them: see conflicts"),
        }
    }

    /// Writes how many changes had no line of their own since the last time.
    pub(super) fn summarise(&mut self) {
        if self.left_out > 0 {
            tracing::info!("Got {} more changes", self.left_out);
            self.left_out = 0;
        }
        self.tell_lost();
    }
}

fn line(record: &Record, values: bool) -> String {
    let key = printable(record.key.as_str().as_bytes());
    match &record.content {
        Content::Put(_) if !values => format!("Got message from {}: Put {{ {key} }}", record.author),
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
        let put = |value: &[u8]| line(&record(Content::Put(Value::new(value).unwrap())), true);
        assert_eq!(put(b"world"), "Got message from 15T: Put { hello = world }");
        assert!(!put(b"\x1b]0;owned\x07").contains('\x1b'));
        assert!(put(&[b'x'; 65_536]).len() < 250);
        assert_eq!(
            line(&record(Content::Deleted), true),
            "Got message from 15T: Delete { hello }"
        );
    }

    #[test]
    fn values_are_left_out_unless_they_are_asked_for() {
        let secret = record(Content::Put(Value::new(*b"secret").unwrap()));
        assert_eq!(line(&secret, false), "Got message from 15T: Put { hello }");
    }

    #[test]
    fn losses_are_told_at_once_and_then_together() {
        let mut log = ChangeLog::default();
        log.lost(0, Uptime::default());
        assert_eq!(log.told_lost, None);
        log.lost(2, Uptime::default());
        assert_eq!((log.lost, log.told_lost), (0, Some(Uptime::default())));
        log.lost(3, Uptime::default());
        assert_eq!(log.lost, 3, "a line a second");
        log.lost(0, Uptime(WINDOW));
        assert_eq!(log.lost, 0);
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
