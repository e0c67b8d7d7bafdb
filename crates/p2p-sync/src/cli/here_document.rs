//! Values of several lines: `add KEY <<END`, the lines, and a line that says END.

use p2p_sync_core::limits::VALUE_BYTES_MAX;

use super::lines::Line;
use crate::command::{Add, Class, Command, CommandError, ParseError};

/// The value that is being read, if one is.
#[derive(Debug, Default)]
pub(super) struct HereDocument(Option<Open>);

#[derive(Debug)]
struct Open {
    add: Add,
    end: String,
    /// The lines so far, with a line feed between them; a little more than a value may have at most.
    value: Option<Vec<u8>>,
}

impl HereDocument {
    pub(super) fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Gives the command back, unless its value is still to come.
    pub(super) fn open(&mut self, command: Command) -> Option<Command> {
        match command {
            Command::Add(add) => match add.here_document().map(str::to_owned) {
                None => Some(Command::Add(add)),
                Some(end) => {
                    self.0 = Some(Open { add, end, value: None });
                    None
                }
            },
            other => Some(other),
        }
    }

    /// Takes a line of the value. Gives the command when it is complete.
    pub(super) fn take(&mut self, line: &Line) -> Option<Command> {
        let mut open = self.0.take()?;
        let (Line::Whole(bytes) | Line::TooLong(bytes)) = line;
        if bytes == open.end.as_bytes() {
            // A value of no lines is empty.
            return Some(Command::Add(open.add.with_value(&open.value.unwrap_or_default())));
        }
        let value = match open.value.take() {
            None => bytes.clone(),
            // What is too large already is not kept: the command will say so.
            Some(value) if value.len() > VALUE_BYTES_MAX => value,
            Some(mut value) => {
                value.push(b'\n');
                value.extend_from_slice(bytes);
                value
            }
        };
        open.value = Some(value);
        self.0 = Some(open);
        None
    }

    /// The input has ended: what is wrong, if a value is not complete.
    pub(super) fn end(&mut self) -> Option<ParseError> {
        let open = self.0.take()?;
        let text = format!(
            "The input ended before the line {} that ends the value. Nothing was stored.",
            open.end
        );
        Some(ParseError {
            json: open.add.json(),
            error: CommandError::new(Class::Usage, text),
        })
    }
}
