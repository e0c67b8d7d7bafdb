//! What nodes are called: the one place that decides how a node is shown, for text, log and reports. A name is a claim that its
//! node makes: it is shown, and decides nothing. Who is connected and what is kept on disk, others say.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use p2p_sync_core::text::shortened;
use p2p_sync_core::{NodeId, Uptime};

mod find;
mod name;

pub use find::{Candidate, NoSuchPeer, find};
#[cfg(test)]
pub(crate) use name::NAME_BYTES_MAX;
pub use name::Name;

/// Names of nodes that are not connected: the ones heard last. Only those of known nodes outlive their connection.
pub const KNOWN_NAMES_MAX: usize = 1_024;
/// Names in all. There are fewer, because there are never more connections than a thousand; this is in case there are.
const ENTRIES_MAX: usize = 4 * KNOWN_NAMES_MAX;
/// A name that has not changed is written down again after this at the earliest.
const REPEAT: Duration = Duration::from_secs(600);
/// Characters of the end of a peer id: as many as its announcement on the LAN has. It takes centuries of computing to make a
/// key whose id ends in the same ones as another.
const END_CHARS: usize = 8;
/// A name of so many characters that reads like a peer id may be meant to pass for one. Real ones have 46 to 53.
const ID_CHARS_MIN: usize = 40;

/// The names that a node knows, its own included; see [`Node::names`](crate::Node::names). Cheap to clone; all clones share the same
/// names. A name is a claim that its node makes, and proves nothing.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let settings = p2p_sync::Node::builder(directory.path()).port(0).lan(false);
/// let node = settings.name("kitchen").start().await?;
/// let record = node.put("hello", "world").await?;
/// assert_eq!(node.names().author(record.author).display, "kitchen");
/// # node.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Names(Arc<Mutex<Table>>);

/// What a node is called.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Called {
    /// The name that it told, as it told it: not fit for a terminal.
    pub name: Option<Name>,
    /// How people see it, in printable characters: its name, with the end of its peer id if that alone would be ambiguous.
    /// Without a name, its peer id.
    pub display: String,
}

/// What it means that a peer told its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It told the same before, since it connected.
    Again,
    /// It is called as before, if its name was known, and told so for the first time since it connected.
    First,
    /// It has another name than before; none: it had, or has, none.
    Renamed(Option<Name>),
}

#[derive(Debug, Default)]
struct Table {
    own: Option<NodeId>,
    entries: BTreeMap<NodeId, Entry>,
    /// How many nodes have names that read the same.
    alike: HashMap<String, usize>,
    /// How often a name was heard so far.
    heard: u64,
    /// Known nodes whose names are to be written down.
    unsaved: BTreeMap<NodeId, Option<Name>>,
}

#[derive(Debug, Default)]
struct Entry {
    name: Option<Name>,
    is_connected: bool,
    /// Its name outlives its connection.
    is_known: bool,
    /// The number of the last time that it was heard.
    heard: u64,
    /// What was written down last, and when.
    saved: Option<(Option<Name>, Uptime)>,
}

impl Names {
    /// The names at the start: that of the node itself, and those it remembers, the one heard longest ago first.
    pub(crate) fn new(own: NodeId, name: &str, remembered: impl IntoIterator<Item = (NodeId, Name)>) -> Self {
        let mut table = Table::default();
        for (peer, name) in remembered {
            table.hear(peer, Some(name));
            if let Some(entry) = table.entries.get_mut(&peer) {
                entry.is_known = true;
                entry.is_connected = false;
            }
        }
        table.forget_oldest();
        table.hear(own, Name::cut(name));
        table.own = Some(own);
        Self(Arc::new(Mutex::new(table)))
    }

    /// A connected peer told its name, or that it has none.
    pub(crate) fn heard(&self, peer: NodeId, name: Option<Name>) -> Heard {
        let mut table = self.table();
        if table.own == Some(peer) {
            return Heard::Again;
        }
        let Some(before) = table.entries.get(&peer) else {
            table.hear(peer, name);
            return Heard::First;
        };
        let heard = match (&before.name, before.is_connected) {
            (old, _) if *old != name => Heard::Renamed(old.clone()),
            (_, true) => Heard::Again,
            (_, false) => Heard::First,
        };
        table.hear(peer, name);
        heard
    }

    /// A peer is no longer connected. Unless it is known, its name is forgotten.
    pub(crate) fn left(&self, peer: NodeId) {
        let mut table = self.table();
        if table.own == Some(peer) {
            return;
        }
        let Some(entry) = table.entries.get_mut(&peer) else {
            return;
        };
        entry.is_connected = false;
        if !entry.is_known || entry.name.is_none() {
            table.remove(peer);
        }
        table.forget_oldest();
    }

