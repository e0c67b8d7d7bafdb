//! `list`: shows what is stored, page by page, however much it is.

use std::ffi::OsString;

use futures::Stream;
use futures::stream::unfold;
use p2p_sync_core::Key;
use p2p_sync_core::record::InvalidKey;
use serde::{Deserialize, Serialize};

use super::error::key;
use super::{CommandError, Format, Reply, Run, serial};
use crate::node::Node;
use crate::report::{Items, KeyOnly, Record, Schema};

/// Records that are read at once.
const PAGE_RECORDS_MAX: usize = 500;

/// Lists what is stored, in key order
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    #[command(flatten)]
    #[serde(default)]
    pub(super) format: Format,
    /// Shows at most so many
    #[arg(long, value_name = "N", hide_short_help = true)]
    #[serde(default)]
    pub(super) limit: Option<u64>,
    /// Begins behind this key
    #[arg(long, value_name = "KEY", hide_short_help = true)]
    #[serde(default, with = "serial")]
    pub(super) after: Option<OsString>,
    /// Also shows when each was written, and by which node
    #[arg(long, hide_short_help = true, conflicts_with = "keys_only")]
    #[serde(default)]
    pub(super) long: bool,
    /// Shows no values
    #[arg(long, hide_short_help = true)]
    #[serde(default)]
    pub(super) keys_only: bool,
    /// Only tells how many there are
    #[arg(long, hide_short_help = true, conflicts_with_all = ["long", "keys_only", "null"])]
    #[serde(default)]
    pub(super) count: bool,
    /// Lists the keys that were deleted instead
    #[arg(long, hide_short_help = true)]
    #[serde(default)]
    pub(super) deleted: bool,
    /// Ends each key and each value with a NUL byte, as they are, instead of escaping them; in the shell only
    #[arg(short = '0', long, hide_short_help = true, conflicts_with_all = ["long", "json"])]
    #[serde(default)]
    pub(super) null: bool,
    /// Only keys that begin with this
    #[serde(default, with = "serial")]
    pub(super) prefix: Option<OsString>,
}

/// How a list is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// With time and author.
    pub long: bool,
    /// Without values.
    pub keys_only: bool,
    /// With NUL bytes between what is not escaped.
    pub null: bool,
}

impl Run for List {
    fn lines(schema: Schema) -> Schema {
        schema.line::<Record>().line::<KeyOnly>().line::<Items>()
    }

    fn format(&self) -> Format {
        self.format
    }

    async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        let (counts, json) = (self.count, self.format.json);
        let begin = self.begin()?;
        if counts {
            return Ok(Reply::Counted(Items {
                items: begin.count(node).await?,
            }));
        }
        let is_whole = begin.is_whole();
        let mut page = Page::read(node, begin).await?;
        // In JSON the number stands at the end, where it costs nothing.
        if !json && is_whole {
            page.total = Some(match page.next {
                None => page.records.len() as u64,
                Some(_) => node.count(&page.prefix).await?,
            });
        }
        Ok(Reply::Listed(page))
    }
}

impl List {
    /// How it is shown.
    pub(super) fn look(&self) -> Look {
        Look {
            long: self.long,
            keys_only: self.keys_only,
            null: self.null,
        }
    }

    /// The same list, of which nobody needs to know beforehand how long it is.
    pub(super) fn without_total(mut self) -> Self {
        self.format.json = true;
        self
    }

    /// What is left of it behind this page.
    pub(super) fn behind(&self, page: &Page) -> Option<Self> {
        let Begin { after, left, .. } = page.next.clone()?;
        Some(Self {
            after: after.map(|key| key.as_str().into()),
            limit: left,
            ..self.clone()
        })
    }

    fn begin(self) -> Result<Begin, CommandError> {
        let prefix = self.prefix.unwrap_or_default().into_string();
        Ok(Begin {
            prefix: prefix.map_err(|_| InvalidKey::NotUtf8)?,
            after: self.after.as_deref().map(key).transpose()?,
            left: self.limit,
            deleted: self.deleted,
        })
    }
}

/// Where a page begins, and what goes into it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Begin {
    prefix: String,
    after: Option<Key>,
    /// How many records may still be shown; none: all.
    left: Option<u64>,
    deleted: bool,
}

impl Begin {
    /// Whether this is everything that has the prefix.
    fn is_whole(&self) -> bool {
        self.after.is_none() && self.left.is_none() && !self.deleted
    }

    async fn count(self, node: &Node) -> Result<u64, CommandError> {
        if self.is_whole() {
            return Ok(node.count(&self.prefix).await?);
        }
        let mut page = Some(Page::read(node, self).await?);
        let mut items = 0;
        while let Some(some) = page {
            items += some.records.len() as u64;
            page = some.next(node).await?;
        }
        Ok(items)
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
    /// Where the next page begins; none: this is the last one. A page that was sent from elsewhere has none: the next one is sent,
    /// too.
    #[serde(skip)]
    next: Option<Begin>,
}

impl Page {
    async fn read(node: &Node, begin: Begin) -> Result<Self, CommandError> {
        let left = begin.left.and_then(|left| usize::try_from(left).ok());
        let limit = left.unwrap_or(PAGE_RECORDS_MAX).min(PAGE_RECORDS_MAX);
        let (prefix, after) = (begin.prefix.as_str(), begin.after.clone());
        let found = match (limit, begin.deleted) {
            (0, _) => Vec::new(),
            (_, false) => node.list(prefix, after, limit).await?,
            (_, true) => node.list_deleted(prefix, after, limit).await?,
        };
        let last = found.last().filter(|_| found.len() == PAGE_RECORDS_MAX);
        let left = begin.left.map(|left| left.saturating_sub(found.len() as u64));
        Ok(Self {
            next: last.filter(|_| left != Some(0)).map(|record| Begin {
                after: Some(record.key.clone()),
                left,
                ..begin.clone()
            }),
            records: found.iter().map(Record::from).collect(),
            total: None,
            prefix: begin.prefix,
        })
    }

    /// The next page; none behind the last one.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn next(&self, node: &Node) -> Result<Option<Self>, CommandError> {
        match self.next.clone() {
            None => Ok(None),
            Some(begin) => Self::read(node, begin).await.map(Some),
        }
    }

    /// The pages that follow, as `node` has them. An error is the last one.
    pub fn following(&self, node: &Node) -> impl Stream<Item = Result<Self, CommandError>> + use<> {
        unfold((self.next.clone(), node.clone()), |(begin, node)| async move {
            let page = Self::read(&node, begin?).await;
            let next = page.as_ref().ok().and_then(|page| page.next.clone());
            Some((page, (next, node)))
        })
    }
}
