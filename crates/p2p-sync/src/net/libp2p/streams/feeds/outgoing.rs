//! The feed that we send to one peer: the swarm task, which never waits, pushes records, and they leave on a separate
//! stream, opened for the first of them. The core decides who is too slow; the table, who gets a feed.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::{Either, select};
use futures::{AsyncRead, AsyncWrite};
use libp2p::PeerId;
use p2p_sync_core::sync::{FeedSender, Frame, Violation};
use p2p_sync_core::{NodeId, Record};
use tokio::sync::{Notify, mpsc};
use tokio::time::{self, timeout};

use crate::net::libp2p::streams::framing::{FrameReader, FrameWriter, StreamError};
use crate::net::libp2p::streams::{Common, Opening};

/// The least time between two pages: what is written meanwhile travels together. A write after a pause goes at once.
const GATHERING: Duration = Duration::from_millis(2);

/// One feed, shared by the swarm's task and that of its stream.
pub(in crate::net::libp2p::streams) struct OutgoingFeed {
    state: Mutex<State>,
    changed: Notify,
    failed: Notify,
    pause: Duration,
}

struct State {
    sender: FeedSender,
    /// Records that were pushed and did not leave yet.
    waiting: usize,
    phase: Phase,
}

/// How far a feed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net::libp2p::streams) enum Phase {
    /// It takes records.
    Open,
    /// It sends what it has, and takes no more.
    Ending,
    /// It sent all it had.
    Done,
    /// Something that it had may not have arrived. There is to be no other one before that time.
    Failed { until: Instant },
    /// Its peer is gone.
    Abandoned,
}

/// What the stream's task is to do next.
#[derive(Debug)]
enum Step {
    Send(Frame),
    /// Wait for records; or, if some are there, for credit.
    Wait {
        starved: bool,
    },
    Close,
    GiveUp,
}

impl OutgoingFeed {
    /// After it failed, there is to be no other one for `pause`.
    pub(in crate::net::libp2p::streams) fn new(pause: Duration) -> Self {
        Self {
            state: Mutex::new(State {
                sender: FeedSender::new(),
                waiting: 0,
                phase: Phase::Open,
            }),
            changed: Notify::new(),
            failed: Notify::new(),
            pause,
        }
    }

    /// Takes a record, unless the feed is past that. The stream's task is not woken. A peer that is too slow for the
    /// record fails the feed.
    pub(in crate::net::libp2p::streams) fn push(&self, record: &Record) -> Phase {
        let mut state = self.state();
        if state.phase == Phase::Open {
            match state.sender.push(record.clone()) {
                Ok(()) => state.waiting += 1,
                Err(_) => {
                    state.fail(self.pause);
                    self.failed.notify_one();
                }
            }
        }
        state.phase
    }

    /// How far it is.
    pub(in crate::net::libp2p::streams) fn phase(&self) -> Phase {
        self.state().phase
    }

    /// Wakes the stream's task to send what was pushed.
    pub(in crate::net::libp2p::streams) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Takes no more, and ends when what waits is sent.
    pub(in crate::net::libp2p::streams) fn finish(&self) {
        {
            let mut state = self.state();
            if state.phase == Phase::Open {
                state.phase = Phase::Ending;
            }
        }
        self.wake();
    }

    /// Ends now: there is nobody to send it to.
    pub(in crate::net::libp2p::streams) fn abandon(&self) {
        self.state().end(Phase::Abandoned);
        self.failed.notify_one();
    }

    fn fail(&self, pause: Duration) {
        self.state().fail(pause);
    }

    fn next(&self) -> Step {
        let mut state = self.state();
        if matches!(state.phase, Phase::Done | Phase::Failed { .. } | Phase::Abandoned) {
            return Step::GiveUp;
        }
        match state.sender.next_frame() {
            Some(frame) => {
                if let Frame::Records { records, .. } = &frame {
                    state.waiting -= records.len();
                }
                Step::Send(frame)
            }
            None if state.waiting > 0 => Step::Wait { starved: true },
            None if state.phase == Phase::Ending => Step::Close,
            None => Step::Wait { starved: false },
        }
    }

    fn take_credit(&self, frame: &Frame) -> Result<(), Violation> {
        self.state().sender.receive(frame)
    }

