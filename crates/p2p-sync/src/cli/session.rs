//! One user's session: lines in, replies out, one after the other, until somebody has had enough.

use std::io;

use tokio::io::AsyncWrite;

use super::lines::{LINE_BYTES_MAX, Line};
use super::output::Output;
use crate::command::{Class, Command, CommandError, ParseError, Reply, asks_for_json, parse_line};
use crate::node::Node;

/// How a session goes on behind a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Exit,
}

/// Carries out what a line says and writes the reply.
///
/// # Errors
/// When the reply cannot be written.
pub(super) async fn execute<W: AsyncWrite + Unpin>(line: &Line, node: &Node, output: &mut Output<W>) -> io::Result<Flow> {
    let (command, json) = match read(line) {
        Ok(None) => return Ok(Flow::Continue),
        Ok(Some(command)) => {
            let json = command.json();
            (Ok(command), json)
        }
        Err(ParseError { json, error }) => (Err(error), json),
    };
    let reply = match command {
        Ok(command) => command.run(node).await,
        Err(error) => Err(error),
    };
    let flow = if matches!(reply, Ok(Reply::Exit)) { Flow::Exit } else { Flow::Continue };
    output.reply(reply, json).await?;
    Ok(flow)
}

fn read(line: &Line) -> Result<Option<Command>, ParseError> {
    match line {
        Line::Whole(line) => parse_line(line),
        Line::TooLong(head) => {
            let text = format!("Line too long: at most {LINE_BYTES_MAX} bytes are allowed. It was skipped, nothing was stored.");
            Err(ParseError { json: asks_for_json(head), error: CommandError::new(Class::Invalid, text) })
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_invalid_and_not_a_command() {
        for (head, json) in [(&b"add --json k vvv"[..], true), (b"add k vvv", false), (b"get \"kkk", false)] {
            let error = read(&Line::TooLong(head.to_vec())).unwrap_err();
            assert_eq!((error.error.class, error.json), (Class::Invalid, json));
        }
    }
}
