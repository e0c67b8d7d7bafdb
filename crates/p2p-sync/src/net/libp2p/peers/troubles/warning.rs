//! The log line for a trouble: which peer, where, what error, and what to do about it. Where peer ids are the trouble, it names
//! them instead of names.

use super::Expected;
use crate::names::Names;
use crate::net::{Trouble, TroubleCause};

/// Addresses that are named in one line.
const NAMED_MAX: usize = 4;

/// One sentence or two, for a person.
pub(in crate::net::libp2p) fn of(trouble: &Trouble, expected: Expected, names: &Names) -> String {
    let Some(first) = trouble.attempts.first() else {
        return String::new();
    };
    let whom = trouble.peer.map(|peer| format!("peer {}", names.peer(peer)));
    let id = || trouble.peer.map(|peer| format!("peer {peer}")).unwrap_or_default();
    let address = &first.address;
    match &first.cause {
        TroubleCause::SameIdentity => format!(
            "Another machine has the same identity as this node, {}: it answers at {address}. Was the data directory \
             copied? On the copy, stop the node, delete identity.key from its data directory, and start it once with \
             --new-identity; its data is kept. Until then, neither node gets the other's changes",
            id()
        ),
        TroubleCause::AnotherNetwork => format!(
            "{} at {address} belongs to another network, so nothing is shared with it. To connect the two, start both \
             with the same --network",
            capital(whom)
        ),
        TroubleCause::Version(version) => format!(
            "{} at {address} runs p2p-sync {version}, which cannot sync with this version. Update the older of the two",
            capital(whom)
        ),
        TroubleCause::KeyType => format!(
            "The program at {address} was refused: its key type is not supported. Supported types are Ed25519, \
             secp256k1, ECDSA and RSA"
        ),
        TroubleCause::NotANode => {
            format!("The program at {address} is not a p2p-sync node of this network. Check the address and the port")
        }
        TroubleCause::AnotherIdentity(found) => format!(
            "Peer {found}, not {}, answers at {address}. If that is the right machine, correct the peer id or leave \
             it out",
            id()
        ),
        TroubleCause::Ourselves => match whom {
            Some(whom) => format!("Cannot reach {whom}: {address} is also an address of this node"),
            None => format!("{address} is this node's own address; remove it from --peer"),
        },
        cause => {
            let what = match whom {
                Some(whom) => format!("{whom}: {}", list(trouble)),
                None => format!("{address}: {cause}"),
            };
            format!("Cannot reach {what}. {}", advice(cause, expected))
        }
    }
}

fn capital(whom: Option<String>) -> String {
    match whom.as_deref().and_then(|whom| whom.strip_prefix("peer ")) {
        Some(peer) => format!("Peer {peer}"),
        None => "The node".to_owned(),
    }
}

fn list(trouble: &Trouble) -> String {
    let named: Vec<String> = trouble
        .attempts
        .iter()
        .take(NAMED_MAX)
        .map(|attempt| format!("{} at {}", attempt.cause, attempt.address))
        .collect();
    match trouble.attempts.len().saturating_sub(NAMED_MAX) {
        0 => named.join(", "),
        others => format!("{}, and {others} more addresses", named.join(", ")),
    }
}

fn advice(cause: &TroubleCause, expected: Expected) -> &'static str {
    match (cause, expected) {
        (TroubleCause::Refused, _) => "Is p2p-sync running there, on that port?",
        (TroubleCause::Closed, _) => {
            "Is that a p2p-sync node? A node with too many connections also closes new ones \
        at once"
        }
        (TroubleCause::LinkLocal, _) => {
            "A link-local address does not name its interface: give both machines an IPv4 address or a unique local \
             IPv6 address"
        }
        (TroubleCause::NoRoute, _) => "This machine has no route to that network",
        (TroubleCause::HostUnreachable, _) => "Is that machine switched on, and on this network?",
        (TroubleCause::NoAnswer, Expected::Announced) => {
            "It announces itself, so it is running: a firewall, or a guest Wi-Fi that isolates devices, may block \
             traffic to it. Its port must be open for TCP and UDP"
        }
        (TroubleCause::NoAnswer, _) => {
            "Is that machine switched on, is p2p-sync running there, and does its firewall allow TCP and UDP on that \
             port?"
        }
        _ => "This node keeps trying",
    }
}

#[cfg(test)]
mod tests {
    use p2p_sync_core::{NodeId, Timestamp};

    use super::*;
    use crate::net::Attempt;

    fn trouble(causes: &[TroubleCause]) -> Trouble {
        let at = Timestamp::from_nanos(1).expect("a timestamp");
        let attempt = |(number, cause): (usize, &TroubleCause)| Attempt {
            address: format!("/ip4/192.0.2.{number}/tcp/1"),
            cause: cause.clone(),
            at,
        };
        Trouble {
            peer: (causes.len() > 1).then(|| NodeId::from_bytes(&[1; 38]).expect("an id")),
            configured: true,
            attempts: causes.iter().enumerate().map(attempt).collect(),
            since: at,
            last: at,
            times: 1,
        }
    }

    #[test]
    fn each_cause_says_where_and_what_to_do() {
        for (cause, part) in [
            (TroubleCause::SameIdentity, "delete identity.key"),
            (TroubleCause::AnotherNetwork, "--network"),
            (TroubleCause::Version("9.9".to_owned()), "Update"),
            (TroubleCause::KeyType, "Supported types are"),
            (TroubleCause::NotANode, "Check the address"),
            (TroubleCause::Ourselves, "own address"),
            (TroubleCause::LinkLocal, "IPv4"),
            (TroubleCause::Closed, "too many"),
            (TroubleCause::Refused, "Is p2p-sync running there"),
            (TroubleCause::NoRoute, "no route"),
            (TroubleCause::HostUnreachable, "on this network?"),
            (TroubleCause::NoAnswer, "firewall"),
            (TroubleCause::Other("odd".to_owned()), "odd"),
        ] {
            let text = of(&trouble(&[cause]), Expected::Configured, &Names::default());
            assert!(text.contains("/ip4/192.0.2.0/tcp/1") && text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_peer_is_told_by_its_name_unless_the_matter_is_its_id() {
        let me = NodeId::from_bytes(&[2; 38]).expect("an id");
        let of_two = |cause: &TroubleCause| trouble(&[cause.clone(), cause.clone()]);
        let peer = of_two(&TroubleCause::NoAnswer).peer.expect("a peer");
        let names = Names::new(
            me,
            "desk",
            [(peer, crate::names::Name::new("kitchen").expect("a name"))],
        );
        for cause in [
            TroubleCause::NoAnswer,
            TroubleCause::AnotherNetwork,
            TroubleCause::Version("9".to_owned()),
        ] {
            let text = of(&of_two(&cause), Expected::Announced, &names);
            assert!(
                text.contains("eer kitchen") && !text.contains(&peer.to_string()),
                "{text}"
            );
        }
        for cause in [TroubleCause::SameIdentity, TroubleCause::AnotherIdentity(me)] {
            let text = of(&of_two(&cause), Expected::Announced, &names);
            assert!(
                text.contains(&format!("peer {peer}")) && !text.contains("kitchen"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_line_names_a_few_addresses() {
        let many = of(
            &trouble(&[const { TroubleCause::NoAnswer }; 6]),
            Expected::Announced,
            &Names::default(),
        );
        assert_eq!(many.matches("no answer at").count(), NAMED_MAX);
        assert!(
            many.contains("and 2 more addresses") && many.contains("guest Wi-Fi"),
            "{many}"
        );
    }
}
