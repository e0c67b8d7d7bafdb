//! A snapshot and the changes behind it join exactly: watchers that begin at any moment, while others write as fast as they can, end up
//! with what `list` shows.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use p2p_sync_testbed::{Value, wait_until};

use super::client::{Api, PATIENCE, raise_descriptor_limit};
use super::{Chance, LINES, Picture, apply, list, live, write};

const WATCHERS: usize = 100;
const WRITERS: usize = 3;
const CHANGES: usize = 2_000;
const KEYS: usize = 500;

#[test]
fn a_hundred_watchers_that_begin_while_others_write_end_up_with_what_is_listed() {
    raise_descriptor_limit();
    let api = Api::start();
    let written = AtomicUsize::new(0);
    // What is there before, so that snapshots have several pages.
    write(api.node.data_dir(), "before", 2 * KEYS, KEYS, &written);
    let mut chance = Chance::of(7);
    let pictures: Vec<(&str, Picture)> = thread::scope(|scope| {
        let watching: Vec<_> = (0..WATCHERS)
            .map(|number| {
                let prefix = if number % 4 == 0 { "key/1" } else { "" };
                let due = 2 * KEYS + chance.next(WRITERS * CHANGES);
                let (api, written) = (&api, &written);
                scope.spawn(move || {
                    wait_until("its moment", 4 * PATIENCE, || written.load(Ordering::SeqCst) >= due);
                    (prefix, follow(api, prefix))
                })
            })
            .collect();
        let writing: Vec<_> = (0..WRITERS)
            .map(|number| {
                let (directory, written) = (api.node.data_dir(), &written);
                scope.spawn(move || write(directory, &format!("writer {number}"), CHANGES, KEYS, written))
            })
            .collect();
        for writer in writing {
            writer.join().unwrap();
        }
        // The last change that anybody hears of.
        api.put("/v1/kv/key%2F1%2Fend", b"end").expect(200);
        watching.into_iter().map(|watching| watching.join().unwrap()).collect()
    });
    for (prefix, picture) in pictures {
        assert_eq!(picture, list(api.node.data_dir(), &[prefix]), "{prefix}");
    }
}

/// What a watcher knows at the end.
fn follow(api: &Api, prefix: &str) -> Picture {
    let mut picture = Picture::new();
    let mut is_ready = false;
    for line in api.follow(&format!("/v1/watch?prefix={prefix}"), &[LINES]) {
        let event: Value = line.parse().unwrap();
        apply(&mut picture, &event);
        is_ready |= event["event"] == "ready";
        if is_ready && picture.contains_key("key/1/end") {
            break;
        }
    }
    live(&picture)
}
