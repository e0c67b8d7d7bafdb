//! Breaks the sync on purpose, in one place after another, and sees that its tests notice: a check that cannot fail is
//! decoration. Slow, since each break is compiled: `cargo test -p p2p-sync-core --test sync_breaks -- --ignored`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One break: what goes wrong, in which file of `src`, which text, and what it becomes.
struct Break {
    what: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

const BREAKS: &[Break] = &[
    Break {
        what: "merge always overwrites",
        file: "record.rs",
        from: "match incoming.precedence(held) {",
        to: "match Ordering::Greater {",
    },
    Break {
        what: "the losing version travels",
        file: "sync/plan.rs",
        from: "newest(from) >= newest(to)",
        to: "newest(from) <= newest(to)",
    },
    Break {
        what: "of two versions of one instant none travels",
        file: "sync/plan.rs",
        from: "newest(from) >= newest(to)",
        to: "newest(from) > newest(to)",
    },
    Break {
        what: "keys that share a hash are taken for one",
        file: "sync/plan.rs",
        from: "let several_keys = mine.len() > 1 || theirs.len() > 1;",
        to: "let several_keys = false;",
    },
    Break {
        what: "what is ahead of the receiver's clock is planned for",
        file: "sync/plan.rs",
        from: "ahead < items.len()",
        to: "true",
    },
    Break {
        what: "what is ahead of our clock is taken in",
        file: "sync/session.rs",
        from: "records.retain(|record| record.timestamp <= horizon);",
        to: "",
    },
    Break {
        what: "everything is called equal",
        file: "sync/asking.rs",
        from: "if after_all.digests.0 == after_all.digests.1 {",
        to: "if after_all.digests.0 == after_all.digests.1 || after == After::Exchange {",
    },
    Break {
        what: "the answering side keeps its records to itself",
        file: "sync/answering.rs",
        from: "        shared.send_records(plan.send)?;\n",
        to: "",
    },
    Break {
        what: "the asking side keeps its records to itself",
        file: "sync/asking.rs",
        from: "        shared.send_records(plan.send)?;\n        let transfer = Transfer {\n            after,",
        to: "        let transfer = Transfer {\n            after,",
    },
    Break {
        what: "credit is never given back",
        file: "sync/credit.rs",
        from: "if self.taken_in.bytes * 2 < FULL.bytes",
        to: "if true || self.taken_in.bytes * 2 < FULL.bytes",
    },
    Break {
        what: "credit is not enforced",
        file: "sync/credit.rs",
        from: "left.ok_or(Violation(\"sends more than its credit\"))?;",
        to: "left.unwrap_or((FULL.bytes, FULL.records));",
    },
    Break {
        what: "a bulk starts from the beginning each time",
        file: "sync/session.rs",
        from: "let after = if afresh {",
        to: "let after = if true {",
    },
    Break {
        what: "a bulk skips its position's neighbours",
        file: "sync/outbox.rs",
        from: "timestamp: last.timestamp,",
        to: "timestamp: last.timestamp.saturating_add(std::time::Duration::from_millis(1)),",
    },
    Break {
        what: "cells are fetched but compared with those of our Hello's length",
        file: "sync/asking.rs",
        from: "store.summary().sketch().pieces(theirs.len())",
        to: "store.summary().sketch().pieces(64)",
    },
    Break {
        what: "fruitless rounds go on without the fallback",
        file: "sync/asking.rs",
        from: "        self.compare_ranges(shared, store)\n    }\n\n    /// Compares the records themselves, once.",
        to: "        Ok(say_delivered(shared)?)\n    }\n\n    /// Compares the records themselves, once.",
    },
    Break {
        what: "an overwritten record stays in the sketch",
        file: "summary.rs",
        from: "self.sketch.remove(old);",
        to: "",
    },
    Break {
        what: "an overwritten record stays in the set digest",
        file: "summary.rs",
        from: "self.digest.remove(old);",
        to: "",
    },
    Break {
        what: "a damaged summary is believed",
        file: "summary.rs",
        from: "if blake3::hash(content) != *checksum {",
        to: "if false {",
    },
    Break {
        what: "a cell passes for a single item without its check",
        file: "sketch.rs",
        from: "matches!(cell.count, 1 | -1) && check_and_mapping(&cell.items).0 == cell.checks",
        to: "matches!(cell.count, 1 | -1)",
    },
    Break {
        what: "what is left after peeling is overlooked",
        file: "sketch.rs",
        from: "if self.cells.iter().any(",
        to: "if false && self.cells.iter().any(",
    },
    Break {
        what: "the mapping is another one",
        file: "sketch.rs",
        from: "(here as f64 + 1.5)",
        to: "(here as f64 + 1.4)",
    },
    Break {
        what: "the digest of the set is a plain XOR",
        file: "set_digest.rs",
        from: "u16::wrapping_add",
        to: "std::ops::BitXor::bitxor",
    },
    Break {
        what: "deletions travel as empty values",
        file: "sync/page.rs",
        from: "Content::Deleted => DELETED,",
        to: "Content::Deleted => 0,",
    },
    Break {
        what: "key hashes change their byte order",
        file: "sync/wire.rs",
        from: "w.fixed(&key.bits().to_le_bytes());",
        to: "w.fixed(&key.bits().to_be_bytes());",
    },
    Break {
        what: "frames of unknown kinds end the stream",
        file: "sync/wire.rs",
        from: "_ => return Ok(None),",
        to: "_ => return Err(InvalidFrame::Short),",
    },
];

/// A copy of this crate in a workspace of its own, so that breaking it breaks nothing.
fn copy_crate() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = here.parent().and_then(Path::parent).unwrap();
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sync_breaks");
    let _ = fs::remove_dir_all(copy.join("crates"));
    copy_directory(here, &copy.join("crates/core"));
    let manifest = fs::read_to_string(workspace.join("Cargo.toml")).unwrap();
    let members = manifest.lines().find(|line| line.starts_with("members")).unwrap();
    fs::write(
        copy.join("Cargo.toml"),
        manifest.replace(members, r#"members = ["crates/core"]"#),
    )
    .unwrap();
    fs::copy(workspace.join("Cargo.lock"), copy.join("Cargo.lock")).unwrap();
    copy
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn cargo(copy: &Path, arguments: &[&str]) -> bool {
    let status = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--offline", "-q", "-p", "p2p-sync-core"])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", copy.join("target"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.unwrap().success()
}

/// Whether the tests of the sync pass, the quick ones first.
fn tests_pass(copy: &Path) -> bool {
    [
        &["test", "--lib"][..],
        &["test", "--test", "sync_wire"],
        &["test", "--test", "sync_laws"],
        &["test", "--test", "sync_simulator"],
    ]
    .iter()
    .all(|arguments| cargo(copy, arguments))
}

#[test]
#[ignore = "compiles the crate once for each break; .ci/run runs it"]
fn every_break_is_noticed() {
    let copy = copy_crate();
    assert!(tests_pass(&copy), "the tests pass while nothing is broken");
    let mut unnoticed = Vec::new();
    for one in BREAKS {
        let file = copy.join("crates/core/src").join(one.file);
        let whole = fs::read_to_string(&file).unwrap();
        assert_eq!(
            whole.matches(one.from).count(),
            1,
            "{}: the text to break is there once",
            one.what
        );
        fs::write(&file, whole.replace(one.from, one.to)).unwrap();
        assert!(cargo(&copy, &["check", "--lib"]), "{}: compiles", one.what);
        let noticed = !tests_pass(&copy);
        println!("{} {}", if noticed { "noticed  " } else { "UNNOTICED" }, one.what);
        if !noticed {
            unnoticed.push(one.what);
        }
        fs::write(&file, whole).unwrap();
    }
    assert!(unnoticed.is_empty(), "unnoticed: {unnoticed:?}");
}
