//! `export` and `import`: between stores, with and without a node, byte for byte; what is wrong in a file, and what became of the rest.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{directory, shell, shell_with, start};

/// Keys and values of all kinds, in the order of the keys.
fn fill(data: &Path) {
    let zeros = "AA==";
    for arguments in [
        &["add", "a", "plain"][..],
        &["add", "--empty", "b"],
        &["add", "--value-b64", "/wANCg==", "c"],
        &["add", "--value-b64", zeros, "d"],
        &["add", "e", "ü\t\"quoted\", 'and'\nlines\r\n"],
        &["add", "f", "old"],
        &["delete", "f"],
    ] {
        assert_eq!(shell(data, arguments).code, 0, "{arguments:?}");
    }
}

/// All values of a store, as bytes.
fn content(data: &Path) -> Vec<u8> {
    shell(data, &["list", "-0"]).stdout
}

#[test]
fn a_round_trip_is_byte_for_byte_with_and_without_a_node() {
    let (place, data) = directory();
    fill(&data);
    let expected = content(&data);
    assert!(!expected.is_empty());
    for with_node in [false, true] {
        let node = with_node.then(|| start(&data));
        for format in ["ndjson", "json", "csv"] {
            let file = place.path().join(format!("{with_node}.{format}"));
            let file = file.to_str().unwrap();
            let exported = shell(&data, &["export", file, "--json"]);
            let bytes = fs::metadata(file).unwrap().len();
            assert_eq!(
                exported.text(),
                format!("{{\"exported\":5,\"bytes\":{bytes}}}\n"),
                "{exported:?}"
            );
            let mode = fs::metadata(file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "only its owner reads it");
            let to_standard = shell(&data, &["export", "--format", format]);
            assert_eq!(
                to_standard.stdout,
                fs::read(file).unwrap(),
                "the same on standard output"
            );
            let other = place.path().join(format!("{with_node}-{format}"));
            let target = with_node.then(|| start(&other));
            let imported = shell(&other, &["import", file, "--json"]);
            assert_eq!(
                imported.text(),
                "{\"imported\":5,\"kept\":0,\"skipped\":0}\n",
                "{imported:?}"
            );
            assert_eq!(content(&other), expected, "{format}");
            let again = shell_with(
                &other,
                &["import", "-f", format, "--json", "-"],
                &fs::read(file).unwrap(),
            );
            assert_eq!(again.text(), "{\"imported\":0,\"kept\":5,\"skipped\":0}\n", "{again:?}");
            drop(target);
        }
        drop(node);
    }
    let left: Vec<_> = fs::read_dir(place.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        left.iter().all(|name| !name.to_string_lossy().contains(".part")),
        "{left:?}"
    );
}

/// What was written, or deleted, after the file was made stays.
#[test]
fn with_overwrite_older_a_file_replaces_only_what_is_older_than_its_records() {
    let (place, data) = directory();
    fill(&data);
    let file = place.path().join("all.ndjson");
    let file = file.to_str().unwrap();
    assert_eq!(shell(&data, &["export", "--deleted", file]).code, 0);
    assert_eq!(fs::read_to_string(file).unwrap().lines().count(), 6);
    shell(&data, &["delete", "a"]);
    shell(&data, &["add", "b", "newer"]);
    let imported = shell(&data, &["import", "--overwrite", "older", file]);
    assert_eq!(imported.code, 0, "{imported:?}");
    assert_eq!(shell(&data, &["get", "a"]).code, 3, "it was deleted since");
    assert_eq!(shell(&data, &["get", "b"]).stdout, b"newer");
    let other = place.path().join("other");
    shell(&other, &["add", "f", "from before"]);
    let dated = fs::read_to_string(file)
        .unwrap()
        .replace("\"timestamp\":\"20", "\"timestamp\":\"21");
    let later = place.path().join("later.ndjson");
    fs::write(&later, dated).unwrap();
    let tried = shell(
        &other,
        &[
            "import",
            "--dry-run",
            "--json",
            "--overwrite",
            "older",
            later.to_str().unwrap(),
        ],
    );
    assert_eq!(
        tried.text(),
        "{\"imported\":6,\"kept\":0,\"skipped\":0,\"dry_run\":true}\n",
        "{tried:?}"
    );
    assert_eq!(
        shell(&other, &["get", "f"]).stdout,
        b"from before",
        "a dry run changes nothing"
    );
    let imported = shell(&other, &["import", "--overwrite", "older", later.to_str().unwrap()]);
    assert_eq!(imported.code, 0, "{imported:?}");
    assert_eq!(
        shell(&other, &["get", "f"]).code,
        3,
        "the deletion in the file is later"
    );
    let stamped = shell(&other, &["get", "--json", "a"]).text();
    assert!(
        !stamped.contains("\"timestamp\":\"21"),
        "an import is a write of now: {stamped}"
    );
    let usage = shell_with(&other, &["import", "-f", "csv", "--overwrite", "older"], b"key,value\n");
    assert_eq!(usage.code, 2, "{usage:?}");
}

