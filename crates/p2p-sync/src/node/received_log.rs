//! Logs changes from other nodes: each on its own line while there are few, their number when there are many, so that a
//! busy network cannot fill the log.

use std::time::Duration;

use p2p_sync_core::limits::VERSIONS_MAX;
use p2p_sync_core::text::{printable, shortened};
use p2p_sync_core::{Content, Key, Record, Uptime};

use super::NodeError;
use super::ledger::Settled;
use crate::names::Names;
use crate::throttle::Throttle;

/// Lines within [`WINDOW`].
const LINES_MAX: u32 = 100;
/// The time over which lines are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// How often it is told that versions were dropped, at most.
const DROPPED_INTERVAL: Duration = Duration::from_secs(60);

/// Writes the lines.
#[derive(Debug)]
pub(super) struct ReceivedLog {
    /// Whether lines show values.
    pub(super) values: bool,
    changes: Throttle<Uptime>,
    failures: Throttle<Uptime>,
    conflicting: Throttle<Uptime>,
    settled: Throttle<Uptime>,
    /// Conflicts of which no line has told yet.
    conflicts: u64,
    dropping: Throttle<Uptime>,
    /// Versions that were dropped, of which no line has told yet, and the key of the last one.
    dropped: (u64, Option<Key>),
    folding: Throttle<Uptime>,
    /// Versions that a folded floor alone covers, of which no line has told yet, and the last one: its key, and what it was.
    folded: (u64, Option<(String, String)>),
}

