//! Feeds, in and out.

use p2p_sync_core::Via;
use tokio::sync::oneshot;

use super::*;
use crate::net::libp2p::streams::feeds::outgoing::{self, OutgoingFeed, Phase};
use crate::system;

#[tokio::test]
async fn a_feed_is_handed_over_in_order_and_its_sender_gets_credit() {
    let mut ends = ends(Patience::default());
    let mut peer = ends.incoming(64);
    let mut feed = p2p_sync_core::sync::FeedSender::new();
    let receiving = async {
        let mut numbers = Vec::new();
        while numbers.len() < 5_000 {
            let Some(FromPeers::Records { via, records, .. }) = ends.inbound.recv().await else {
                panic!("the feed ended")
            };
            assert_eq!(via, Via::Feed { neighbour: ends.node });
            numbers.extend(records.iter().map(|record| record.timestamp.as_nanos()));
        }
        numbers
    };
    let sending = async {
        let mut buffer = FrameBuffer::new();
        let mut credits = 0;
        for number in 0..5_000 {
            feed.push(record(number, 100)).unwrap();
        }
        let ahead = system::now().saturating_add(Duration::from_secs(600));
        say(&mut peer, &feed.next_frame().unwrap()).await;
        let dated = Record {
            timestamp: ahead,
            ..record(0, 1)
        };
        say(&mut peer, &page(vec![dated])).await;
        loop {
            while let Some(frame) = feed.next_frame() {
                say(&mut peer, &frame).await;
            }
            if credits == 2 {
                return peer;
            }
            feed.receive(&hear(&mut peer, &mut buffer).await.unwrap()).unwrap();
            credits += 1;
        }
    };
    let (numbers, mut peer) = futures::future::join(receiving, sending).await;
    assert!(numbers.into_iter().eq(1..=5_000));
    assert_eq!(ends.complaints("too far ahead"), 1);
    let before = ends.missed();
    peer.close().await.unwrap();
    assert_eq!(
        hear(&mut peer, &mut FrameBuffer::new()).await,
        None,
        "closed when all is handed over"
    );
    assert_eq!(ends.missed(), before);
}

#[tokio::test]
async fn one_feed_a_peer_and_what_breaks_the_rules_is_owed_a_session() {
    let mut ends = ends(Patience::default());
    let mut first = ends.incoming(64);
    let before = ends.missed();
    say(&mut first, &Frame::Feed).await;
    say(&mut first, &page(vec![record(1, 1)])).await;
    assert!(matches!(ends.inbound.recv().await, Some(FromPeers::Records { .. })));
    let mut second = ends.incoming(64);
    say(&mut second, &Frame::Feed).await;
    assert_eq!(hear(&mut first, &mut FrameBuffer::new()).await, None, "replaced");
    ends.links
        .wait_for(|links| links[&ends.node].missed > before)
        .await
        .unwrap();
    say(&mut second, &Frame::Done).await;
    assert_eq!(
        hear(&mut second, &mut FrameBuffer::new()).await,
        None,
        "no feed says that"
    );
    assert_eq!(ends.complaints("invalid sync frame"), 1);
    assert!(ends.events.try_recv().is_err(), "a feed is no session");
}

#[tokio::test]
async fn a_feed_that_brings_no_records_ends_whatever_else_drips() {
    // A page that never becomes complete, and frames that say nothing.
    let unfinished = page(vec![record(1, 5_000)]).encode();
    let empty = page(Vec::new()).encode();
    for drops in [unfinished.chunks(1).collect::<Vec<_>>(), vec![&empty; 1_000]] {
        let ends = ends(short());
        let before = ends.missed();
        let mut peer = ends.incoming(64);
        say(&mut peer, &Frame::Feed).await;
        let (mut input, mut output) = peer.split();
        let dripping = async {
            for drop in drops {
                if output.write_all(drop).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let ended = async { while input.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {} };
        let limit = 10 * short().feed_idle;
        let is_ended = tokio::select! {
            () = dripping => false,
            ended = timeout(limit, ended) => ended.is_ok(),
        };
        assert!(is_ended, "it lasts");
        assert!(ends.missed() > before);
    }
}

#[test]
fn a_feed_that_overflows_is_closed_for_a_while() {
    let feed = OutgoingFeed::new(Duration::from_secs(60));
    let pushed = (0..1_000_000)
        .take_while(|number| feed.push(&record(*number, 1_000)) == Phase::Open)
        .count();
    assert!(pushed > 1_000, "{pushed}");
    assert!(matches!(feed.push(&record(0, 1)), Phase::Failed { until } if until > Instant::now()));
    let feed = OutgoingFeed::new(Duration::from_secs(60));
    feed.finish();
    assert_eq!(feed.push(&record(0, 1)), Phase::Ending);
}

#[tokio::test]
async fn a_feed_whose_peer_is_gone_was_not_too_slow() {
    let ends = ends(Patience::default());
    let before = ends.missed();
    for (is_slow, count) in [(false, 0), (true, 1)] {
        let feed = Arc::new(OutgoingFeed::new(Duration::from_secs(60)));
        if is_slow {
            while feed.push(&record(1, 1_000)) == Phase::Open {}
        } else {
            feed.push(&record(1, 1_000));
        }
        feed.abandon();
        // It would be opened for a long time.
        let (_stream, opening) = oneshot::channel();
        let (running, _) = mpsc::channel(1);
        let of = (ends.peer, ends.node);
        outgoing::send(Arc::clone(&ends.common), Arc::clone(&feed), of, opening, running).await;
        assert_eq!(feed.phase() == Phase::Abandoned, !is_slow);
        assert_eq!(ends.complaints("feed too slow"), count);
        assert_eq!(ends.missed() > before, is_slow);
    }
}
