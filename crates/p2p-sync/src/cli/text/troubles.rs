//! Peers with whom there is no contact, as text for people: whom, where, what came back, and when.

use super::{shown, table};
use crate::report::Trouble;

/// Peers that are shown; programs get all of them.
const SHOWN_MAX: usize = 20;

/// A table; nothing when all is well.
pub(super) fn troubles(troubles: &[Trouble]) -> String {
    if troubles.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = troubles.iter().take(SHOWN_MAX).flat_map(rows).collect();
    let others = match troubles.len().saturating_sub(SHOWN_MAX) {
        0 => String::new(),
        others => format!("  and {others} more: status --json\n"),
    };
    format!("No contact ({}):\n{}{others}", troubles.len(), table(&rows))
}

/// One row for each address.
fn rows(trouble: &Trouble) -> Vec<Vec<String>> {
    let whom = match (&trouble.display_name, trouble.configured) {
        (Some(peer), _) => peer.clone(),
        (None, true) => "--peer".to_owned(),
        (None, false) => "-".to_owned(),
    };
    let tried = match trouble.times {
        0 | 1 => format!("at {}", trouble.last),
        times => format!("{times} times since {}, last at {}", trouble.since, trouble.last),
    };
    let mut rows: Vec<Vec<String>> = trouble
        .attempts
        .iter()
        .map(|attempt| {
            let cause = shown(&attempt.text);
            vec![String::new(), shown(&attempt.address), cause, String::new()]
        })
        .collect();
    if let Some([first, .., last]) = rows.first_mut().map(Vec::as_mut_slice) {
        *first = whom;
        *last = tried;
    }
    rows
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
pub(in crate::cli) mod tests {
    use super::*;
    use crate::report::{Attempt, examples};

    pub(in crate::cli) fn some_troubles() -> Vec<Trouble> {
        let at = |second: u8| format!("2027-01-15T08:00:0{second}Z");
        let attempt = |address: &str, cause: &str, text: &str| Attempt {
            address: address.to_owned(),
            cause: cause.to_owned(),
            text: text.to_owned(),
            at: at(7),
        };
        vec![
            examples::trouble(),
            Trouble {
                peer_id: Some(examples::PEER.to_owned()),
                name: None,
                display_name: Some(examples::PEER.to_owned()),
                configured: false,
                cause: "version".to_owned(),
                attempts: vec![
                    attempt(
                        "/ip4/10.0.0.5/tcp/4002",
                        "version",
                        "p2p-sync \u{1b}9, which this version cannot sync with",
                    ),
                    attempt("/ip4/10.0.0.6/udp/4002/quic-v1", "no_answer", "no answer"),
                ],
                since: at(7),
                last: at(7),
                times: 1,
            },
        ]
    }

    #[test]
    fn each_address_has_a_row_with_what_came_back() {
        let peer = examples::PEER;
        assert_eq!(
            troubles(&some_troubles()),
            format!(
                "\
No contact (2):
  --peer                                                /ip4/10.0.0.9/tcp/4002          connection refused                                     12 times since 2027-01-15T08:00:00Z, last at 2027-01-15T08:00:07Z
  {peer}  /ip4/10.0.0.5/tcp/4002          p2p-sync \\u{{1b}}9, which this version cannot sync with  at 2027-01-15T08:00:07Z
                                                        /ip4/10.0.0.6/udp/4002/quic-v1  no answer
"
            )
        );
        assert_eq!(troubles(&[]), "");
    }

    #[test]
    fn many_are_cut_off_with_their_number() {
        let many = vec![some_troubles().remove(0); 25];
        let text = troubles(&many);
        assert_eq!(text.lines().count(), 1 + SHOWN_MAX + 1);
        assert!(text.starts_with("No contact (25):") && text.ends_with("and 5 more: status --json\n"));
    }
}
