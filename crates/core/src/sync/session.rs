//! One session between two nodes: frames in, frames out. `shared` has what both sides have in common, `asking` and
//! `answering` what differs.

use super::answering::Answering;
use super::asking::Asking;
use super::outbox::Outgoing;
use super::outcome::{Opening, Outcome, Report, SessionError};
use super::shared::{Shared, Turn};
use super::slots::Slots;
use super::store::SyncStore;
use super::wire::Frame;
#[cfg(doc)]
use crate::limits::SYNC_LOOKUPS_MAX;
use crate::time::Timestamp;

/// What a session has for its peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Send this.
    Frame(Frame),
    /// A page is still being read: ask again soon, but let others have their turn first. This needs no space in the stream,
    /// and nothing from the peer.
    Again,
    /// Nothing until the peer sends something.
    Nothing,
}

impl Next {
    /// The frame, if there is one.
    pub fn frame(self) -> Option<Frame> {
        match self {
            Self::Frame(frame) => Some(frame),
            Self::Again | Self::Nothing => None,
        }
    }
}

/// One session, on either side.
///
/// The caller passes in every frame that arrives ([`receive`](Self::receive)), and sends what
/// [`next_frame`](Self::next_frame) returns whenever the stream can accept a frame, before it reads the next one. Each call
/// does the work of at most one page, or of [`SYNC_LOOKUPS_MAX`] lookups, except for the last fallback, which reads all
/// items once and scans them again for each message. When [`outcome`](Self::outcome) returns something, the session is
/// over. A session that takes too long may be dropped at any time: nothing that was stored is lost.
pub struct Session {
    side: Side,
    shared: Shared,
}

enum Side {
    Asks(Box<Asking>),
    Answers(Answering),
}

impl Session {
    /// The asking side: it opened the stream.
    pub fn ask<S: SyncStore>(opening: Opening, slots: Slots, store: &mut S, now: Timestamp) -> Self {
        let mut shared = Shared::new(slots);
        let turn = &mut Turn {
            shared: &mut shared,
            store,
            now,
        };
        let asking = Asking::open(opening, turn);
        Self {
            side: Side::Asks(Box::new(asking)),
            shared,
        }
    }

    /// The answering side.
    pub fn answer(slots: Slots) -> Self {
        Self {
            side: Side::Answers(Answering::default()),
            shared: Shared::new(slots),
        }
    }

    /// Handles a frame from the peer.
    ///
    /// # Errors
    /// If the peer violated the protocol or the store failed. The session is unusable then.
    pub fn receive<S: SyncStore>(
        &mut self,
        frame: Frame,
        store: &mut S,
        now: Timestamp,
    ) -> Result<(), SessionError<S::Error>> {
        if self.shared.outcome.is_some() {
            return Ok(());
        }
        let turn = &mut Turn {
            shared: &mut self.shared,
            store,
            now,
        };
        match frame {
            Frame::Records { bulk, records } => turn.take_in(bulk, records),
            Frame::Credit { bytes, records } => {
                turn.shared.outbox.credit.add(bytes, records);
                Ok(())
            }
            Frame::Full => {
                turn.shared.report.peer_full = true;
                Ok(())
            }
            Frame::Busy => {
                turn.shared.hear_the_end(Outcome::Busy);
                Ok(())
            }
            frame => match &mut self.side {
                Side::Asks(asking) => asking.receive(frame, turn),
                Side::Answers(answering) => answering.receive(frame, turn),
            },
        }
    }

    /// The next thing for the peer.
    ///
    /// # Errors
    /// If the store failed. The session is unusable then.
    pub fn next_frame<S: SyncStore>(&mut self, store: &mut S, now: Timestamp) -> Result<Next, SessionError<S::Error>> {
        // Credit is sent before everything else: it must never queue behind a page that is itself waiting for credit.
        if self.shared.outcome.is_none()
            && let Some(credit) = self.shared.allowance.next_frame()
        {
            return Ok(Next::Frame(credit));
        }
        let mut turn = Turn {
            shared: &mut self.shared,
            store,
            now,
        };
        let horizon = turn.horizons().theirs;
        let outbox = &mut turn.shared.outbox;
        let next = outbox.next(turn.store, horizon).map_err(SessionError::Store)?;
        turn.shared.report.sent = outbox.records;
        Ok(match next {
            Outgoing::Frame(frame) => Next::Frame(frame),
            Outgoing::Check => Next::Frame(Frame::Check(turn.told_state())),
            Outgoing::Unready => Next::Again,
            Outgoing::Nothing => Next::Nothing,
        })
    }

    /// How the session ended, once it has ended and everything has been sent.
    pub fn outcome(&self) -> Option<Outcome> {
        self.shared.outcome.filter(|_| self.shared.outbox.is_empty())
    }

    /// What happened so far.
    pub fn report(&self) -> &Report {
        &self.shared.report
    }

    /// About how much memory the session holds from one call to the next, in bytes. The range-based fallback, of which a
    /// node has one at a time, is not counted: it uses 40 bytes per record.
    pub fn held_bytes(&self) -> usize {
        let side = match &self.side {
            Side::Asks(asking) => asking.held_bytes(),
            Side::Answers(_) => 0,
        };
        side + self.shared.outbox.held_bytes()
    }
}
