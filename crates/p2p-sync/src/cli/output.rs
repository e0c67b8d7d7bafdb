//! Replies on their way to standard output, as text or as JSON. What a reply looks like is left to `text` and `json`.

use std::io::{self, Write};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use p2p_sync_core::text::printable;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{json, text};
use crate::command::{CommandError, Listing, Reply};

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

    /// Writes what came of a command.
    ///
    /// # Errors
    /// As for [`print`](Self::print).
    pub(super) async fn reply(&mut self, reply: Result<Reply, CommandError>, as_json: bool) -> io::Result<()> {
        let error = if as_json { json::error } else { text::error };
        let text = match (reply, as_json) {
            (Err(failed), _) => error(&failed),
            (Ok(Reply::Listed(listing)), _) => return self.list(listing, as_json).await,
            (Ok(Reply::Deleted(deletions)), _) => {
                let deleted = |record| {
                    if as_json {
                        json::deleted(record)
                    } else {
                        text::deleted(&record.key)
                    }
                };
                deletions
                    .iter()
                    .map(|deletion| deletion.as_ref().map_or_else(error, deleted))
                    .collect()
            }
            (Ok(Reply::Added(record)), true) => json::added(&record),
            (Ok(Reply::Added(record)), false) => text::added(&record),
            (Ok(Reply::Found(record)), true) => json::found(&record),
            (Ok(Reply::Found(record)), false) => text::found(&record),
            (Ok(Reply::Status(status)), true) => json::status(&status),
            (Ok(Reply::Status(status)), false) => text::status(&status),
            (Ok(Reply::Peers(peers)), true) => json::peers(&peers),
            (Ok(Reply::Peers(peers)), false) => text::peers(&peers),
            (Ok(Reply::Synced(peers)), true) => json::sync::synced(&peers),
            (Ok(Reply::Synced(peers)), false) => text::sync::synced(&peers),
            (Ok(Reply::Verified(verified)), true) => json::sync::verified(&verified),
            (Ok(Reply::Verified(verified)), false) => text::sync::verified(&verified),
            (Ok(Reply::Conflicts(list)), true) => json::sync::conflicts(&list),
            (Ok(Reply::Conflicts(list)), false) => text::sync::conflicts(&list),
            (Ok(Reply::Restored(restored)), true) => json::sync::restored(&restored),
            (Ok(Reply::Restored(restored)), false) => text::sync::restored(&restored),
            (Ok(Reply::Help(commands)), true) => json::help(&commands),
            (Ok(Reply::Help(commands)), false) => text::help(&commands),
            (Ok(Reply::Exit), true) => json::exit(),
            (Ok(Reply::Exit), false) => return Ok(()),
        };
        self.print(&text).await
    }

    async fn list(&mut self, mut listing: Listing, as_json: bool) -> io::Result<()> {
        let mut chunk = if as_json {
            String::new()
        } else {
            text::list_head(listing.count())
        };
        let mut shown = 0;
        loop {
            let page = match listing.next().await {
                Ok(page) => page,
                Err(error) => {
                    chunk.push_str(&if as_json {
                        json::error(&error)
                    } else {
                        text::error(&error)
                    });
                    return self.print(&chunk).await;
                }
            };
            if page.is_empty() {
                break;
            }
            for record in page {
                shown += 1;
                chunk.push_str(&if as_json {
                    json::found(&record)
                } else {
                    text::list_item(&record)
                });
                if chunk.len() >= CHUNK_BYTES {
                    self.print(&std::mem::take(&mut chunk)).await?;
                }
            }
        }
        if as_json {
            chunk.push_str(&json::list_end(shown));
        } else if shown != listing.count() {
            chunk.push_str(&text::list_moved(shown));
        }
        self.print(&chunk).await
    }
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
