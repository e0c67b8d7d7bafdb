//! The lines of a status that are about the node as a program: its version, its data on the disk; and how people write
//! durations and sizes.

use bytesize::ByteSize;

use super::shown;
use crate::report::{Messages, Multicast, Status};

/// What follows the version.
pub(super) fn version(version: &str, uptime_seconds: u64) -> String {
    format!("{version}, up {}", duration(uptime_seconds))
}

/// Where the data is, and what it takes.
pub(super) fn data(status: &Status) -> Vec<String> {
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), size);
    vec![
        shown(&status.data_dir),
        format!(
            "store {}, its log {}; {} free on the volume",
            bytes(status.store.bytes),
            bytes(status.store.log_bytes),
            bytes(status.store.free_bytes)
        ),
    ]
}

/// Where the node listens, and where it should and cannot.
pub(super) fn addresses(status: &Status) -> Vec<String> {
    let listening = status.addresses.iter().map(|address| shown(address));
    let not = status
        .not_listening
        .iter()
        .map(|not| format!("cannot listen on {}", shown(&not.to_string())));
    listening.chain(not).collect()
}

/// Whether other machines are heard.
pub(super) fn multicast(status: &Status) -> String {
    match (status.multicast, status.multicast_heard_seconds_ago) {
        (Multicast::Off, _) => "off (--no-lan)".to_owned(),
        (Multicast::Silent, _) => "nothing heard from other machines".to_owned(),
        (Multicast::Unknown, _) => {
            let why = status.multicast_failure.as_deref().unwrap_or("unknown why");
            format!("cannot listen: {}", shown(why))
        }
        (Multicast::Heard, ago) => format!("heard {} ago", duration(ago.unwrap_or_default())),
    }
}

pub(super) fn messages(messages: Messages) -> Vec<String> {
    let mut lines = vec![format!("{} sent, {} received", messages.sent, messages.received)];
    if messages.unheard > 0 {
        let made = if messages.unheard == 1 {
            "change was made with no peer listening; sync delivers it"
        } else {
            "changes were made with no peer listening; sync delivers them"
        };
        lines.push(format!("{} {made}", messages.unheard));
    }
    lines
}

pub(super) fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().si().to_string()
}

/// In the two largest units: nobody needs the seconds of a week.
pub(super) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        (1, _, _) => format!("1 day {} h", hours % 24),
        _ => format!("{days} days {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::some_status;
    use super::*;
    use crate::report::Store;

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3_599, "59 min 59 s"),
            (3_600, "1 h 0 min"),
            (86_399, "23 h 59 min"),
            (86_400, "1 day 0 h"),
            (400 * 86_400 + 3_600, "400 days 1 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn multicast_is_heard_or_not_or_nobody_listens() {
        for (multicast, text) in [
            (Multicast::Off, "off (--no-lan)"),
            (Multicast::Silent, "nothing heard from other machines"),
            (Multicast::Unknown, "cannot listen: no\\nway"),
            (Multicast::Heard, "heard 1 min 1 s ago"),
        ] {
            let status = Status {
                multicast,
                multicast_heard_seconds_ago: Some(61),
                multicast_failure: Some("no\nway".to_owned()),
                ..some_status()
            };
            assert_eq!(super::multicast(&status), text);
        }
    }

    #[test]
    fn what_the_system_does_not_tell_is_unknown() {
        let status = Status {
            data_dir: "/data\u{202e}".to_owned(),
            store: Store {
                log_bytes: Some(0),
                ..Store::default()
            },
            ..some_status()
        };
        assert_eq!(
            data(&status),
            [
                "/data\\u{202e}",
                "store unknown, its log 0 B; unknown free on the volume"
            ]
        );
    }
}
