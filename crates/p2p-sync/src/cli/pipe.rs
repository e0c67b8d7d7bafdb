//! Commands from a pipe, a file or a plain terminal: one line after the other, until the input ends.

use std::io;
use std::thread;

use tokio::sync::mpsc;

use super::execute::{Conversation, Flow};
use super::lines::{Line, Lines};
use super::output::Output;
use crate::node::{Node, NodeError};

/// Lines that are read while a command is carried out. A line may be a megabyte long.
const LINES_AHEAD: usize = 4;

/// Why no more commands come from the input.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// A reply could not be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    /// The input could not be read.
    #[error("cannot read from standard input: {0}")]
    Input(io::Error),
    /// The node can store nothing any more.
    #[error(transparent)]
    Node(NodeError),
}

/// What came from the input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    /// Lines.
    pub(super) lines: u64,
    /// Versions that were written because of them.
    pub(super) writes: u64,
    /// Why no more of them are carried out.
    pub(super) why: &'static str,
}

/// Carries out the lines of standard input, with `prompt` written in front of each, until it ends or says so.
///
/// # Errors
/// When the input cannot be read or a reply cannot be written.
pub(super) async fn run(prompt: &str, node: &Node) -> Result<Told, Ended> {
    let mut talk = Conversation::new(node, Output::stdout());
    let mut lines = read_ahead();
    let mut count = 0;
    loop {
        if !prompt.is_empty() {
            talk.output().print(prompt).await?;
        }
        let ended = match lines.recv().await {
            None => {
                talk.end().await?;
                Some("standard input has ended")
            }
            Some(Err(error)) => return Err(Ended::Input(error)),
            Some(Ok(line)) => {
                count += 1;
                (talk.line(&line).await? == Flow::Exit).then_some("an exit command was read")
            }
        };
        if let Some(why) = ended {
            return Ok(Told {
                lines: count,
                writes: talk.writes(),
                why,
            });
        }
    }
}

/// Reads standard input on a thread of its own, which nobody waits for: a read that blocks cannot be called off.
fn read_ahead() -> mpsc::Receiver<io::Result<Line>> {
    let (found, lines) = mpsc::channel(LINES_AHEAD);
    thread::spawn(move || {
        let mut input = Lines::new(io::stdin());
        while let Some(line) = input.next().transpose() {
            let ended = line.is_err();
            if found.blocking_send(line).is_err() || ended {
                return;
            }
        }
    });
    lines
}