impl Default for ReceivedLog {
    fn default() -> Self {
        Self {
            values: false,
            changes: Throttle::new(LINES_MAX, WINDOW),
            failures: Throttle::once(WINDOW),
            conflicting: Throttle::once(WINDOW),
            settled: Throttle::new(LINES_MAX, WINDOW),
            conflicts: 0,
            dropping: Throttle::once(DROPPED_INTERVAL),
            dropped: (0, None),
            folding: Throttle::once(WINDOW),
            folded: (0, None),
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

    /// So many more changes of other nodes were stored, which have no line of their own.
    pub(super) fn unlisted(&mut self, count: u64) {
        self.changes.hold_back(count);
    }

    /// So many versions came into conflict with another one.
    pub(super) fn conflicts(&mut self, count: u64, uptime: Uptime) {
        self.conflicts += count;
        if self.conflicts > 0 && self.conflicting.pass(uptime).is_some() {
            self.tell_conflicts();
        }
    }

    /// So many versions were dropped, because a key holds no more: this one, if several did.
    pub(super) fn beyond_bound(&mut self, count: u64, key: Option<&Key>, uptime: Uptime) {
        self.dropped.0 += count;
        if let Some(key) = key {
            self.dropped.1 = Some(key.clone());
        }
        if self.dropped.0 > 0 && self.dropping.pass(uptime).is_some() {
            self.tell_dropped();
        }
    }

    /// So many versions are gone because a folded floor alone covers them: this one, if several are.
    pub(super) fn folded(&mut self, count: u64, last: Option<&Record>, names: &Names, uptime: Uptime) {
        self.folded.0 += count;
        if let Some(record) = last {
            let key = printable(record.key.as_str().as_bytes());
            self.folded.1 = Some((key, version(record, names, self.values)));
        }
        self.tell_folded_when_due(uptime);
    }

    fn tell_folded_when_due(&mut self, uptime: Uptime) {
        if self.folded.0 > 0 && self.folding.pass(uptime).is_some() {
            self.tell_folded();
        }
    }

    /// Tells what was held back, as soon as it may be, though nothing more happens.
    pub(super) fn catch_up(&mut self, uptime: Uptime) {
        self.conflicts(0, uptime);
        self.beyond_bound(0, None, uptime);
        self.tell_folded_when_due(uptime);
    }

    /// A local write has ended the conflicts of a key.
    pub(super) fn settled(&mut self, settled: &Settled, names: &Names, uptime: Uptime) {
        if let Some(left_out) = self.settled.pass(uptime) {
            tell_more_settled(left_out);
            tracing::info!("{}", settling(settled, names, self.values));
        }
    }

    /// Received records could not be stored.
    pub(super) fn not_stored(&mut self, error: &NodeError, uptime: Uptime) {
        if self.failures.pass(uptime).is_some() {
            tracing::error!("Changes from other nodes were not stored; sync fetches them again: {error}");
        }
    }

    fn tell_conflicts(&mut self) {
        match std::mem::take(&mut self.conflicts) {
            0 => {}
            1 => tracing::warn!("A key was written on two nodes at once; both writes are kept: run `conflicts`"),
            count => {
                tracing::warn!("{count} writes conflict with others of the same keys; all are kept: run `conflicts`")
            }
        }
    }

    fn tell_dropped(&mut self) {
        let (count, key) = std::mem::take(&mut self.dropped);
        if count > 0 {
            tracing::warn!("{}", dropping(count, key.as_ref()));
        }
    }

    fn tell_folded(&mut self) {
        if let (count, Some((key, version))) = std::mem::take(&mut self.folded) {
            tracing::warn!("{}", folding(count, &key, &version));
        }
    }

    /// Writes what had no line of its own since the last time.
    pub(super) fn summarise(&mut self) {
        tell_more(self.changes.take_held_back());
        tell_more_settled(self.settled.take_held_back());
        self.tell_conflicts();
        self.tell_dropped();
        self.tell_folded();
    }
}

fn tell_more(left_out: u64) {
    if left_out > 0 {
        tracing::info!("Got {left_out} more changes");
    }
}

fn tell_more_settled(left_out: u64) {
    if left_out > 0 {
        tracing::info!("{left_out} more conflicts are settled");
    }
}

fn dropping(count: u64, key: Option<&Key>) -> String {
    let of = key.map_or_else(String::new, |key| {
        format!(", the last of {}", printable(key.as_str().as_bytes()))
    });
    format!(
        "{count} of the earliest writes in conflict were not kept{of}: a key holds {VERSIONS_MAX} versions. Settle conflicts to lose \
         none: run `conflicts`"
    )
}

/// The key and the version are those of the last one.
fn folding(count: u64, key: &str, version: &str) -> String {
    match count {
        1 => format!("A write of {key} was overwritten by a node that may not have seen it: {version}"),
        _ => format!(
            "{count} writes were overwritten by nodes that may not have seen them; the last, of {key}: {version}"
        ),
    }
}

fn settling(settled: &Settled, names: &Names, values: bool) -> String {
    let key = printable(settled.key.as_str().as_bytes());
    let dropped: Vec<String> = (settled.dropped.iter())
        .map(|record| version(record, names, values))
        .collect();
    let dropped = dropped.join(", ");
    let not_kept = if dropped.is_empty() { "" } else { "; not kept: " };
    format!("The conflict of {key} is settled{not_kept}{dropped}")
}

/// What a version was, when it was written, and by whom.
fn version(record: &Record, names: &Names, values: bool) -> String {
    let what = match &record.content {
        Content::Put(value) if values => shortened(value.as_bytes()),
        Content::Put(_) => "a value".to_owned(),
        Content::Deleted => "a deletion".to_owned(),
    };
    let author = names.author(record.author).display;
    format!("{what} written {} by {author}", record.timestamp)
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
    use p2p_sync_core::{NodeId, Seen, Timestamp, Value};

    fn record(content: Content) -> Record {
        let author = NodeId::from_bytes(&[0, 1, 2]).unwrap();
        Record {
            key: Key::new("hello").unwrap(),
            content,
            timestamp: Timestamp::MIN,
            author,
            seen: Seen::NOTHING,
            signature: None,
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
    fn conflicts_are_told_at_once_and_then_together() {
        let mut log = ReceivedLog::default();
        log.conflicts(2, Uptime::default());
        assert_eq!(log.conflicts, 0);
        log.conflicts(3, Uptime::default());
        assert_eq!(log.conflicts, 3, "a line a second");
        log.catch_up(Uptime(WINDOW / 2));
        assert_eq!(log.conflicts, 3);
        log.catch_up(Uptime(WINDOW));
        assert_eq!(log.conflicts, 0);
    }

    #[test]
    fn what_a_key_had_no_room_for_is_told_at_once_and_then_once_a_minute() {
        let mut log = ReceivedLog::default();
        let key = Key::new("k\u{202e}").unwrap();
        log.beyond_bound(0, None, Uptime::default());
        log.beyond_bound(1, Some(&key), Uptime::default());
        assert_eq!(log.dropped, (0, None), "told");
        log.beyond_bound(2, Some(&key), Uptime(WINDOW));
        log.beyond_bound(3, Some(&key), Uptime(WINDOW));
        assert_eq!(log.dropped, (5, Some(key.clone())));
        log.catch_up(Uptime(DROPPED_INTERVAL));
        assert_eq!(log.dropped, (0, None), "what was held back is told without another one");
        let told = dropping(5, Some(&key));
        assert!(
            told.starts_with(
                "5 of the earliest writes in conflict were not kept, the last of k\\u{202e}: a key holds 8"
            ),
            "{told}"
        );
    }

    #[test]
    fn what_a_folded_floor_covers_is_told_at_once_and_then_once_a_second() {
        let mut log = ReceivedLog::default();
        let names = Names::default();
        let mut lost = record(Content::Put(Value::new(*b"9-17").unwrap()));
        log.folded(0, None, &names, Uptime::default());
        log.folded(1, Some(&lost), &names, Uptime::default());
        assert_eq!(log.folded, (0, None), "told");
        log.folded(2, Some(&lost), &names, Uptime(WINDOW / 2));
        lost.key = Key::new("k\u{202e}").unwrap();
        log.folded(3, Some(&lost), &names, Uptime(WINDOW / 2));
        let (key, version) = ("k\\u{202e}", "a value written 1970-01-01T00:00:00.000000001Z by …15T");
        assert_eq!(log.folded, (5, Some((key.to_owned(), version.to_owned()))));
        assert_eq!(
            folding(5, key, version),
            format!("5 writes were overwritten by nodes that may not have seen them; the last, of {key}: {version}")
        );
        assert_eq!(
            folding(1, key, version),
            format!("A write of {key} was overwritten by a node that may not have seen it: {version}")
        );
        log.catch_up(Uptime(WINDOW));
        assert_eq!(log.folded, (0, None), "what was held back is told without another one");
    }

    #[test]
    fn what_a_write_settled_is_told_without_values_unless_they_are_asked_for() {
        let settled = Settled {
            key: Key::new("hours").unwrap(),
            dropped: vec![
                record(Content::Put(Value::new(*b"9-17").unwrap())),
                record(Content::Deleted),
            ],
        };
        let rest = "written 1970-01-01T00:00:00.000000001Z by …15T";
        assert_eq!(
            settling(&settled, &Names::default(), true),
            format!("The conflict of hours is settled; not kept: 9-17 {rest}, a deletion {rest}")
        );
        assert_eq!(
            settling(&settled, &Names::default(), false),
            format!("The conflict of hours is settled; not kept: a value {rest}, a deletion {rest}")
        );
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
