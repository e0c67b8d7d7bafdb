//! What watchers are told by whole nodes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use futures::StreamExt;
use p2p_sync_core::sequence::Epoch;

use super::*;
use crate::node::Dating;
use crate::node::tests::{Machines, key, put};

/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// An event in a few words: `+ a 1 local`.
fn brief(event: &Event) -> String {
    let told = |sign: &str, observed: &Observed| {
        let value = observed
            .record
            .content
            .value()
            .map_or("", |value| value.as_text().unwrap());
        let origin = if observed.is_local { "local" } else { "peer" };
        format!("{sign} {} {value} {origin}", observed.record.key.as_str())
    };
    match event {
        Event::Put(observed) => told("+", observed),
        Event::Delete(observed) => told("-", observed),
        Event::Conflict(observed) => told("!", observed),
        Event::Ready { .. } => "ready".to_owned(),
        Event::Reset => "reset".to_owned(),
        Event::Heartbeat { .. } => "heartbeat".to_owned(),
    }
}

fn cursor(event: &Event) -> Option<Cursor> {
    match event {
        Event::Put(observed) | Event::Delete(observed) | Event::Conflict(observed) => observed.cursor,
        Event::Ready { cursor } | Event::Heartbeat { cursor } => Some(*cursor),
        Event::Reset => None,
    }
}

async fn next(events: &mut (impl Stream<Item = Result<Event, NodeError>> + Unpin)) -> Event {
    let next = tokio::time::timeout(PATIENCE, events.next()).await;
    next.expect("an event comes in time")
        .expect("the watch goes on")
        .unwrap()
}

/// The next events in a few words.
async fn told(events: &mut (impl Stream<Item = Result<Event, NodeError>> + Unpin), count: usize) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..count {
        told.push(brief(&next(events).await));
    }
    told
}

/// What is live by the events up to a `Ready`, or up to one that satisfies.
async fn picture(
    events: &mut (impl Stream<Item = Result<Event, NodeError>> + Unpin),
    is_end: impl Fn(&Event) -> bool,
) -> BTreeMap<String, String> {
    let mut live = BTreeMap::new();
    loop {
        let event = next(events).await;
        match &event {
            Event::Put(observed) => {
                let value = observed.record.content.value().unwrap().as_text().unwrap().to_owned();
                live.insert(observed.record.key.as_str().to_owned(), value);
            }
            Event::Delete(observed) => drop(live.remove(observed.record.key.as_str())),
            Event::Reset => live.clear(),
            _ => {}
        }
        if is_end(&event) {
            return live;
        }
    }
}

