//! The settings of the terminal, which outlive the process: kept at the start, put back at the end, however it comes.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells the terminal to hand over pasted text like typed text again.
const BRACKETED_PASTE_OFF: &str = "\x1b[?2004l";

/// The terminal as it was found.
#[derive(Debug, Clone)]
pub(super) struct Terminal {
    #[cfg(unix)]
    settings: Option<rustix::termios::Termios>,
    editing: Arc<AtomicBool>,
}

impl Terminal {
    /// Keeps the settings of the terminal at standard input, if there is one.
    pub(super) fn as_found() -> Self {
        Self {
            #[cfg(unix)]
            settings: rustix::termios::tcgetattr(io::stdin()).ok(),
            editing: Arc::default(),
        }
    }

    /// Notes whether the line editor has the terminal.
    pub(super) fn set_editing(&self, editing: bool) {
        self.editing.store(editing, Ordering::SeqCst);
    }

    /// Puts the settings back if the line editor was interrupted, which would have done it itself.
    pub(super) fn restore(&self) {
        if !self.editing.swap(false, Ordering::SeqCst) {
            return;
        }
        #[cfg(unix)]
        if let Some(settings) = &self.settings {
            // The process is about to end; a terminal that is gone needs nothing.
            let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, settings);
        }
        let mut output = io::stdout();
        let _ = output.write_all(BRACKETED_PASTE_OFF.as_bytes()).and_then(|()| output.write_all(b"\n")).and_then(|()| output.flush());
    }
}
