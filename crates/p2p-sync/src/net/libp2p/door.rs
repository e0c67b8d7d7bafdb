//! The door of a private network, behind Noise or TLS and before the swarm: strangers never get as far as that. Noise and TLS have a
//! key of this run alone; the first stream of a connection carries what `core::membership::door` says, and then the connection
//! counts as one with the device behind it.
//!
//! What a stranger costs: so many doors at a time ([`DOORS_MAX`]), each for [`DOOR_WITHIN`], what it may send
//! before ([`allowance`]), and what QUIC holds unread ([`QUIC_UNREAD_BYTES_MAX`]).

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libp2p::PeerId;
use libp2p::core::ConnectedPoint;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::identity::Keypair;
use p2p_sync_core::NetworkName;
use p2p_sync_core::limits::MEMBERS_MAX;
use p2p_sync_core::membership::door::{Admitted, Cause, End, Side};
use p2p_sync_core::membership::{Entry, PublicKey, Roster, SecretKey, announcement};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::node_id;
use super::transport::dial_errors::chain;

pub(super) mod allowance;
pub(super) mod members;
mod talk;

use allowance::Allowance;

/// Inbound connections that are set up at a time. Fewer than in an open network: a door costs more, and members take milliseconds.
pub(super) const DOORS_MAX: usize = 64;
/// How long a door may take. Members on a LAN take milliseconds.
pub(super) const DOOR_WITHIN: Duration = Duration::from_secs(3);
/// What a QUIC connection holds unread. libp2p sets one bound for all connections, so it also is that of members: on a LAN, it
/// is some milliseconds of a gigabit.
pub(super) const QUIC_UNREAD_BYTES_MAX: u32 = 2 * 1024 * 1024;

/// The variable by which TLS is made to write its keys to a file.
const KEY_LOG: &str = "SSLKEYLOGFILE";

/// What happened at a door that whoever holds the membership is to know.
#[derive(Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "no command makes a private network so far"))]
pub enum AtDoor {
    /// A device was let in by these entries, which are not held here.
    Brought(Vec<Entry>),
    /// A member says that this device was removed: by the last of these entries, if it counts.
    Removed(Vec<Entry>),
}

/// The private network of this node: what is known of it, by whoever holds the membership.
#[derive(Clone)]
pub struct Private {
    roster: watch::Receiver<Arc<Roster>>,
    told: mpsc::Sender<AtDoor>,
    /// Devices that were let in and are not in the roster yet. At most [`MEMBERS_MAX`].
    newcomers: Arc<Mutex<BTreeSet<PublicKey>>>,
}

impl Private {
    /// The network of this roster, and whatever comes after it. What is to be known of its door is told; if nobody listens, it is told
    /// again the next time.
    #[cfg_attr(not(test), expect(dead_code, reason = "no command makes a private network so far"))]
    pub fn new(roster: watch::Receiver<Arc<Roster>>, told: mpsc::Sender<AtDoor>) -> Self {
        Self {
            roster,
            told,
            newcomers: Arc::default(),
        }
    }

