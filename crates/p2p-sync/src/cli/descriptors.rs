//! How many files and sockets the process may have open. Without enough of them, a node would fail in odd places and blame
//! the disk or the port, so this is checked before anything starts.

#[cfg(unix)]
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Failure;

/// What a node needs at least: some twenty for itself, and room for peers, streams and the files beside the store.
#[cfg(unix)]
const NEEDED: u64 = 64;
/// What a node asks for, if it may have it: each connection takes one, and their number has a bound far below this.
#[cfg(unix)]
const WANTED: u64 = 4_096;

/// Raises the limit of open files as far as it is wanted and allowed.
///
/// # Errors
/// When there are too few for a node.
#[cfg(unix)]
pub(super) fn claim() -> Result<(), Failure> {
    let found = getrlimit(Resource::Nofile);
    let Some(asked) = raised(found.current, found.maximum) else {
        return check(found.current);
    };
    let limit = Rlimit {
        current: Some(asked),
        maximum: found.maximum,
    };
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => check(Some(asked)),
        Err(_) => check(found.current),
    }
}

/// Elsewhere a process has no such limit of its own.
#[cfg(not(unix))]
pub(super) fn claim() -> Result<(), Failure> {
    Ok(())
}

/// The limit to ask for; none if the one in force will do or cannot be raised.
#[cfg(unix)]
fn raised(current: Option<u64>, maximum: Option<u64>) -> Option<u64> {
    let asked = maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    current.filter(|current| *current < asked).map(|_| asked)
}

#[cfg(unix)]
fn check(limit: Option<u64>) -> Result<(), Failure> {
    match limit {
        Some(limit) if limit < NEEDED => Err(Failure::new(
            crate::command::Class::Failed,
            format!(
                "This process may open only {limit} files and sockets; a node needs at least {NEEDED}. Nothing was \
                 started. Raise the limit: `ulimit -n {WANTED}` in the shell, or LimitNOFILE={WANTED} in a systemd unit"
            ),
        )),
        _ => Ok(()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_is_wanted_and_allowed() {
        for (current, maximum, asked) in [
            (Some(256), None, Some(WANTED)),
            (Some(256), Some(1_024), Some(1_024)),
            (Some(12), Some(12), None),
            (Some(1_024), Some(1 << 20), Some(WANTED)),
            (Some(WANTED), Some(1 << 20), None),
            (None, None, None),
        ] {
            assert_eq!(raised(current, maximum), asked, "{current:?} {maximum:?}");
        }
        assert!(check(Some(NEEDED - 1)).is_err() && check(Some(NEEDED)).is_ok() && check(None).is_ok());
    }
}
