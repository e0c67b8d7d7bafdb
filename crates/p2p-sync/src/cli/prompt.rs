//! The prompt at a terminal: a line editor on its own thread, with history and completion. Log lines are printed above the
//! line that is being typed.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor, EventHandler, ExternalPrinter, KeyEvent};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::completion::Completion;
use super::execute::{Conversation, Flow};
use super::interrupt::{Interrupts, Key, Taken, Takes};
use super::lines::{LINE_BYTES_MAX, Line};
use super::logging::Logs;
use super::output::Output;
use super::pipe::Ended;
use super::stop::StopSwitch;
#[cfg(unix)]
use super::suspension::Suspension;
use super::terminal::{self, Editing};
use crate::command::{Class, CommandError};
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
    pub(super) interrupts: Interrupts,
    #[cfg(unix)]
    pub(super) suspension: Suspension,
}

/// What the user did.
enum Typed {
    Line(String),
    /// Ctrl-C; whether there was something on the line, which is dropped.
    Interrupted {
        line_was_empty: bool,
    },
    /// Ctrl-D.
    Leave,
    /// Bytes that are not UTF-8: what came with them is dropped.
    NotText,
    Failed(io::Error),
}

/// What is printed in front of a line of a value.
const WITHIN_VALUE: &str = "… ";
/// What is said of a line that cannot be understood. The line editor gives nothing of it, so that nothing can be kept.
const NOT_TEXT: &str = "The line holds bytes that are not UTF-8. Nothing of it was done, and what was typed or pasted behind it is \
                        dropped, too. Set the terminal to UTF-8; to store such bytes: add --value-b64 BASE64 KEY";
/// What the first Ctrl-C on an empty line gets for an answer.
const HOW_TO_LEAVE: &str = "(To leave: Ctrl-C once more, Ctrl-D, or exit)\n";