    /// What is known now.
    fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.roster.borrow())
    }

    /// Its name in the names of protocols and topics, behind the door: its id.
    pub(super) fn network_name(&self) -> NetworkName {
        let id = data_encoding::HEXLOWER.encode(&self.roster().entries().network().0);
        // 64 letters and digits are a name.
        id.parse().unwrap_or_default()
    }

    /// The newest secret that is here.
    pub(super) fn newest_secret(&self) -> Option<[u8; 32]> {
        self.roster().newest_secrets().first().copied()
    }

    /// The announcement of a device at this port, once there is a secret.
    pub(super) fn announcement(&self, device: PeerId, port: u16) -> Option<String> {
        let secret = self.newest_secret()?;
        let device = PublicKey::of(&node_id(&device).ok()?).ok()?;
        Some(announcement::seal(&device, &secret, port, rand::random()))
    }

    /// Who is announced so at this port, if it is anybody of this network.
    pub(super) fn announced(&self, text: &str, port: u16) -> Option<PeerId> {
        let device = announcement::open(text, port, &self.roster().newest_secrets())?;
        peer_id(&device)
    }

    /// What is told when the roster is another one.
    pub(super) fn changes(&self) -> watch::Receiver<Arc<Roster>> {
        self.roster.clone()
    }

    /// Whether a peer may be connected: it is a member, or was let in by what it brought.
    pub(super) fn lets_in(&self, peer: &PeerId) -> bool {
        let device = node_id(peer).ok().and_then(|node| PublicKey::of(&node).ok());
        device.is_some_and(|device| {
            let roster = self.roster();
            match roster.members().role(&device) {
                Some(_) => roster.members().is_member(&device),
                None => self.newcomers().contains(&device),
            }
        })
    }

    fn newcomers(&self) -> MutexGuard<'_, BTreeSet<PublicKey>> {
        self.newcomers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_newcomer(&self, device: PublicKey, brought: Vec<Entry>) {
        let roster = self.roster();
        let mut newcomers = self.newcomers();
        newcomers.retain(|device| roster.members().role(device).is_none());
        if newcomers.len() < MEMBERS_MAX {
            newcomers.insert(device);
        }
        drop(newcomers);
        // Who comes again brings them again.
        let _ = self.told.try_send(AtDoor::Brought(brought));
    }
}

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Private")
            .field(&self.roster().entries().network())
            .finish()
    }
}

/// Why a private network is not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum CannotGuard {
    #[error(
        "{KEY_LOG} is set, so the keys of all connections would be written to a file, and a private network would not be private; \
         nothing was started. Unset it and start again"
    )]
    KeyLog,
    #[error("the key of this device is not an Ed25519 key, as a private network needs; nothing was started")]
    OtherKey,
}

/// The doors of one run of a node.
#[derive(Debug, Clone)]
pub(super) struct Doors {
    private: Private,
    pub(super) key: Keypair,
    device: SecretKey,
    /// By which the other side knows this run. It says nothing of the device.
    pub(super) ephemeral: Keypair,
    ours: [u8; 32],
}

impl Doors {
    /// Doors for a device.
    ///
    /// # Errors
    /// When the keys of connections would be written to a file, or the device has another type of key.
    pub(super) fn new(private: Private, device: &Keypair) -> Result<Self, CannotGuard> {
        Self::guarded(private, device, std::env::var_os(KEY_LOG).is_some())
    }

    fn guarded(private: Private, device: &Keypair, logs_keys: bool) -> Result<Self, CannotGuard> {
        if logs_keys {
            return Err(CannotGuard::KeyLog);
        }
        let key = device.clone();
        let device = device.clone().try_into_ed25519().map_err(|_| CannotGuard::OtherKey)?;
        let seed = device.secret().as_ref().try_into().map_err(|_| CannotGuard::OtherKey)?;
        let ephemeral = libp2p::identity::ed25519::Keypair::generate();
        Ok(Self {
            private,
            key,
            device: SecretKey::from_seed(seed),
            ours: ephemeral.public().to_bytes(),
            ephemeral: ephemeral.into(),
        })
    }

    /// Takes a connection through the door. What comes out is one with the device behind it.
    ///
    /// # Errors
    /// When the other side is no member, does not say so in time, or the connection ends. It is closed then.
    pub(super) async fn pass(
        self,
        (peer, mut muxer, allowance): (PeerId, StreamMuxerBox, Option<Arc<Allowance>>),
        endpoint: ConnectedPoint,
    ) -> io::Result<(PeerId, StreamMuxerBox)> {
        let theirs = node_id(&peer).ok().and_then(|node| PublicKey::of(&node).ok());
        let theirs = theirs.ok_or(AtTheDoor::Silent)?;
        // Whatever changes meanwhile, the swarm's own check knows it.
        let roster = self.private.roster();
        let side = Side {
            roster: &roster,
            device: &self.device,
            ours: self.ours,
            theirs: *theirs.as_bytes(),
        };
        let talk = talk::talk(&mut muxer, side, endpoint.is_dialer(), rand::random());
        let end = timeout(DOOR_WITHIN, talk).await.map_err(|_| AtTheDoor::Late)?;
        // However the transport calls it.
        let end = end.map_err(|_| AtTheDoor::Silent)?;
        match end {
            // By the same key it is this very run.
            End::Admitted(Admitted { device, .. }) if device == self.device.public() && side.theirs != self.ours => {
                Err(AtTheDoor::Twin.into())
            }
            End::Admitted(Admitted { device, entries, .. }) => {
                if !entries.is_empty() {
                    self.private.note_newcomer(device, entries);
                }
                if let Some(allowance) = allowance {
                    allowance.lift();
                }
                Ok((peer_id(&device).ok_or(AtTheDoor::Silent)?, muxer))
            }
            End::Removed(entries) => {
                let _ = self.private.told.try_send(AtDoor::Removed(entries));
                Err(AtTheDoor::Removed.into())
            }
            End::Refused(cause) => Err(AtTheDoor::Refused(cause).into()),
        }
    }
}