#[test]
fn a_line_that_is_wrong_in_the_middle_of_many_is_told_and_what_came_before_it_stays() {
    let (place, data) = directory();
    let _node = start(&data);
    let mut text = String::from("\u{feff}");
    for number in 0..5_000 {
        text.push_str(&format!("{{\"key\":\"k{number:04}\",\"value\":\"v\"}}\r\n"));
        if number == 3_210 {
            text.push_str("{\"key\":\"half\r\n");
        }
    }
    let file = place.path().join("many.jsonl");
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let stopped = shell(&data, &["import", file]);
    assert_eq!(stopped.code, 8, "{stopped:?}");
    assert!(stopped.stderr.contains("Line 3212: "), "{stopped:?}");
    assert!(
        stopped.stderr.contains("The 3211 records imported before it stay"),
        "{stopped:?}"
    );
    assert_eq!(shell(&data, &["list", "--count"]).text(), "3211\n");
    let skipped = shell(&data, &["import", "--on-error", "skip", "--json", file]);
    assert_eq!(skipped.code, 8, "{skipped:?}");
    let text = skipped.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("{\"skipped_line\":3212,"), "{text}");
    assert_eq!(lines[1], "{\"imported\":1789,\"kept\":3211,\"skipped\":1}");
    assert_eq!(shell(&data, &["list", "--count"]).text(), "5000\n");
}

#[test]
fn variables_are_exported_where_all_readers_agree_about_them() {
    let (place, data) = directory();
    for (key, value) in [("app/NAME", "x y"), ("app/PORT", "4002"), ("other", "1")] {
        shell(&data, &["add", key, value]);
    }
    let file = place.path().join(".env");
    let name = file.to_str().unwrap();
    let exported = shell(&data, &["export", "--prefix", "app/", "--strip-prefix", "app/", name]);
    assert_eq!(exported.code, 0, "{exported:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "NAME='x y'\nPORT=4002\n");
    let other = place.path().join("other");
    let imported = shell(&other, &["import", "--prefix", "app/", name]);
    assert_eq!(imported.code, 0, "{imported:?}");
    assert_eq!(shell(&other, &["get", "app/NAME"]).stdout, b"x y");
    shell(&data, &["add", "app/BAD", "a\\'b"]);
    let refused = shell(&data, &["export", "--prefix", "app/", "--strip-prefix", "app/", name]);
    assert_eq!(refused.code, 8, "{refused:?}");
    assert!(refused.stderr.contains("BAD: "), "it names the key: {refused:?}");
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        "NAME='x y'\nPORT=4002\n",
        "the file is the one before"
    );
    let unnamed = shell(&data, &["export", "--format", "env", "--strip-prefix", "app/"]);
    assert_eq!(unnamed.code, 8, "a key without the prefix: {unnamed:?}");
    let which = shell(&data, &["export", place.path().join("x.bin").to_str().unwrap()]);
    assert_eq!(which.code, 2, "{which:?}");
}
