//! The sync sessions of this node, on the thread that owns its records: which are due, what arrives on them, what to send.
//! The rules are the core's ([`Agenda`], [`Session`]); the network opens and carries streams; [`ending`] ends sessions.
//! Nothing here waits: a stream that accepts no more frames is served again once it has sent one.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use p2p_sync_core::summary::Summary;
use p2p_sync_core::sync::{Agenda, Answer, Asker, Frame, Next, Progress, Rights, Session, SessionError, Slots};
use p2p_sync_core::{NodeId, Uptime, Via};
use tokio::sync::mpsc;

use super::NodeError;
use super::ledger::{Committed, Ledger, PeerView};
use super::standings::{Standings, Traffic};
use crate::names::Names;
use crate::net::{PeerLinks, StreamEvent, StreamId, StreamOrder, ToPeers};
use crate::system::{self, Now};

mod ending;
pub(super) mod log;
mod open;

use log::SessionLog;
use open::{Open, Openings, Running};

/// How often sessions are looked for that take too long.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How often it is looked who holds slots and keeps others waiting, while sessions are open.
const SLOTS_INTERVAL: Duration = Duration::from_secs(1);

/// All sessions under way, and what decides about the next ones.
pub(super) struct Sessions {
    agenda: Agenda,
    slots: Slots,
    rights: Rights,
    to_peers: mpsc::Sender<ToPeers>,
    /// The peers as the network told them last.
    links: PeerLinks,
    /// Streams that were asked for and are not open yet.
    openings: Openings,
    open: BTreeMap<StreamId, Open>,
    /// Sessions that may have something to send.
    ready: VecDeque<StreamId>,
    /// There is a summary to compare with those of others.
    can_compare: bool,
    /// A session gave reason to doubt the summary.
    doubt: bool,
    /// When overdue sessions are looked for next.
    look_at: Uptime,
    /// When it is looked next who keeps others waiting.
    slots_at: Uptime,
    log: SessionLog,
    names: Names,
    pub(super) standings: Standings,
}

impl Sessions {
    pub(super) fn new(me: NodeId, to_peers: mpsc::Sender<ToPeers>, names: Names) -> Self {
        Self {
            agenda: Agenda::new(me, system::boot_nonce()),
            slots: Slots::default(),
            rights: Rights::default(),
            to_peers,
            links: PeerLinks::new(),
            openings: Openings::default(),
            open: BTreeMap::new(),
            ready: VecDeque::new(),
            can_compare: false,
            doubt: false,
            look_at: Uptime::default(),
            slots_at: Uptime::default(),
            log: SessionLog::new(names.clone()),
            standings: Standings::new(names.clone()),
            names,
        }
    }

    /// The network told which peers there are now.
    pub(super) fn on_links(&mut self, links: PeerLinks, now: Now) {
        let at = now.uptime;
        let before = std::mem::replace(&mut self.links, links);
        for (peer, was) in &before {
            if self.links.get(peer).is_none_or(|now| now.connected != was.connected) {
                self.agenda.disconnected(*peer);
                self.slots.forget(*peer);
                self.abandon(*peer, now);
                self.standings.disconnected(*peer);
            }
        }
        for (peer, now) in &self.links {
            match before.get(peer) {
                Some(was) if was.connected == now.connected => {
                    if was.missed != now.missed {
                        self.agenda.owe(*peer, at);
                    }
                }
                _ => {
                    self.agenda.connected(*peer, at);
                    self.standings.connected(*peer);
                }
            }
        }
        self.standings.reply_to_the_satisfied(at);
    }

