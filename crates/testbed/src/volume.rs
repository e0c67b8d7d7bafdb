//! Volumes of a small size, in memory, that can be made larger while somebody uses them.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::janitor;
use crate::lab::require_root;

/// A file system of its own. It is gone when this is dropped, after whoever works on it.
pub struct Volume {
    directory: TempDir,
}

impl Volume {
    /// An empty one.
    ///
    /// # Panics
    ///
    /// Without root.
    #[track_caller]
    pub fn new(megabytes: u32) -> Self {
        require_root();
        let directory = tempfile::tempdir().expect("the system's temporary directory is writable");
        let volume = Self { directory };
        janitor::watch_volume(volume.name());
        mount(&[
            "-t",
            "tmpfs",
            "-o",
            &format!("size={megabytes}m"),
            "tmpfs",
            volume.name(),
        ]);
        volume
    }

    /// Makes it larger, or smaller.
    #[track_caller]
    pub fn resize(&self, megabytes: u32) {
        mount(&["-o", &format!("remount,size={megabytes}m"), self.name()]);
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    fn name(&self) -> &str {
        self.path().to_str().expect("a path of ASCII characters")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Lazily: a process that is just ending may still have a file open.
        let unmounted = Command::new("umount").args(["-l", self.name()]).status();
        if unmounted.is_ok_and(|status| status.success()) {
            janitor::forget_volume(self.name());
        }
    }
}

#[track_caller]
fn mount(arguments: &[&str]) {
    let done = Command::new("mount")
        .args(arguments)
        .output()
        .expect("every system has `mount`");
    assert!(
        done.status.success(),
        "mount {arguments:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}
