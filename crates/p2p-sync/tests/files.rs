//! What becomes of a node whose files somebody meddles with, while it runs or before it starts: it is told, nothing is
//! acknowledged that would be lost, and no file of somebody else is written to. Needs neither root nor a network.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use p2p_sync_testbed::{Launch, Node, Stdin, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2p-sync");
const PATIENCE: Duration = Duration::from_secs(30);
/// The exit code for everything about the store.
const STORAGE: Option<i32> = Some(9);

/// A node by itself: no discovery, any free port.
fn launch(label: &str) -> Launch {
    Launch::new(PROGRAM).label(label).no_lan()
}

fn file(node: &Node, name: &str) -> PathBuf {
    node.data_dir().join(name)
}

/// A store with one key, as a copy that somebody kept.
fn copy_of_a_store() -> Vec<u8> {
    let node = launch("copied").start();
    node.add("copied", "1");
    node.stop();
    fs::read(file(&node, "store.db")).unwrap()
}

fn replace(file: &Path, content: &[u8]) {
    let fresh = file.with_file_name("fresh");
    fs::write(&fresh, content).unwrap();
    fs::rename(fresh, file).unwrap();
}

/// Writes until it is refused; how many writes were acknowledged before.
fn writes_acknowledged(node: &Node) -> usize {
    for number in 0..30 {
        let reply = node.json(&format!("add --json later{number} 1"));
        if reply.get("error").is_some() {
            assert_eq!(reply["code"], 9, "{reply}");
            return number;
        }
    }
    panic!("30 of 30 writes were acknowledged");
}

/// The node ends with the code for storage, and says so with the inode of the file that it had.
#[track_caller]
fn assert_ends(node: &Node, name: &str, inode: u64) {
    assert_eq!(node.wait_exit(PATIENCE).code(), STORAGE);
    node.wait_log(0, &format!("{name} was "), PATIENCE);
    node.wait_log(0, &format!("inode {inode}"), PATIENCE);
    node.wait_log(0, "nothing more is stored", PATIENCE);
}

#[test]
fn no_write_is_acknowledged_into_a_file_that_was_taken_away() {
    let copy = copy_of_a_store();
    type Deed = fn(&Path, &[u8]);
    let deeds: [(&str, &str, Deed); 9] = [
        ("removed", "store.db", |file, _| fs::remove_file(file).unwrap()),
        ("moved", "store.db", |file, _| {
            fs::rename(file, file.with_file_name("elsewhere")).unwrap()
        }),
        ("replaced", "store.db", replace),
        ("overwritten with nothing", "store.db", |file, _| {
            fs::write(file, "").unwrap()
        }),
        ("moved behind a link", "store.db", |file, _| {
            fs::rename(file, file.with_file_name("elsewhere")).unwrap();
            std::os::unix::fs::symlink("elsewhere", file).unwrap();
        }),
        ("emptied", "store.db-wal", |file, _| fs::write(file, "").unwrap()),
        ("cut", "store.db-wal", |file, _| {
            let log = fs::OpenOptions::new().write(true).open(file).unwrap();
            log.set_len(log.metadata().unwrap().len() - 1).unwrap();
        }),
        ("removed", "store.db-wal", |file, _| fs::remove_file(file).unwrap()),
        ("removed", "store.db-shm", |file, _| fs::remove_file(file).unwrap()),
    ];
    for (what, name, deed) in deeds {
        let node = launch(&format!("{name} {what}")).start();
        node.add("before", "1");
        let path = file(&node, name);
        let inode = fs::metadata(&path).unwrap().ino();
        deed(&path, &copy);
        assert_eq!(writes_acknowledged(&node), 0, "{name} {what}");
        assert_ends(&node, name, inode);
        match what {
            "replaced" => assert!(fs::read(&path).unwrap() == copy, "the new file was written to"),
            "overwritten with nothing" => assert_eq!(fs::read(&path).unwrap(), b""),
            "moved behind a link" => {
                node.restart();
                assert_eq!(node.get("before").as_deref(), Some("1"), "the link is followed");
            }
            "emptied" | "cut" => {
                node.wait_log(0, "So are the newest of the earlier writes", PATIENCE);
            }
            _ if name == "store.db" => assert!(!path.exists(), "one was made in its place"),
            _ => {
                node.restart();
                assert_eq!(
                    node.get("before").as_deref(),
                    Some("1"),
                    "{name} {what}: nothing is lost"
                );
            }
        }
        if what == "replaced" {
            node.restart();
            assert_eq!(node.get("copied").as_deref(), Some("1"), "the copy is in use now");
            assert_eq!(node.json("verify --json")["damaged"], 0);
        }
    }
}