/// Carries out what is typed, until the user leaves.
///
/// # Errors
/// When the terminal cannot be read or written.
pub(super) async fn run(node: &Node, surroundings: Surroundings) -> Result<(), Ended> {
    let mut talk = Conversation::new(node, Output::stdout()).with_hints();
    let (go, turns) = sync_channel(1);
    let (done, mut typed) = mpsc::channel(1);
    let completion = Completion::of(node.clone(), Handle::current());
    let interrupts = surroundings.interrupts.clone();
    thread::spawn(move || edit(completion, &surroundings, &turns, &done));
    let (mut wants_to_leave, mut is_editing) = (false, false);
    // The editor has the terminal only between a turn and what comes of it, so that replies never meet a line.
    loop {
        let prompt = if talk.is_within_value() { WITHIN_VALUE } else { PROMPT };
        if !is_editing && go.send(prompt).is_err() {
            break;
        }
        is_editing = true;
        let came = tokio::select! {
            came = typed.recv() => {
                is_editing = false;
                came
            }
            // Typed in the moment in which the editor did not have the terminal yet.
            () = interrupts.came() => Some(Typed::Interrupted { line_was_empty: true }),
        };
        let Some(came) = came else { break };
        let wanted_to_leave = std::mem::take(&mut wants_to_leave);
        match came {
            Typed::Leave => {
                talk.end().await?;
                return Ok(());
            }
            Typed::NotText => {
                talk.drop_value();
                let error = CommandError::new(Class::Invalid, NOT_TEXT);
                talk.output().fail(&error, false).await?;
            }
            Typed::Failed(error) => return Err(Ended::Input(error)),
            Typed::Interrupted { .. } if talk.is_within_value() => talk.drop_value(),
            Typed::Interrupted { line_was_empty: true } if wanted_to_leave => return Ok(()),
            Typed::Interrupted { line_was_empty } => {
                wants_to_leave = line_was_empty;
                if line_was_empty {
                    talk.output().print(HOW_TO_LEAVE).await?;
                }
            }
            Typed::Line(text) => {
                for line in lines(&text) {
                    match interrupts.allow(talk.line(&line)).await {
                        Some(flow) => {
                            if flow? == Flow::Exit {
                                return Ok(());
                            }
                        }
                        None => {
                            let words = talk.interrupted();
                            talk.output().print(&format!("\n{words}\n")).await?;
                            break;
                        }
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
fn edit(
    completion: Completion,
    surroundings: &Surroundings,
    turns: &Receiver<&'static str>,
    done: &mpsc::Sender<Typed>,
) {
    let taken = Arc::default();
    let mut editor = match self::editor(completion.clone(), surroundings, &taken) {
        Ok(editor) => editor,
        Err(error) => {
            let _ = done.blocking_send(Typed::Failed(io::Error::other(error)));
            return;
        }
    };
    while let Ok(prompt) = turns.recv() {
        let typed = match edit_line(&mut editor, prompt, surroundings, &taken) {
            Ok(line) => {
                remember(&mut editor, &line, surroundings);
                Typed::Line(line)
            }
            Err(ReadlineError::Eof) => Typed::Leave,
            Err(error) if is_not_text(&error) => {
                terminal::discard_input();
                // It may hold more of what came: the rest of a line is no line.
                match self::editor(completion.clone(), surroundings, &taken) {
                    Ok(fresh) => editor = fresh,
                    Err(error) => {
                        let _ = done.blocking_send(Typed::Failed(io::Error::other(error)));
                        return;
                    }
                }
                Typed::NotText
            }
            Err(ReadlineError::Interrupted) => Typed::Interrupted {
                line_was_empty: take(&taken).is_none_or(|taken| taken.line_was_empty()),
            },
            Err(error) => Typed::Failed(io::Error::other(error)),
        };
        let leaves = matches!(typed, Typed::Leave | Typed::Interrupted { .. });
        if done.blocking_send(typed).is_err() {
            if leaves {
                // The program is stopping already, and somebody at the keyboard cannot wait for it.
                surroundings.stop.interrupt();
            }
            return;
        }
    }
}

/// Whether the terminal gave bytes that are no character.
fn is_not_text(error: &ReadlineError) -> bool {
    match error {
        ReadlineError::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        #[cfg(windows)]
        ReadlineError::Decode(_) => true,
        _ => false,
    }
}

type PromptEditor = Editor<Completion, FileHistory>;

fn take(taken: &Mutex<Option<Taken>>) -> Option<Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Edits a line, over any number of suspensions. The editor suspends the process by itself, but may have the terminal back
/// before the process stands still, and then the shell changes it.
fn edit_line(
    editor: &mut PromptEditor,
    prompt: &str,
    surroundings: &Surroundings,
    taken: &Mutex<Option<Taken>>,
) -> rustyline::Result<String> {
    let mut line = (String::new(), String::new());
    loop {
        surroundings.editing.set(true);
        let edited = editor.readline_with_initial(prompt, (&line.0, &line.1));
        surroundings.editing.set(false);
        if !matches!(edited, Err(ReadlineError::Interrupted)) {
            return edited;
        }
        match suspended(surroundings, taken) {
            Some(before) => line = before,
            None => return edited,
        }
    }
}

/// Suspends the process if that is what the key was for; once it goes on, the line on both sides of the cursor.
#[cfg(unix)]
fn suspended(surroundings: &Surroundings, taken: &Mutex<Option<Taken>>) -> Option<(String, String)> {
    let taken = taken
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take_if(|taken| taken.key == Key::Suspend)?;
    surroundings.suspension.suspend();
    Some(taken.line)
}

/// There is no such key elsewhere.
#[cfg(not(unix))]
fn suspended(_: &Surroundings, _: &Mutex<Option<Taken>>) -> Option<(String, String)> {
    None
}

fn editor(
    completion: Completion,
    surroundings: &Surroundings,
    taken: &Arc<Mutex<Option<Taken>>>,
) -> rustyline::Result<PromptEditor> {
    let config = Config::builder()
        .max_history_size(HISTORY_LINES_MAX)?
        .history_ignore_dups(true)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .build();
    let mut editor = PromptEditor::with_config(config)?;
    editor.set_helper(Some(completion));
    let takes = |key| EventHandler::Conditional(Box::new(Takes::new(key, taken)));
    editor.bind_sequence(KeyEvent::ctrl('C'), takes(Key::Interrupt));
    #[cfg(unix)]
    editor.bind_sequence(KeyEvent::ctrl('Z'), takes(Key::Suspend));
    match editor.load_history(&surroundings.history) {
        Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!("Cannot read the prompt history: {error}"),
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
        tracing::debug!("Cannot write the prompt history: {error}");
    }
}
