//! The settings of the terminal, which outlive the process: kept at the start, put back at the end, however it comes.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells the terminal to hand over pasted text like typed text again, where the line editor has told it otherwise.
const PASTE_AS_TYPED: &[u8] = if cfg!(unix) { b"\x1b[?2004l" } else { b"" };

/// The terminal as it was found.
#[derive(Debug, Clone)]
pub(super) struct Terminal {
    #[cfg(unix)]
    settings: Option<rustix::termios::Termios>,
    editing: Arc<AtomicBool>,
    /// Whether the cursor has left the line that was being typed.
    left_line: Arc<AtomicBool>,
}

impl Terminal {
    /// Keeps the settings of the terminal at standard input.
    pub(super) fn as_found() -> Self {
        Self {
            #[cfg(unix)]
            settings: rustix::termios::tcgetattr(io::stdin()).ok(),
            editing: Arc::default(),
            left_line: Arc::default(),
        }
    }

    /// Notes whether the line editor has the terminal.
    pub(super) fn set_editing(&self, editing: bool) {
        self.editing.store(editing, Ordering::SeqCst);
    }

    /// Puts everything back that the line editor has changed and cannot put back itself, because it still waits for a key.
    /// Once when the program begins to stop, for those who watch, and again at its end, in case the editor took the
    /// terminal just then.
    pub(super) fn restore(&self) {
        if !self.editing.load(Ordering::SeqCst) {
            return;
        }
        #[cfg(unix)]
        if let Some(settings) = &self.settings {
            // A terminal that is gone needs nothing.
            let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, settings);
        }
        let line_end: &[u8] = if self.left_line.swap(true, Ordering::SeqCst) {
            b""
        } else {
            b"\n"
        };
        let mut output = io::stdout();
        let _ = output
            .write_all(&[PASTE_AS_TYPED, line_end].concat())
            .and_then(|()| output.flush());
    }
}
