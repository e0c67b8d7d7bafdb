//! Versions that lost to one written without knowledge of them, kept so that the user can look at them and bring them
//! back. What counts as lost is the core's decision.

use p2p_sync_core::{Record, Timestamp};

/// A version that lost to one whose author had not seen it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The version that lost.
    pub loser: Record,
    /// The version that won over it at the time.
    pub winner: Record,
    /// When this node noticed, by its clock.
    pub noticed: Timestamp,
}
