//! Writes that gossip has no room for: they are fed, or owed.

use super::*;
use crate::net::NetStatus;
use crate::net::suite::record;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_beyond_the_budget_of_gossip_are_fed_in_order() {
    const ALONE: i64 = 100;
    const WRITES: i64 = 5_000;
    let (a, mut b) = pair().await;
    let before = a.missed(b.id);
    let author = a.id;
    let (mut gossiped, mut fed) = (Vec::new(), Vec::new());
    // One after the other, so that each takes a message of its own while there are any.
    for number in 0..ALONE {
        a.tell(ToPeers::Live(record(author, number, 100))).await;
        while gossiped.len() + fed.len() <= number as usize {
            b.hears_of_writes(&mut gossiped, &mut fed).await;
        }
    }
    assert!(
        gossiped.len() >= 40 && fed.len() >= 40,
        "{} gossiped, {} fed",
        gossiped.len(),
        fed.len()
    );
    let orders = a.link.outbound.clone();
    let writing = tokio::spawn(async move {
        for number in ALONE..WRITES {
            orders.send(ToPeers::Live(record(author, number, 100))).await.unwrap();
        }
    });
    while gossiped.len() + fed.len() < WRITES as usize {
        b.hears_of_writes(&mut gossiped, &mut fed).await;
    }
    writing.await.unwrap();
    assert!(fed.is_sorted() && fed.iter().all(|it| !gossiped.contains(it)));
    assert!(fed.len() > 3_000, "{} fed, {} gossiped", fed.len(), gossiped.len());
    assert_eq!(a.missed(b.id), before);
    assert_eq!(b.status().await.sync_streams, 1);
    // What is written at the very end is sent before the goodbye.
    a.tell(ToPeers::Live(record(author, WRITES, 60_000))).await;
    a.stop().await;
    let last = gossiped.len() + fed.len();
    while gossiped.len() + fed.len() == last {
        b.hears_of_writes(&mut gossiped, &mut fed).await;
    }
    let gone = b.link.streams.peers.wait_for(|peers| peers.is_empty());
    drop(
        timeout(PATIENCE, gone)
            .await
            .expect("it is still in the table")
            .unwrap(),
    );
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_no_feed_is_left_out_and_owed_a_session() {
    let (mut a, b) = pair().await;
    let before = a.missed(b.id);
    let (author, orders) = (a.id, a.link.outbound.clone());
    let writing = tokio::spawn(async move {
        // Far more than all queues on the way hold: nobody at the other side takes any of it.
        for number in 0..1_500 {
            orders
                .send(ToPeers::Live(record(author, number, 60_000)))
                .await
                .unwrap();
        }
    });
    let peers = a
        .link
        .streams
        .peers
        .wait_for(|peers| peers.get(&b.id).is_some_and(|link| link.missed > before));
    drop(timeout(PATIENCE, peers).await.expect("nothing was missed").unwrap());
    writing.await.unwrap();
    let is_told = |status: NetStatus| status.dropped.iter().any(|(cause, _)| cause == "feed too slow");
    while !is_told(a.status().await) {
        tokio::task::yield_now().await;
    }
    a.stop().await;
    b.stop().await;
}
