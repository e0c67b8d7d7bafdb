//! Where the commands come from: a person at a terminal, a program on a pipe, or nowhere.

use std::io::{self, IsTerminal};

/// Whether commands are read from standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum PromptChoice {
    /// A prompt at a terminal; line by line from a pipe or a file; not at all without an input
    Auto,
    /// A prompt, whatever the input is
    Always,
    /// Not at all
    Never,
}

/// How the node is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// With a line editor at a terminal.
    Prompt,
    /// Line by line, with `> ` in front of each.
    PlainPrompt,
    /// Line by line.
    Pipe,
    /// Not at all; it runs until it is told to stop.
    Service,
}

/// What standard input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Terminal,
    /// A terminal that belongs to another job of the shell. Reading from it would suspend the process.
    TerminalOfAnotherJob,
    /// The null device, which also stands in for an input that was closed.
    Null,
    Other,
}

impl Mode {
    /// The mode for the standard streams of this process.
    pub(super) fn of_process(choice: PromptChoice) -> Self {
        // Such terminals cannot move their cursor.
        let dumb =
            std::env::var_os("TERM").is_some_and(|term| ["dumb", "cons25", "emacs"].iter().any(|name| term == *name));
        Self::choose(choice, input(), io::stdout().is_terminal() && !dumb)
    }

    fn choose(choice: PromptChoice, input: Input, can_edit: bool) -> Self {
        match (choice, input) {
            (PromptChoice::Never, _) => Self::Service,
            (PromptChoice::Auto, Input::Null | Input::TerminalOfAnotherJob) => Self::Service,
            (PromptChoice::Auto, Input::Other) => Self::Pipe,
            (_, Input::Terminal) if can_edit => Self::Prompt,
            (_, _) => Self::PlainPrompt,
        }
    }
}

fn input() -> Input {
    if !io::stdin().is_terminal() {
        return if is_null() { Input::Null } else { Input::Other };
    }
    if is_foreground() {
        Input::Terminal
    } else {
        Input::TerminalOfAnotherJob
    }
}

#[cfg(unix)]
fn is_null() -> bool {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    let device = |metadata: std::fs::Metadata| metadata.file_type().is_char_device().then(|| metadata.rdev());
    let input = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .and_then(|input| File::from(input).metadata());
    let null = std::fs::metadata("/dev/null");
    match (input, null) {
        (Ok(input), Ok(null)) => device(input).is_some_and(|input| Some(input) == device(null)),
        // The input is closed.
        (Err(_), _) => true,
        _ => false,
    }
}

/// The null device is a character device that is no console; an input that was closed is nothing at all.
#[cfg(windows)]
#[expect(unsafe_code, reason = "the standard library does not tell the type of a handle")]
fn is_null() -> bool {
    use std::os::windows::io::AsRawHandle;
    use windows_sys::Win32::Storage::FileSystem::GetFileType;

    let handle = io::stdin().as_raw_handle();
    // SAFETY: the function takes any handle, and answers 0 to one that is not valid.
    handle.is_null() || is_null_type(unsafe { GetFileType(handle.cast()) })
}

/// Whether an input of this type that is no console is the null device or was closed. The numbers are those of the Windows
/// function `GetFileType`: 0 unknown, 1 a file, 2 a character device, 3 a pipe or socket.
#[cfg(any(windows, test))]
fn is_null_type(file_type: u32) -> bool {
    matches!(file_type, 0 | 2)
}

/// Whether the process belongs to the job that the terminal is for. So it does when nobody can tell.
#[cfg(unix)]
pub(super) fn is_foreground() -> bool {
    rustix::termios::tcgetpgrp(io::stdin()).map_or(true, |group| group == rustix::process::getpgrp())
}

#[cfg(windows)]
fn is_foreground() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_windows_the_null_device_is_told_from_a_file_and_a_pipe() {
        for (file_type, is_null) in [(0, true), (1, false), (2, true), (3, false)] {
            assert_eq!(is_null_type(file_type), is_null, "{file_type}");
        }
    }

    #[test]
    fn the_input_decides_unless_it_is_told() {
        use Input::*;
        use PromptChoice::*;
        for (choice, input, can_edit, mode) in [
            (Auto, Terminal, true, Mode::Prompt),
            (Auto, Terminal, false, Mode::PlainPrompt),
            (Auto, TerminalOfAnotherJob, true, Mode::Service),
            (Auto, Null, true, Mode::Service),
            (Auto, Other, true, Mode::Pipe),
            (Auto, Other, false, Mode::Pipe),
            (Always, Terminal, true, Mode::Prompt),
            (Always, TerminalOfAnotherJob, true, Mode::PlainPrompt),
            (Always, Terminal, false, Mode::PlainPrompt),
            (Always, Null, false, Mode::PlainPrompt),
            (Always, Other, false, Mode::PlainPrompt),
            (Never, Terminal, true, Mode::Service),
            (Never, Other, false, Mode::Service),
        ] {
            assert_eq!(
                Mode::choose(choice, input, can_edit),
                mode,
                "{choice:?} {input:?} {can_edit}"
            );
        }
    }
}
