//! Backups: of a node that is written to, by itself and when asked, and what comes of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{directory, launch, shell, start, until};

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// What was deleted, or changed, after the backup does not return with it: the other nodes say so.
#[test]
fn a_restored_node_gets_from_its_peers_what_was_changed_since_and_nothing_deleted_returns() {
    let (place, data) = directory();
    let a = start(&data);
    for (key, value) in [("kept", "1"), ("changed", "old"), ("deleted", "1")] {
        shell(&data, &["add", key, value]);
    }
    let file = place.path().join("backup.db");
    let name = file.to_str().unwrap();
    let made = shell(&data, &["backup", name, "--json"]);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(made.text().contains("\"records\":3,"), "{made:?}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(shell(&data, &["backup", name]).code, 6, "it is there already");
    shell(&data, &["add", "changed", "new"]);
    shell(&data, &["delete", "deleted"]);
    let restored = place.path().join("restored");
    let told = shell(&restored, &["restore-backup", name, "--json"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.text().contains("{\"records\":3,\"damaged\":0,"), "{told:?}");
    assert!(!told.text().contains(&a.peer_id()), "it is another node: {told:?}");
    assert_eq!(
        shell(&restored, &["get", "deleted"]).stdout,
        b"1",
        "as it was at the backup"
    );
    assert_eq!(shell(&restored, &["restore-backup", name]).code, 6, "it has a store");
    let b = launch(&restored)
        .peer(&format!("/ip4/127.0.0.1/tcp/{}", a.port()))
        .start();
    until("the restored node hears of the deletion", || {
        shell(&restored, &["get", "deleted"]).code == 3
    });
    until("the restored node hears of the change", || {
        shell(&restored, &["get", "changed"]).stdout == b"new"
    });
    assert_eq!(shell(&data, &["get", "deleted"]).code, 3, "nothing deleted returns");
    assert_eq!(shell(&data, &["get", "changed"]).stdout, b"new");
    assert_eq!(shell(&restored, &["get", "kept"]).stdout, b"1");
    assert_eq!(shell(&data, &["conflicts"]).text(), "Keys in conflict (0):\n");
    drop(b);
}

#[test]
fn a_backup_of_a_store_that_is_written_to_is_sound() {
    let (place, data) = directory();
    let _node = start(&data);
    let writes = AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while writes.load(Ordering::Relaxed) {
                assert_eq!(shell(&data, &["add", &format!("k{number}"), "v"]).code, 0);
                number += 1;
            }
        });
        for round in 0..3 {
            let name = place.path().join(format!("{round}.db"));
            let name = name.to_str().unwrap();
            let made = shell(&data, &["backup", name]);
            assert!(made.code == 0 && made.stderr.starts_with("✓ Backed up: "), "{made:?}");
            let restored = place.path().join(format!("restored-{round}"));
            let told = shell(&restored, &["restore-backup", name]);
            assert_eq!(told.code, 0, "{told:?}");
            assert_eq!(shell(&restored, &["verify"]).code, 0);
        }
        writes.store(false, Ordering::Relaxed);
    });
}

#[test]
fn what_is_no_backup_is_refused_and_leaves_nothing() {
    let (place, data) = directory();
    shell(&data, &["add", "k", "v"]);
    let good = place.path().join("good.db");
    assert_eq!(
        shell(&data, &["backup", good.to_str().unwrap()]).code,
        0,
        "without a node, too"
    );
    let mut bytes = fs::read(&good).unwrap();
    bytes.truncate(bytes.len() / 2);
    let bad = place.path().join("bad.db");
    fs::write(&bad, bytes).unwrap();
    for file in [bad.to_str().unwrap(), "/dev/null/missing", "/etc/passwd"] {
        let target = place.path().join("target");
        let told = shell(&target, &["restore-backup", file]);
        assert!(told.code != 0, "{told:?}");
        assert!(
            !names(&target).iter().any(|name| name.starts_with("store.db")),
            "{:?}",
            names(&target)
        );
        assert_eq!(shell(&target, &["list"]).code, 3, "there is no store");
    }
    let nowhere = shell(&data, &["backup", "/dev/null/x.db"]);
    assert!(
        nowhere.code != 0 && nowhere.stderr.contains("/dev/null/x.db"),
        "{nowhere:?}"
    );
}

#[test]
fn a_running_node_makes_backups_by_itself_and_keeps_the_newest() {
    let (place, data) = directory();
    let backups = place.path().join("backups");
    let node = launch(&data)
        .argument("--backup-dir")
        .argument(backups.to_str().unwrap())
        .argument("--backup-every")
        .argument("1s")
        .argument("--backup-keep")
        .argument("2")
        .start();
    let complete = || {
        let mut complete: Vec<String> = names(&backups)
            .into_iter()
            .filter(|name| name.ends_with(".db"))
            .collect();
        complete.sort();
        complete
    };
    until("there is a first one", || !complete().is_empty());
    let first = complete().remove(0);
    until("it made room for others", || {
        let complete = complete();
        complete.len() >= 2 && !complete.contains(&first)
    });
    drop(node);
    let complete = complete();
    // It may have ended between making one and removing the oldest.
    assert!((2..=3).contains(&complete.len()), "{complete:?}");
    let newest = backups.join(complete.last().unwrap());
    let restored = place.path().join("restored");
    assert_eq!(shell(&restored, &["restore-backup", newest.to_str().unwrap()]).code, 0);
}
