//! What `service install` writes and runs. The service manager is a script here that notes what it is asked.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use p2p_sync_testbed::{has_programs, tempfile};

use super::{PROGRAM, read};

/// A home of its own, where `systemctl` and `useradd` are scripts.
struct Machine {
    directory: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        for name in ["systemctl", "useradd"] {
            machine.script(name, "true");
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A program that notes how it was called, and then does this.
    fn script(&self, name: &str, then: &str) {
        fs::create_dir_all(self.path("bin")).unwrap();
        let path = self.path("bin").join(name);
        let notes = self.path("notes").display().to_string();
        fs::write(&path, format!("#!/bin/sh\necho \"{name} $*\" >> '{notes}'\n{then}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn notes(&self) -> Vec<String> {
        read(&self.path("notes")).lines().map(str::to_owned).collect()
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(PROGRAM);
        command
            .args(words)
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .env("HOME", self.directory.path())
            .stdin(Stdio::null());
        command.output().unwrap()
    }

    fn unit(&self) -> PathBuf {
        self.path(".config/systemd/user/p2p-sync.service")
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn printed(words: &[&str]) -> String {
    let machine = Machine::new();
    let output = machine.run(words);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(machine.notes(), [""; 0], "--print changes nothing");
    assert!(!machine.unit().exists());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_service_of_a_user_is_installed_asked_and_removed() {
    let machine = Machine::new();
    let installed = machine.run(&["service", "install", "--user", "--", "--name", "kitchen"]);
    assert_eq!(installed.status.code(), Some(0), "{}", told(&installed));
    assert!(
        told(&installed).contains("Installed and started"),
        "{}",
        told(&installed)
    );
    let unit = read(&machine.unit());
    assert!(
        unit.contains(&format!("ExecStart={PROGRAM} start --name kitchen\n")),
        "{unit}"
    );
    assert_eq!(
        machine.notes(),
        [
            "systemctl --user daemon-reload",
            "systemctl --user enable p2p-sync.service",
            "systemctl --user restart p2p-sync.service"
        ]
    );
    assert_eq!(machine.run(&["service", "status", "--user"]).status.code(), Some(0));
    machine.script("systemctl", "[ \"$2\" != is-active ]");
    assert_eq!(machine.run(&["service", "status", "--user"]).status.code(), Some(1));
    let removed = machine.run(&["service", "uninstall", "--user"]);
    assert_eq!(removed.status.code(), Some(0), "{}", told(&removed));
    assert!(!machine.unit().exists());
    let notes = machine.notes();
    assert_eq!(
        notes[notes.len() - 2..],
        [
            "systemctl --user disable --now p2p-sync.service",
            "systemctl --user daemon-reload"
        ]
    );
    for words in [["service", "status", "--user"], ["service", "uninstall", "--user"]] {
        assert_eq!(machine.run(&words).status.code(), Some(3));
    }
}

#[test]
fn a_service_manager_that_refuses_is_quoted() {
    let machine = Machine::new();
    machine.script("systemctl", "echo 'Failed to connect to bus' >&2; exit 1");
    let refused = machine.run(&["service", "install", "--user"]);
    assert_eq!(refused.status.code(), Some(1));
    let text = told(&refused);
    assert!(text.contains("Failed to connect to bus"), "{text}");
    assert!(text.contains("was written and stays"), "{text}");
}

#[test]
fn wrong_flags_change_nothing() {
    let machine = Machine::new();
    let refused = machine.run(&["service", "install", "--user", "--", "--nmae", "x"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(told(&refused).contains("Nothing was changed"), "{}", told(&refused));
    assert!(!machine.unit().exists());
    assert_eq!(machine.notes(), [""; 0]);
}

/// By what `systemd-analyze` says of a unit without asking systemd, which need not run.
#[test]
fn systemd_understands_the_units_and_finds_little_to_attack() {
    if !has_programs(&["systemd-analyze"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("p2p-sync.service");
    for scope in ["--system", "--user"] {
        fs::write(
            &file,
            printed(&["service", "install", scope, "--print", "--", "--name", "50 % $x"]),
        )
        .unwrap();
        let verified = analyze(&["verify"], &file);
        assert!(verified.status.success(), "{scope}: {}", told(&verified));
        assert_eq!(told(&verified), "", "{scope}");
    }
    fs::write(&file, printed(&["service", "install", "--system", "--print"])).unwrap();
    // Tenths: at most 2.0.
    let rated = analyze(&["security", "--offline=true", "--threshold=20"], &file);
    let text = String::from_utf8_lossy(&rated.stdout);
    assert!(rated.status.success(), "{}", text.lines().last().unwrap_or_default());
}

fn analyze(words: &[&str], file: &Path) -> Output {
    let mut command = Command::new("systemd-analyze");
    command.args(words).arg(file).env("SYSTEMD_LOG_LEVEL", "warning");
    command.output().unwrap()
}
