//! The janitor: a small shell process that outlives the test runner by a moment and removes what a runner
//! that was killed could not remove itself.
//!
//! It reads names from its standard input. When that closes, for whatever reason, it kills the process groups
//! and removes the network namespaces and volumes that it was told of and not told to forget. In an ordinary run that is
//! nothing. On systems other than Unix there is none; there the end of a node's standard input has to do.

#[cfg(unix)]
mod unix {
    use std::io::Write as _;
    use std::os::unix::process::CommandExt as _;
    use std::process::{ChildStdin, Command, Stdio};
    use std::sync::{Mutex, OnceLock, PoisonError};

    const SCRIPT: &str = r#"
trap '' INT TERM HUP QUIT
groups= spaces= volumes=
without() { kept=; for each in $1; do [ "$each" = "$2" ] || kept="$kept $each"; done; }
while read -r verb name; do
    case $verb in
    group) groups="$groups $name" ;;
    forget-group) without "$groups" "$name"; groups=$kept ;;
    space) spaces="$spaces $name" ;;
    forget-space) without "$spaces" "$name"; spaces=$kept ;;
    volume) volumes="$volumes $name" ;;
    forget-volume) without "$volumes" "$name"; volumes=$kept ;;
    esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
for space in $spaces; do ip netns del "$space"; done
for volume in $volumes; do umount -l "$volume" && rmdir "$volume"; done
"#;

    pub(crate) fn tell(verb: &str, name: &str) {
        static JANITOR: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
        #[expect(clippy::zombie_processes, reason = "it ends after us, by design")]
        let janitor = JANITOR.get_or_init(|| {
            let mut child = Command::new("sh")
                .args(["-c", SCRIPT])
                // A group of its own: Ctrl-C at the runner must not reach it.
                .process_group(0)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("sh exists on every Unix");
            Mutex::new(child.stdin.take().expect("stdin was asked for as a pipe"))
        });
        let mut stdin = janitor.lock().unwrap_or_else(PoisonError::into_inner);
        // If somebody killed the janitor, the tests still clean up after themselves by Drop.
        let _ignored = writeln!(stdin, "{verb} {name}");
    }
}

fn tell(verb: &str, name: &str) {
    #[cfg(unix)]
    unix::tell(verb, name);
    #[cfg(not(unix))]
    let _ = (verb, name);
}

/// From now on the process group of leader `pid` must not outlive this process.
pub(crate) fn watch_group(pid: u32) {
    tell("group", &pid.to_string());
}

/// `pid` is about to be reaped: its number may soon be somebody else's.
pub(crate) fn forget_group(pid: u32) {
    tell("forget-group", &pid.to_string());
}

/// From now on the network namespace `name` must not outlive this process.
pub(crate) fn watch_space(name: &str) {
    tell("space", name);
}

/// The network namespace `name` is gone.
pub(crate) fn forget_space(name: &str) {
    tell("forget-space", name);
}

/// From now on the volume mounted at `path`, which has no blanks, must not outlive this process.
pub(crate) fn watch_volume(path: &str) {
    tell("volume", path);
}

/// Nothing is mounted at `path` any longer.
pub(crate) fn forget_volume(path: &str) {
    tell("forget-volume", path);
}