/// SQLite itself would go on and, after a crash, read the log only as far as it is sound.
#[test]
fn no_write_is_lost_to_a_log_that_was_damaged_under_the_node() {
    type Deed = fn(&fs::File);
    let deeds: [(&str, bool, Deed); 3] = [
        ("its head overwritten", true, |log| {
            log.write_all_at(&[0; 32], 0).unwrap()
        }),
        ("another log's head", true, |log| {
            log.write_all_at(&[0x5a; 32], 0).unwrap()
        }),
        ("a part overwritten", false, |log| {
            let from = log.metadata().unwrap().len() / 3;
            log.write_all_at(&[0; 20_000], from).unwrap();
        }),
    ];
    for (what, is_harmless, deed) in deeds {
        let node = launch(what).start();
        for number in 0..60 {
            node.add(&format!("early{number}"), &"v".repeat(500));
        }
        let log = fs::OpenOptions::new()
            .write(true)
            .open(file(&node, "store.db-wal"))
            .unwrap();
        let mark = node.stderr().mark();
        deed(&log);
        if !is_harmless {
            // All of the log is read every few seconds.
            node.wait_log(mark, "another program damaged its write-ahead log", PATIENCE);
            node.wait_log(mark, "The store has been repaired", PATIENCE);
        }
        for number in 0..10 {
            node.add(&format!("late{number}"), "1");
        }
        if is_harmless {
            node.wait_log(mark, "Nothing is lost", PATIENCE);
        }
        node.kill9();
        node.restart();
        for number in 0..10 {
            assert_eq!(node.get(&format!("late{number}")).as_deref(), Some("1"), "{what}");
        }
        let verified = node.json("verify --json");
        assert_eq!(verified["damaged"], 0, "{what}: {verified}");
        if is_harmless {
            assert_eq!(verified["records"], 70, "{what}: {verified}");
        }
    }
}

/// SQLite would mix the pages of the log with those of a file of another time.
#[test]
fn a_copy_that_is_restored_beside_the_log_of_a_killed_node_is_refused_with_what_to_do() {
    let node = launch("node").start();
    node.add("old", "1");
    node.stop();
    let copy = fs::read(file(&node, "store.db")).unwrap();
    node.restart();
    for number in 0..50 {
        node.add(&format!("moved{number}"), "1");
    }
    node.stop();
    node.restart();
    for number in 0..3 {
        node.add(&format!("logged{number}"), "1");
    }
    node.kill9();
    let path = file(&node, "store.db");
    let right = fs::read(&path).unwrap();
    fs::write(&path, &copy).unwrap();
    let refused = launch("copy").data_dir(node.data_dir()).spawn();
    assert_refuses(
        &refused,
        &[
            "do not belong together",
            "store.db-wal",
            "move the log away",
            "Put back the store",
        ],
    );
    assert!(fs::read(&path).unwrap() == copy, "it was left untouched");
    // Both ways out that the message names.
    fs::write(&path, right).unwrap();
    node.restart();
    assert_eq!(node.get("logged2").as_deref(), Some("1"));
    node.kill9();
    fs::write(&path, &copy).unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(file(&node, &format!("store.db{suffix}")));
    }
    node.restart();
    assert_eq!(node.get("old").as_deref(), Some("1"));
    assert_eq!(node.json("verify --json")["damaged"], 0);
}

/// SQLite maps the index of the log into memory, and the system ends a process that looks into a page which is no more.
#[test]
fn a_truncated_index_of_the_log_ends_the_node_and_costs_nothing() {
    let node = launch("node").start();
    for number in 0..20 {
        node.add(&format!("early{number}"), "1");
    }
    fs::OpenOptions::new()
        .write(true)
        .open(file(&node, "store.db-shm"))
        .unwrap()
        .set_len(0)
        .unwrap();
    assert_eq!(node.wait_exit(PATIENCE).code(), None, "a signal");
    node.restart();
    let verified = node.json("verify --json");
    assert_eq!((&verified["records"], &verified["damaged"]), (&20.into(), &0.into()));
    assert_eq!(node.get("early19").as_deref(), Some("1"));
}

