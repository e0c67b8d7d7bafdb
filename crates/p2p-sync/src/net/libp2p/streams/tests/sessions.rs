//! A session's stream: how it begins, what it carries, and how it ends.

use tokio::sync::oneshot;

use super::*;

#[tokio::test]
async fn a_session_is_told_with_its_first_frame_and_ends_once_and_clean() {
    let mut ends = ends(Patience::default());
    let mut peer = ends.incoming(64);
    say(&mut peer, &Frame::Done).await;
    let Some(StreamEvent::Opened {
        stream,
        peer: who,
        asked: None,
        outgoing,
    }) = ends.events.recv().await
    else {
        panic!("not opened")
    };
    assert_eq!(who, ends.node);
    let Some(StreamEvent::Received {
        frame: Frame::Done,
        bytes: 2,
        stream: on,
        ..
    }) = ends.events.recv().await
    else {
        panic!("nothing received")
    };
    assert_eq!(on, stream);
    // More than the pipe holds: what is sent arrives whole although our end is given up at once.
    let sent = page(vec![record(1, 5_000)]);
    outgoing.send(sent.clone()).await.unwrap();
    outgoing.send(Frame::Done).await.unwrap();
    drop(outgoing);
    let mut buffer = FrameBuffer::new();
    assert_eq!(hear(&mut peer, &mut buffer).await, Some(sent));
    assert_eq!(hear(&mut peer, &mut buffer).await, Some(Frame::Done));
    assert_eq!(hear(&mut peer, &mut buffer).await, None);
    // Whatever the peer still says is not heard, and does no harm.
    say(&mut peer, &page(vec![record(2, 5_000)])).await;
    drop(peer);
    for _ in 0..2 {
        let sent = ends.events.recv().await;
        assert!(
            matches!(sent, Some(StreamEvent::Sent { stream: on, .. }) if on == stream),
            "{sent:?}"
        );
    }
    let ended = ends.events.recv().await;
    assert!(
        matches!(ended, Some(StreamEvent::Ended { stream: on, cause: None }) if on == stream),
        "{ended:?}"
    );
    assert!(ends.events.try_recv().is_err());
    assert_eq!(ends.common.permits.available_permits(), STREAM_BYTES_MAX);
}

#[tokio::test]
async fn a_peer_that_ends_the_stream_still_gets_what_was_on_its_way() {
    let mut ends = ends(Patience::default());
    let mut peer = ends.incoming(64);
    say(&mut peer, &Frame::Done).await;
    let Some(StreamEvent::Opened { outgoing, .. }) = ends.events.recv().await else {
        panic!("not opened")
    };
    let sent = page(vec![record(1, 5_000)]);
    outgoing.send(sent.clone()).await.unwrap();
    peer.close().await.unwrap();
    let mut buffer = FrameBuffer::new();
    assert_eq!(hear(&mut peer, &mut buffer).await, Some(sent));
    assert_eq!(hear(&mut peer, &mut buffer).await, None);
    assert_eq!(ends.ended().await, None);
    assert!(
        outgoing.send(Frame::Done).await.is_err(),
        "there is nobody to send it to"
    );
}

#[tokio::test]
async fn what_is_no_frame_ends_the_stream_with_its_cause() {
    for (bytes, cause) in [
        (&[0xff, 0xff, 0xff, 0x7f][..], "sync frame of"),
        (&[2, 1, 1], "truncated"),
        (&[5, 7], "in the middle of a frame"),
    ] {
        let mut ends = ends(Patience::default());
        let mut peer = ends.incoming(64);
        say(&mut peer, &Frame::Done).await;
        peer.write_all(bytes).await.unwrap();
        peer.close().await.unwrap();
        let told = ends.ended().await.unwrap();
        assert!(told.contains(cause), "{told}");
    }
}

#[tokio::test]
async fn silence_and_a_peer_that_does_not_read_end_a_session() {
    let mut silent = ends(short());
    let mut peer = silent.incoming(64);
    say(&mut peer, &Frame::Done).await;
    let Some(StreamEvent::Opened { outgoing: _kept, .. }) = silent.events.recv().await else {
        panic!("not opened")
    };
    assert!(silent.ended().await.unwrap().contains("nothing was sent or received"));

    let mut stuck = ends(Patience {
        stall: Duration::from_millis(50),
        ..Patience::default()
    });
    let mut peer = stuck.incoming(64);
    say(&mut peer, &Frame::Done).await;
    let Some(StreamEvent::Opened { outgoing, .. }) = stuck.events.recv().await else {
        panic!("not opened")
    };
    outgoing.send(page(vec![record(1, 5_000)])).await.unwrap();
    assert!(stuck.ended().await.unwrap().contains("read nothing"));
}

#[tokio::test]
async fn a_stream_on_which_nothing_is_said_is_no_session_and_gives_its_place_back() {
    let mut ends = ends(short());
    let mut peer = ends.incoming(64);
    assert_eq!(hear(&mut peer, &mut FrameBuffer::new()).await, None, "it is closed");
    assert!(ends.events.try_recv().is_err());
    while ends.common.inbound_streams() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_node_that_is_busy_holds_its_peers_back() {
    let mut ends = ends(Patience::default());
    let all = Arc::clone(&ends.common.permits)
        .acquire_many_owned(u32::try_from(STREAM_BYTES_MAX).unwrap())
        .await
        .unwrap();
    let mut peer = ends.incoming(64);
    let (written, mut is_written) = oneshot::channel();
    let writing = tokio::spawn(async move {
        say(&mut peer, &page(vec![record(1, 5_000)])).await;
        say(&mut peer, &page(vec![record(2, 60_000)])).await;
        let _ = written.send(());
        peer
    });
    let Some(StreamEvent::Opened { outgoing: _kept, .. }) = ends.events.recv().await else {
        panic!("not opened")
    };
    assert!(is_written.try_recv().is_err() && ends.events.try_recv().is_err());
    drop(all);
    for number in [1, 2] {
        let received = ends.events.recv().await;
        let Some(StreamEvent::Received {
            frame: Frame::Records { records, .. },
            ..
        }) = received
        else {
            panic!("{received:?}")
        };
        assert_eq!(records[0].key, record(number, 0).key);
    }
    drop(writing.await.unwrap());
    assert_eq!(ends.ended().await, None);
}
