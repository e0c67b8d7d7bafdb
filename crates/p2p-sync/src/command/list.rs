//! `list`: shows what is stored, page by page, however much it is.

use std::ffi::OsString;

use p2p_sync_core::Key;
use p2p_sync_core::record::InvalidKey;
use serde::{Deserialize, Serialize};

use super::{CommandError, Format, Reply, Run, serial};
use crate::node::Node;
use crate::report::{Items, Record, Schema};

/// Records that are read at once.
const PAGE_RECORDS_MAX: usize = 500;

/// Lists what is stored, in key order
#[derive(Debug, Clone, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    #[command(flatten)]
    #[serde(default)]
    pub(super) format: Format,
    /// Only keys that begin with this
    #[serde(default, with = "serial")]
    pub(super) prefix: Option<OsString>,
}

impl Run for List {
    fn lines(schema: Schema) -> Schema {
        schema.line::<Record>().line::<Items>()
    }

    fn format(&self) -> Format {
        self.format
    }

    async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        let prefix = self.prefix.unwrap_or_default().into_string();
        let mut page = Page::read(node, prefix.map_err(|_| InvalidKey::NotUtf8)?, None).await?;
        // In JSON the number stands at the end, where it costs nothing.
        if !self.format.json {
            page.total = Some(match page.after {
                None => page.records.len() as u64,
                Some(_) => node.count(&page.prefix).await?,
            });
        }
        Ok(Reply::Listed(page))
    }
}

/// Some of the records asked for, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The records.
    pub records: Vec<Record>,
    /// How many there are in all; none where nobody needs to know. Writes that come between the pages do not change it.
    pub total: Option<u64>,
    /// What the keys begin with.
    pub prefix: String,
    /// Behind which key the next page begins; none: this is the last one. A page that was sent from elsewhere has none: the next one
    /// is sent, too.
    #[serde(skip)]
    after: Option<Key>,
}

impl Page {
    async fn read(node: &Node, prefix: String, after: Option<Key>) -> Result<Self, CommandError> {
        let found = node.list(&prefix, after, PAGE_RECORDS_MAX).await?;
        let last = found.last().filter(|_| found.len() == PAGE_RECORDS_MAX);
        Ok(Self {
            after: last.map(|record| record.key.clone()),
            records: found.iter().map(Record::from).collect(),
            total: None,
            prefix,
        })
    }

    /// The next page; none behind the last one.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn next(&self, node: &Node) -> Result<Option<Self>, CommandError> {
        match &self.after {
            None => Ok(None),
            after => Self::read(node, self.prefix.clone(), after.clone()).await.map(Some),
        }
    }
}