/// Why a connection did not get through the door.
#[derive(Debug, thiserror::Error)]
enum AtTheDoor {
    #[error("it is none of this private network: it ended the connection without a word")]
    Silent,
    #[error("it is none of this private network: it says nothing")]
    Late,
    #[error("it says that this device was removed from the private network")]
    Removed,
    #[error("it is none of this private network: {0}")]
    Refused(Cause),
    #[error("another machine has the key of this device")]
    Twin,
}

impl From<AtTheDoor> for io::Error {
    fn from(error: AtTheDoor) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, error)
    }
}

/// How the status calls what kept somebody out who dialled this node. None where that may have been a member: of several dials, all
/// but one are given up.
pub(super) fn complaint(error: &io::Error) -> Option<&'static str> {
    let at_the_door = chain(error).find_map(|error| error.downcast_ref::<AtTheDoor>())?;
    match at_the_door {
        AtTheDoor::Refused(Cause::Out(_)) => Some("removed device at the door"),
        AtTheDoor::Refused(_) | AtTheDoor::Late => Some("stranger at the door"),
        AtTheDoor::Silent | AtTheDoor::Removed | AtTheDoor::Twin => None,
    }
}

/// Whether a connection got through the door, and came to another machine that has the key of this device.
pub(super) fn is_twin(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref::<AtTheDoor>(), Some(AtTheDoor::Twin))
}

fn peer_id(device: &PublicKey) -> Option<PeerId> {
    PeerId::from_bytes(device.node_id().as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::libp2p::testing::private;

    #[tokio::test]
    async fn where_keys_are_written_to_a_file_nothing_is_started() {
        let key = Keypair::ed25519_from_bytes([2; 32]).unwrap();
        let error = Doors::guarded(private::home(2).0, &key, true).err().unwrap();
        assert!(error.to_string().contains("SSLKEYLOGFILE is set"), "{error}");
        let doors = Doors::guarded(private::home(2).0, &key, false).ok().unwrap();
        assert_ne!(doors.ephemeral.public(), key.public());
        let other = Keypair::generate_secp256k1();
        assert!(matches!(
            Doors::guarded(private::home(2).0, &other, false),
            Err(CannotGuard::OtherKey)
        ));
    }

    #[tokio::test]
    async fn a_newcomer_is_let_in_until_the_roster_says_otherwise() {
        let (private, keep) = private::home(2);
        let peer = Keypair::ed25519_from_bytes([4; 32]).unwrap().public().to_peer_id();
        let device = SecretKey::from_seed([4; 32]).public();
        assert!(!private.lets_in(&peer));
        private.note_newcomer(device, Vec::new());
        assert!(private.lets_in(&peer) && !private.lets_in(&PeerId::random()));
        let mut roster = Roster::clone(&keep.roster.borrow());
        roster.add(vec![private::grant(&roster, 4)]);
        keep.roster.send_replace(Arc::new(roster.clone()));
        assert!(private.lets_in(&peer));
        roster.add(vec![private::lower(&roster, 4).0]);
        keep.roster.send_replace(Arc::new(roster));
        assert!(!private.lets_in(&peer));
    }
}