/// A store may be a link from the start. Everything that belongs to it then lies beside the file that it leads to.
#[test]
fn a_store_behind_a_link_keeps_what_was_acknowledged() {
    let node = launch("link").start();
    node.add("first", "1");
    node.stop();
    let disk = node.data_dir().join("disk");
    fs::create_dir(&disk).unwrap();
    let path = file(&node, "store.db");
    fs::rename(&path, disk.join("store.db")).unwrap();
    std::os::unix::fs::symlink("disk/store.db", &path).unwrap();
    for round in 0..2 {
        node.restart();
        node.add(&format!("key{round}"), "1");
        let log = |at: &Path| fs::metadata(at.join("store.db-wal")).map_or(0, |log| log.len());
        assert!(log(&disk) > 0 && log(node.data_dir()) == 0);
        let bytes = node.status()["store"]["log_bytes"].as_u64();
        assert!(bytes > Some(0), "{bytes:?}");
        node.kill9();
    }
    node.restart();
    for key in ["first", "key0", "key1"] {
        assert_eq!(node.get(key).as_deref(), Some("1"), "{key}");
    }
    // A link that leads elsewhere is a replaced store.
    let inode = fs::metadata(&path).unwrap().ino();
    fs::write(disk.join("other.db"), copy_of_a_store()).unwrap();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("disk/other.db", &path).unwrap();
    assert_eq!(writes_acknowledged(&node), 0);
    assert_ends(&node, "store.db", inode);
    node.restart();
    assert_eq!(node.get("copied").as_deref(), Some("1"));
}

/// The inode stays the same, and an older copy is sound in itself.
#[test]
fn a_copy_written_over_the_file_is_noticed_and_everything_read_anew() {
    let node = launch("node").start();
    node.add("old", "1");
    node.stop();
    let copy = fs::read(file(&node, "store.db")).unwrap();
    node.restart();
    for number in 0..100 {
        node.add(&format!("key {number}"), &"v".repeat(500));
    }
    // So that nothing of it is left in the log.
    node.stop();
    node.restart();
    let mark = node.stderr().mark();
    fs::write(file(&node, "store.db"), &copy).unwrap();
    // Where the copy does not fit what SQLite remembers of the file, that is damage.
    wait_until("it is told", PATIENCE, || {
        let log = node.stderr().lines_from(mark);
        log.iter().any(|line| {
            let line = String::from_utf8_lossy(line);
            line.contains("a program that does not use SQLite") || line.contains("The store has been repaired")
        })
    });
    node.add("late", "1");
    assert_eq!(node.json("verify --json")["records"], 2);
    assert_eq!(node.json("verify --json")["summary_was_right"], true);
    // Whatever is told of the file after a crash is told of what is in it.
    node.kill9();
    node.restart();
    assert_eq!(
        (node.get("old").as_deref(), node.get("late").as_deref()),
        (Some("1"), Some("1"))
    );
    let verified = node.json("verify --json");
    assert_eq!(
        (&verified["summary_was_right"], &verified["records"]),
        (&true.into(), &2.into())
    );
}

/// The number of the process is in a file that anybody may remove.
#[test]
fn a_data_directory_is_held_even_if_its_lock_file_is_removed() {
    let node = launch("node").start();
    fs::remove_file(file(&node, "lock")).unwrap();
    let second = launch("second").data_dir(node.data_dir()).spawn();
    assert_eq!(second.wait_exit(PATIENCE).code(), Some(10));
    second.wait_log(0, "is in use by another p2p-sync", PATIENCE);
    node.add("still", "1");
    node.stop();
    node.restart();
    assert_eq!(node.get("still").as_deref(), Some("1"));
}

