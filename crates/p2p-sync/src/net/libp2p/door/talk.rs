//! What is said at a door, on the first stream of a connection.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox};
use p2p_sync_core::membership::door::{Cause, Door, End, NONCE_BYTES, Side};

use super::AtTheDoor;

/// What is read at a time; more than most messages have.
const READ_BYTES: usize = 2 * 1024;

/// Opens the first stream of a connection, or takes it, and talks until one end is reached.
///
/// # Errors
/// When the connection ends first.
pub(super) async fn talk(
    muxer: &mut StreamMuxerBox,
    side: Side<'_>,
    is_dialler: bool,
    nonce: [u8; NONCE_BYTES],
) -> io::Result<End> {
    let stream = std::future::poll_fn(|cx| {
        let stream = if is_dialler {
            Pin::new(&mut *muxer).poll_outbound(cx)
        } else {
            Pin::new(&mut *muxer).poll_inbound(cx)
        };
        match stream {
            Poll::Ready(stream) => Poll::Ready(stream),
            Poll::Pending => drive(muxer, cx).map(Err),
        }
    })
    .await?;
    let mut talking = pin!(on_stream(stream, side, is_dialler, nonce));
    std::future::poll_fn(|cx| match talking.as_mut().poll(cx) {
        Poll::Ready(end) => Poll::Ready(end),
        // What came last may have come together with the end of the connection.
        Poll::Pending => drive(muxer, cx).map(|broken| match talking.as_mut().poll(cx) {
            Poll::Ready(end) => end,
            Poll::Pending => Err(broken),
        }),
    })
    .await
}

/// Nothing moves on a connection unless somebody looks at it. Ready when it is over.
fn drive(muxer: &mut StreamMuxerBox, cx: &mut Context<'_>) -> Poll<io::Error> {
    loop {
        match Pin::new(&mut *muxer).poll(cx) {
            // Nobody is interested in another address of the other side yet.
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(error),
            Poll::Pending => return Poll::Pending,
        }
    }
}

async fn on_stream(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    side: Side<'_>,
    is_dialler: bool,
    nonce: [u8; NONCE_BYTES],
) -> io::Result<End> {
    let (mut door, mut step) = if is_dialler {
        Door::dial(side, nonce)
    } else {
        (Door::listen(side, nonce), Default::default())
    };
    let mut bytes = [0; READ_BYTES];
    loop {
        if !step.send.is_empty() {
            stream.write_all(&step.send).await?;
            stream.flush().await?;
        }
        match step.end {
            Some(End::Refused(Cause::Out(device))) => {
                // It hangs up when it has read why. Were the connection closed here, it might never.
                while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
                return Ok(End::Refused(Cause::Out(device)));
            }
            Some(End::Admitted(admitted)) => {
                // The other side may have dropped it by now; all is said.
                let _ = stream.close().await;
                return Ok(End::Admitted(admitted));
            }
            Some(end) => return Ok(end),
            None => {}
        }
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            return Err(AtTheDoor::Silent.into());
        }
        step = door.receive(bytes.get(..count).unwrap_or_default());
    }
}
