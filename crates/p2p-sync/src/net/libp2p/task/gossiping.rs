//! Gossip messages and the state of gossip's streams: messages go through the gate to the node, and a peer that gossipsub
//! no longer hears, or does not send to, is roused.

use std::sync::Arc;
use std::time::Instant;

use libp2p::gossipsub::MessageAcceptance;
use libp2p::{PeerId, gossipsub};
use p2p_sync_core::gate::{Cause, Refusal, Verdict};
use p2p_sync_core::limits::TRANSMIT_BYTES_MAX;
use p2p_sync_core::{Record, Via};

use super::Task;
use crate::net::FromPeers;
use crate::net::libp2p::transport::muxer::CutOff;

impl Task {
    /// gossipsub gave up the stream on which a peer sends, for a frame that it did not read. The peer opens another one.
    pub(super) fn on_cut_off(&mut self, cut_off: &CutOff) {
        let (now, CutOff { peer, bytes }) = (Instant::now(), cut_off);
        let is_too_large = *bytes > TRANSMIT_BYTES_MAX as u64;
        let cause = if is_too_large { Cause::TooLarge } else { Cause::Invalid };
        if self.gossip.complaints.count_of(*peer, &cause.to_string(), now) {
            if is_too_large {
                tracing::warn!("Message too large from peer {peer}: {bytes} bytes; dropped");
            } else {
                tracing::warn!("Invalid message from peer {peer}: not a gossip frame; dropped");
            }
        }
        // What came behind it on that stream is lost as well.
        self.missed(*peer, now);
        if self.connections.cut_off(*peer) {
            self.reconnect(*peer);
        }
    }

    /// Makes gossip use a connection to `peer` that is left.
    ///
    /// gossipsub gives its messages to whichever connection of a peer asks first, and when one comes it wakes those only that
    /// have asked before. A connection that never had anything to send has not: after the other one is gone, messages would lie
    /// until something else happens to wake it. Joining and leaving a topic of no meaning gives it something to send, and
    /// pushing our identification wakes it.
    pub(super) fn rouse_gossip(&mut self, peer: PeerId) {
        let behaviour = self.swarm.behaviour_mut();
        if behaviour.gossip.subscribe(&self.rousing).is_ok() {
            behaviour.gossip.unsubscribe(&self.rousing);
        }
        behaviour.identify.push([peer]);
    }

    pub(super) fn on_gossip(&mut self, event: gossipsub::Event, now: Instant) {
        match event {
            gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            } => {
                self.connections.gossiped(propagation_source, now);
                self.connections.heard(propagation_source);
                let judged = self.gossip.judge(propagation_source, &message, &self.connections);
                let acceptance = match &judged {
                    Some((_, Verdict::Accept(_))) => MessageAcceptance::Accept,
                    Some((_, Verdict::Reject(_))) => MessageAcceptance::Reject,
                    Some((_, Verdict::Ignore(_))) | None => MessageAcceptance::Ignore,
                };
                self.swarm.behaviour_mut().gossip.report_message_validation_result(
                    &message_id,
                    &propagation_source,
                    acceptance,
                );
                match judged {
                    Some((via, Verdict::Accept(records))) => self.hand_over(via, records, message.data.len(), now),
                    // There may be something new in it, but it was one too many, or nobody here has heard of its author yet.
                    Some((via, Verdict::Ignore(Refusal::RateLimited { .. } | Refusal::UnknownAuthor))) => {
                        self.missed_on(via, now);
                    }
                    _ => {}
                }
            }
            gossipsub::Event::Subscribed { peer_id, topic } if topic == *self.gossip.topic() => {
                self.connections.subscribed(peer_id, true, now);
                self.telling.accept(peer_id);
                self.count_peers();
            }
            gossipsub::Event::Unsubscribed { peer_id, topic } if topic == *self.gossip.topic() => {
                self.connections.subscribed(peer_id, false, now);
                self.count_peers();
            }
            gossipsub::Event::SlowPeer {
                peer_id,
                failed_messages,
            } => {
                self.missed(peer_id, now);
                let failed = failed_messages.priority.saturating_add(failed_messages.non_priority);
                self.gossip.complaints.count("peer too slow", failed as u64);
            }
            _ => {}
        }
    }

    /// Hands changes to the node, unless too much waits there already.
    fn hand_over(&mut self, via: Via, records: Vec<Record>, bytes: usize, now: Instant) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let handed = Arc::clone(&self.waiting)
            .try_acquire_many_owned(bytes)
            .is_ok_and(|permit| {
                self.inbound
                    .try_send(FromPeers::Records { via, records, permit })
                    .is_ok()
            });
        if !handed {
            self.gossip.complaints.count("store busy", 1);
            self.missed_on(via, now);
        }
    }

    /// Something that came this way was not taken in.
    fn missed_on(&mut self, via: Via, now: Instant) {
        if let Some(neighbour) = via.neighbour() {
            self.streams.links.missed(neighbour, now);
        }
    }
}
