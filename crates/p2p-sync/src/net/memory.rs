//! A network inside one process, for tests: nodes that join the same [`Hub`] are connected to each other without sockets.
//! It keeps the same promises as the real one, and the [suite](super::suite) tests both.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use p2p_sync_core::sync::{Frame, FrameBuffer};
use p2p_sync_core::{NodeId, Record, Via};
use tokio::sync::{Semaphore, mpsc, watch};

use super::libp2p::{NetConfig, NetError, Started, node_id};
use super::{
    Audience, FROM_PEERS_BYTES_MAX, FROM_PEERS_MAX, FromPeers, Link, NetStatus, Network, PeerLink, PeerLinks,
    PortError, STREAM_BYTES_MAX, STREAM_EVENTS_MAX, STREAM_OUTGOING_MAX, StreamEvent, StreamId, StreamOrder, Streams,
    TO_PEERS_MAX, ToPeers,
};

use crate::names::{Name, Names};
use crate::report::{Direction, Peer, Transport};

/// What all nodes of one network share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hub(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    members: BTreeMap<NodeId, Member>,
    /// The last number that was given to a connection, a miss or a stream.
    number: u64,
}

/// The hub's ends of what a node holds.
#[derive(Debug, Clone)]
struct Member {
    inbound: mpsc::Sender<FromPeers>,
    events: mpsc::Sender<StreamEvent>,
    links: watch::Sender<PeerLinks>,
    audience: Arc<Audience>,
    name: Option<Name>,
    names: Names,
    record_permits: Arc<Semaphore>,
    frame_permits: Arc<Semaphore>,
}

impl Network for Hub {
    fn claim_port(&self, port: u16) -> Result<u16, PortError> {
        Ok(port)
    }

    async fn start(self, config: NetConfig) -> Result<Started, NetError> {
        let me = node_id(&config.key.public().to_peer_id()).map_err(|error| NetError::Setup(error.into()))?;
        Ok(Started {
            link: self.join_as(me, &config.name, config.names),
            addresses: Vec::new(),
        })
    }
}

impl Hub {
    /// Connects a node without a name to all others.
    pub(crate) fn join(&self, me: NodeId) -> Link {
        self.join_as(me, "", Names::default())
    }

    /// Connects a node to all others, and tells each what the other is called.
    fn join_as(&self, me: NodeId, name: &str, names: Names) -> Link {
        let (outbound, orders) = mpsc::channel(TO_PEERS_MAX);
        let (inbound, from_peers) = mpsc::channel(FROM_PEERS_MAX);
        let (happened, events) = mpsc::channel(STREAM_EVENTS_MAX);
        let (links, peers) = watch::channel(PeerLinks::new());
        let audience = Arc::new(Audience::default());
        let member = Member {
            inbound,
            events: happened,
            links,
            audience: Arc::clone(&audience),
            name: Name::cut(name),
            names,
            record_permits: Arc::new(Semaphore::new(FROM_PEERS_BYTES_MAX)),
            frame_permits: Arc::new(Semaphore::new(STREAM_BYTES_MAX)),
        };
        self.state().connect(me, member);
        tokio::spawn(self.clone().serve(me, orders));
        Link {
            audience,
            outbound,
            inbound: from_peers,
            streams: Streams { peers, events },
        }
    }

