//! Live changes in and out: paces what this node publishes, and passes arriving messages through the gate. The core has the
//! rules; this file applies them to gossipsub, the clock and the counters.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::gossipsub::{self, PublishError, TopicHash};
use p2p_sync_core::gate::{Arrival, Gate, GateLimits, Refusal, Verdict};
use p2p_sync_core::message;
use p2p_sync_core::pacer::{Pace, Pacer};
use p2p_sync_core::text::printable;
use p2p_sync_core::{NodeId, Record, Timestamp, Via};

use super::complaints::Complaints;
use super::log_budget::LogBudget;
use super::peers::connections::Connections;
use super::{called, node_id};
use crate::names::Names;
use crate::system::{self, Stopwatch};

/// Why a change was not announced: more came at once than the budget and the queues hold.
const TOO_MANY: &str = "not announced: too many at once";

/// How long a published change may still lie in a connection that turns out to be dead.
const REPEAT_WITHIN: Duration = Duration::from_secs(8);
/// Published changes that are remembered for that time.
const REPEATED_MAX: usize = 256;

/// The gossip of one topic.
#[derive(Debug)]
pub(super) struct Gossip {
    topic: TopicHash,
    gate: Gate,
    pacer: Pacer,
    watch: Stopwatch,
    /// What was published lately for the first time, the oldest first.
    published: VecDeque<(Instant, Record)>,
    /// The latest timestamp that was ever among these. Own writes have rising ones.
    newest: Option<Timestamp>,
    /// Something was due and did not go out.
    unsent: bool,
    pub(super) complaints: Complaints,
    names: Names,
    pub(super) sent: u64,
    /// Changes that found nobody to hear them.
    pub(super) unheard: u64,
    pub(super) received: u64,
}

impl Gossip {
    pub(super) fn new(topic: TopicHash, limits: GateLimits, log: Arc<LogBudget>, names: Names) -> Self {
        Self {
            topic,
            gate: Gate::new(limits),
            pacer: Pacer::new(),
            watch: Stopwatch::start(),
            published: VecDeque::new(),
            newest: None,
            unsent: false,
            complaints: Complaints::new(log),
            names,
            sent: 0,
            unheard: 0,
            received: 0,
        }
    }

    pub(super) fn topic(&self) -> &TopicHash {
        &self.topic
    }

    /// Takes over a local write for publishing. Returns whether there was room for it.
    pub(super) fn push(&mut self, record: Record) -> bool {
        let taken = self.pacer.push(record).is_ok();
        self.complaints.count(TOO_MANY, u64::from(!taken));
        taken
    }

    /// Whether a write that is pushed now would be published at once.
    pub(super) fn is_ready(&mut self) -> bool {
        self.pacer.is_ready(self.watch.uptime())
    }

    /// Whether something was due and did not go out, since this was asked last.
    pub(super) fn take_unsent(&mut self) -> bool {
        std::mem::take(&mut self.unsent)
    }

    /// One of several connections to a peer is gone, and with it whatever gossipsub had given to it: what was published lately
    /// is published once more, and not again after that. Whoever has it already finds nothing new in it.
    pub(super) fn repeat(&mut self, now: Instant) {
        let published = std::mem::take(&mut self.published);
        let recent = published
            .into_iter()
            .filter(|(at, _)| now.saturating_duration_since(*at) < REPEAT_WITHIN);
        for (_, record) in recent {
            // The peer is owed a session anyway.
            self.push(record);
        }
    }

    /// Publishes what the budget allows. Returns when to come back, if anything waits.
    pub(super) fn publish(&mut self, swarm: &mut gossipsub::Behaviour) -> Option<Instant> {
        loop {
            match self.pacer.next(self.watch.uptime()) {
                Pace::Publish(records) => self.publish_one(swarm, &records),
                Pace::Wait(until) => return Some(self.watch.instant_at(until)),
                Pace::Idle => return None,
            }
        }
    }

    /// Changes found nobody to hear them, or the queue to the network full.
    pub(super) fn missed(&mut self, unheard: u64, crowded_out: u64) {
        self.unheard = self.unheard.saturating_add(unheard);
        self.complaints.count(TOO_MANY, crowded_out);
        self.unsent |= crowded_out > 0;
    }

    fn publish_one(&mut self, swarm: &mut gossipsub::Behaviour, records: &[Record]) {
        match swarm.publish(self.topic.clone(), message::encode(records)) {
            Ok(_) => {
                self.sent += 1;
                self.remember(records);
            }
            Err(PublishError::NoPeersSubscribedToTopic) => {
                self.pacer.refund();
                // There may be peers whose gossip is still to come about.
                self.unsent = true;
                self.missed(records.len() as u64, 0);
            }
            Err(error) => {
                self.complaints
                    .count("not announced: network busy", records.len() as u64);
                self.unsent = true;
                tracing::debug!("cannot publish {} changes: {error}", records.len());
            }
        }
    }

    fn remember(&mut self, records: &[Record]) {
        let now = Instant::now();
        // What is not later than all that was remembered is repeated: were it remembered anew, a peer that closes one connection
        // after the other could keep it going round for ever.
        let is_first = |record: &&Record| Some(record.timestamp) > self.newest;
        let first: Vec<_> = records.iter().filter(is_first).cloned().collect();
        self.newest = self.newest.max(first.iter().map(|record| record.timestamp).max());
        self.published.extend(first.into_iter().map(|record| (now, record)));
        let excess = self.published.len().saturating_sub(REPEATED_MAX);
        self.published.drain(..excess);
    }