    /// All that was sent has arrived.
    fn done(&self) {
        self.state().phase = Phase::Done;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fail(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        self.end(Phase::Failed { until });
    }

    /// It stays as it is if it has ended before.
    fn end(&mut self, phase: Phase) {
        if !matches!(self.phase, Phase::Open | Phase::Ending) {
            return;
        }
        self.phase = phase;
        // What waits is not needed any longer; a session brings it.
        self.sender = FeedSender::new();
        self.waiting = 0;
    }
}

/// Sends a feed until it is finished or fails. `_running` tells whoever waits for the end of all feeds.
pub(in crate::net::libp2p::streams) async fn send(
    common: Arc<Common>,
    feed: Arc<OutgoingFeed>,
    (peer, node): (PeerId, NodeId),
    opening: Opening,
    _running: mpsc::Sender<Infallible>,
) {
    let sending = async {
        let opened = timeout(common.patience.opening, opening).await;
        let stream = opened.ok().and_then(Result::ok).ok_or(StreamError::NotOpened)?;
        let (reader, writer) = common.halves(stream, common.patience.feed_stall);
        carry(&common, &feed, reader, writer).await
    };
    let ended = tokio::select! {
        ended = sending => ended,
        () = feed.failed.notified() => Err(StreamError::TooSlow),
    };
    match ended {
        Ok(()) => feed.done(),
        // That says nothing of how fast it is, and when it comes back it gets a session anyway.
        Err(_) if feed.phase() == Phase::Abandoned => tracing::debug!(%peer, "a feed ended: its peer is gone"),
        Err(error) => {
            let is_slow = matches!(error, StreamError::TooSlow | StreamError::Stalled(_));
            if is_slow && common.complain(peer, "feed too slow", 1) {
                let peer = common.called(&peer);
                tracing::warn!("Peer {peer} reads our live changes too slowly; sync delivers the rest");
            }
            // A connection that ends is no reason to wait for long: there may be another one.
            let is_passing = matches!(error, StreamError::Broken(_) | StreamError::Unwanted);
            feed.fail(if is_passing { feed.pause / 20 } else { feed.pause });
            common.note_end(peer, "feed", &error);
            common.links.missed(node, Instant::now());
        }
    }
}

async fn carry<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    common: &Common,
    feed: &OutgoingFeed,
    mut reader: FrameReader<R>,
    mut writer: FrameWriter<W>,
) -> Result<(), StreamError> {
    {
        let sending = pin!(send_all(common, feed, &mut writer));
        let crediting = pin!(take_credit(feed, &mut reader));
        match select(sending, crediting).await {
            Either::Left((ended, _)) => ended?,
            Either::Right((ended, _)) => return ended,
        }
    }
    // Its end of the stream is closed when the peer has taken in everything.
    match timeout(common.patience.linger, reader.discard()).await {
        Ok(ended) => ended,
        Err(_) => Err(StreamError::Stalled(common.patience.linger)),
    }
}

async fn send_all<W: AsyncWrite + Unpin>(
    common: &Common,
    feed: &OutgoingFeed,
    writer: &mut FrameWriter<W>,
) -> Result<(), StreamError> {
    let mut sent = None;
    let mut starving = None;
    loop {
        match feed.next() {
            // Only records are worth a packet.
            Step::Send(Frame::Feed) => drop(writer.write(&Frame::Feed).await?),
            Step::Send(frame) => {
                starving = None;
                sent = Some(time::Instant::now());
                writer.write(&frame).await?;
                writer.flush().await?;
            }
            Step::Wait { starved: true } => {
                let since = *starving.get_or_insert_with(time::Instant::now);
                time::timeout_at(since + common.patience.feed_stall, feed.changed.notified())
                    .await
                    .map_err(|_| StreamError::Stalled(common.patience.feed_stall))?;
            }
            Step::Wait { starved: false } => {
                if timeout(common.patience.feed_idle, feed.changed.notified())
                    .await
                    .is_err()
                {
                    feed.finish();
                }
            }
            Step::Close => return writer.close().await,
            Step::GiveUp => return Err(StreamError::TooSlow),
        }
        if let Some(sent) = sent {
            time::sleep_until(sent + GATHERING).await;
        }
    }
}

async fn take_credit<R: AsyncRead + Unpin>(
    feed: &OutgoingFeed,
    reader: &mut FrameReader<R>,
) -> Result<(), StreamError> {
    while let Some((frame, _)) = reader.next().await? {
        feed.take_credit(&frame)?;
        feed.wake();
    }
    Err(StreamError::Unwanted)
}
