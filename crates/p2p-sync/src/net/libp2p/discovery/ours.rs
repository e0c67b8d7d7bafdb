//! Which announcements are of this node's network, and how it announces itself in a private one.

use data_encoding::BASE32_NOPAD;
use libp2p::PeerId;

use super::wire::OwnNames;
use crate::net::libp2p::door::Private;

/// Random bytes in the label of a node of a private network.
const LABEL_BYTES: usize = 5;

/// The network of this node.
#[derive(Debug, Clone)]
pub(super) enum Ours {
    /// An open one, with this tag.
    Open(String),
    /// A private one, whose announcements only members can read.
    Private(Private),
}

/// What the text of an instance says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// None where what it says of that makes no sense.
    pub(super) peer: Option<PeerId>,
    pub(super) network_tag: String,
    /// Of the announcement.
    pub(super) version: String,
    /// For the members of a private network.
    pub(super) sealed: Option<String>,
}

impl From<String> for Ours {
    fn from(tag: String) -> Self {
        Self::Open(tag)
    }
}

impl Ours {
    /// Who that is in our network; none inside where it is somebody else, and none at all while that cannot be told.
    pub(super) fn peer(&self, said: &Said, place: Option<&(String, u16)>) -> Option<Option<PeerId>> {
        match (self, &said.sealed) {
            (Self::Open(tag), _) => Some(said.peer.filter(|_| said.network_tag == *tag)),
            (Self::Private(_), None) => Some(None),
            (Self::Private(private), Some(sealed)) => place.map(|(_, port)| private.announced(sealed, *port)),
        }
    }
}

/// How a node of a private network announces itself during one run.
pub(super) struct Sealing {
    private: Private,
    peer: PeerId,
    port: u16,
    label: String,
    /// The secret with which it did so last.
    secret: Option<[u8; 32]>,
}

impl Sealing {
    pub(super) fn new(private: Private, peer: PeerId, port: u16) -> Self {
        let random: [u8; LABEL_BYTES] = rand::random();
        let label = format!("p2p-sync-{}", BASE32_NOPAD.encode(&random).to_ascii_lowercase());
        Self {
            private,
            peer,
            port,
            label,
            secret: None,
        }
    }

    /// The names from now on. Before there is a secret, nobody can tell whose they are.
    pub(super) fn names(&mut self) -> OwnNames {
        self.secret = self.private.newest_secret();
        let sealed = self.private.announcement(self.peer, self.port);
        OwnNames::sealed(&self.label, sealed.as_deref(), self.port)
    }

    /// The names, if the secret is another one by now.
    pub(super) fn renewed(&mut self) -> Option<OwnNames> {
        (self.private.newest_secret() != self.secret).then(|| self.names())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use libp2p::identity::Keypair;
    use p2p_sync_core::membership::Roster;

    use super::*;
    use crate::net::libp2p::testing::private;

    #[tokio::test]
    async fn the_names_are_other_ones_at_each_start_and_with_each_secret() {
        let peer = Keypair::ed25519_from_bytes([2; 32]).unwrap().public().to_peer_id();
        let (private, keep) = private::home(2);
        let sealed = |names: &OwnNames| {
            names
                .text
                .iter()
                .find_map(|text| text.strip_prefix("x=").map(str::to_owned))
        };
        let mut sealing = Sealing::new(private.clone(), peer, 4002);
        let first = sealing.names();
        let second = Sealing::new(private.clone(), peer, 4002).names();
        assert!(first.instance.starts_with("p2p-sync-") && first.instance != second.instance);
        assert_ne!(sealed(&first), sealed(&second));
        assert!(sealing.renewed().is_none());
        let mut roster = Roster::clone(&keep.roster.borrow());
        let (out, secret) = private::lower(&roster, 9);
        roster.add(vec![private::grant(&roster, 9), out.clone()]);
        keep.roster.send_replace(Arc::new(roster.clone()));
        assert!(sealing.renewed().is_none(), "the next secret is not here yet");
        assert!(roster.add_secret(out.id(), secret));
        keep.roster.send_replace(Arc::new(roster));
        let third = sealing.renewed().unwrap();
        assert_eq!(third.instance, first.instance);
        // With both secrets, all are read; with the old one alone, as whoever was removed has it, the last one is not.
        let read = |names: &OwnNames, private: &Private| private.announced(&sealed(names).unwrap(), 4002);
        let (old, _keep) = private::home(2);
        assert_eq!(
            [&first, &second, &third].map(|names| read(names, &private)),
            [Some(peer); 3]
        );
        assert_eq!([&first, &third].map(|names| read(names, &old)), [Some(peer), None]);
    }
}