    /// Whether a session, since this was last asked, ended in a way that a wrong summary would explain: everything was compared,
    /// nothing was found, and yet the two were not equal.
    pub(super) fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.doubt)
    }

    /// Records changed here.
    pub(super) fn changed(&mut self, via: Via, now: Now) {
        self.agenda.changed(via, now.uptime);
    }

    /// Records changed here, each on its way.
    pub(super) fn committed(&mut self, committed: &Committed, now: Now) {
        committed.ways().for_each(|via| self.changed(via, now));
    }

    /// Something that this peer brought was not stored.
    pub(super) fn owe(&mut self, peer: NodeId, now: Now) {
        self.agenda.owe(peer, now.uptime);
    }

    /// Records were taken out of the store, there is room for more, or it is another one: everybody may have what is missing.
    pub(super) fn owe_all(&mut self, now: Now) {
        let at = now.uptime;
        for peer in self.links.keys() {
            self.agenda.owe(*peer, at);
        }
    }

    /// There is room again for what was refused.
    pub(super) fn has_room_again(&mut self, now: Now) {
        self.agenda.has_room_again(now.uptime);
    }

    /// Somebody wants a session with everybody.
    pub(super) fn ask(&mut self, reply: tokio::sync::oneshot::Sender<Vec<super::Synced>>, now: Now) {
        self.owe_all(now);
        self.standings.ask(reply, now.uptime);
    }

    /// Whether a session may have something to send.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// When [`open_due`](Self::open_due) is to be called at the latest.
    pub(super) fn next_due(&self) -> Option<Uptime> {
        let sessions = self.agenda.next_due().filter(|_| self.can_compare);
        let look = (!self.open.is_empty()).then(|| self.look_at.min(self.slots_at));
        sessions.into_iter().chain(self.standings.next_due()).chain(look).min()
    }

    /// Orders the streams of the sessions that are due. There are none while there is no summary to compare.
    pub(super) fn open_due(&mut self, ledger: &mut Ledger, now: Now) {
        let at = now.uptime;
        if !self.slots.are_bulks_received() {
            // The last one may have broken off.
            ledger.end_bulk();
        }
        self.standings.reply_to_the_satisfied(at);
        self.end_overdue(now);
        self.end_slow(now);
        let can_compare = ledger.summary().is_some();
        if std::mem::replace(&mut self.can_compare, can_compare) && !can_compare {
            self.break_off(now);
        }
        if !self.can_compare || self.agenda.next_due().is_none_or(|due| due > at) {
            return;
        }
        let Some(mine) = ledger.summary().map(Summary::digest) else {
            return;
        };
        for (peer, opening) in self.agenda.due(mine, now.time, at) {
            let order = self.openings.order(peer, opening);
            if self.to_peers.try_send(ToPeers::OpenStream { peer, order }).is_err() {
                self.openings.forget(peer);
                self.not_opened(peer, now);
            }
        }
    }

    /// Something happened on a stream.
    pub(super) fn on_event(&mut self, event: StreamEvent, ledger: &mut Ledger, now: Now) {
        match event {
            StreamEvent::Opened {
                stream,
                peer,
                asked,
                outgoing,
            } => self.on_opened(stream, peer, asked, outgoing, ledger, now),
            StreamEvent::NotOpened { peer, order } => {
                if self.openings.take(peer, order).is_some() {
                    self.not_opened(peer, now);
                }
            }
            StreamEvent::Received {
                stream,
                frame,
                bytes,
                permit,
            } => {
                self.on_frame(stream, frame, bytes, ledger, now);
                drop(permit);
            }
            StreamEvent::Sent { stream, bytes } => {
                if let Some(open) = self.open.get_mut(&stream) {
                    open.traffic.sent += bytes as u64;
                    self.rouse(stream);
                }
            }
            StreamEvent::Ended { stream, cause } => self.on_ended(stream, cause, now),
        }
    }

    /// Sends at most one frame of a session that may have one: a page of a bulk takes milliseconds, and others wait.
    pub(super) fn send_one(&mut self, ledger: &mut Ledger, now: Now) {
        let Some(stream) = self.ready.pop_front() else { return };
        match self.next_frame(stream, ledger, now) {
            Ok(true) => {
                self.ready.push_back(stream);
                self.conclude_if_over(stream, now);
            }
            Ok(false) => self.conclude_if_over(stream, now),
            Err(error) => self.fail(stream, &error, now),
        }
    }

    /// Gives the stream the next frame of its session, if it takes one. Tells whether there may be another.
    fn next_frame(&mut self, stream: StreamId, ledger: &mut Ledger, now: Now) -> Result<bool, SessionError<NodeError>> {
        let Some(Open {
            peer,
            running: Some(running),
            ..
        }) = self.open.get_mut(&stream)
        else {
            return Ok(false);
        };
        let Running { session, outgoing, .. } = running;
        let Ok(place) = outgoing.try_reserve() else {
            // Full: it comes back when a frame was sent. Closed: the network says so by itself.
            return Ok(false);
        };
        Ok(
            match session.next_frame(&mut PeerView::new(ledger, *peer, now), now.time)? {
                Next::Frame(frame) => {
                    place.send(frame);
                    true
                }
                Next::Again => true,
                Next::Nothing => false,
            },
        )
    }

    fn on_opened(
        &mut self,
        stream: StreamId,
        peer: NodeId,
        asked: Option<StreamOrder>,
        outgoing: mpsc::Sender<Frame>,
        ledger: &mut Ledger,
        now: Now,
    ) {
        let at = now.uptime;
        let has_summary = ledger.summary().is_some();
        let session = if let Some(order) = asked {
            // A session that the peer opened meanwhile took its place, or a later order.
            let Some(opening) = self.openings.take(peer, order) else {
                return;
            };
            if !has_summary {
                self.not_opened(peer, now);
                return;
            }
            let slots = self.slots_of(peer, at);
            Session::ask(opening, slots, &mut PeerView::new(ledger, peer, now), now.time)
        } else {
            if !has_summary {
                // A new queue has room.
                let _ = outgoing.try_send(Frame::Busy);
                return;
            }
            match self.agenda.asks(peer) {
                Answer::Refuse => return,
                Answer::Accept => {}
                Answer::AcceptInsteadOfOurs => self.abandon(peer, now),
            }
            Session::answer(self.slots_of(peer, at))
        };
        let running = Running {
            session,
            outgoing,
            progress: Progress::begun(at),
        };
        let open = Open {
            peer,
            running: Some(running),
            report: None,
            since: at,
            traffic: Traffic::default(),
        };
        self.open.insert(stream, open);
        self.standings.began(peer);
        self.rouse(stream);
    }

    fn on_frame(&mut self, stream: StreamId, frame: Frame, bytes: usize, ledger: &mut Ledger, now: Now) {
        let Some(open) = self.open.get_mut(&stream) else { return };
        open.traffic.received += bytes as u64;
        let Some(Running { session, .. }) = &mut open.running else {
            return;
        };
        let received = session.receive(frame, &mut PeerView::new(ledger, open.peer, now), now.time);
        match received {
            Ok(()) => {
                self.rouse(stream);
                self.conclude_if_over(stream, now);
            }
            Err(error) => self.fail(stream, &error, now),
        }
    }

    /// The slots for a session with this peer that begins now.
    fn slots_of(&self, peer: NodeId, at: Uptime) -> Slots {
        let dialled = self.links.get(&peer).is_some_and(|link| link.dialled);
        self.rights.slots(Asker { peer, dialled }, &self.slots, at)
    }

    /// Puts a session on the list of those that may have something to send.
    fn rouse(&mut self, stream: StreamId) {
        if !self.ready.contains(&stream) {
            self.ready.push_back(stream);
        }
    }
}

#[cfg(test)]
mod tests;