    /// Judges a message that arrived, before any disk. None: nobody can be named as its author. `agents` says what program a peer
    /// is, for the log.
    pub(super) fn judge(
        &mut self,
        from: PeerId,
        message: &gossipsub::Message,
        agents: &Connections,
    ) -> Option<(Via, Verdict)> {
        let (source, neighbour) = (message.source?, node_id(&from).ok()?);
        let Ok(author) = node_id(&source) else {
            self.complaints.count("unknown author", 1);
            return None;
        };
        let arrival = Arrival {
            author,
            neighbour,
            sequence: message.sequence_number,
            data: &message.data,
        };
        let verdict = self.gate.judge(arrival, system::now(), self.watch.uptime());
        match &verdict {
            Verdict::Accept(_) => self.received += 1,
            Verdict::Ignore(refusal) | Verdict::Reject(refusal) => self.complain(from, source, refusal, agents),
        }
        Some((Via::Gossip { author, neighbour }, verdict))
    }

    /// An admitted message turned out to hold nothing new.
    pub(super) fn changed_nothing(&mut self, author: NodeId, neighbour: NodeId) {
        self.gate.changed_nothing(author, neighbour, self.watch.uptime());
    }

    /// Counts a refusal and logs it under the name of its author; but how often is up to who delivered it, because names of authors
    /// are free.
    fn complain(&mut self, from: PeerId, source: PeerId, refusal: &Refusal, agents: &Connections) {
        if !self
            .complaints
            .count_of(from, &refusal.cause().to_string(), Instant::now())
        {
            return;
        }
        match refusal {
            Refusal::RateLimited { peer } => tracing::warn!("{}", rate_limited(*peer, agents)),
            Refusal::TooLarge { bytes } => {
                tracing::warn!("Message too large from peer {source}: {bytes} bytes; dropped")
            }
            Refusal::Malformed(why) => {
                tracing::warn!(
                    "Invalid message from peer {source}: {}; dropped",
                    printable(why.as_bytes())
                );
            }
            Refusal::InvalidKey(why) => tracing::warn!("Invalid key from peer {source}: {why}; message dropped"),
            Refusal::InvalidValue(why) => tracing::warn!("Invalid value from peer {source}: {why}; message dropped"),
            Refusal::UnknownAuthor => {
                tracing::warn!("Message from {source}, which is not known as a member of this network; dropped")
            }
            Refusal::NotPermitted => {
                tracing::warn!(
                    "Message from {}, which may not write in this network; dropped",
                    called(&self.names, &source)
                )
            }
            Refusal::WrongSignature => {
                tracing::warn!("Message from peer {source} holds changes that it did not sign; dropped")
            }
            Refusal::Future { ahead } => tracing::warn!(
                "Message from peer {} is dated {:.0} s ahead of this machine's clock; dropped. Check the clocks of both \
                 machines",
                called(&self.names, &source),
                ahead.as_secs_f64()
            ),
        }
    }
}

/// A node makes good by sync what was dropped. Another program has nothing but its messages, so its user must know what to do.
fn rate_limited(peer: NodeId, agents: &Connections) -> String {
    let program = PeerId::from_bytes(peer.as_bytes())
        .ok()
        .and_then(|peer| agents.program(peer));
    match program {
        Some(program) if !program.starts_with("p2p-sync/") => format!(
            "Rate limit exceeded for peer {peer} ({}); message dropped, and its changes are lost unless that program \
             sends them again. Have it put several changes into one message (Batch), or raise --message-limit on \
             every node",
            printable(program.as_bytes())
        ),
        Some(program) => format!(
            "Rate limit exceeded for peer {peer} ({}); message dropped",
            printable(program.as_bytes())
        ),
        None => format!("Rate limit exceeded for peer {peer}; message dropped"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2p_sync_core::{Content, Key, Seen};

    fn record(number: i64) -> Record {
        Record {
            key: Key::new(format!("{number}")).unwrap(),
            content: Content::Deleted,
            timestamp: Timestamp::from_nanos(number).unwrap(),
            author: NodeId::from_bytes(&[1; 38]).unwrap(),
            seen: Seen::NOTHING,
            signature: None,
        }
    }

    /// What would be published now, which is remembered as if it had been.
    fn publish(gossip: &mut Gossip) -> usize {
        let mut count = 0;
        while let Pace::Publish(records) = gossip.pacer.next(gossip.watch.uptime()) {
            gossip.remember(&records);
            count += records.len();
        }
        count
    }

    #[test]
    fn what_was_published_is_repeated_once_however_often_a_connection_ends() {
        let topic = TopicHash::from_raw("topic");
        let log = Arc::new(LogBudget::new());
        let mut gossip = Gossip::new(topic, GateLimits::default(), log, Names::default());
        let now = Instant::now();
        gossip.push(record(1));
        gossip.push(record(2));
        assert_eq!(publish(&mut gossip), 2);
        gossip.repeat(now);
        // A fresh one among them is remembered, and they are not.
        gossip.push(record(3));
        assert_eq!(publish(&mut gossip), 3);
        gossip.repeat(now);
        assert_eq!(publish(&mut gossip), 1);
        gossip.repeat(now);
        assert_eq!(publish(&mut gossip), 0);
    }
}
