//! Who gets a feed of our own writes: every peer of the table, from the first write that exceeds the gossip budget. A peer
//! whose feed failed is skipped for some seconds, and gets a session for what it missed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use libp2p::PeerId;
use p2p_sync_core::{NodeId, Record};
use tokio::sync::mpsc;

use outgoing::{OutgoingFeed, Phase};

use super::{Common, Opening};

mod incoming;
pub(in crate::net::libp2p::streams) mod outgoing;

pub(in crate::net::libp2p::streams) use incoming::receive;

/// The feeds that we send. Belongs to the swarm's task.
pub(in crate::net::libp2p) struct Feeds {
    common: Arc<Common>,
    receivers: BTreeMap<PeerId, Receiver>,
    /// Something was pushed since the last [`wake`](Self::wake).
    pushed: bool,
    /// Held by every feed's task too, so that `ended` ends when all of them did.
    running: Option<mpsc::Sender<Infallible>>,
    ended: mpsc::Receiver<Infallible>,
}

/// A peer of the table.
struct Receiver {
    node: NodeId,
    feed: Option<Arc<OutgoingFeed>>,
    /// There was a write while it was left out.
    left_out: bool,
}

impl Feeds {
    pub(in crate::net::libp2p) fn new(common: Arc<Common>) -> Self {
        let (running, ended) = mpsc::channel(1);
        Self {
            common,
            receivers: BTreeMap::new(),
            pushed: false,
            running: Some(running),
            ended,
        }
    }

    /// These are the peers of the table now.
    pub(in crate::net::libp2p) fn set(&mut self, peers: &BTreeMap<PeerId, NodeId>) {
        self.receivers.retain(|peer, receiver| {
            let stays = peers.contains_key(peer);
            if let (false, Some(feed)) = (stays, &receiver.feed) {
                feed.abandon();
            }
            stays
        });
        for (peer, node) in peers {
            self.receivers.entry(*peer).or_insert(Receiver {
                node: *node,
                feed: None,
                left_out: false,
            });
        }
    }

    /// Whether there is nobody to be fed.
    pub(in crate::net::libp2p) fn is_empty(&self) -> bool {
        self.receivers.is_empty()
    }

    /// Pushes a record to everybody. It leaves after the next [`wake`](Self::wake). Streams that it takes are opened by `open`.
    pub(in crate::net::libp2p) fn push(&mut self, record: &Record, mut open: impl FnMut(PeerId) -> Option<Opening>) {
        let Some(running) = &self.running else { return };
        self.pushed = true;
        for (peer, receiver) in &mut self.receivers {
            let phase = receiver.feed.as_ref().map(|feed| feed.push(record));
            match phase {
                Some(Phase::Open) => continue,
                Some(Phase::Failed { until }) if until > Instant::now() => {
                    receiver.left_out = true;
                    continue;
                }
                None | Some(Phase::Ending | Phase::Done | Phase::Failed { .. } | Phase::Abandoned) => {}
            }
            let Some(opening) = open(*peer) else {
                receiver.left_out = true;
                continue;
            };
            let feed = Arc::new(OutgoingFeed::new(self.common.patience.feed_pause));
            // An empty feed takes any record.
            feed.push(record);
            let of = (*peer, receiver.node);
            let sending = outgoing::send(
                Arc::clone(&self.common),
                Arc::clone(&feed),
                of,
                opening,
                running.clone(),
            );
            tokio::spawn(sending);
            receiver.feed = Some(feed);
        }
    }

    /// Sends what was pushed.
    pub(in crate::net::libp2p) fn wake(&mut self) {
        if std::mem::take(&mut self.pushed) {
            let feeds = self.receivers.values().filter_map(|receiver| receiver.feed.as_ref());
            feeds.for_each(|feed| feed.wake());
        }
    }

    /// Settles what is owed to peers that were left out for a while. To be called every now and then.
    pub(in crate::net::libp2p) fn settle(&mut self, now: Instant) {
        for receiver in self.receivers.values_mut().filter(|receiver| receiver.left_out) {
            let phase = receiver.feed.as_ref().map(|feed| feed.phase());
            if !matches!(phase, Some(Phase::Failed { until }) if until > now) {
                receiver.left_out = false;
                self.common.links.missed(receiver.node, now);
            }
        }
    }

    /// Sends what waits everywhere, and opens no feed any more. Returns when all have ended.
    pub(in crate::net::libp2p) async fn finish(&mut self) {
        for feed in self.receivers.values().filter_map(|receiver| receiver.feed.as_ref()) {
            feed.finish();
        }
        self.running = None;
        // Nothing is ever sent: it ends when nobody is left who could.
        while self.ended.recv().await.is_some() {}
    }
}
