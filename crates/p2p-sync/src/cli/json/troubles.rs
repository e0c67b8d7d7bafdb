//! Peers with whom there is no contact, as JSON for programs.

use serde::Serialize;

use crate::node;

/// One of them.
#[derive(Serialize)]
pub(super) struct Trouble<'a> {
    peer_id: Option<String>,
    configured: bool,
    cause: &'static str,
    since: String,
    last: String,
    times: u64,
    attempts: Vec<Attempt<'a>>,
}

#[derive(Serialize)]
struct Attempt<'a> {
    address: &'a str,
    cause: &'static str,
    text: String,
    at: String,
}

impl<'a> Trouble<'a> {
    pub(super) fn of(trouble: &'a node::Trouble) -> Self {
        let attempt = |attempt: &'a node::Attempt| Attempt {
            address: &attempt.address,
            cause: attempt.cause.code(),
            text: attempt.cause.to_string(),
            at: attempt.at.to_string(),
        };
        Self {
            peer_id: trouble.peer.map(|peer| peer.to_string()),
            configured: trouble.configured,
            cause: trouble.attempts.first().map_or("other", |first| first.cause.code()),
            since: trouble.since.to_string(),
            last: trouble.last.to_string(),
            times: trouble.times,
            attempts: trouble.attempts.iter().map(attempt).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::text::troubles::tests::some_troubles;
    use super::super::line;
    use super::*;

    #[test]
    fn the_fields_and_their_order_stay() {
        let troubles = some_troubles();
        let lines: Vec<String> = troubles.iter().map(|trouble| line(&Trouble::of(trouble))).collect();
        let expected = [
            concat!(
                r#"{"peer_id":null,"configured":true,"cause":"refused","since":"2027-01-15T08:00:00Z","last":"2027-01-15T08:00:07Z","times":12,"#,
                r#""attempts":[{"address":"/ip4/10.0.0.9/tcp/4002","cause":"refused","text":"connection refused","at":"2027-01-15T08:00:07Z"}]}"#,
                "\n"
            ),
            concat!(
                r#"{"peer_id":"12D3KooWGfX2ZdACKUL4r1yYpU7qkCadvHufg7C9uT7K6MKSyUwa","configured":false,"cause":"version","since":"2027-01-15T08:00:07Z","#,
                r#""last":"2027-01-15T08:00:07Z","times":1,"attempts":[{"address":"/ip4/10.0.0.5/tcp/4002","cause":"version","#,
                r#""text":"p2p-sync \u001b9, which this version cannot sync with","at":"2027-01-15T08:00:07Z"},"#,
                r#"{"address":"/ip4/10.0.0.6/udp/4002/quic-v1","cause":"no_answer","text":"no answer","at":"2027-01-15T08:00:07Z"}]}"#,
                "\n"
            ),
        ];
        assert_eq!(lines, expected);
    }
}
