//! Shows the answers to a command in the shell: data on standard output, for people on a terminal and for programs elsewhere;
//! everything else on standard error.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use p2p_sync_core::text::printable;

use crate::cli::{Failure, output, text};
use crate::command::{Class, Command, CommandError, Look, Page, Reply};
use crate::report::{Found, Items, KeyOnly, Record, escaped, line};

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 64 * 1024;

/// Where answers go, and how they look.
#[derive(Debug)]
pub(super) struct Show {
    out: BufWriter<Stdout>,
    is_terminal: bool,
    json: bool,
    look: Look,
    /// Records that were listed, if this is a list.
    listed: Option<u64>,
}

impl Show {
    /// For the answers to this command.
    pub(super) fn new(command: &Command) -> Self {
        Self {
            out: BufWriter::with_capacity(BUFFER_BYTES, io::stdout()),
            is_terminal: io::stdout().is_terminal(),
            json: command.json(),
            look: command.look(),
            listed: None,
        }
    }

    /// This one, for another thread; what is left in its place is not to be used.
    pub(super) fn take(&mut self) -> Self {
        let left = Self {
            out: BufWriter::with_capacity(0, io::stdout()),
            ..*self
        };
        std::mem::replace(self, left)
    }

    /// Shows one answer. Gives its class if it tells of a failure.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn answer(&mut self, answer: Result<Reply, CommandError>) -> io::Result<Option<Class>> {
        let reply = match answer {
            Ok(reply) => reply,
            Err(error) => {
                // In the order in which it happened.
                self.out.flush()?;
                self.complain(&error);
                return Ok(Some(error.class));
            }
        };
        let failure = reply.failure();
        match &reply {
            Reply::Listed(page) => self.page(page)?,
            Reply::Deleted(deletions) => {
                for deletion in deletions {
                    match deletion {
                        Ok(deleted) if self.json => self.out.write_all(line(deleted).as_bytes())?,
                        Ok(deleted) => output::tell(&text::deleted(deleted)),
                        Err(error) => {
                            self.out.flush()?;
                            self.complain(error);
                        }
                    }
                }
            }
            Reply::Synced(peers) if peers.is_empty() && !self.json => output::tell(&text::reply(&reply)),
            reply if self.json => self.out.write_all(reply.json().as_bytes())?,
            Reply::Found(found) => self.found(found)?,
            Reply::Added(_)
            | Reply::Resolved(_)
            | Reply::ResolvedAll(_)
            | Reply::ClockRepaired(_)
            | Reply::BackedUp(_)
            | Reply::DeletedAll(_) => {
                output::tell(&text::reply(&reply));
            }
            reply => self.out.write_all(text::reply(reply).as_bytes())?,
        }
        self.out.flush()?;
        Ok(failure)
    }

    /// Everything was answered.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if let Some(items) = self.listed.filter(|_| self.json) {
            self.out.write_all(line(&Items { items }).as_bytes())?;
        }
        self.out.flush()
    }

    fn complain(&self, error: &CommandError) {
        if self.json {
            output::say(error.json().trim_end());
        } else {
            output::complain(&error.to_string());
        }
    }

    /// A value, byte for byte; a terminal gets nothing that it would act on.
    fn found(&mut self, found: &Found) -> io::Result<()> {
        let value = found.record.version.content.bytes().unwrap_or_default();
        if !self.is_terminal {
            return self.out.write_all(&value);
        }
        for part in value.split_inclusive(|byte| *byte == b'\n') {
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            let end = if text.len() < part.len() { "\n" } else { "" };
            write!(self.out, "{}{end}", printable(text))?;
        }
        if !value.ends_with(b"\n") {
            self.out.write_all(b"\n")?;
        }
        self.out.flush()?;
        if found.conflicts > 0 {
            let key = printable(crate::command::as_word(&found.record.key, false).as_bytes());
            output::say(&format!(
                "(in conflict with other writes; to see and choose: p2p-sync conflicts {key})"
            ));
        }
        Ok(())
    }

    fn page(&mut self, page: &Page) -> io::Result<()> {
        self.listed = Some(self.listed.unwrap_or_default() + page.records.len() as u64);
        for record in &page.records {
            self.record(record)?;
        }
        Ok(())
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        let value = record.version.content.bytes().filter(|_| !self.look.keys_only);
        let key = record.key.as_bytes();
        if self.json {
            let line = if self.look.keys_only {
                line(&KeyOnly {
                    key: record.key.clone(),
                })
            } else {
                line(record)
            };
            return self.out.write_all(line.as_bytes());
        }
        if self.look.null {
            self.out.write_all(key)?;
            self.out.write_all(b"\0")?;
            if let Some(value) = value {
                self.out.write_all(&value)?;
                self.out.write_all(b"\0")?;
            }
            return Ok(());
        }
        if self.is_terminal {
            return self.out.write_all(text::list_item(record, self.look).as_bytes());
        }
        let mut columns = vec![escaped(key)];
        columns.extend(value.map(|value| escaped(&value)));
        if self.look.long {
            columns.extend([record.version.timestamp.clone(), record.version.author.clone()]);
        }
        writeln!(self.out, "{}", columns.join("\t"))
    }
}

/// Why standard output could not be written; none if nobody reads it any more.
pub(super) fn not_written(error: io::Error) -> Option<Failure> {
    (error.kind() != io::ErrorKind::BrokenPipe).then(|| {
        Failure::new(
            Class::Failed,
            format!("Cannot write to standard output: {error}. The command itself was carried out"),
        )
    })
}
