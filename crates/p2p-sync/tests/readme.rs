//! The README's transcripts of scripts, watches and the local API hold to the letter: their commands run in bash on a terminal, in a home
//! of their own, and print what is shown, but for times, peer ids and cursors. Needs bash, python3, jq and curl, and the folders of
//! Linux. The first transcript is in `program`, the one of a Rust program in `embedding`.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use p2p_sync_testbed::{Launch, Node, Process, Stdin, has_programs, on_terminal, tempfile, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2p-sync");
const PATIENCE: Duration = Duration::from_secs(30);
/// Comes before what each command prints.
const MARK: &str = "=== command";

/// A command, and what it prints.
#[derive(Debug)]
struct Step {
    command: String,
    printed: Vec<String>,
}

/// The transcripts of a section, in their order.
fn transcripts(section: &str) -> Vec<Vec<Step>> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap();
    let text = readme.split(&format!("\n## {section}\n")).nth(1).unwrap();
    let text = text.split("\n## ").next().unwrap();
    let blocks = text.split("```console\n").skip(1);
    blocks.map(|block| steps(block.split("```").next().unwrap())).collect()
}

fn steps(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push(Step {
                command: command.to_owned(),
                printed: Vec::new(),
            }),
            None => steps.last_mut().unwrap().printed.push(plain(line)),
        }
    }
    steps
}

/// The line without what is another one each time.
fn plain(line: &str) -> String {
    let words = line.trim_end_matches('\r').split_inclusive([' ', '"']);
    words.map(placeholder).collect()
}

fn placeholder(word: &str) -> String {
    let text = word.trim_end_matches([' ', '"', '.']);
    let is = |text: &str, among: &str| text.bytes().all(|byte| among.as_bytes().contains(&byte));
    let is_time = text.len() >= 20 && text.starts_with("20") && is(text, "0123456789-:.TZ");
    let is_cursor = text.split_once('-').is_some_and(|(epoch, numbers)| {
        epoch.len() == 16 && is(epoch, "0123456789abcdef") && is(numbers, "0123456789-")
    });
    let stands_for = if is_time {
        "<TIME>"
    } else if text.starts_with("12D3KooW") {
        "<PEER ID>"
    } else if is_cursor {
        "<CURSOR>"
    } else {
        text
    };
    word.replacen(text, stands_for, 1)
}

/// A home without anything.
struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = Self { directory };
        for folder in ["bin", ".local/share"] {
            fs::create_dir_all(home.path(folder)).unwrap();
        }
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A node where the program looks for one.
    fn node(&self) -> Node {
        let node = Launch::new(PROGRAM)
            .label("desk")
            .no_lan()
            .stdin(Stdin::Pipe)
            .data_dir(self.path(".local/share/p2p-sync"))
            .start();
        wait_until("node.json", PATIENCE, || node.data_dir().join("node.json").exists());
        node
    }

    /// Runs these commands in one bash on a terminal, as if they were typed.
    fn type_in(&self, steps: &[Step]) -> Session {
        let mut script = String::new();
        for step in steps {
            script.push_str(&format!("echo '{MARK}'\n{}\n", step.command));
        }
        script.push_str(&format!("echo '{MARK}'\n"));
        fs::write(self.path("script"), script).unwrap();
        let mut command = on_terminal(&["bash".as_ref(), self.path("script").as_os_str()]);
        self.surround(&mut command);
        Session(Process::spawn("bash", command, Stdin::Terminal))
    }

    fn surround(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("P2P_SYNC_") || text.starts_with("XDG_") || text == "RUST_LOG" {
                command.env_remove(&name);
            }
        }
        let folders = [self.path("bin"), Path::new(PROGRAM).parent().unwrap().to_owned()];
        let others = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect::<Vec<_>>();
        let path = std::env::join_paths(folders.into_iter().chain(others)).unwrap();
        command
            .env("PATH", path)
            .env("HOME", self.directory.path())
            .env("NO_COLOR", "1")
            .current_dir(self.directory.path());
    }
}

/// Commands that are being carried out.
struct Session(Process);

impl Session {
    /// Waits until this line is printed.
    #[track_caller]
    fn until(&self, line: &str) {
        let found = self
            .0
            .stdout()
            .wait_line(0, PATIENCE, |printed| plain(&String::from_utf8_lossy(printed)) == line);
        assert!(found.is_some(), "not printed: {line}");
    }

    fn interrupt(&self) {
        self.0.send(b"\x03");
    }

