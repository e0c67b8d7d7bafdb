//! One session between two nodes: frames in, frames out. What both sides do alike is in `shared`, what they do
//! differently in `asking` and `answering`.

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
    /// This is to be sent.
    Frame(Frame),
    /// A page is still being read: ask again soon, but let others have their turn first. It asks for no room in the
    /// stream, and nothing of the peer.
    Again,
    /// Nothing until the peer says something.
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
/// The caller hands in every frame that arrives ([`receive`](Self::receive)), and sends what
/// [`next_frame`](Self::next_frame) gives whenever the stream can take a frame, before it reads the next one. Each call
/// does the work of one page, or of [`SYNC_LOOKUPS_MAX`] look-ups, at most, but for the last fallback, which reads all
/// items once and passes over them again for each message. When [`outcome`](Self::outcome) says something, the session is
/// over. A session that is waited for too long may be dropped at any time: nothing that was taken in is lost.
pub struct Session {
    side: Side,
    shared: Shared,
}

enum Side {
    Asks(Box<Asking>),
    Answers(Answering),
}

impl Session {
    /// The side that asks: it opened the stream.
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

    /// The side that answers.
    pub fn answer(slots: Slots) -> Self {
        Self {
            side: Side::Answers(Answering::default()),
            shared: Shared::new(slots),
        }
    }

    /// Takes in a frame of the peer.
    ///
    /// # Errors
    /// When the peer broke the rules or the store failed. The session is of no use any longer.
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
    /// When the store failed. The session is of no use any longer.
    pub fn next_frame<S: SyncStore>(&mut self, store: &mut S, now: Timestamp) -> Result<Next, SessionError<S::Error>> {
        // Credit goes before everything else: nobody may wait for it behind a page that waits for credit itself.
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

    /// How the session ended, once it has, and everything is sent.
    pub fn outcome(&self) -> Option<Outcome> {
        self.shared.outcome.filter(|_| self.shared.outbox.is_empty())
    }

    /// What happened so far.
    pub fn report(&self) -> &Report {
        &self.shared.report
    }

    /// About how much memory the session holds from one call to the next, in bytes. The range-based fallback, of which
    /// a node has one at a time, is not counted: it holds 40 bytes a record.
    pub fn held_bytes(&self) -> usize {
        let side = match &self.side {
            Side::Asks(asking) => asking.held_bytes(),
            Side::Answers(_) => 0,
        };
        side + self.shared.outbox.held_bytes()
    }
}
