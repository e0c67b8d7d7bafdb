//! Commands from a pipe, a file or a plain terminal: one line after the other, until the input ends.

use std::io;
use std::thread;

use tokio::sync::mpsc;

use super::execute::{Flow, execute};
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

/// Carries out the lines of standard input, with `prompt` written in front of each, until it ends or says so. Returns how
/// many there were.
///
/// # Errors
/// When the input cannot be read or a reply cannot be written.
pub(super) async fn run(prompt: &str, node: &Node) -> Result<u64, Ended> {
    let mut output = Output::stdout();
    let mut lines = read_ahead();
    let mut count = 0;
    loop {
        if !prompt.is_empty() {
            output.print(prompt).await?;
        }
        match lines.recv().await {
            None => return Ok(count),
            Some(Err(error)) => return Err(Ended::Input(error)),
            Some(Ok(line)) => {
                count += 1;
                if execute(&line, node, &mut output).await? == Flow::Exit {
                    return Ok(count);
                }
            }
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
