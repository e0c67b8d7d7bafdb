//! A store that is gone, old, or damaged: it is made whole by the others, and they lose nothing by it.

use std::fs;
use std::path::{Path, PathBuf};

use p2p_sync_testbed::{Addresses, Lab, Node, tempfile};

use super::{Rows, add_all, delete_all, measured, rows, wait_equal, wait_in_sync};
use crate::support::{PATIENCE, RECOVERY, launch};

const KEYS: usize = 300;
const DELETED: usize = 30;

struct Three {
    a: Node,
    b: Node,
    c: Node,
    _lab: Lab,
}

/// Three nodes that hold the same.
fn three() -> Three {
    let lab = Lab::new();
    let [a, b, c] = ["a", "b", "c"].map(|label| launch(&lab.host(Addresses::V4), label).spawn());
    for node in [&a, &b, &c] {
        node.wait_ready();
    }
    for (one, other) in [(&a, &b), (&a, &c), (&b, &c)] {
        one.wait_linked(other, PATIENCE);
    }
    let three = Three { a, b, c, _lab: lab };
    let writers = [&three.a, &three.b, &three.c];
    for (at, writer) in writers.iter().enumerate() {
        let mine = (0..KEYS).filter(|number| number % 3 == at);
        add_all(writer, mine.map(|number| (format!("key {number:03}"), value(number))));
    }
    wait_equal("at first", &writers, PATIENCE);
    delete_all(&three.a, (0..DELETED).map(|number| format!("key {number:03}")));
    wait_equal("after the deletions", &writers, PATIENCE);
    three
}

/// Long enough for a page of the file to hold some ten of them.
fn value(number: usize) -> String {
    format!("the value of key {number:03} {}", "x".repeat(300))
}

impl Three {
    /// What all must hold in the end, and what the others hold all the time.
    #[track_caller]
    fn assert_all_hold(&self, expected: &Rows, what: &str) {
        let took = wait_equal(what, &[&self.a, &self.b, &self.c], RECOVERY);
        measured(&format!("{what}: equal after {took:?}"));
        for node in [&self.a, &self.b, &self.c] {
            assert!(
                rows(node) == *expected,
                "{what}: {} does not hold what it should",
                node.label()
            );
        }
        wait_in_sync(&self.a, &self.b, PATIENCE);
        wait_in_sync(&self.b, &self.c, PATIENCE);
    }
}

