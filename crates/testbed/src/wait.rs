//! Waiting for conditions by looking again and again. Waiting for output is `output`'s.

use std::thread;
use std::time::{Duration, Instant};

/// How long a poll rests between two looks. Short against every limit that is tested, long enough not to
/// take the processor from the processes under test.
const POLL_PAUSE: Duration = Duration::from_millis(25);

/// Asks `look` until it answers or `deadline` has passed; it is asked at least once, and once more at the end.
pub fn poll<T>(deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        let last = Instant::now() >= end;
        if let Some(found) = look() {
            return Some(found);
        }
        if last {
            return None;
        }
        thread::sleep(POLL_PAUSE);
    }
}

/// Waits until `condition` holds and returns how long that took.
///
/// # Panics
///
/// When `deadline` passes first; `what` says what was waited for.
#[track_caller]
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    match poll(deadline, || condition().then_some(())) {
        Some(()) => start.elapsed(),
        None => panic!("after {deadline:?} still not true: {what}"),
    }
}
