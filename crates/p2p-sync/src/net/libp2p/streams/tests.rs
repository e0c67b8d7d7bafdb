//! Streams over a pipe in memory, with a peer that the test plays itself.

use futures::AsyncWriteExt;
use p2p_sync_core::sync::FrameBuffer;
use p2p_sync_core::{Base, Content, Key, Record, Timestamp, Value, Via};
use tokio::sync::{oneshot, watch};

use super::feeds::outgoing::{self, OutgoingFeed, Phase};
use super::*;
use crate::net::libp2p::testing::{Pipe, pipe};
use crate::net::{FROM_PEERS_MAX, PeerLinks, STREAM_EVENTS_MAX};
use crate::system;

/// The node's ends.
struct Ends {
    common: Arc<Common>,
    events: mpsc::Receiver<StreamEvent>,
    inbound: mpsc::Receiver<FromPeers>,
    links: watch::Receiver<PeerLinks>,
    peer: PeerId,
    node: NodeId,
}

fn ends(patience: Patience) -> Ends {
    let (happened, events) = mpsc::channel(STREAM_EVENTS_MAX);
    let (to_node, inbound) = mpsc::channel(FROM_PEERS_MAX);
    let (told, links) = watch::channel(PeerLinks::new());
    let peer = PeerId::random();
    let node = node_id(&peer).unwrap();
    let log = Arc::new(LogBudget::new());
    let common = Common::new(happened, to_node, Links::new(told), patience, log, Names::default());
    common.links.set(&[node].into());
    Ends {
        common: Arc::new(common),
        events,
        inbound,
        links,
        peer,
        node,
    }
}

fn short() -> Patience {
    let moment = Duration::from_millis(50);
    Patience {
        opening: moment,
        silence: moment,
        stall: moment,
        linger: moment,
        feed_stall: moment,
        feed_idle: moment,
        feed_pause: moment,
    }
}

impl Ends {
    /// A stream that the peer opens; its end is returned.
    fn incoming(&self, bytes: usize) -> Pipe {
        let (ours, theirs) = pipe(bytes);
        let slot = self.common.admit(self.peer, true).unwrap();
        tokio::spawn(answer(self.peer, ours, slot));
        theirs
    }

    fn complaints(&self, cause: &str) -> u64 {
        let all = self.common.complaints();
        all.iter().find(|(it, _)| it == cause).map_or(0, |(_, count)| *count)
    }

    fn missed(&self) -> u64 {
        self.links.borrow().get(&self.node).unwrap().missed
    }

    async fn ended(&mut self) -> Option<String> {
        loop {
            if let StreamEvent::Ended { cause, .. } = self.events.recv().await.unwrap() {
                return cause;
            }
        }
    }
}

async fn say(pipe: &mut Pipe, frame: &Frame) {
    pipe.write_all(&frame.encode()).await.unwrap();
}

async fn hear(pipe: &mut Pipe, buffer: &mut FrameBuffer) -> Option<Frame> {
    loop {
        if let Some(frame) = buffer.next_frame().unwrap() {
            return Some(frame);
        }
        let mut chunk = [0; 1_024];
        match pipe.read(&mut chunk).await.unwrap() {
            0 => return None,
            count => buffer.push(&chunk[..count]),
        }
    }
}

fn record(number: i64, bytes: usize) -> Record {
    Record {
        key: Key::new(format!("{number}")).unwrap(),
        content: Content::Put(Value::new(vec![0; bytes]).unwrap()),
        timestamp: Timestamp::from_nanos(number + 1).unwrap(),
        author: NodeId::from_bytes(&[1; 38]).unwrap(),
        base: Base::Nothing,
    }
}

fn page(records: Vec<Record>) -> Frame {
    Frame::Records { bulk: None, records }
}

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
