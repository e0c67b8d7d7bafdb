//! What only the operating system knows: the time of day, how long the process has been running, and random numbers. It
//! returns plain values, so that everything that uses them can be tested with others.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use p2p_sync_core::{Timestamp, Uptime};

/// The wall clock. One that is set before 1970 reads as the first nanosecond after the epoch.
pub fn now() -> Timestamp {
    Timestamp::from_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// One moment by both clocks. All work in one turn of a thread uses the same moment, so that no two parts of it disagree
/// about the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The wall clock, which may step.
    pub time: Timestamp,
    /// How long ago the stopwatch was started; never steps.
    pub uptime: Uptime,
}

/// Measures the time since it was created.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// This moment.
    pub fn now(&self) -> Now {
        Now {
            time: now(),
            uptime: self.uptime(),
        }
    }

    /// How long ago it was started.
    pub fn uptime(&self) -> Uptime {
        Uptime(self.0.elapsed())
    }

    /// The instant at which a given uptime is reached.
    pub fn instant_at(&self, uptime: Uptime) -> Instant {
        self.0 + uptime.0
    }
}

/// A random number that identifies this run of the program.
pub fn boot_nonce() -> u64 {
    rand::random()
}

/// What a user can do about an error on a file or directory of the data directory, to be said behind it; empty where that is
/// not known.
pub fn what_to_do(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::PermissionDenied => {
            ". Check who owns it and the directory it is in, and start p2p-sync as that user; or choose another data \
             directory"
        }
        ErrorKind::ReadOnlyFilesystem => {
            ". Mount the disk so that it can be written to, or choose another data directory"
        }
        ErrorKind::IsADirectory => ". Move the directory away, or choose another data directory",
        ErrorKind::NotFound => ". Make sure that the directory above it exists, or choose another data directory",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ". Free some space, or choose another data directory",
        _ => "",
    }
}

/// Whether the process, or the whole system, may open no more files and sockets.
pub fn is_out_of_files(error: &std::io::Error) -> bool {
    // EMFILE and ENFILE are the same everywhere.
    cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}
