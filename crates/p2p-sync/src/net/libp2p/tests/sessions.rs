//! The streams of sessions: who gets one, and how fast it runs.

use p2p_sync_core::sync::Frame;

use super::*;
use crate::net::suite::record;
use crate::net::{STREAM_BYTES_MAX, StreamEvent, StreamOrder};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_carries_frames_both_ways_at_the_pace_of_a_slow_reader() {
    /// What QUIC or Yamux may keep for a stream, with the pages in between.
    const UNDER_WAY_MAX: usize = STREAM_BYTES_MAX + 32 * 1024 * 1024;
    const PAGES: usize = 240;
    let (mut a, mut b) = pair().await;
    a.tell(ToPeers::OpenStream {
        peer: b.id,
        order: StreamOrder(1),
    })
    .await;
    let (stream, peer, outgoing) = a.opened().await;
    assert_eq!(peer, b.id);
    outgoing.send(Frame::Done).await.unwrap();
    let (theirs, peer, answers) = b.opened().await;
    assert_eq!(peer, a.id);
    assert_eq!(b.heard().await, Frame::Done);

    let author = a.id;
    let sending = tokio::spawn(async move {
        for number in 0..PAGES as i64 {
            let records = vec![record(author, number, 60_000); 4];
            outgoing.send(Frame::Records { bulk: None, records }).await.unwrap();
        }
        outgoing
    });
    let (mut sent, mut taken, mut arrived) = (0, 0, 0);
    let mut answered = false;
    while arrived < PAGES {
        tokio::select! {
            biased;
            event = a.link.streams.events.recv() => match event.unwrap() {
                StreamEvent::Sent { bytes, .. } => sent += bytes,
                StreamEvent::Received { frame: Frame::BulkOffered, .. } => answered = true,
                other => panic!("{other:?}"),
            },
            // The reader takes a page only when there is nothing to be heard of the writer.
            event = b.link.streams.events.recv(), if a.link.streams.events.is_empty() => match event.unwrap() {
                StreamEvent::Received { frame: Frame::Records { records, .. }, bytes, .. } => {
                    assert_eq!(records, vec![record(author, arrived as i64, 60_000); 4]);
                    arrived += 1;
                    taken += bytes;
                    if arrived == PAGES / 4 {
                        assert!(!answered);
                        answers.send(Frame::BulkOffered).await.unwrap();
                    }
                }
                StreamEvent::Sent { .. } => {}
                other => panic!("{other:?}"),
            },
        }
        assert!(
            sent <= taken + UNDER_WAY_MAX,
            "{sent} bytes were sent and {taken} taken"
        );
    }
    let outgoing = sending.await.unwrap();
    while !answered {
        answered = matches!(
            a.event().await,
            StreamEvent::Received {
                frame: Frame::BulkOffered,
                ..
            }
        );
    }
    drop((outgoing, answers));
    assert_eq!(a.ended(stream).await, None);
    assert_eq!(b.ended(theirs).await, None);
    assert!(a.link.streams.events.try_recv().is_err() && b.link.streams.events.try_recv().is_err());
    let status = b.status().await;
    assert!(status.sync_bytes_in > (PAGES * 240_000) as u64);
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_network_gets_no_stream() {
    let a = Net::start("", &[]).await;
    let mut stranger = Net::start("elsewhere", &[&a]).await;
    while stranger.status().await.peers.is_empty() {
        tokio::task::yield_now().await;
    }
    stranger
        .tell(ToPeers::OpenStream {
            peer: a.id,
            order: StreamOrder(2),
        })
        .await;
    assert!(matches!(stranger.event().await, StreamEvent::NotOpened { peer, order: StreamOrder(2) } if peer == a.id));
    assert!(!stranger.status().await.peers.is_empty(), "it is still connected");
    assert!(stranger.link.streams.peers.borrow().is_empty() && a.link.streams.peers.borrow().is_empty());
    a.stop().await;
    stranger.stop().await;
}
