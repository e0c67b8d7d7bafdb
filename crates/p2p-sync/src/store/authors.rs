//! Peer ids as the column `author` holds them, in base58.

use std::collections::HashMap;

use p2p_sync_core::NodeId;

/// Base58 costs more than finding a row, and the authors of a store are few: both directions are remembered.
#[derive(Debug, Default)]
pub(super) struct Authors {
    texts: HashMap<NodeId, Box<str>>,
    ids: HashMap<Box<str>, NodeId>,
}

/// Authors remembered in each direction; beyond that the memory starts anew, which costs time and nothing else.
const AUTHORS_MAX: usize = 256;

impl Authors {
    pub(super) fn text(&mut self, id: NodeId) -> &str {
        if self.texts.len() >= AUTHORS_MAX && !self.texts.contains_key(&id) {
            self.texts.clear();
        }
        self.texts.entry(id).or_insert_with(|| id.to_string().into_boxed_str())
    }

    pub(super) fn id(&mut self, text: &str) -> Option<NodeId> {
        if let Some(id) = self.ids.get(text) {
            return Some(*id);
        }
        let id = text.parse().ok()?;
        if self.ids.len() >= AUTHORS_MAX {
            self.ids.clear();
        }
        self.ids.insert(text.into(), id);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::id;

    #[test]
    fn the_memory_of_authors_is_bounded_and_right() {
        let mut authors = Authors::default();
        for n in (0..1_000).chain(0..1_000) {
            let text = id(n).to_string();
            assert_eq!(authors.text(id(n)), text);
            assert_eq!(authors.id(&text), Some(id(n)));
            assert_eq!(authors.id("nobody, 0OIl"), None);
            assert!(authors.texts.len() <= AUTHORS_MAX && authors.ids.len() <= AUTHORS_MAX);
        }
    }
}
