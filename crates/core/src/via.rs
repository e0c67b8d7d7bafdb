//! How a change reached a node: one value that accompanies it from the edge to the store, the log and the agenda.

use crate::id::NodeId;

/// How a change arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Via {
    /// It was written on this node.
    Local,
    /// In a gossip message, which gossipsub forwards to others.
    Gossip {
        /// Who signed the message.
        author: NodeId,
        /// The peer that delivered it: the author, or a peer that forwarded it.
        neighbour: NodeId,
    },
    /// In the feed of a direct peer.
    Feed {
        /// The peer.
        neighbour: NodeId,
    },
    /// In a sync session.
    Session {
        /// The peer at the other end.
        neighbour: NodeId,
    },
}

impl Via {
    /// The direct peer that delivered it; none for a local write.
    pub fn neighbour(self) -> Option<NodeId> {
        match self {
            Self::Local => None,
            Self::Gossip { neighbour, .. } | Self::Feed { neighbour } | Self::Session { neighbour } => Some(neighbour),
        }
    }
}