fn store_file(node: &Node) -> PathBuf {
    node.data_dir().join("store.db")
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_node_that_was_wiped_is_filled_again() {
    let three = three();
    let expected = rows(&three.a);
    three.b.stop();
    for entry in fs::read_dir(three.b.data_dir()).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let before = three.b.peer_id();
    three.b.restart();
    assert_ne!(
        three.b.peer_id(),
        before,
        "its identity is gone too, or nothing was tested"
    );
    three.assert_all_hold(&expected, "wiped");
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_store_that_is_an_old_copy_of_itself_catches_up_and_its_writes_count() {
    let three = three();
    three.b.stop();
    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("store.db");
    fs::copy(store_file(&three.b), &copy).unwrap();
    three.b.restart();
    // Own writes and deletions, which its old copy does not know of, and those of another.
    add_all(
        &three.b,
        (0..50).map(|number| (format!("later {number}"), "by b".to_owned())),
    );
    add_all(
        &three.b,
        (100..120).map(|number| (format!("key {number}"), "overwritten".to_owned())),
    );
    delete_all(&three.b, (200..220).map(|number| format!("key {number}")));
    add_all(
        &three.c,
        (0..50).map(|number| (format!("also {number}"), "by c".to_owned())),
    );
    wait_equal("before the copy comes back", &[&three.a, &three.b, &three.c], PATIENCE);
    let expected = rows(&three.a);
    three.b.stop();
    remove_beside(&store_file(&three.b));
    fs::copy(&copy, store_file(&three.b)).unwrap();
    three.b.restart();
    three.assert_all_hold(&expected, "an old copy");
    // What it writes now wins over what it had written and forgotten.
    three.b.add("later 7", "again");
    for node in [&three.a, &three.c] {
        node.wait_value("later 7", "again", RECOVERY);
    }
}

/// The files that belong to a state of the store that is gone.
fn remove_beside(store: &Path) {
    for end in ["-wal", "-shm"] {
        let file = format!("{}{end}", store.display());
        if fs::exists(&file).unwrap() {
            fs::remove_file(file).unwrap();
        }
    }
}

/// Where the page begins that holds the value of this key, and its size.
fn page_of(bytes: &[u8], number: usize) -> std::ops::Range<usize> {
    let wanted = value(number).into_bytes();
    let at = bytes.windows(wanted.len()).position(|window| window == wanted).unwrap();
    let size = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    let size = if size == 1 { 65_536 } else { size };
    let start = at / size * size;
    start..start + size
}

/// Stops a node, changes the page of its file that holds the value of key 150, and starts it again.
fn damage(node: &Node, change: impl FnOnce(&mut Vec<u8>, std::ops::Range<usize>)) {
    node.stop();
    let file = store_file(node);
    let mut bytes = fs::read(&file).unwrap();
    let page = page_of(&bytes, 150);
    change(&mut bytes, page);
    fs::write(&file, &bytes).unwrap();
    node.restart();
}

/// Changes the values in a page in a way that leaves it in order for SQLite. Gives how many there were.
fn rot(bytes: &mut [u8], page: std::ops::Range<usize>) -> u64 {
    let mut changed = 0;
    for at in page.start..page.end - 8 {
        if bytes[at..].starts_with(b"xxxxxxxx") && bytes[at - 1] == b' ' {
            bytes[at] = b'y';
            changed += 1;
        }
    }
    changed
}

/// It is found by whoever asks for it, and otherwise by the slow look at all of them, which begins soon after the start.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_value_that_has_changed_on_the_disk_is_not_served_and_comes_back() {
    let three = three();
    let expected = rows(&three.a);
    let mut changed = 0;
    damage(&three.b, |bytes, page| changed = rot(bytes, page));
    let reply = three.b.json("get --json \"key 150\"");
    assert_eq!(reply["code"], 9, "{reply}");
    assert!(reply["error"].as_str().unwrap().contains("is damaged"), "{reply}");
    three.assert_all_hold(&expected, "after somebody asked");
    assert_eq!(three.b.get("key 150"), Some(value(150)));
    assert_eq!(three.b.status()["sync"]["repaired"], changed);

    damage(&three.b, |bytes, page| changed = rot(bytes, page));
    assert!(rows(&three.b) != expected, "damaged, or nothing was tested");
    let took = wait_equal("nobody asks", &[&three.a, &three.b, &three.c], PATIENCE);
    measured(&format!("found by the slow look after {took:?}"));
    three.assert_all_hold(&expected, "after nobody asked");
}

/// As when a disk gives other bits back than it was given: the page is in order for SQLite, the values are wrong.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn values_that_have_changed_on_the_disk_are_found_and_made_good() {
    let three = three();
    let expected = rows(&three.a);
    let mut changed = 0;
    damage(&three.b, |bytes, page| changed = rot(bytes, page));
    assert!(changed > 1, "a page holds several values");
    assert!(rows(&three.b) != expected, "damaged, or nothing was tested");
    let verdict = three.b.json("verify --json");
    assert_eq!(verdict["damaged"], changed, "{verdict}");
    assert_eq!(verdict["records"], KEYS, "{verdict}");
    three.assert_all_hold(&expected, "damaged values");
    assert_eq!(three.b.status()["sync"]["repaired"], changed);
    let verdict = three.b.json("verify --json");
    assert_eq!(
        (&verdict["damaged"], &verdict["summary_was_right"]),
        (&0.into(), &true.into()),
        "{verdict}"
    );
}

/// As when a disk cannot give a page back at all.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_page_of_garbage_is_found_and_made_good() {
    let three = three();
    let expected = rows(&three.a);
    damage(&three.b, |bytes, page| bytes[page].fill(0xa5));
    let verdict = three.b.json("verify --json");
    measured(&format!("verify says {verdict}"));
    three.assert_all_hold(&expected, "a page of garbage");
}

/// As when a card or a copy is cut off, or its first blocks are gone. Nobody is configured: who the others are stands beside it.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_store_that_cannot_be_read_is_put_aside_and_filled_again() {
    let three = three();
    let expected = rows(&three.a);
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 3] = [
        ("the first 100 bytes are zeros", |bytes| bytes[..100].fill(0)),
        ("the first page is zeros", |bytes| bytes[..4_096].fill(0)),
        ("half of it is missing", |bytes| bytes.truncate(bytes.len() / 2)),
    ];
    for (what, damage) in damages {
        three.b.stop();
        let mut bytes = fs::read(store_file(&three.b)).unwrap();
        damage(&mut bytes);
        fs::write(store_file(&three.b), &bytes).unwrap();
        let mark = three.b.stderr().mark();
        three.b.restart();
        three.b.wait_log(mark, "store.db.damaged-", PATIENCE);
        three.assert_all_hold(&expected, what);
        let mut asides: Vec<_> = fs::read_dir(three.b.data_dir())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        asides.retain(|path| path.to_string_lossy().contains("store.db.damaged-"));
        asides.sort();
        assert!(
            fs::read(asides.last().unwrap()).unwrap() == bytes,
            "{what}: it was changed"
        );
    }
}
