//! Replies on their way to standard output, as text or as JSON. What a reply looks like as text is left to `text`.

use std::future::ready;
use std::io::{self, Write};
use std::pin::pin;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::once;
use p2p_sync_core::text::printable;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::text;
use crate::command::{CommandError, Look, Page, Reply};
use crate::node::Node;
use crate::report::{Items, KeyOnly, Record, line};

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
        look: Look,
        node: &Node,
    ) -> io::Result<()> {
        match reply {
            Ok(Reply::Listed(page)) => self.list(page, as_json, look, node).await,
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

    async fn list(&mut self, first: Page, as_json: bool, look: Look, node: &Node) -> io::Result<()> {
        let total = first.total;
        let mut chunk = total.map(text::list_head).unwrap_or_default();
        let (mut shown, mut broken) = (0, None);
        let mut pages = pin!(once(ready(Ok(first.clone()))).chain(first.following(node)));
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            };
            shown += page.records.len() as u64;
            for record in &page.records {
                chunk.push_str(&item(record, as_json, look));
                if chunk.len() >= CHUNK_BYTES {
                    self.print(&std::mem::take(&mut chunk)).await?;
                }
            }
        }
        match broken {
            Some(error) => chunk.push_str(&failure(&error, as_json)),
            None if as_json => chunk.push_str(&line(&Items { items: shown })),
            None if total.is_some_and(|total| total != shown) => chunk.push_str(&text::list_moved(shown)),
            None => {}
        }
        self.print(&chunk).await
    }
}

/// One record of a list, as it is shown at the prompt.
fn item(record: &Record, as_json: bool, look: Look) -> String {
    match (as_json, look.keys_only) {
        (true, false) => line(record),
        (true, true) => line(&KeyOnly {
            key: record.key.clone(),
        }),
        (false, _) => format!("  {}", text::list_item(record, look)),
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
    tell(&format!("{}\n", printable(text.as_bytes())));
}

/// The same for lines that can be shown as they are.
pub(super) fn tell(text: &str) {
    let line = text.to_owned();
    let (written, is_written) = sync_channel(1);
    thread::spawn(move || {
        // Nobody is left to tell when this fails.
        let _ = io::stderr().write_all(line.as_bytes());
        let _ = written.send(());
    });
    let _ = is_written.recv_timeout(COMPLAINT_PATIENCE);
}
