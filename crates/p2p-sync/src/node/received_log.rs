//! Logs changes from other nodes: each on its own line while there are few, their number when there are many, so that a
//! busy network cannot fill the log.

use std::time::Duration;

use p2p_sync_core::text::{printable, shortened};
use p2p_sync_core::{Content, Record, Uptime};

use super::NodeError;
use crate::throttle::Throttle;

/// Lines within [`WINDOW`].
const LINES_MAX: u32 = 100;
/// The time over which lines are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Writes the lines.
#[derive(Debug)]
pub(super) struct ReceivedLog {
    /// Whether lines show values.
    pub(super) values: bool,
    changes: Throttle<Uptime>,
    failures: Throttle<Uptime>,
    losses: Throttle<Uptime>,
    /// Lost versions of which no line has told yet.
    lost: u64,
}

impl Default for ReceivedLog {
    fn default() -> Self {
        Self {
            values: false,
            changes: Throttle::new(LINES_MAX, WINDOW),
            failures: Throttle::once(WINDOW),
            losses: Throttle::once(WINDOW),
            lost: 0,
        }
    }
}

impl ReceivedLog {
    /// A change of another node was stored.
    pub(super) fn received(&mut self, record: &Record, uptime: Uptime) {
        if let Some(left_out) = self.changes.pass(uptime) {
            tell_more(left_out);
            tracing::info!("{}", line(record, self.values));
        }
    }

    /// So many versions lost to others whose authors had not seen them.
    pub(super) fn lost(&mut self, count: u64, uptime: Uptime) {
        self.lost += count;
        if self.lost > 0 && self.losses.pass(uptime).is_some() {
            self.tell_lost();
        }
    }

    /// Received records could not be stored.
    pub(super) fn not_stored(&mut self, error: &NodeError, uptime: Uptime) {
        if self.failures.pass(uptime).is_some() {
            tracing::error!("Changes from other nodes were not stored; sync fetches them again: {error}");
        }
    }

    fn tell_lost(&mut self) {
        match std::mem::take(&mut self.lost) {
            0 => {}
            1 => tracing::warn!("A concurrent write was overwritten; run `conflicts`"),
            count => tracing::warn!("{count} concurrent writes were overwritten; run `conflicts`"),
        }
    }

    /// Writes what had no line of its own since the last time.
    pub(super) fn summarise(&mut self) {
        tell_more(self.changes.take_held_back());
        self.tell_lost();
    }
}

fn tell_more(left_out: u64) {
    if left_out > 0 {
        tracing::info!("Got {left_out} more changes");
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
        let mut log = ReceivedLog::default();
        log.lost(2, Uptime::default());
        assert_eq!(log.lost, 0);
        log.lost(3, Uptime::default());
        assert_eq!(log.lost, 3, "a line a second");
        log.lost(0, Uptime(WINDOW));
        assert_eq!(log.lost, 0);
    }

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let mut log = ReceivedLog::default();
        let record = record(Content::Deleted);
        for _ in 0..1_000 {
            log.received(&record, Uptime::default());
        }
        assert_eq!(log.changes.take_held_back(), 1_000 - u64::from(LINES_MAX));
    }
}