async fn listed(node: &Node) -> BTreeMap<String, String> {
    let (mut all, mut after) = (BTreeMap::new(), None);
    loop {
        let page = node.list("", after, 500).await.unwrap();
        after = page.last().map(|record| record.key.clone());
        if page.is_empty() {
            return all;
        }
        all.extend(page.iter().map(|record| {
            let value = record.content.value().unwrap().as_text().unwrap().to_owned();
            (record.key.as_str().to_owned(), value)
        }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_is_told_what_is_held_and_then_what_changes_under_its_prefix() {
    let machines = Machines::new(1);
    let node = machines.start(0).await;
    for name in ["a/1", "a/2", "b"] {
        put(&node, name, "old").await;
    }
    node.delete(key("a/2")).await.unwrap();
    let mut all = node.watch("", Since::Snapshot);
    let mut some = node.watch("a/", Since::Snapshot);
    let mut new = node.watch("", Since::Now);
    assert_eq!(told(&mut all, 3).await, ["+ a/1 old local", "+ b old local", "ready"]);
    assert_eq!(told(&mut some, 2).await, ["+ a/1 old local", "ready"]);
    assert_eq!(told(&mut new, 1).await, ["ready"]);
    put(&node, "b", "new").await;
    put(&node, "a/3", "new").await;
    node.delete(key("a/1")).await.unwrap();
    let changes = ["+ b new local", "+ a/3 new local", "- a/1  local"];
    assert_eq!(told(&mut all, 3).await, changes);
    assert_eq!(told(&mut new, 3).await, changes);
    assert_eq!(told(&mut some, 2).await, changes[1..]);
    node.stop().await;
    assert!(all.next().await.is_none(), "it ends with the node");
    assert!(node.watch("", Since::Now).next().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_from_every_cursor_and_tells_nothing_twice() {
    let machines = Machines::new(1);
    let node = machines.start(0).await;
    let mut first = node.watch("", Since::Now);
    let mut cursors = vec![cursor(&next(&mut first).await).unwrap()];
    for n in 0..20 {
        put(&node, &format!("key {n}"), "v").await;
        cursors.push(cursor(&next(&mut first).await).unwrap());
    }
    drop(first);
    node.stop().await;
    drop(node);
    let node = machines.start(0).await;
    put(&node, "late", "v").await;
    for (at, from) in cursors.iter().enumerate() {
        let mut events = node.watch("", Since::Cursor(*from));
        let mut expected: Vec<_> = (at..20).map(|n| format!("+ key {n} v local")).collect();
        expected.extend(["+ late v local".to_owned(), "ready".to_owned()]);
        assert_eq!(told(&mut events, expected.len()).await, expected, "from {from}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_of_a_store_that_is_gone_is_answered_with_all_that_is_held() {
    let machines = Machines::new(1);
    let node = machines.start(0).await;
    put(&node, "a", "v").await;
    let foreign = Cursor {
        epoch: Epoch(7),
        number: 1,
        seen: 1,
    };
    let mut events = node.watch("", Since::Cursor(foreign));
    assert_eq!(told(&mut events, 3).await, ["reset", "+ a v local", "ready"]);
    // Another program takes a row away, of which no change is left.
    let file = machines.directories[0].path().join("store.db");
    crate::store::testing::delete_all(&file);
    assert_eq!(told(&mut events, 2).await, ["reset", "ready"]);
    put(&node, "b", "v").await;
    assert_eq!(told(&mut events, 1).await, ["+ b v local"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_from_peers_and_what_lost_is_told_as_such() {
    let machines = Machines::new(2);
    for (machine, value) in [(0, "mine"), (1, "theirs")] {
        let node = machines.start(machine).await;
        put(&node, "hours", value).await;
        node.stop().await;
    }
    let first = machines.start(0).await;
    let mut events = first.watch("", Since::Snapshot);
    assert_eq!(told(&mut events, 2).await, ["+ hours mine local", "ready"]);
    let second = machines.start(1).await;
    assert_eq!(
        told(&mut events, 2).await,
        ["+ hours theirs peer", "! hours mine local"]
    );
    let lost_at = loop {
        let held = second.versions(&key("hours")).await.unwrap();
        match held.conflicts() {
            [lost] => break lost.timestamp,
            _ => sleep(Duration::from_millis(5)).await,
        }
    };
    let resolved = second.resolve(key("hours"), Some(lost_at), Dating::AfterHeld);
    assert!(resolved.await.unwrap().is_some());
    assert_eq!(told(&mut events, 1).await, ["+ hours mine peer"]);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshot_and_changes_join_whenever_a_watcher_comes_and_however_slow_it_is() {
    const WRITERS: usize = 4;
    const WRITES: usize = 500;
    let machines = Machines::new(1);
    let node = machines.start(0).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let node = node.clone();
        writers.spawn(async move {
            for n in 0..WRITES {
                let name = format!("key {}", (n * 7 + writer) % 97);
                if n % 5 == 4 {
                    node.delete(key(&name)).await.unwrap();
                } else {
                    put(&node, &name, &format!("{writer}/{n}")).await;
                }
            }
        });
    }
    let mut watchers = tokio::task::JoinSet::new();
    for number in 0..60 {
        let mut events = node.watch("", Since::Snapshot);
        watchers.spawn(async move {
            let mut last = None;
            let is_end =
                |event: &Event| matches!(event, Event::Put(observed) if observed.record.key.as_str() == "the end");
            let mut live = BTreeMap::new();
            loop {
                if number % 3 == 0 {
                    tokio::time::sleep(Duration::from_micros(300)).await;
                }
                let event = next(&mut events).await;
                if let Some(cursor) = cursor(&event) {
                    assert!(
                        last < Some(cursor.number) || matches!(event, Event::Ready { .. }),
                        "in order, once"
                    );
                    last = Some(cursor.number);
                }
                match &event {
                    Event::Put(observed) => {
                        let value = observed.record.content.value().unwrap().as_text().unwrap().to_owned();
                        live.insert(observed.record.key.as_str().to_owned(), value);
                    }
                    Event::Delete(observed) => drop(live.remove(observed.record.key.as_str())),
                    other => assert!(
                        matches!(other, Event::Ready { .. } | Event::Heartbeat { .. }),
                        "{other:?}"
                    ),
                }
                if is_end(&event) {
                    return live;
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    writers.join_all().await;
    put(&node, "the end", "").await;
    let expected = listed(&node).await;
    for live in watchers.join_all().await {
        assert_eq!(live, expected);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_stores_are_told_page_by_page_and_a_quiet_one_has_a_heartbeat() {
    let machines = Machines::new(1);
    let node = machines.start(0).await;
    for n in 0..600 {
        put(
            &node,
            &format!("key {n}"),
            &"v".repeat(if n % 50 == 0 { 65_536 } else { 10 }),
        )
        .await;
    }
    let mut events = node.watch("", Since::Snapshot);
    let live = picture(&mut events, |event| matches!(event, Event::Ready { .. })).await;
    assert_eq!(live, listed(&node).await);
    let mut watcher = Watcher::new(&node, "", Since::Now);
    assert_eq!(brief(&watcher.next().await.unwrap().unwrap()), "ready");
    watcher.beat = Instant::now();
    let beat = watcher.next().await.unwrap().unwrap();
    assert_eq!(brief(&beat), "heartbeat");
    put(&node, "key 0", "again").await;
    assert_eq!(brief(&watcher.next().await.unwrap().unwrap()), "+ key 0 again local");
    let mut later = node.watch("", Since::Cursor(cursor(&beat).unwrap()));
    assert_eq!(told(&mut later, 2).await, ["+ key 0 again local", "ready"]);
    node.stop().await;
}
