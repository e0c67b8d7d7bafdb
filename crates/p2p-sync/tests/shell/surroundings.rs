//! Odd surroundings: closed pipes, full disks, no home, no colours, no locale, narrow terminals.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use super::{command, directory, end, exit_of, shell, start};

#[test]
fn a_closed_pipe_is_no_error() {
    let (_parent, directory) = directory();
    for n in 0..40 {
        let value = "v".repeat(60_000);
        let added = shell(&directory, &["add", &format!("k{n:02}"), &value]);
        assert_eq!(added.code, 0, "{added:?}");
        if n > 4 && n % 10 != 0 {
            continue;
        }
        for words in [
            &["list"][..],
            &["list", "--json"],
            &["get", "k00"],
            &["--help"],
            &["schema", "status"],
            &["paths"],
        ] {
            let mut child = command(&directory, words).spawn().unwrap();
            let mut stdout = child.stdout.take().unwrap();
            let mut some = [0; 1];
            let _ = stdout.read(&mut some);
            drop(stdout);
            let mut stderr = String::new();
            child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
            assert!(exit_of(&mut child).success(), "{words:?}: {stderr}");
            assert_eq!(stderr, "", "{words:?}");
        }
    }
}

#[test]
fn a_full_disk_is_one() {
    let (_parent, directory) = directory();
    let node = start(&directory);
    assert_eq!(shell(&directory, &["add", "k", "v"]).code, 0);
    for words in [
        &["get", "k"][..],
        &["list"],
        &["list", "--json"],
        &["status"],
        &["--help"],
        &["--version"],
        &["help"],
        &["schema", "get"],
        &["paths"],
        &["config", "show"],
        &["completions", "bash"],
        &["watch"],
        &["add", "--json", "l", "w"],
    ] {
        let mut full = command(&directory, words);
        full.stdout(Stdio::from(File::options().write(true).open("/dev/full").unwrap()));
        let ended = end(full, b"");
        assert_eq!(ended.code, 1, "{words:?}: {ended:?}");
        assert!(
            ended.stderr.contains("Cannot write to standard output"),
            "{words:?}: {ended:?}"
        );
    }
    assert_eq!(
        shell(&directory, &["get", "l"]).text(),
        "w",
        "the command itself was carried out"
    );
    drop(node);
}

#[test]
fn without_a_home_a_data_directory_must_be_named() {
    let (_parent, directory) = directory();
    for home in ["", "/dev/null", "/nowhere"] {
        let homeless = |words: &[&str]| {
            let mut command = command(&directory, words);
            command.env("HOME", home);
            command
        };
        let added = end(homeless(&["add", "k", "v"]), b"");
        assert_eq!(added.code, 0, "{home}: {added:?}");
        assert_eq!(end(homeless(&["get", "k"]), b"").text(), "v", "{home}");
    }
}

#[test]
fn nothing_depends_on_colours_locales_or_widths() {
    let (_parent, directory) = directory();
    assert_eq!(shell(&directory, &["add", "ключ", "значение 🦀"]).code, 0);
    for (name, value) in [
        ("NO_COLOR", "1"),
        ("TERM", "dumb"),
        ("LANG", "C"),
        ("LC_ALL", "C"),
        ("COLUMNS", "20"),
        ("CLICOLOR_FORCE", "0"),
    ] {
        for words in [&["get", "ключ"][..], &["list"], &["get", "нет"], &["--help"], &["gte"]] {
            let mut plain = command(&directory, words);
            plain.env(name, value);
            let ended = end(plain, b"");
            let usual = shell(&directory, words);
            assert_eq!(
                (ended.code, &ended.stdout),
                (usual.code, &usual.stdout),
                "{name}={value} {words:?}"
            );
            assert!(
                !ended.text().contains('\u{1b}') && !ended.stderr.contains('\u{1b}'),
                "{name}={value} {words:?}"
            );
        }
    }
}

#[test]
fn a_file_in_the_place_of_the_data_directory_is_named_by_every_command() {
    let (parent, directory) = super::directory();
    let file = parent.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    for place in [file.clone(), file.join("below")] {
        for words in [
            &["get", "k"][..],
            &["add", "k", "v"],
            &["list"],
            &["status"],
            &["wait"],
            &["watch"],
            &["start"],
        ] {
            let all = [&["--data-dir", place.to_str().unwrap()], words].concat();
            let refused = shell(&directory, &all);
            assert_eq!(refused.code, 9, "{words:?}: {refused:?}");
            assert!(refused.stderr.contains("is a file"), "{words:?}: {refused:?}");
        }
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
}
