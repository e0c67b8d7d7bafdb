//! Ctrl-Z at the prompt: the process is suspended until the shell resumes it, and then restores its terminal settings.

use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rustix::process::{Signal, kill_current_process_group};
use tokio::signal::unix::{SignalKind, signal};

use super::terminal;

/// A process that nobody could let go on again is not stopped by the system: it is not waited for longer than this.
const STOPS_WITHIN: Duration = Duration::from_millis(200);

/// Hears when the process goes on.
#[derive(Debug)]
pub(super) struct Suspension(Mutex<Receiver<()>>);

impl Suspension {
    /// Listens from now on. Needs a runtime.
    ///
    /// # Errors
    /// When the operating system does not allow it.
    pub(super) fn listen() -> io::Result<Self> {
        let mut continued = signal(SignalKind::from_raw(Signal::CONT.as_raw()))?;
        let (tell, told) = sync_channel(1);
        tokio::spawn(async move {
            while continued.recv().await.is_some() {
                // One that nobody has heard yet says the same.
                let _ = tell.try_send(());
            }
        });
        Ok(Self(Mutex::new(told)))
    }

    /// Stops the process and its job, as the terminal would, and returns when it goes on.
    pub(super) fn suspend(&self) {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What came before is over.
        while told.try_recv().is_ok() {}
        if kill_current_process_group(Signal::TSTP).is_ok() {
            let _ = told.recv_timeout(STOPS_WITHIN);
        }
        terminal::prepare();
    }
}
