//! A connection in memory, and private networks, for tests.

#![allow(clippy::unwrap_used, reason = "tests only")]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite};
use tokio::io::{AsyncRead as _, AsyncWrite as _, DuplexStream, ReadBuf, duplex};

/// One end of it, in the shape that libp2p's streams have.
pub(super) struct Pipe(DuplexStream);

/// Both ends. As many bytes may be under way in each direction.
pub(super) fn pipe(bytes: usize) -> (Pipe, Pipe) {
    let (one, other) = duplex(bytes);
    (Pipe(one), Pipe(other))
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(bytes);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Private networks of the device keys 1 (recovery), 2 (founder) and so on.
pub(super) mod private {
    use std::sync::Arc;

    use p2p_sync_core::Timestamp;
    use p2p_sync_core::membership::{Entry, EntryId, MemberName, NextSecret, Role, Roster, SecretKey, Statement};
    use tokio::sync::{mpsc, watch};

    use crate::net::libp2p::door::{AtDoor, Private};

    const FOUNDER: u8 = 2;
    pub(in crate::net::libp2p) const NETWORK_NAME: &str = "home of somebody";
    pub(in crate::net::libp2p) const DEVICE_NAME: &str = "a device of somebody";

    fn sign(network: EntryId, signer: u8, statement: Statement) -> Entry {
        let time = Timestamp::from_nanos(1_735_979_415_000_000_000).unwrap();
        Entry::sign(network, &SecretKey::from_seed([signer; 32]), time, statement).unwrap()
    }

    /// A network of that name and nonce; its first secret is made of it too.
    pub(in crate::net::libp2p) fn founded(nonce: u8) -> Roster {
        let secret = [nonce; 32];
        let statement = Statement::Genesis {
            recovery: SecretKey::from_seed([1; 32]).public(),
            secret: *blake3::hash(&secret).as_bytes(),
            nonce: [nonce; 16],
            name: NETWORK_NAME.parse().unwrap(),
        };
        let genesis = sign(EntryId([0; 32]), FOUNDER, statement);
        let by = genesis.id();
        let mut roster = Roster::new(genesis).unwrap();
        assert!(roster.add_secret(by, secret));
        roster
    }

    /// The Grant that makes a device a writer, by the founder.
    pub(in crate::net::libp2p) fn grant(roster: &Roster, device: u8) -> Entry {
        let statement = Statement::Grant {
            device: SecretKey::from_seed([device; 32]).public(),
            role: Role::Writer,
            name: MemberName::new(DEVICE_NAME).unwrap(),
        };
        sign(roster.entries().network(), FOUNDER, statement)
    }

    /// The Lower that puts a device out, by the founder, and the secret that it changes to.
    pub(in crate::net::libp2p) fn lower(roster: &Roster, device: u8) -> (Entry, [u8; 32]) {
        let secret = [0xee; 32];
        let statement = Statement::Lower {
            device: SecretKey::from_seed([device; 32]).public(),
            to: Role::Out,
            secret: Some(NextSecret {
                epoch: 1,
                hash: *blake3::hash(&secret).as_bytes(),
            }),
            accepted: Vec::new(),
        };
        (sign(roster.entries().network(), FOUNDER, statement), secret)
    }

    /// What keeps a roster, and what it is told.
    pub(in crate::net::libp2p) struct Keep {
        pub(in crate::net::libp2p) roster: watch::Sender<Arc<Roster>>,
        pub(in crate::net::libp2p) told: mpsc::Receiver<AtDoor>,
    }

    pub(in crate::net::libp2p) fn kept(roster: Roster) -> (Private, Keep) {
        let (sender, receiver) = watch::channel(Arc::new(roster));
        let (tell, told) = mpsc::channel(16);
        (Private::new(receiver, tell), Keep { roster: sender, told })
    }

    /// The network of the nonce 7, as a device knows it that has heard of nobody but the founder and itself.
    pub(in crate::net::libp2p) fn home(device: u8) -> (Private, Keep) {
        let mut roster = founded(7);
        if device != FOUNDER {
            let grant = grant(&roster, device);
            roster.add(vec![grant]);
        }
        kept(roster)
    }
}