    /// What each command has printed, when all have ended.
    fn printed(&self) -> Vec<Vec<String>> {
        self.0.wait_exit(PATIENCE);
        let lines = self.0.stdout().lines_from(0);
        let mut printed: Vec<Vec<String>> = Vec::new();
        for line in lines {
            let line = plain(&String::from_utf8(line).unwrap());
            if line == MARK {
                printed.push(Vec::new());
            } else if let Some(last) = printed.last_mut() {
                last.push(line);
            }
        }
        printed
    }

    #[track_caller]
    fn assert_prints(&self, steps: &[Step]) {
        let printed = self.printed();
        for (step, printed) in steps.iter().zip(&printed) {
            assert_eq!(
                printed, &step.printed,
                "{}: printed on the left, shown on the right",
                step.command
            );
        }
        assert!(printed.len() >= steps.len(), "{printed:?}");
    }
}

#[test]
fn what_scripts_do_is_as_shown_with_a_node_and_without() {
    if !has_programs(&["bash", "python3"]) {
        return;
    }
    let transcripts = transcripts("From a script");
    let [steps] = &transcripts[..] else {
        panic!("{transcripts:?}");
    };
    assert!(steps.len() >= 8, "{steps:?}");
    Home::new().type_in(steps).assert_prints(steps);
    let home = Home::new();
    let node = home.node();
    home.type_in(steps).assert_prints(steps);
    node.stop();
}

#[test]
fn changes_are_told_and_handled_as_shown() {
    if !has_programs(&["bash", "python3"]) {
        return;
    }
    let transcripts = transcripts("React to changes");
    let [told, handled] = &transcripts[..] else {
        panic!("{transcripts:?}");
    };
    let home = Home::new();
    let node = home.node();
    node.add("light/desk", "on");
    let session = home.type_in(told);
    let lines = &told[0].printed;
    session.until(&lines[0]);
    node.add("light/hall", "off");
    session.until(&lines[1]);
    node.command("delete light/desk");
    session.until(&lines[2]);
    session.interrupt();
    let printed = session.printed();
    let printed: Vec<&String> = printed[0].iter().filter(|line| !line.starts_with("^C")).collect();
    assert_eq!(printed, lines.iter().collect::<Vec<_>>());

    // What stands for a program that publishes a message: it keeps what it was called with, and what it was given.
    let publish = home.path("bin/mosquitto_pub");
    fs::write(&publish, "#!/bin/sh\necho \"$* $(cat)\" >>~/published\n").unwrap();
    fs::set_permissions(&publish, fs::Permissions::from_mode(0o755)).unwrap();
    let published = || fs::read_to_string(home.path("published")).unwrap_or_default();
    let session = home.type_in(handled);
    wait_until("what is there is handled", PATIENCE, || {
        published() == "-t light/hall -s off\n"
    });
    node.add("light/hall", "on");
    wait_until("a change is handled", PATIENCE, || {
        published().ends_with("-t light/hall -s on\n")
    });
    wait_until("the state is kept", PATIENCE, || home.path("light.state").exists());
    session.interrupt();
    session.printed();
    // Another one goes on there.
    node.add("light/roof", "dim");
    let session = home.type_in(handled);
    wait_until("it goes on", PATIENCE, || {
        published().ends_with("-t light/roof -s dim\n")
    });
    session.interrupt();
    session.printed();
    assert!(published().lines().count() <= 4, "{}", published());
    node.stop();
}

#[test]
fn the_local_api_answers_as_shown() {
    if !has_programs(&["bash", "python3", "curl", "jq"]) {
        return;
    }
    let transcripts = transcripts("The local API");
    let [steps] = &transcripts[..] else {
        panic!("{transcripts:?}");
    };
    let home = Home::new();
    let node = home.node();
    node.add("light/desk", "on");
    let photo = [b"\xff\xd8\xff\xe0\0".as_slice(), &[0x80; 10_000]].concat();
    fs::write(home.path("photo.jpg"), &photo).unwrap();
    let session = home.type_in(steps);
    session.until(steps.last().unwrap().printed.last().unwrap());
    session.interrupt();
    let mut printed = session.printed();
    printed
        .iter_mut()
        .for_each(|lines| lines.retain(|line| !line.starts_with("^C")));
    for (step, printed) in steps.iter().zip(&printed) {
        assert_eq!(
            printed, &step.printed,
            "{}: printed on the left, shown on the right",
            step.command
        );
    }
    assert!(printed.len() >= steps.len(), "{printed:?}");
    assert_eq!(fs::read(home.path("copy.jpg")).unwrap(), photo);
    node.stop();
}
