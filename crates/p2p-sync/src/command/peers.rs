//! `peers`: who is connected.

use std::ffi::{OsStr, OsString};

use serde::{Deserialize, Serialize};

use super::{Class, CommandError, Format, Reply, Run, serial};
use crate::names::{Candidate, NoSuchPeer, find};
use crate::node::Node;
use crate::report::{self, Peer, Schema};

/// Shows the connected peers, or one of them with its peer id
///
/// Names are what the peers call themselves. Where two nodes have the same name, the end of the peer id follows. A peer that told
/// no name is shown by its peer id.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    #[command(flatten)]
    #[serde(default)]
    pub(super) format: Format,
    /// The name of a peer, its peer id, or the end of its peer id
    #[serde(default, with = "serial")]
    peer: Option<OsString>,
}

impl Run for Peers {
    fn lines(schema: Schema) -> Schema {
        schema.line::<report::Peer>().line::<report::Peers>()
    }

    fn format(&self) -> Format {
        self.format
    }

    async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        let peers = node.peers().await?;
        Ok(match self.peer {
            None => Reply::Peers(peers),
            Some(wanted) => Reply::Peer(Box::new(one_of(peers, &wanted)?)),
        })
    }
}

/// The peer that somebody means.
pub(super) fn one_of(mut peers: Vec<Peer>, wanted: &OsStr) -> Result<Peer, CommandError> {
    let candidates: Vec<Candidate<'_>> = peers
        .iter()
        .map(|peer| Candidate {
            id: &peer.peer_id,
            name: peer.name.as_deref(),
            display: &peer.display_name,
        })
        .collect();
    let at = find(&wanted.to_string_lossy(), &candidates)?;
    Ok(peers.swap_remove(at))
}

impl From<NoSuchPeer> for CommandError {
    fn from(error: NoSuchPeer) -> Self {
        let class = match error {
            NoSuchPeer::Unknown { .. } => Class::NotFound,
            NoSuchPeer::Ambiguous { .. } => Class::Usage,
        };
        Self::new(class, error.to_string())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::command::{Command, parse_line};
    use crate::report::examples::{PEER, peers};

    #[test]
    fn a_peer_is_meant_by_its_name_its_id_or_the_end_of_that() {
        let named = peers().remove(0);
        let other = Peer {
            peer_id: PEER.replace("MKSyUwa", "xxxxxxx"),
            ..named.clone()
        };
        let both = || vec![other.clone(), named.clone()];
        for wanted in [PEER, "SyUwa", "…SyUwa"] {
            assert_eq!(one_of(both(), OsStr::new(wanted)).unwrap(), named, "{wanted}");
        }
        let name = OsStr::new("KIT\u{7}CHEN");
        assert_eq!(one_of(vec![named.clone()], name).unwrap(), named);
        let ambiguous = one_of(both(), name).unwrap_err();
        assert_eq!(ambiguous.class, Class::Usage);
        assert!(ambiguous.to_string().contains(PEER), "{ambiguous}");
        let unknown = one_of(both(), OsStr::new("attic\u{1b}")).unwrap_err();
        assert_eq!(unknown.class, Class::NotFound);
        assert_eq!(
            unknown.to_string(),
            "Not found: no connected peer is called attic\\u{1b}. Try: peers"
        );
    }

    #[test]
    fn a_name_with_blanks_is_quoted() {
        let wanted = |line: &str| match parse_line(line.as_bytes()).unwrap().unwrap() {
            Command::Peers(peers) => peers.peer,
            other => panic!("{other:?}"),
        };
        assert_eq!(wanted("peers"), None);
        assert_eq!(wanted("peers --json 'living room'"), Some("living room".into()));
    }
}
