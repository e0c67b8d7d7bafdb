//! The muxer with another side that speaks Yamux by hand, and so as it likes.

use std::collections::VecDeque;

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::upgrade::{InboundConnectionUpgrade, UpgradeInfo};

use super::*;
use crate::net::libp2p::testing::{Pipe, pipe};

const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 1;
const PING: u8 = 2;
const SYN: u16 = 1;
const ACK: u16 = 2;

/// The header of a frame; `length` is credit for a window and the number of a ping.
fn header(kind: u8, flags: u16, stream: u32, length: u32) -> Vec<u8> {
    let mut bytes = vec![0, kind];
    bytes.extend(flags.to_be_bytes());
    bytes.extend(stream.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes
}

/// The kind, flags and length of the next frame that is no data.
async fn hear(input: &mut (impl AsyncRead + Unpin)) -> Option<(u8, u16, u32)> {
    loop {
        let mut bytes = [0; 12];
        input.read_exact(&mut bytes).await.ok()?;
        let length = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        if bytes[1] != DATA {
            return Some((bytes[1], u16::from_be_bytes([bytes[2], bytes[3]]), length));
        }
        let mut body = vec![0; length as usize];
        input.read_exact(&mut body).await.ok()?;
    }
}

fn around<M: StreamMuxer>(inner: M) -> Muxer<M> {
    Muxer::new(inner, PeerId::random(), mpsc::channel(1).0)
}

async fn accept(io: Pipe) -> Muxer<yamux::Muxer<Pipe>> {
    let config = yamux();
    let protocol = config.protocol_info().next().unwrap();
    around(config.upgrade_inbound(io, protocol).await.unwrap())
}

/// What the swarm does with a muxer, until it fails: drives it, and hands its streams to `take`.
async fn drive<T: FnMut(&mut Context<'_>, Option<Stream<yamux::Stream>>)>(
    mut muxer: Muxer<yamux::Muxer<Pipe>>,
    mut take: T,
) {
    std::future::poll_fn(|cx| {
        if Pin::new(&mut muxer).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        loop {
            match Pin::new(&mut muxer).poll_inbound(cx) {
                Poll::Ready(Ok(stream)) => take(cx, Some(stream)),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        take(cx, None);
        Poll::Pending
    })
    .await;
}

#[tokio::test]
async fn one_that_answers_late_and_sends_fast_gets_no_larger_window_than_it_may() {
    const CHUNK: u32 = 16 * 1024;
    const SENT_BYTES: u64 = 32 * 1024 * 1024;
    let (ours, theirs) = pipe(64 * 1024);
    let (mut streams, mut chunk) = (VecDeque::new(), vec![0; 1 << 16]);
    let ours = accept(ours).await;
    let server = tokio::spawn(drive(ours, move |cx, stream| {
        streams.extend(stream);
        for stream in &mut streams {
            while let Poll::Ready(Ok(1..)) = Pin::new(&mut *stream).poll_read(cx, &mut chunk) {}
        }
    }));
    let (mut input, mut output) = theirs.split();
    output.write_all(&header(WINDOW_UPDATE, SYN, 1, 0)).await.unwrap();
    // The round trip, as the other side measures it, lasts for as long as this one likes.
    let ping = loop {
        let (kind, flags, length) = hear(&mut input).await.unwrap();
        if (kind, flags) == (PING, SYN) {
            break length;
        }
    };
    sleep(Duration::from_millis(500)).await;
    output.write_all(&header(PING, ACK, 0, ping)).await.unwrap();
    let (mut credit, mut most, mut sent) = (WINDOW_BYTES as u64, 0, 0);
    let (granted, mut grants) = tokio::sync::mpsc::channel(64);
    let listening = tokio::spawn(async move {
        while let Some((kind, _, length)) = hear(&mut input).await {
            if kind == WINDOW_UPDATE {
                granted.send(u64::from(length)).await.unwrap();
            }
        }
    });
    while sent < SENT_BYTES {
        while let Ok(more) = grants.try_recv() {
            credit += more;
        }
        most = most.max(credit);
        if credit < u64::from(CHUNK) {
            credit += grants.recv().await.unwrap();
            continue;
        }
        let mut frame = header(DATA, 0, 1, CHUNK);
        frame.resize(frame.len() + CHUNK as usize, 0);
        output.write_all(&frame).await.unwrap();
        credit -= u64::from(CHUNK);
        sent += u64::from(CHUNK);
    }
    let limit = (GROWTH_BYTES_MAX + WINDOW_BYTES) as u64;
    assert!(most <= limit, "{most} bytes could have been left unread");
    assert!(most > limit / 4, "{most} bytes are little for a fast link");
    server.abort();
    listening.abort();
}

#[tokio::test]
async fn streams_beyond_the_limit_are_reset_and_others_may_follow_those_that_ended() {
    let (ours, theirs) = pipe(64 * 1024);
    let (opened, mut held) = tokio::sync::mpsc::channel(8 * STREAMS_MAX);
    let ours = accept(ours).await;
    let server = tokio::spawn(drive(ours, move |_, stream| {
        stream.into_iter().for_each(|stream| opened.try_send(stream).unwrap());
    }));
    let (mut input, mut output) = theirs.split();
    let mut next = 1;
    for (ended, taken) in [(0, STREAMS_MAX), (3, 3)] {
        for _ in 0..ended {
            drop(held.recv().await.unwrap());
        }
        let mut order = Vec::new();
        for _ in 0..4 * STREAMS_MAX {
            order.extend(header(WINDOW_UPDATE, SYN, next, 0));
            next += 2;
        }
        // When this is answered, all that was before it has been seen.
        order.extend(header(PING, SYN, 0, 7));
        output.write_all(&order).await.unwrap();
        while hear(&mut input).await.unwrap() != (PING, ACK, 7) {}
        assert_eq!(held.len(), STREAMS_MAX, "{taken} of them are new");
    }
    server.abort();
}

#[tokio::test]
async fn a_connection_that_cannot_send_closes_all_the_same() {
    /// The other end is gone and the send buffer full.
    struct Stuck;

    impl StreamMuxer for Stuck {
        type Substream = futures::io::Cursor<Vec<u8>>;
        type Error = io::Error;

        fn poll_inbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<Self::Substream, io::Error>> {
            Poll::Pending
        }

        fn poll_outbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<Self::Substream, io::Error>> {
            Poll::Pending
        }

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, io::Error>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
            Poll::Pending
        }
    }

    let mut muxer = around(Stuck);
    let closed = std::future::poll_fn(|cx| Pin::new(&mut muxer).poll_close(cx));
    tokio::time::timeout(10 * CLOSE_WITHIN, closed).await.unwrap().unwrap();
}
