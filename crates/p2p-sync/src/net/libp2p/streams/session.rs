//! A stream on which the node holds a session: frames come in and go out, each way at its own pace.

use std::pin::pin;

use futures::future::{Either, select};
use futures::{AsyncRead, AsyncWrite};
use libp2p::PeerId;
use p2p_sync_core::NodeId;
use p2p_sync_core::sync::Frame;
use p2p_sync_core::text::printable;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Common;
use super::framing::{FrameReader, FrameWriter, StreamError};
use crate::net::{STREAM_OUTGOING_MAX, StreamEvent, StreamId, StreamOrder};

/// Who began a stream.
pub(super) enum Begun {
    /// The node ordered it.
    Here(StreamOrder),
    /// The peer did, and this is its first frame with its length.
    There((Frame, usize)),
}

/// Carries frames between a stream and the node until either of the two ends it.
pub(super) async fn hold<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    common: &Common,
    (peer, node): (PeerId, NodeId),
    begun: Begun,
    reader: FrameReader<R>,
    writer: FrameWriter<W>,
) {
    let (asked, first) = match begun {
        Begun::Here(order) => (Some(order), None),
        Begun::There(first) => (None, Some(first)),
    };
    let _held = common.holding.begin(peer);
    let stream = common.stream_id();
    let (outgoing, frames) = mpsc::channel(STREAM_OUTGOING_MAX);
    let opened = StreamEvent::Opened {
        stream,
        peer: node,
        asked,
        outgoing,
    };
    if common.events.send(opened).await.is_err() {
        return;
    }
    let ended = carry(common, stream, first, reader, writer, frames).await;
    let cause = ended.err().map(|error| {
        common.note_end(peer, "session", &error);
        printable(error.to_string().as_bytes()).to_string()
    });
    // If nobody is there to hear it, nobody waits for it.
    let _ = common.events.send(StreamEvent::Ended { stream, cause }).await;
}

async fn carry<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    common: &Common,
    stream: StreamId,
    first: Option<(Frame, usize)>,
    mut reader: FrameReader<R>,
    mut writer: FrameWriter<W>,
    frames: mpsc::Receiver<Frame>,
) -> Result<(), StreamError> {
    {
        let (peer_ended, is_peer_ended) = oneshot::channel();
        let reading = pin!(read(common, stream, first, &mut reader));
        let writing = pin!(write(common, stream, frames, &mut writer, is_peer_ended));
        match select(reading, writing).await {
            Either::Left((ended, writing)) => {
                ended?;
                // What waits already is still sent; the peer may be reading although it has nothing more to say.
                let _ = peer_ended.send(());
                return writing.await;
            }
            Either::Right((ended, _)) => ended?,
        }
    }
    // We said all we had to. Were the stream dropped now, with something unread in it, it would be reset, and our last words
    // lost with it. What the peer does from here on is of no interest.
    let _ = timeout(common.patience.linger, reader.discard()).await;
    Ok(())
}

/// Hands frames to the node until the peer ends the stream, or nothing is heard or said for too long.
async fn read<R: AsyncRead + Unpin>(
    common: &Common,
    stream: StreamId,
    mut first: Option<(Frame, usize)>,
    reader: &mut FrameReader<R>,
) -> Result<(), StreamError> {
    loop {
        let next = match first.take() {
            Some(first) => Some(first),
            None => reader.next_within(common.patience.silence).await?,
        };
        let Some((frame, bytes)) = next else { return Ok(()) };
        let Some(permit) = common.permit_for(bytes).await else {
            return Ok(());
        };
        let received = StreamEvent::Received {
            stream,
            frame,
            bytes,
            permit,
        };
        if common.events.send(received).await.is_err() {
            return Ok(());
        }
        // The silence up to here was ours.
        reader.pulse().beat();
    }
}

/// Writes the node's frames until it has no more, or until the peer has ended the stream and nothing waits.
async fn write<W: AsyncWrite + Unpin>(
    common: &Common,
    stream: StreamId,
    mut frames: mpsc::Receiver<Frame>,
    writer: &mut FrameWriter<W>,
    peer_ended: oneshot::Receiver<()>,
) -> Result<(), StreamError> {
    let mut peer_ended = pin!(peer_ended);
    let mut is_ended = false;
    loop {
        let frame = tokio::select! {
            biased;
            frame = frames.recv() => frame,
            _ = &mut peer_ended, if !is_ended => {
                is_ended = true;
                frames.close();
                continue;
            }
        };
        let Some(frame) = frame else { break };
        let bytes = writer.write(&frame).await?;
        if frames.is_empty() {
            writer.flush().await?;
        }
        // A node that is gone closes its end of the frames too.
        let _ = common.events.send(StreamEvent::Sent { stream, bytes }).await;
    }
    writer.close().await
}
