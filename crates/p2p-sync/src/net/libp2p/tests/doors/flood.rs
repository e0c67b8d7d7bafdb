//! What a stranger can make a node hold by QUIC, where everything that it sends is kept until somebody reads it.

use std::pin::Pin;
use std::task::Poll;

use futures::AsyncWrite;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, SubstreamBox};
use libp2p::core::transport::{DialOpts, PortUse};
use libp2p::core::{Endpoint, Transport};

use super::cost::{driven, listens, transport_of};
use super::*;
use crate::net::libp2p::door::QUIC_UNREAD_BYTES_MAX;

/// The streams on which it sends; all that it may have.
const STREAMS: usize = 60;

/// Opens streams, says the beginning of a knock on the first, and sends on all others as much as is taken. Returns how many bytes that
/// was when the connection ends.
async fn flood(mut muxer: StreamMuxerBox) -> usize {
    let (mut streams, mut sent): (Vec<SubstreamBox>, usize) = (Vec::new(), 0);
    let junk = vec![0x5a; 64 * 1024];
    std::future::poll_fn(|cx| {
        if matches!(Pin::new(&mut muxer).poll(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(());
        }
        while streams.len() < STREAMS {
            match Pin::new(&mut muxer).poll_outbound(cx) {
                Poll::Ready(Ok(mut stream)) => {
                    if streams.is_empty()
                        && !matches!(Pin::new(&mut stream).poll_write(cx, &[0x91]), Poll::Ready(Ok(1)))
                    {
                        return Poll::Ready(());
                    }
                    streams.push(stream);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        for stream in streams.iter_mut().skip(1) {
            loop {
                match Pin::new(&mut *stream).poll_write(cx, &junk) {
                    Poll::Ready(Ok(count)) => sent += count,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
        }
        Poll::Pending
    })
    .await;
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_makes_a_node_hold_no_more_than_is_said() {
    let address = listens(transport_of(LAPTOP, true), Way::Quic).await;
    // It speaks libp2p, and does not know of doors.
    let mut stranger = transport_of(99, false);
    let options = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::New,
    };
    let dial = stranger.dial(address, options).unwrap();
    let (_, muxer) = driven(&mut stranger, dial).await.unwrap();
    let begun = Instant::now();
    let sent = timeout(PATIENCE, driven(&mut stranger, flood(muxer)))
        .await
        .expect("it is not hung up on");
    assert!(begun.elapsed() < DOOR_WITHIN + SLACK, "{:?}", begun.elapsed());
    let most = usize::try_from(QUIC_UNREAD_BYTES_MAX).unwrap();
    // It did send as much as it could.
    assert!((most / 2..=most).contains(&sent), "{sent}");
}