    /// A session with a peer completed: it is known from now on, and what it is called is to be written down.
    pub(crate) fn met(&self, peer: NodeId, at: Uptime) {
        let mut table = self.table();
        let Some(entry) = table.entries.get_mut(&peer) else {
            return;
        };
        entry.is_known = true;
        let is_saved = entry
            .saved
            .as_ref()
            .is_some_and(|(name, then)| *name == entry.name && at.saturating_since(*then) < REPEAT);
        if !is_saved {
            entry.saved = Some((entry.name.clone(), at));
            let name = entry.name.clone();
            table.unsaved.insert(peer, name);
        }
    }

    /// Whether there are names to be written down.
    pub(crate) fn has_unsaved(&self) -> bool {
        !self.table().unsaved.is_empty()
    }

    /// Known nodes whose names are to be written down now; without a name, the one that was written down is out of date.
    pub(crate) fn take_unsaved(&self) -> BTreeMap<NodeId, Option<Name>> {
        std::mem::take(&mut self.table().unsaved)
    }

    /// They could not be written down; the next attempt gets them again, except for those that have changed meanwhile.
    pub(crate) fn put_back(&self, unsaved: BTreeMap<NodeId, Option<Name>>) {
        let mut table = self.table();
        for (peer, name) in unsaved {
            if table.unsaved.len() < ENTRIES_MAX {
                table.unsaved.entry(peer).or_insert(name);
            }
        }
    }

    /// What a node is called.
    pub fn called(&self, node: NodeId) -> Called {
        let table = self.table();
        let name = table.entries.get(&node).and_then(|entry| entry.name.clone());
        let display = match &name {
            Some(name) => table.display(node, name),
            None => node.to_string(),
        };
        drop(table);
        Called { name, display }
    }

    /// A peer as people see it: its name, or else its peer id.
    pub fn peer(&self, peer: NodeId) -> String {
        self.called(peer).display
    }

    /// What the author of a record is called. Without a name, people see the end of its peer id, as `…QwN7WiRs`.
    pub fn author(&self, author: NodeId) -> Called {
        let called = self.called(author);
        match called.name {
            Some(_) => called,
            None => Called {
                name: None,
                display: format!("…{}", end(&called.display)),
            },
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn hear(&mut self, peer: NodeId, name: Option<Name>) {
        if self.entries.len() >= ENTRIES_MAX && !self.entries.contains_key(&peer) {
            return;
        }
        self.heard += 1;
        let before = self.entries.get(&peer).and_then(|entry| entry.name.clone());
        self.count_out(before.as_ref());
        if let Some(name) = &name {
            *self.alike.entry(alike(name)).or_default() += 1;
        }
        let entry = self.entries.entry(peer).or_default();
        (entry.name, entry.is_connected, entry.heard) = (name, true, self.heard);
    }

    fn remove(&mut self, peer: NodeId) {
        if let Some(gone) = self.entries.remove(&peer) {
            self.count_out(gone.name.as_ref());
        }
    }

    fn count_out(&mut self, name: Option<&Name>) {
        let Some(alike) = name.map(alike) else { return };
        if let Some(count) = self.alike.get_mut(&alike) {
            *count -= 1;
            if *count == 0 {
                self.alike.remove(&alike);
            }
        }
    }

    /// Forgets names of nodes that are not connected, as long as there are too many.
    fn forget_oldest(&mut self) {
        let away = |(_, entry): &(&NodeId, &Entry)| !entry.is_connected;
        while self.entries.iter().filter(away).count() > KNOWN_NAMES_MAX {
            let oldest = self.entries.iter().filter(away).min_by_key(|(_, entry)| entry.heard);
            let Some(oldest) = oldest.map(|(peer, _)| *peer) else {
                return;
            };
            self.remove(oldest);
        }
    }

    fn display(&self, node: NodeId, name: &Name) -> String {
        let shown = shortened(name.as_str().as_bytes());
        let is_shared = self.alike.get(&alike(name)).is_some_and(|count| *count > 1);
        if is_shared || pretends(name) {
            format!("{shown} (…{})", end(&node.to_string()))
        } else {
            shown
        }
    }
}

/// What is the same for names that people may take for the same, as they are shown: neither case nor the number of blanks tells
/// them apart.
fn alike(name: &Name) -> String {
    let shown = shortened(name.as_str().as_bytes());
    let words: Vec<&str> = shown.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

/// Whether a name looks like a peer id, or like a name with the end of one behind it.
fn pretends(name: &Name) -> bool {
    let name = name.as_str();
    name.contains('…') || (name.len() >= ID_CHARS_MIN && name.parse::<NodeId>().is_ok())
}

/// The last characters of a peer id.
fn end(id: &str) -> &str {
    id.get(id.len().saturating_sub(END_CHARS)..).unwrap_or(id)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
