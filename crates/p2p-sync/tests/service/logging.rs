//! Where the log of a service goes, and what it looks like there.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use p2p_sync_testbed::{tempfile, wait_until};
use serde_json::Value;

use super::{PATIENCE, PROGRAM, read};

/// A node that runs as a service, and ends with the test.
struct Service(Child);

impl Service {
    fn start(data: &Path, words: &[&str], error: Stdio, variable: Option<(&str, String)>) -> Self {
        let mut command = Command::new(PROGRAM);
        command
            .args(["start", "--no-lan", "--port", "0", "--data-dir"])
            .arg(data)
            .args(words)
            .envs(variable)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(error);
        Self(command.spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    fn stop(mut self) {
        self.signal("TERM");
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_log_file_that_is_rotated_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (log, old) = (directory.path().join("log"), directory.path().join("log.1"));
    let words = ["--log-file", log.to_str().unwrap()];
    let service = Service::start(&directory.path().join("data"), &words, Stdio::null(), None);
    wait_until("the node to start", PATIENCE, || {
        read(&log).contains(" started: peer id")
    });
    assert!(read(&log).starts_with("20"), "it has dates: {}", read(&log));
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
    fs::rename(&log, &old).unwrap();
    service.signal("HUP");
    wait_until("the new file", PATIENCE, || read(&log).contains("opened the log file"));
    let before = read(&old);
    service.stop();
    assert!(read(&log).contains("stopping: asked to terminate"), "{}", read(&log));
    assert_eq!(read(&old), before, "nothing more goes to the old file");
}

#[test]
fn a_log_file_that_cannot_be_opened_is_told_and_nothing_starts() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for log in [directory.path().join("missing/log"), directory.path().to_owned(), pipe] {
        let mut command = Command::new(PROGRAM);
        command
            .args(["start", "--no-lan", "--port", "0", "--log-file"])
            .arg(&log);
        let output = command
            .arg("--data-dir")
            .arg(&data)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", log.display());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            told.contains("Cannot open the log file") && told.contains("Nothing was started"),
            "{told}"
        );
        assert!(!data.exists());
    }
}

#[test]
fn a_log_of_json_has_one_object_per_line() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let words = ["--log-format", "json", "--peer", "/ip4/127.0.0.1/tcp/1"];
    let error = Stdio::from(File::create(&log).unwrap());
    let service = Service::start(&directory.path().join("data"), &words, error, None);
    wait_until("a warning", PATIENCE, || read(&log).contains("WARN"));
    service.stop();
    let lines = read(&log);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let started = &lines[0];
    assert_eq!(started["level"], "INFO");
    assert!(started["time"].as_str().unwrap().ends_with('Z'), "{started}");
    assert!(
        started["message"].as_str().unwrap().contains("started: peer id"),
        "{started}"
    );
    assert!(lines.iter().any(|line| line["level"] == "WARN"), "{lines:?}");
}

/// systemd tells a service the device and inode of the socket to its journal.
#[test]
fn the_journal_gets_levels_instead_of_times() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let file = File::create(&log).unwrap();
    let metadata = file.metadata().unwrap();
    let stream = ("JOURNAL_STREAM", format!("{}:{}", metadata.dev(), metadata.ino()));
    let service = Service::start(&directory.path().join("data"), &[], file.into(), Some(stream));
    wait_until("the node to start", PATIENCE, || {
        read(&log).contains(" started: peer id")
    });
    service.stop();
    assert!(
        read(&log).lines().all(|line| line.starts_with("<6>p2p-sync ")),
        "{}",
        read(&log)
    );
}
