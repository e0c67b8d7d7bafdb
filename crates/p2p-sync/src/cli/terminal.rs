//! The terminal settings, which outlive the process: saved at the start, restored at the end, however it comes.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(unix)]
use std::thread;
#[cfg(unix)]
use std::time::Duration;

/// Tells the terminal to hand over pasted text like typed text again, where the line editor has told it otherwise.
const PASTE_AS_TYPED: &[u8] = if cfg!(unix) { b"\x1b[?2004l" } else { b"" };

/// The terminal as it was found. Puts everything back when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Terminal {
    #[cfg(unix)]
    found: Option<rustix::termios::Termios>,
    editing: Arc<AtomicBool>,
    /// Whether the cursor has left the line that was being typed.
    left_line: bool,
}

/// Notes what the line editor does with the terminal.
#[derive(Debug, Clone)]
pub(super) struct Editing(Arc<AtomicBool>);

impl Editing {
    /// Notes whether the line editor has the terminal.
    pub(super) fn set(&self, editing: bool) {
        self.0.store(editing, Ordering::SeqCst);
    }
}

impl Terminal {
    /// Prepares the terminal at standard input for a line editor. Between two lines, too, what is typed is neither echoed
    /// nor interpreted but waits for the editor; only the keys that send a signal do so.
    pub(super) fn for_editor() -> Self {
        Self {
            #[cfg(unix)]
            found: prepare(),
            editing: Arc::default(),
            left_line: false,
        }
    }

    /// Where the line editor notes what it does.
    pub(super) fn editing(&self) -> Editing {
        Editing(Arc::clone(&self.editing))
    }

    /// Puts everything back, also what the line editor has changed and cannot put back itself, because it still waits for
    /// a key. To be called when the program begins to stop, for those who watch; the drop comes later, and covers an
    /// editor that took the terminal just then.
    pub(super) fn restore(&mut self) {
        if self.editing.load(Ordering::SeqCst) {
            let line_end: &[u8] = if self.left_line { b"" } else { b"\n" };
            self.left_line = true;
            let mut output = io::stdout();
            // A terminal that is gone needs nothing.
            let _ = output
                .write_all(&[PASTE_AS_TYPED, line_end].concat())
                .and_then(|()| output.flush());
        }
        #[cfg(unix)]
        if let Some(found) = &self.found {
            apply(found);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Returns the settings as they were.
#[cfg(unix)]
pub(super) fn prepare() -> Option<rustix::termios::Termios> {
    use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr};
    let found = tcgetattr(io::stdin()).ok()?;
    let mut settings = found.clone();
    settings.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
    settings.special_codes[SpecialCodeIndex::VMIN] = 1;
    settings.special_codes[SpecialCodeIndex::VTIME] = 0;
    apply(&settings);
    Some(found)
}

/// How long the terminal must be quiet before what was pasted is taken to be over.
#[cfg(unix)]
const QUIET: Duration = Duration::from_millis(100);
/// How often that is tried: whoever goes on typing for longer is heard again.
#[cfg(unix)]
const QUIET_TRIES: usize = 30;

/// Forgets what waits to be read from standard input, and what comes until it is quiet.
pub(super) fn discard_input() {
    #[cfg(unix)]
    for _ in 0..QUIET_TRIES {
        let _ = rustix::termios::tcflush(io::stdin(), rustix::termios::QueueSelector::IFlush);
        thread::sleep(QUIET);
        if !rustix::io::ioctl_fionread(io::stdin()).is_ok_and(|waiting| waiting > 0) {
            return;
        }
    }
}

/// Changes the settings, unless the terminal has been given to another job of the shell, which has its own.
#[cfg(unix)]
fn apply(settings: &rustix::termios::Termios) {
    use rustix::termios::{OptionalActions, tcsetattr};
    if super::mode::is_foreground() {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, settings);
    }
}
