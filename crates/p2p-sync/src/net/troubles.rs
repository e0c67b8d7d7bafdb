//! Peers that this node cannot reach, and why: plain values for display. The network decides what is recorded, and for how
//! long.

use std::fmt;

use p2p_sync_core::{NodeId, Timestamp};

/// A peer, or an address without a known peer, and what came back from there last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Whom; none where only an address is known.
    pub peer: Option<NodeId>,
    /// Whether the user named it.
    pub configured: bool,
    /// What came back, by address, the most telling first. Never empty.
    pub attempts: Vec<Attempt>,
    /// When this began, by the clock of this machine.
    pub since: Timestamp,
    /// When it was tried last.
    pub last: Timestamp,
    /// How often it was tried since then.
    pub times: u64,
}

/// What came back from one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The address as a multiaddress.
    pub address: String,
    /// What came back.
    pub cause: TroubleCause,
    /// When.
    pub at: Timestamp,
}

/// Why a node does not get in touch with another one. The most telling come first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TroubleCause {
    /// Another machine answers that has this node's identity: a copy of its data directory.
    SameIdentity,
    /// A node of another network answers.
    AnotherNetwork,
    /// A node answers that speaks no version of the sync that this one speaks; the version that it gives.
    Version(String),
    /// The peer's key is of a type that this program does not know.
    KeyType,
    /// Somebody answers who is no node of p2p-sync.
    NotANode,
    /// Another peer answers than the one that is looked for.
    AnotherIdentity(NodeId),
    /// The address is this node's own.
    Ourselves,
    /// Somebody took the connection and ended it before saying who it is.
    Closed,
    /// Nobody listens at the port.
    Refused,
    /// This machine has no route to the address.
    NoRoute,
    /// The machine is not there, as far as the network can tell.
    HostUnreachable,
    /// Nothing came back in time.
    NoAnswer,
    /// The address is an IPv6 link-local one, which says nothing without the name of an interface.
    LinkLocal,
    /// What else the transport said.
    Other(String),
}

impl TroubleCause {
    /// A word for programs, which stays.
    pub fn code(&self) -> &'static str {
        match self {
            Self::SameIdentity => "same_identity",
            Self::AnotherNetwork => "another_network",
            Self::Version(_) => "version",
            Self::KeyType => "key_type",
            Self::NotANode => "not_a_node",
            Self::AnotherIdentity(_) => "another_identity",
            Self::Ourselves => "ourselves",
            Self::LinkLocal => "link_local",
            Self::Closed => "closed",
            Self::Refused => "refused",
            Self::NoRoute => "no_route",
            Self::HostUnreachable => "host_unreachable",
            Self::NoAnswer => "no_answer",
            Self::Other(_) => "other",
        }
    }

    /// Whether somebody answered, so that another try brings the same.
    pub fn is_answer(&self) -> bool {
        match self {
            Self::SameIdentity
            | Self::AnotherNetwork
            | Self::Version(_)
            | Self::KeyType
            | Self::NotANode
            | Self::AnotherIdentity(_)
            | Self::Ourselves => true,
            Self::Closed
            | Self::Refused
            | Self::NoRoute
            | Self::HostUnreachable
            | Self::NoAnswer
            | Self::LinkLocal
            | Self::Other(_) => false,
        }
    }
}

/// A few words for people. Text from other nodes is included unchanged.
impl fmt::Display for TroubleCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameIdentity => f.write_str("another machine with this node's identity"),
            Self::AnotherNetwork => f.write_str("a node of another network"),
            Self::Version(version) => write!(f, "p2p-sync {version}, which this version cannot sync with"),
            Self::KeyType => f.write_str("unsupported key type"),
            Self::NotANode => f.write_str("not a p2p-sync node"),
            Self::AnotherIdentity(peer) => write!(f, "another peer, {peer}"),
            Self::Ourselves => f.write_str("this node itself"),
            Self::LinkLocal => f.write_str("IPv6 link-local address, cannot be dialled"),
            Self::Closed => f.write_str("connection closed at once"),
            Self::Refused => f.write_str("connection refused"),
            Self::NoRoute => f.write_str("no route"),
            Self::HostUnreachable => f.write_str("host unreachable"),
            Self::NoAnswer => f.write_str("no answer"),
            Self::Other(why) => f.write_str(why),
        }
    }
}
