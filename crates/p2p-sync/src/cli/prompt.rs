//! The prompt at a terminal: a line editor on its own thread, with history and completion. Log lines are printed above the
//! line that is being typed.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor, ExternalPrinter};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::completion::Completion;
use super::execute::{Flow, execute};
use super::lines::{LINE_BYTES_MAX, Line};
use super::logging::Logs;
use super::output::Output;
use super::pipe::Ended;
use super::stop::StopSwitch;
use super::terminal::Editing;
use crate::node::Node;

/// What is printed in front of a line.
pub(super) const PROMPT: &str = "> ";
/// Lines that are kept.
const HISTORY_LINES_MAX: usize = 1_000;
/// Longest line that is kept.
const HISTORY_LINE_BYTES_MAX: usize = 4 * 1024;

/// What the prompt needs of its surroundings.
pub(super) struct Surroundings {
    /// Where lines are kept for the next start.
    pub(super) history: PathBuf,
    pub(super) editing: Editing,
    pub(super) logs: Logs,
    pub(super) stop: StopSwitch,
}

/// What the user did.
enum Typed {
    Line(String),
    /// Ctrl-D or Ctrl-C.
    Leave,
    Failed(io::Error),
}

/// Carries out what is typed, until the user leaves.
///
/// # Errors
/// When the terminal cannot be read or written.
pub(super) async fn run(node: &Node, surroundings: Surroundings) -> Result<(), Ended> {
    let mut output = Output::stdout();
    let (go, turns) = sync_channel(1);
    let (done, mut typed) = mpsc::channel(1);
    let completion = Completion::of(node.clone(), Handle::current());
    thread::spawn(move || edit(completion, &surroundings, &turns, &done));
    // The editor has the terminal only between a turn and what comes of it, so that replies never meet a line.
    while go.send(()).is_ok() {
        match typed.recv().await {
            None => break,
            Some(Typed::Leave) => return Ok(()),
            Some(Typed::Failed(error)) => return Err(Ended::Input(error)),
            Some(Typed::Line(text)) => {
                for line in lines(&text) {
                    if execute(&line, node, &mut output).await? == Flow::Exit {
                        return Ok(());
                    }
                }
            }
        }
    }
    Err(Ended::Input(io::Error::other("a bug has ended the line editor")))
}

/// The lines of a text: more than one if it was pasted.
fn lines(text: &str) -> impl Iterator<Item = Line> {
    text.lines().map(|line| match line.as_bytes() {
        line if line.len() > LINE_BYTES_MAX => Line::TooLong(line.to_vec()),
        line => Line::Whole(line.to_vec()),
    })
}

/// Edits one line a turn.
fn edit(completion: Completion, surroundings: &Surroundings, turns: &Receiver<()>, done: &mpsc::Sender<Typed>) {
    let mut editor = match editor(completion, surroundings) {
        Ok(editor) => editor,
        Err(error) => {
            let _ = done.blocking_send(Typed::Failed(io::Error::other(error)));
            return;
        }
    };
    while turns.recv().is_ok() {
        surroundings.editing.set(true);
        let line = editor.readline(PROMPT);
        surroundings.editing.set(false);
        let typed = match line {
            Ok(line) => {
                remember(&mut editor, &line, surroundings);
                Typed::Line(line)
            }
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => Typed::Leave,
            Err(error) => Typed::Failed(io::Error::other(error)),
        };
        let leaves = matches!(typed, Typed::Leave);
        if done.blocking_send(typed).is_err() {
            if leaves {
                // The program is stopping already, and somebody at the keyboard cannot wait for it.
                surroundings.stop.interrupt();
            }
            return;
        }
    }
}

type PromptEditor = Editor<Completion, FileHistory>;

fn editor(completion: Completion, surroundings: &Surroundings) -> rustyline::Result<PromptEditor> {
    let config = Config::builder()
        .max_history_size(HISTORY_LINES_MAX)?
        .history_ignore_dups(true)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .build();
    let mut editor = PromptEditor::with_config(config)?;
    editor.set_helper(Some(completion));
    match editor.load_history(&surroundings.history) {
        Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!("The history of the prompt cannot be read: {error}"),
        Ok(()) => {}
    }
    if io::stderr().is_terminal() {
        let mut printer = editor.create_external_printer()?;
        surroundings.logs.print_with(move |text| printer.print(text).is_ok());
    }
    Ok(editor)
}

/// Keeps the line for the next start, at once: nobody knows how the process will end.
fn remember(editor: &mut PromptEditor, line: &str, surroundings: &Surroundings) {
    if line.len() > HISTORY_LINE_BYTES_MAX {
        return;
    }
    let kept = editor
        .add_history_entry(line)
        .and_then(|_| editor.append_history(&surroundings.history));
    if let Err(error) = kept {
        tracing::debug!("The history of the prompt cannot be written: {error}");
    }
}
