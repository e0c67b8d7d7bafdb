//! What was found out about the ways between this machine and others: plain values. The network finds them out when it is asked
//! to, and keeps none of them.

use std::net::IpAddr;

use p2p_sync_core::NodeId;

/// What came of a knock at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knock {
    /// Somebody answered.
    Through,
    /// Nothing came back in time.
    NoAnswer,
    /// The machine said that nobody listens there.
    Refused,
    /// There is no route, or the machine is not there, as far as the network can tell.
    NoRoute,
    /// The system of the machine that knocked did not let it out: its own firewall.
    NotPermitted,
    /// Nobody knocked.
    NotTried,
}

/// A knock by each transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knocks {
    /// By TCP.
    pub tcp: Knock,
    /// By UDP, which carries QUIC.
    pub udp: Knock,
}

impl Knocks {
    /// Nobody knocked.
    pub const NONE: Self = Self {
        tcp: Knock::NotTried,
        udp: Knock::NotTried,
    };
}

/// What a peer told when it was asked to knock at this node's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Where the connection leads to, and the port at which the peer says that it listens.
    pub address: IpAddr,
    /// That port.
    pub port: u16,
    /// How far its clock is ahead of this one, in nanoseconds; negative: behind.
    pub clock_ahead_nanos: i64,
    /// How much that may be wrong: half of the round trip in which it was told.
    pub clock_within_nanos: u64,
    /// What came of its knocks.
    pub knocks: Knocks,
}

/// What multicast DNS shows on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Each address family of each interface that is up.
    pub places: Vec<SurveyedPlace>,
    /// The nodes that answered, this one included if it runs.
    pub nodes: Vec<SurveyedNode>,
    /// From where programs answered that are no nodes.
    pub responders: Vec<IpAddr>,
    /// Whether another machine was heard at all.
    pub heard_others: bool,
    /// The other programs on this machine that have the port of multicast DNS, as far as the system tells.
    pub holders: Vec<String>,
}

/// One address family of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyedPlace {
    /// The interface's name.
    pub interface: String,
    /// Whether it leads to no other machine.
    pub is_loopback: bool,
    /// IPv6, or else IPv4.
    pub is_v6: bool,
    /// What multicast does there.
    pub multicast: Surveyed,
}

/// What multicast does at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Surveyed {
    /// The own question came back: it went out, and multicast comes in.
    CameBack,
    /// The own question did not come back; the system said why it did not go out, if that was it.
    Lost(Option<String>),
    /// Another program has the port for itself.
    PortTaken(String),
    /// The interface does not do multicast.
    None(String),
}

/// A node that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyedNode {
    /// Who it says it is; none where it does not say so, or makes no sense.
    pub peer: Option<NodeId>,
    /// The name of its announcement.
    pub instance: String,
    /// The tag of its network.
    pub network_tag: String,
    /// The version of its announcement.
    pub version: String,
    /// The address from which it answered.
    pub from: IpAddr,
    /// Whether that is an address of this machine.
    pub is_here: bool,
    /// Where it says that it listens, as far as this machine shares a network with that.
    pub listens: Vec<(IpAddr, u16)>,
}
