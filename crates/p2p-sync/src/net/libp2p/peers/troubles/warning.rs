//! What the log is told of a trouble: whom, where, what came back, and what to do about it.

use super::Expected;
use crate::net::{Trouble, TroubleCause};

/// Addresses that are named in one line.
const NAMED_MAX: usize = 4;

/// One sentence or two, for a person.
pub(in crate::net::libp2p) fn of(trouble: &Trouble, expected: Expected) -> String {
    let Some(first) = trouble.attempts.first() else {
        return String::new();
    };
    let whom = trouble.peer.map(|peer| format!("peer {peer}"));
    let address = &first.address;
    match &first.cause {
        TroubleCause::SameIdentity => format!(
            "Another machine has the same identity as this node, {}: it answers at {address}. Was the data directory copied? On the \
             copy, stop the node, delete identity.key from its data directory, and start it once with --new-identity; its data stays. Until \
             then neither hears of the other's changes",
            whom.unwrap_or_default()
        ),
        TroubleCause::AnotherNetwork => format!(
            "{} at {address} is in another network, so nothing is shared with it. Start both nodes with the same --network",
            capital(whom)
        ),
        TroubleCause::Version(version) => format!(
            "{} at {address} runs p2p-sync {version}, with which this version cannot sync. Update the older one of the two",
            capital(whom)
        ),
        TroubleCause::KeyType => format!(
            "The program at {address} has a key of a type that is not supported, and was refused. Supported are Ed25519, secp256k1, ECDSA \
             and RSA"
        ),
        TroubleCause::NotANode => format!(
            "The program that answers at {address} is not a p2p-sync node: it takes no part in this network. Check the address and the port"
        ),
        TroubleCause::AnotherIdentity(found) => format!(
            "At {address} peer {found} answers, not {}. If that is the right machine, correct the peer id, or leave it out",
            whom.unwrap_or_default()
        ),
        TroubleCause::Ourselves => match whom {
            Some(whom) => format!("Cannot reach {whom}: {address} is an address of this node itself too"),
            None => format!("{address} is the address of this node itself; it needs no --peer for that"),
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
        (TroubleCause::Refused, _) => "Does p2p-sync run there, on that port?",
        (TroubleCause::Closed, _) => "Is that a p2p-sync node? One that has too many connections does the same",
        (TroubleCause::LinkLocal, _) => {
            "Link-local addresses do not say on which interface they are: give both machines an IPv4 address, or a unique local one of IPv6"
        }
        (TroubleCause::NoRoute, _) => "This machine has no way into that network",
        (TroubleCause::HostUnreachable, _) => "Is that machine on, and on this network?",
        (TroubleCause::NoAnswer, Expected::Announced) => {
            "It announces itself, so it is there: a firewall, or a guest Wi-Fi that keeps devices apart, may hold back what is sent to it. Its \
             port must be open for TCP and UDP"
        }
        (TroubleCause::NoAnswer, _) => {
            "Is that machine on, does p2p-sync run there, and does its firewall let in TCP and UDP on that port?"
        }
        _ => "It is tried again and again",
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
            (TroubleCause::KeyType, "Supported are"),
            (TroubleCause::NotANode, "Check the address"),
            (TroubleCause::Ourselves, "this node itself"),
            (TroubleCause::LinkLocal, "IPv4"),
            (TroubleCause::Closed, "too many"),
            (TroubleCause::Refused, "Does p2p-sync run there"),
            (TroubleCause::NoRoute, "no way"),
            (TroubleCause::HostUnreachable, "on this network?"),
            (TroubleCause::NoAnswer, "firewall"),
            (TroubleCause::Other("odd".to_owned()), "odd"),
        ] {
            let text = of(&trouble(&[cause]), Expected::Configured);
            assert!(text.contains("/ip4/192.0.2.0/tcp/1") && text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_line_names_a_few_addresses() {
        let many = of(&trouble(&[const { TroubleCause::NoAnswer }; 6]), Expected::Announced);
        assert_eq!(many.matches("no answer at").count(), NAMED_MAX);
        assert!(
            many.contains("and 2 more addresses") && many.contains("guest Wi-Fi"),
            "{many}"
        );
    }
}
