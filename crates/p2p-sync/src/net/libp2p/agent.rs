//! What nodes say about themselves in Identify's agent version: `p2p-sync/<version>/<boot nonce>/<name>`.

use crate::names::Name;

/// How the agent version of every node begins.
const PROGRAM: &str = "p2p-sync/";
/// Characters that are kept of a version, or of another program's agent version.
const CHARS_MAX: usize = 32;

/// What the agent version of a node says. Anybody can say anything there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Agent {
    /// The version of the program; cut to 32 characters.
    pub(super) version: String,
    /// The number of the peer's run: one that comes back with another nonce has restarted.
    pub(super) boot_nonce: Option<u64>,
    /// What it is called; none if it told no name, or nothing that can be one.
    pub(super) name: Option<Name>,
}

impl Agent {
    /// Reads an agent version; none if it is not that of a node. What follows the name is left to later versions.
    pub(super) fn of(agent_version: &str) -> Option<Self> {
        let mut parts = agent_version.strip_prefix(PROGRAM)?.split('/');
        let version = parts.next().unwrap_or_default();
        Some(Self {
            version: version.chars().take(CHARS_MAX).collect(),
            boot_nonce: parts.next().and_then(|nonce| u64::from_str_radix(nonce, 16).ok()),
            name: parts.next().and_then(Name::decode),
        })
    }
}

/// The agent version of this node. A name of more than 64 bytes is cut.
pub(super) fn agent_version(boot_nonce: u64, name: &str) -> String {
    let name = Name::cut(name).map(|name| name.encode()).unwrap_or_default();
    format!("{PROGRAM}{}/{boot_nonce:016x}/{name}", env!("CARGO_PKG_VERSION"))
}

/// The number of a peer's run, if it is a node.
pub(super) fn boot_nonce(agent_version: &str) -> Option<u64> {
    Agent::of(agent_version)?.boot_nonce
}

/// What program a peer is, for people, in few characters that may still have to be made printable: of a node without the
/// number of its run, and without its name.
pub(super) fn program(agent_version: &str) -> String {
    match Agent::of(agent_version) {
        Some(agent) => format!("{PROGRAM}{}", agent.version),
        None => agent_version.chars().take(2 * CHARS_MAX).collect(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::names::NAME_BYTES_MAX;

    fn name(agent_version: &str) -> Option<String> {
        let agent = Agent::of(agent_version)?;
        agent.name.map(|name| name.as_str().to_owned())
    }

    #[test]
    fn it_carries_the_version_the_nonce_and_the_name() {
        let agent = Agent::of(&agent_version(0xfeed, "Küche 2")).unwrap();
        assert_eq!(agent.version, env!("CARGO_PKG_VERSION"));
        assert_eq!(agent.boot_nonce, Some(0xfeed));
        assert_eq!(agent.name, Name::new("Küche 2"));
        let written = agent_version(0xfeed, "a/b");
        assert!(written.ends_with("/000000000000feed/a%2Fb"), "{written}");
    }

    #[test]
    fn another_program_is_no_node() {
        for foreign in ["", "rust-libp2p/0.57", "p2p-sync", "P2P-sync/1/2", "kubo/p2p-sync/1"] {
            assert_eq!(Agent::of(foreign), None, "{foreign}");
        }
        assert_eq!(program("kubo/1/2"), "kubo/1/2");
        assert_eq!(program(&"x".repeat(10_000)).len(), 64);
    }

    #[test]
    fn a_node_may_tell_no_nonce_and_no_name() {
        for (told, nonce) in [
            ("p2p-sync/", None),
            ("p2p-sync/1.0", None),
            ("p2p-sync/1.0/", None),
            ("p2p-sync/1.0/xyz", None),
            ("p2p-sync/1.0/feed", Some(0xfeed)),
            ("p2p-sync/1.0/feed/", Some(0xfeed)),
            ("p2p-sync/1.0/feed//kitchen", Some(0xfeed)),
            ("p2p-sync/1.0/feed/%", Some(0xfeed)),
            ("p2p-sync/1.0/feed/%ff%fe", Some(0xfeed)),
            ("p2p-sync/1.0/00000000000000000feed0000000000000000/", None),
        ] {
            let agent = Agent::of(told).unwrap();
            assert_eq!((agent.boot_nonce, agent.name), (nonce, None), "{told}");
        }
    }

    #[test]
    fn what_follows_the_name_is_left_to_later_versions() {
        assert_eq!(name("p2p-sync/2.0/feed/kitchen/more/of/it").as_deref(), Some("kitchen"));
        assert_eq!(name("p2p-sync/2.0//kitchen").as_deref(), Some("kitchen"));
        assert_eq!(program("p2p-sync/2.0/feed/kitchen"), "p2p-sync/2.0");
    }

    #[test]
    fn a_long_one_is_cut_or_ignored() {
        let long = format!("p2p-sync/{}/feed/{}", "9".repeat(10_000), "k".repeat(10_000));
        let agent = Agent::of(&long).unwrap();
        assert_eq!(
            (agent.version.len(), agent.boot_nonce, agent.name),
            (CHARS_MAX, Some(0xfeed), None)
        );
        assert!(program(&long).len() < 64);
        assert!(agent_version(0, &"日".repeat(10_000)).len() < 300);
    }

    proptest! {
        #[test]
        fn whatever_a_peer_says_is_read_within_bounds(told in "(p2p-sync/)?.{0,100}(/.{0,40}){0,4}") {
            if let Some(agent) = Agent::of(&told) {
                prop_assert!(agent.version.chars().count() <= CHARS_MAX);
                prop_assert!(agent.name.is_none_or(|name| name.as_str().len() <= NAME_BYTES_MAX));
            }
            prop_assert!(program(&told).chars().count() <= 2 * CHARS_MAX);
        }

        #[test]
        fn the_name_of_a_node_comes_back(nonce: u64, told in ".{0,100}") {
            let agent = Agent::of(&agent_version(nonce, &told)).unwrap();
            prop_assert_eq!(agent.boot_nonce, Some(nonce));
            prop_assert_eq!(agent.name, Name::cut(&told));
        }
    }
}