    /// Cuts a node off from all others, as if its cable were pulled. It may [join](Self::join) no more.
    pub(crate) fn cut(&self, me: NodeId) {
        self.state().disconnect(me);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Does what the node asks for until it stops or is gone.
    async fn serve(self, me: NodeId, mut orders: mpsc::Receiver<ToPeers>) {
        while let Some(order) = orders.recv().await {
            match order {
                ToPeers::Live(record) => self.state().publish(me, &record),
                ToPeers::OpenStream { peer, order } => self.open(me, peer, order).await,
                ToPeers::Status(reply) => drop(reply.send(self.state().status(me))),
                ToPeers::Stop(_done) => break,
                ToPeers::ChangedNothing { .. }
                | ToPeers::Vouch { .. }
                | ToPeers::Ping { .. }
                | ToPeers::AskBack { .. } => {}
            }
        }
        self.cut(me);
    }

    async fn open(&self, me: NodeId, peer: NodeId, order: StreamOrder) {
        let (here, there, [mine, theirs]) = {
            let mut state = self.state();
            let Some(here) = state.members.get(&me).cloned() else {
                return;
            };
            let there = state.members.get(&peer).cloned();
            (here, there, [StreamId(state.next()), StreamId(state.next())])
        };
        let Some(there) = there else {
            let _ = here.events.send(StreamEvent::NotOpened { peer, order }).await;
            return;
        };
        let ends = [(here, mine, peer, Some(order)), (there, theirs, me, None)];
        let ends = ends.map(|(member, stream, peer, asked)| {
            let (outgoing, frames) = mpsc::channel(STREAM_OUTGOING_MAX);
            let opened = StreamEvent::Opened {
                stream,
                peer,
                asked,
                outgoing,
            };
            (opened, End { member, stream, frames })
        });
        tokio::spawn(async move {
            let [(opened, mut here), (answered, mut there)] = ends;
            let _ = here.member.events.send(opened).await;
            let _ = there.member.events.send(answered).await;
            let links = here.member.links.subscribe();
            let cause = carry(&mut here, &mut there, links, peer).await;
            for end in [here, there] {
                let (stream, cause) = (end.stream, cause.clone());
                let _ = end.member.events.send(StreamEvent::Ended { stream, cause }).await;
            }
        });
    }
}

/// One end of a stream.
struct End {
    member: Member,
    stream: StreamId,
    frames: mpsc::Receiver<Frame>,
}

/// Carries frames both ways until one side has ended the stream and what the other had queued is across. Gives what was wrong,
/// if the two lost each other before that.
async fn carry(here: &mut End, there: &mut End, mut links: watch::Receiver<PeerLinks>, peer: NodeId) -> Option<String> {
    let number = links.borrow().get(&peer).map(|link| link.connected);
    let mut is_gone = |links: &PeerLinks| links.get(&peer).map(|link| link.connected) != number;
    let (mut here_open, mut there_open) = (true, true);
    while here_open || there_open {
        tokio::select! {
            frame = here.frames.recv(), if here_open => match frame {
                Some(frame) => deliver(here, there, frame).await,
                None => { here_open = false; there.frames.close(); }
            },
            frame = there.frames.recv(), if there_open => match frame {
                Some(frame) => deliver(there, here, frame).await,
                None => { there_open = false; here.frames.close(); }
            },
            () = async { drop(links.wait_for(&mut is_gone).await) } => return Some("the peer is gone".to_owned()),
        }
    }
    None
}

/// Carries one frame, through its bytes.
async fn deliver(from: &End, to: &End, frame: Frame) {
    let encoded = frame.encode();
    let bytes = encoded.len();
    let mut buffer = FrameBuffer::new();
    buffer.push(&encoded);
    let (Ok(Some(frame)), Ok(permit)) = (
        buffer.next_frame(),
        Arc::clone(&to.member.frame_permits)
            .acquire_many_owned(u32::try_from(bytes).unwrap())
            .await,
    ) else {
        panic!("a frame does not survive its own encoding");
    };
    let stream = to.stream;
    let received = StreamEvent::Received {
        stream,
        frame,
        bytes,
        permit,
    };
    let _ = to.member.events.send(received).await;
    let stream = from.stream;
    let _ = from.member.events.send(StreamEvent::Sent { stream, bytes }).await;
}

impl State {
    fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn connect(&mut self, me: NodeId, member: Member) {
        let number = self.next();
        let link = PeerLink {
            connected: number,
            missed: number,
            dialled: false,
        };
        for (id, other) in &self.members {
            other.names.heard(me, member.name.clone());
            member.names.heard(*id, other.name.clone());
            other.links.send_modify(|links| {
                links.insert(me, link);
            });
            let link = PeerLink { dialled: true, ..link };
            member.links.send_modify(|links| {
                links.insert(*id, link);
            });
        }
        self.members.insert(me, member);
        self.tell_audiences();
    }

    fn disconnect(&mut self, me: NodeId) {
        if let Some(member) = self.members.remove(&me) {
            self.members.keys().for_each(|other| member.names.left(*other));
            member.links.send_modify(PeerLinks::clear);
            member.audience.set_listening(false);
        }
        for other in self.members.values() {
            other.names.left(me);
            other.links.send_modify(|links| {
                links.remove(&me);
            });
        }
        self.tell_audiences();
    }

    fn tell_audiences(&self) {
        let listens = self.members.len() > 1;
        for member in self.members.values() {
            member.audience.set_listening(listens);
        }
    }

    /// Gossip: whoever has no room for it misses it.
    fn publish(&mut self, me: NodeId, record: &Record) {
        let number = self.next();
        for (_, other) in self.members.iter().filter(|(id, _)| **id != me) {
            let sent = Arc::clone(&other.record_permits)
                .try_acquire_owned()
                .is_ok_and(|permit| {
                    let (via, records) = (
                        Via::Gossip {
                            author: me,
                            neighbour: me,
                        },
                        vec![record.clone()],
                    );
                    other
                        .inbound
                        .try_send(FromPeers::Records { via, records, permit })
                        .is_ok()
                });
            if !sent {
                other.links.send_modify(|links| {
                    if let Some(link) = links.get_mut(&me) {
                        link.missed = number;
                    }
                });
            }
        }
    }

    fn status(&self, me: NodeId) -> NetStatus {
        let others = self.members.keys().filter(|id| **id != me);
        let called = |peer: &NodeId| match self.members.get(&me) {
            Some(member) => member.names.called(*peer),
            None => Names::default().called(*peer),
        };
        let peers = others.map(|peer| (peer, called(peer))).map(|(peer, called)| Peer {
            peer_id: peer.to_string(),
            name: called.name.map(Into::into),
            display_name: called.display,
            address: "/memory".to_owned(),
            transport: Transport::Tcp,
            direction: Direction::Outbound,
            rtt_ms: None,
            connections: 1,
            subscribed: true,
            in_mesh: true,
        });
        NetStatus {
            peers: peers.collect(),
            ..NetStatus::default()
        }
    }
}
