//! The lines of a status that are about the node as a program: its version, its data on the disk; and how people write
//! durations and sizes.

use std::time::Duration;

use bytesize::ByteSize;

use super::shown;
use crate::node::{Footprint, Multicast, NetStatus};

/// What follows the version.
pub(super) fn version(version: &str, uptime: Duration) -> String {
    format!("{version}, up {}", duration(uptime))
}

/// Where the data is, and what it takes.
pub(super) fn data(footprint: &Footprint) -> Vec<String> {
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), size);
    vec![
        shown(&footprint.directory.to_string_lossy()),
        format!(
            "store {}, its log {}; {} free on the volume",
            bytes(footprint.store_bytes),
            bytes(footprint.log_bytes),
            bytes(footprint.free_bytes)
        ),
    ]
}

/// Where the node listens, and where it should and cannot.
pub(super) fn addresses(net: &NetStatus) -> Vec<String> {
    let listening = net.addresses.iter().map(|address| shown(address));
    let not = net
        .not_listening
        .iter()
        .map(|not| format!("cannot listen on {}", shown(&not.to_string())));
    listening.chain(not).collect()
}

/// Whether other machines are heard.
pub(super) fn multicast(multicast: &Multicast) -> String {
    match multicast {
        Multicast::Off => "off (--no-lan)".to_owned(),
        Multicast::Silent => "nothing heard from other machines".to_owned(),
        Multicast::Unknown { why } => format!("cannot listen: {}", shown(why)),
        Multicast::Heard { ago } => format!("heard {} ago", duration(*ago)),
    }
}

pub(super) fn messages(net: &NetStatus) -> Vec<String> {
    let mut lines = vec![format!("{} sent, {} received", net.sent, net.received)];
    if net.unheard > 0 {
        let made = if net.unheard == 1 {
            "change was made with no peer listening; sync delivers it"
        } else {
            "changes were made with no peer listening; sync delivers them"
        };
        lines.push(format!("{} {made}", net.unheard));
    }
    lines
}

fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().si().to_string()
}

/// In the two largest units: nobody needs the seconds of a week.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
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
    use super::*;

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
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn multicast_is_heard_or_not_or_nobody_listens() {
        let ago = Duration::from_millis(61_999);
        for (one, text) in [
            (Multicast::Off, "off (--no-lan)"),
            (Multicast::Silent, "nothing heard from other machines"),
            (
                Multicast::Unknown {
                    why: "no\nway".to_owned(),
                },
                "cannot listen: no\\nway",
            ),
            (Multicast::Heard { ago }, "heard 1 min 1 s ago"),
        ] {
            assert_eq!(multicast(&one), text);
        }
    }

    #[test]
    fn what_the_system_does_not_tell_is_unknown() {
        let footprint = Footprint {
            directory: "/data\u{202e}".into(),
            log_bytes: Some(0),
            ..Footprint::default()
        };
        assert_eq!(
            data(&footprint),
            [
                "/data\\u{202e}",
                "store unknown, its log 0 B; unknown free on the volume"
            ]
        );
    }
}
