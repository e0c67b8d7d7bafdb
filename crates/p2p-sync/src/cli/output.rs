//! Replies on their way to standard output, as text or as JSON. What a reply looks like as text is left to `text`.

use std::io::{self, Write};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use p2p_sync_core::text::printable;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::text;
use crate::command::{CommandError, Page, Reply};
use crate::node::Node;
use crate::report::{Items, line};

/// Items are written when this many bytes of them wait.
const CHUNK_BYTES: usize = 64 * 1024;
/// How long the end of the program waits for its last words.
const COMPLAINT_PATIENCE: Duration = Duration::from_millis(100);

/// Where replies go.
#[derive(Debug)]
pub(super) struct Output<W> {
    writer: W,
}

impl Output<tokio::io::Stdout> {
    pub(super) fn stdout() -> Self {
        Self::new(tokio::io::stdout())
    }
}

impl<W: AsyncWrite + Unpin> Output<W> {
    pub(super) fn new(writer: W) -> Self {
        Self { writer }
    }

    /// Writes a text, and returns when it has left the process.
    ///
    /// # Errors
    /// When nobody takes it any more, or it cannot be written.
    pub(super) async fn print(&mut self, text: &str) -> io::Result<()> {
        self.writer.write_all(text.as_bytes()).await?;
        self.writer.flush().await
    }

    /// Writes what came of a command; of a list the pages that follow, too, as `node` gives them.
    ///
    /// # Errors
    /// As for [`print`](Self::print).
    pub(super) async fn reply(
        &mut self,
        reply: Result<Reply, CommandError>,
        as_json: bool,
        node: &Node,
    ) -> io::Result<()> {
        match reply {
            Ok(Reply::Listed(page)) => self.list(page, as_json, node).await,
            Ok(reply) if as_json => self.print(&reply.json()).await,
            Ok(reply) => self.print(&text::reply(&reply)).await,
            Err(error) => self.fail(&error, as_json).await,
        }
    }

    /// Writes why a command failed.
    ///
    /// # Errors
    /// As for [`print`](Self::print).
    pub(super) async fn fail(&mut self, error: &CommandError, as_json: bool) -> io::Result<()> {
        self.print(&failure(error, as_json)).await
    }

    async fn list(&mut self, first: Page, as_json: bool, node: &Node) -> io::Result<()> {
        let total = first.total;
        let mut chunk = total.map(text::list_head).unwrap_or_default();
        let (mut shown, mut next) = (0, Ok(Some(first)));
        while let Ok(Some(page)) = next {
            shown += page.records.len() as u64;
            for record in &page.records {
                chunk.push_str(&if as_json { line(record) } else { text::list_item(record) });
                if chunk.len() >= CHUNK_BYTES {
                    self.print(&std::mem::take(&mut chunk)).await?;
                }
            }
            next = page.next(node).await;
        }
        match next {
            Err(error) => chunk.push_str(&failure(&error, as_json)),
            Ok(_) if as_json => chunk.push_str(&line(&Items { items: shown })),
            Ok(_) if total != Some(shown) => chunk.push_str(&text::list_moved(shown)),
            Ok(_) => {}
        }
        self.print(&chunk).await
    }
}

fn failure(error: &CommandError, as_json: bool) -> String {
    if as_json { error.json() } else { text::error(error) }
}

/// Tells the user why the program ends, where error messages go. A reader that has stopped does not hold it up.
pub(super) fn complain(text: &str) {
    say(&format!("✗ {text}"));
}

/// Says a line on standard error. A reader that has stopped does not hold it up.
pub(super) fn say(text: &str) {
    let line = format!("{}\n", printable(text.as_bytes()));
    let (written, is_written) = sync_channel(1);
    thread::spawn(move || {
        // Nobody is left to tell when this fails.
        let _ = io::stderr().write_all(line.as_bytes());
        let _ = written.send(());
    });
    let _ = is_written.recv_timeout(COMPLAINT_PATIENCE);
}
