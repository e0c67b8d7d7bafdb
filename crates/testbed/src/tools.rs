//! Programs of others that some tests need, and that not every machine has.

use std::process::{Command, Stdio};

/// Whether this machine has all of these programs. One that is missing is named; with `CI=true` that fails the test, which
/// otherwise may return.
///
/// # Panics
///
/// With `CI=true`, when one is missing.
#[track_caller]
pub fn has_programs(names: &[&str]) -> bool {
    let is_there = |name: &str| {
        let mut command = Command::new(name);
        command
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok()
    };
    let missing: Vec<&str> = names.iter().copied().filter(|name| !is_there(name)).collect();
    if missing.is_empty() {
        return true;
    }
    let missing = missing.join(", ");
    assert!(
        std::env::var_os("CI").is_none_or(|value| value != "true"),
        "this machine lacks {missing}"
    );
    #[expect(
        clippy::print_stderr,
        reason = "whoever runs the test is to know what was not tested"
    )]
    {
        eprintln!("not tested: this machine lacks {missing}");
    }
    false
}