/// The program as a user whom the system refuses something: as root, it starts as nobody.
fn refused_by_the_system(directory: &Path) -> (Option<i32>, String) {
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65_534;
    let is_root = fs::metadata(directory).unwrap().uid() == 0;
    // Nobody may not look into the directory in which it was built.
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("p2p-sync");
    let mut command = if is_root {
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(PROGRAM, &program).unwrap();
        let mut command = std::process::Command::new(&program);
        command.uid(NOBODY).gid(NOBODY);
        std::os::unix::fs::chown(directory, Some(NOBODY), Some(NOBODY)).unwrap();
        for entry in fs::read_dir(directory).unwrap() {
            std::os::unix::fs::chown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        command
    } else {
        std::process::Command::new(PROGRAM)
    };
    command
        .args(["start", "--port", "0", "--no-lan", "--data-dir"])
        .arg(directory);
    let ended = command.stdin(std::process::Stdio::piped()).output().unwrap();
    (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
}

#[test]
fn a_file_that_may_not_be_read_and_written_is_named_with_what_to_do() {
    for (name, mode) in [
        ("store.db", 0o000),
        ("store.db", 0o400),
        ("store.db-wal", 0o000),
        ("store.db-shm", 0o000),
        ("lock", 0o000),
        ("identity.key", 0o000),
    ] {
        let node = launch(name).start();
        node.stop();
        let path = file(&node, name);
        if !path.exists() {
            fs::write(&path, "").unwrap();
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let (code, errors) = refused_by_the_system(node.data_dir());
        assert_eq!(code, Some(7), "{name}: {errors}");
        assert!(errors.contains(name), "{name}: {errors}");
        let says_what_to_do = ["check the permissions", "Check who owns it"];
        assert!(
            says_what_to_do.iter().any(|words| errors.contains(words)),
            "{name}: {errors}"
        );
    }
}

/// Also by a service to which nobody writes.
#[test]
fn a_node_that_writes_nothing_notices_it_too() {
    let node = launch("idle").stdin(Stdin::Null).start();
    let path = file(&node, "store.db");
    let inode = fs::metadata(&path).unwrap().ino();
    fs::remove_file(&path).unwrap();
    assert_ends(&node, "store.db", inode);
}

/// The end of a node that does not start, with the code for storage and these words in what it says.
#[track_caller]
fn assert_refuses(node: &Node, words: &[&str]) {
    assert_eq!(node.wait_exit(PATIENCE).code(), STORAGE);
    for word in words {
        node.wait_log(0, word, PATIENCE);
    }
}

#[test]
fn a_store_that_was_put_aside_is_not_said_to_be_left_where_it_was() {
    let node = launch("node").peer("/ip4/127.0.0.1/tcp/1").start();
    node.add("lost", "1");
    node.stop();
    fs::write(file(&node, "store.db"), vec![0; 20_000]).unwrap();
    let mark = node.stderr().mark();
    node.restart();
    node.wait_log(mark, "and was moved aside. A new store replaces it", PATIENCE);
    let log = node.stderr().tail(20);
    assert!(!log.contains("was left untouched"), "{log}");
    assert_eq!(node.get("lost"), None);
}

#[test]
fn an_emptied_store_and_a_missing_identity_are_told_with_the_choice() {
    let node = launch("node").start();
    let id = node.peer_id();
    node.add("kept", "1");
    node.stop();
    let (store, identity) = (file(&node, "store.db"), file(&node, "identity.key"));
    let (content, key) = (fs::read(&store).unwrap(), fs::read(&identity).unwrap());

    fs::write(&store, "").unwrap();
    node.spawn_again();
    assert_refuses(&node, &["store.db is empty", "Restore a copy", "move it away"]);
    assert_eq!(fs::read(&store).unwrap(), b"", "it was left as it is");

    fs::remove_file(&store).unwrap();
    node.restart();
    node.wait_log(0, "store.db is missing, but this node has an identity", PATIENCE);
    assert_eq!((node.get("kept"), node.peer_id()), (None, id.clone()));
    node.stop();

    fs::write(&store, content).unwrap();
    fs::remove_file(&identity).unwrap();
    node.spawn_again();
    assert_refuses(&node, &["identity.key is missing", "Restore it", "--new-identity"]);
    assert!(!identity.exists(), "none is made without being asked for");

    let again = |label: &str| launch(label).data_dir(node.data_dir());
    let fresh = again("new identity").argument("--new-identity").start();
    assert_ne!(fresh.peer_id(), id);
    assert_eq!(fresh.get("kept").as_deref(), Some("1"), "the data is kept");
    let new = fresh.peer_id();
    fresh.stop();
    let fresh = again("new identity again").argument("--new-identity").start();
    assert_eq!(fresh.peer_id(), new, "one that is there stays");
    fresh.stop();
    fs::write(&identity, key).unwrap();
    node.restart();
    assert_eq!(node.peer_id(), id);
}

/// Changes a value in the file of a node that is stopped, as a disk may do.
fn rot(node: &Node, value: &str) {
    let store = file(node, "store.db");
    let mut bytes = fs::read(&store).unwrap();
    let at = bytes
        .windows(value.len())
        .position(|window| window == value.as_bytes())
        .unwrap();
    bytes[at] ^= 1;
    fs::write(&store, bytes).unwrap();
}

#[test]
fn a_value_that_has_changed_on_the_disk_is_never_shown() {
    let node = launch("node").start();
    for key in ["shown", "listed", "overwritten", "deleted", "sound"] {
        node.add(key, &format!("the value of {key}"));
    }
    node.stop();
    for key in ["shown", "listed", "overwritten", "deleted"] {
        rot(&node, &format!("the value of {key}"));
    }
    node.restart();
    for _ in 0..2 {
        let reply = node.json("get --json shown");
        assert_eq!(reply["code"], 9, "{reply}");
        assert!(reply["error"].as_str().unwrap().contains("damaged_row"), "{reply}");
    }
    node.add("overwritten", "anew");
    assert_eq!(
        node.command("delete deleted"),
        "✓ Deleted: deleted",
        "what others have of it, too"
    );
    assert_eq!(
        node.lines("list"),
        [
            "Stored items (2):",
            "  overwritten = anew",
            "  sound = the value of sound"
        ],
        "nothing that is wrong is listed"
    );
    node.wait_log(0, "Moved a damaged record", PATIENCE);
    assert_eq!(node.status()["sync"]["repaired"], 4);
    assert_eq!(node.json("verify --json")["damaged"], 0);
}

/// What somebody types into an SQLite shell.
fn sql(node: &Node, script: &str) {
    let connection = rusqlite::Connection::open(file(node, "store.db")).unwrap();
    connection.execute_batch(script).unwrap();
}

#[test]
fn what_another_program_drops_is_made_again_or_told() {
    let node = launch("node").start();
    node.add("kept", "1");
    sql(&node, "DROP INDEX kv_store_item");
    node.add("more", "2");
    node.stop();
    node.restart();
    node.wait_log(0, "dropped or changed an index", PATIENCE);
    assert_eq!(node.get("kept").as_deref(), Some("1"));
    assert_eq!(node.json("verify --json")["damaged"], 0);

    sql(&node, "DROP TABLE kv_store");
    let reply = node.json("add --json later 1");
    assert_eq!(reply["code"], 9, "{reply}");
    assert!(
        reply["error"].as_str().unwrap().contains("nothing was stored"),
        "{reply}"
    );
    node.wait_log(0, "Cannot repair the store", PATIENCE);
    // Whoever asks is told why, and need not wait for the next attempt.
    for _ in 0..2 {
        let reply = node.json("verify --json");
        assert_eq!(reply["code"], 9, "{reply}");
        assert!(reply["error"].as_str().unwrap().contains("restore a copy"), "{reply}");
    }
}

#[test]
fn a_store_that_cannot_be_read_stays_where_it_is_if_nobody_can_fill_another() {
    let node = launch("node").start();
    for number in 0..50 {
        node.add(&format!("key {number}"), &"v".repeat(4_000));
    }
    node.stop();
    let store = file(&node, "store.db");
    let whole = fs::read(&store).unwrap();
    for (what, content) in [
        ("half of it", whole[..whole.len() / 2].to_vec()),
        ("a header of zeros", [vec![0; 4_096], whole[4_096..].to_vec()].concat()),
    ] {
        fs::write(&store, &content).unwrap();
        node.spawn_again();
        assert_refuses(&node, &["is damaged", "restore a copy"]);
        assert!(fs::read(&store).unwrap() == content, "{what} was changed");
    }
    fs::write(&store, &whole).unwrap();
    node.restart();
    assert_eq!(node.get("key 7"), Some("v".repeat(4_000)));
}
