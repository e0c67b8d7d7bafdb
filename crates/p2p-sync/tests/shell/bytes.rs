//! Keys and values pass through the shell byte for byte, both ways.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::{directory, shell, shell_with, start};

/// Every byte, many times over, as many as a value may have.
fn largest() -> Vec<u8> {
    (0..65_536_u32).map(|n| ((n * 31 + n / 256) % 256) as u8).collect()
}

const KEYS: &[&str] = &[
    "a/b/c",
    "100%",
    "%2F",
    "a b  c",
    "🦀/крабъ",
    ".hidden",
    "..",
    "-dash",
    "--json",
    "a\"b'c`d$e",
    "*",
    "~",
    "a=b&c?d#e",
    "电灯",
    "0",
];

fn pass_through(directory: &Path) {
    let value = largest();
    let added = shell_with(directory, &["add", "largest", "-"], &value);
    assert_eq!(added.code, 0, "{}", added.stderr);
    assert_eq!(shell(directory, &["get", "largest"]).stdout, value);
    let too_large = shell_with(directory, &["add", "largest", "-"], &[&value[..], b"x"].concat());
    assert_eq!(too_large.code, 8, "{too_large:?}");
    assert_eq!(shell(directory, &["get", "largest"]).stdout, value, "it is still there");

    let file = directory.with_extension("value");
    std::fs::write(&file, &value).unwrap();
    let file = file.into_os_string();
    let words = ["add".into(), "--file".into(), file, "from file".into()];
    assert_eq!(shell::<OsString>(directory, &words).code, 0);
    assert_eq!(shell(directory, &["get", "from file"]).stdout, value);

    for (at, key) in KEYS.iter().enumerate() {
        let value = OsString::from_vec([&[0xff, 0xfe, b' ', b'\n'], at.to_string().as_bytes()].concat());
        let words = ["add".into(), "--".into(), OsString::from(key), value.clone()];
        let added = shell::<OsString>(directory, &words);
        assert_eq!(added.code, 0, "{key}: {}", added.stderr);
        let got = shell(directory, &["get", "--", key]);
        assert_eq!(got.stdout, value.into_vec(), "{key}");
    }
    let listed = shell(directory, &["list", "--keys-only", "-0"]).text();
    let mut expected: Vec<&str> = KEYS.iter().copied().chain(["largest", "from file"]).collect();
    expected.sort_unstable();
    let listed: Vec<&str> = listed.trim_end_matches('\0').split('\0').collect();
    assert_eq!(listed, expected);
    for key in KEYS {
        assert_eq!(shell(directory, &["delete", "--", key]).code, 0, "{key}");
        assert_eq!(shell(directory, &["get", "--", key]).code, 3, "{key}");
    }
    let wrong = OsString::from_vec(vec![0xff]);
    let refused = shell::<OsString>(directory, &["get".into(), wrong]);
    assert_eq!(refused.code, 8, "{refused:?}");
}

#[test]
fn on_the_store_itself() {
    let (_parent, directory) = directory();
    pass_through(&directory);
}

#[test]
fn by_the_node() {
    let (_parent, directory) = directory();
    let _node = start(&directory);
    pass_through(&directory);
}

/// A list is longer than a page and than a pipe.
#[test]
fn a_long_list_comes_whole_either_way() {
    let (_parent, directory) = directory();
    let lines: String = (0..1_700)
        .map(|n| format!("add k{n:04} {}\n", "v".repeat(100)))
        .collect();
    let node = super::Launch::new(super::PROGRAM)
        .label("node")
        .no_lan()
        .data_dir(&directory)
        .start();
    node.process().send(lines.as_bytes());
    super::until("all are stored", || {
        shell(&directory, &["list", "--count"]).text() == "1700\n"
    });
    let by_the_node = shell(&directory, &["list"]);
    assert_eq!(by_the_node.text().lines().count(), 1_700);
    let limited = shell(&directory, &["list", "--limit", "1200", "--keys-only"]).text();
    assert_eq!(limited.lines().last(), Some("k1199"));
    node.stop();
    assert_eq!(shell(&directory, &["list"]).stdout, by_the_node.stdout);
}
