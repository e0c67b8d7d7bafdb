//! The example programs of the package whose program is tested.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Builds the examples of the package if they are missing or old, and returns the path of one. `program` is where cargo has put
/// the package's program for the running test.
#[track_caller]
pub fn example(program: impl AsRef<Path>, name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let directory = BUILT.get_or_init(|| {
        let directory = program.as_ref().parent().expect("a program is in a folder");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "-p", "p2p-sync", "--examples"]);
        command.arg("--manifest-path");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../p2p-sync/Cargo.toml"));
        command
            .arg("--target-dir")
            .arg(directory.parent().expect("a profile has a target directory"));
        if directory.ends_with("release") {
            command.arg("--release");
        }
        // What cargo tells a test of its package would make the build script of `ring` run again, and all behind it.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        let output = command.output().expect("cargo can be run");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cannot build the examples: {errors}");
        directory.join("examples")
    });
    directory.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}
