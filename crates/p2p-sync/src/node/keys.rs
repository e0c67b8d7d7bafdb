//! What a node does with keys: writes and reads, deletions, conflicts, and what is dated ahead of its clock.

use p2p_sync_core::limits::FUTURE_MAX;
use p2p_sync_core::{Content, Key, Record, Timestamp, Value, Versions};

use super::work::Work;
use super::{Conflicts, Counts, Dating, Node, NodeError, Terms, Write};
use crate::store::{Readers, StoreError};
use crate::system;

impl Node {
    /// Stores a value. When this returns, it is on disk, and on its way to the peers; whether one has it already is not known.
    /// Writes that are made at the same time share a transaction, so many tasks write faster than one.
    ///
    /// A key is text of 1 to 256 bytes without control characters, a value up to 65,536 bytes of any kind. Both are taken as they
    /// come, or as a [`Key`] and a [`Value`] that were checked before.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = p2p_sync::Node::builder(directory.path()).port(0).lan(false).start().await?;
    /// node.put("hello", "world").await?;
    /// node.put("picture", vec![0x89, b'P', b'N', b'G']).await?;
    /// node.put(String::from("light"), "on").await?;
    ///
    /// let error = node.put("two\nlines", "").await.unwrap_err();
    /// assert_eq!(error.to_string(), "invalid key: the key contains a control character at byte 3");
    /// # node.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If it is no key or no value, the store fails, or the node has stopped. Nothing was written then, unless the error says
    /// otherwise.
    pub async fn put<K, V>(&self, key: K, value: V) -> Result<Record, NodeError>
    where
        K: TryInto<Key, Error: Into<NodeError>>,
        V: TryInto<Value, Error: Into<NodeError>>,
    {
        self.put_on(key, value, Terms::default()).await
    }

    /// Like [`put`](Self::put), on these terms: for example, only if the key has no value yet.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = p2p_sync::Node::builder(directory.path()).port(0).lan(false).start().await?;
    /// use p2p_sync::{Condition, ErrorKind, Terms};
    ///
    /// let first = node.put("light", "on").await?;
    /// let unchanged = Condition::WrittenAt(first.timestamp).into();
    /// node.put_on("light", "off", unchanged).await?;
    /// let refused = node.put_on("light", "dim", unchanged).await.unwrap_err();
    /// assert_eq!(refused.kind(), ErrorKind::Conflict);
    /// # node.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`put`](Self::put), and [`NodeError::Changed`] when the condition does not hold.
    pub async fn put_on<K, V>(&self, key: K, value: V, terms: Terms) -> Result<Record, NodeError>
    where
        K: TryInto<Key, Error: Into<NodeError>>,
        V: TryInto<Value, Error: Into<NodeError>>,
    {
        let content = Content::Put(value.try_into().map_err(Into::into)?);
        // A put always writes something; only a deletion may find nothing to do.
        let written = self.write(key.try_into().map_err(Into::into)?, content, terms).await?;
        written.ok_or(NodeError::Stopped)
    }

    /// Deletes a key. None if it did not exist; nothing is written then. A deletion is a version like any other, so that an
    /// older value that comes later cannot bring the key back.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = p2p_sync::Node::builder(directory.path()).port(0).lan(false).start().await?;
    /// node.put("hello", "world").await?;
    /// assert!(node.delete("hello").await?.is_some());
    /// assert!(node.delete("hello").await?.is_none());
    /// # node.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If it is no key, the store fails, or the node has stopped.
    pub async fn delete<K>(&self, key: K) -> Result<Option<Record>, NodeError>
    where
        K: TryInto<Key, Error: Into<NodeError>>,
    {
        self.delete_on(key, Terms::default()).await
    }

    /// The same, on these terms. A deletion dated now is also written where a deletion is held that other nodes do
    /// not accept yet.
    ///
    /// # Errors
    /// As for [`delete`](Self::delete), and [`NodeError::Changed`] when the condition does not hold.
    pub async fn delete_on<K>(&self, key: K, terms: Terms) -> Result<Option<Record>, NodeError>
    where
        K: TryInto<Key, Error: Into<NodeError>>,
    {
        let key = key.try_into().map_err(Into::into)?;
        self.write(key, Content::Deleted, terms).await
    }

    /// Makes all of these writes in this order and in one transaction, or none of them. The result is what each has stored; none
    /// where a key to delete did not exist.
    ///
    /// # Errors
    /// As for [`put_on`](Self::put_on). [`NodeError::OfWrites`] says which one failed, if one did.
    pub async fn write_all(&self, writes: Vec<Write>) -> Result<Vec<Option<Record>>, NodeError> {
        self.work(|reply| Work::WriteAll { writes, reply }).await
    }

    /// From when on other nodes accept a version that this node wrote; none if they do now. One that is dated too far ahead
    /// was written over another one that was, by a clock that was wrong.
    pub fn accepted_from(&self, record: &Record) -> Option<Timestamp> {
        let is_ahead = record.timestamp > system::now().saturating_add(FUTURE_MAX);
        is_ahead.then(|| record.timestamp.saturating_sub(FUTURE_MAX))
    }

    /// Up to `limit` keys with a version that other nodes do not accept yet, because it is dated too far ahead.
    ///
    /// # Errors
    /// When the store fails or the node has stopped.
    pub async fn ahead(&self, limit: usize) -> Result<Vec<Key>, NodeError> {
        let accepted = system::now().saturating_add(FUTURE_MAX);
        let (_, first) = self.read(move |readers| readers.ahead(accepted, limit)).await?;
        Ok(first.into_iter().map(|(key, _)| key).collect())
    }

    /// Writes the content of a key again, dated now, and drops its versions that other nodes do not accept yet. None if it has
    /// none of those; nothing is written then.
    ///
    /// # Errors
    /// If it is no key, the store fails, or the node has stopped.
    pub async fn redate<K>(&self, key: K) -> Result<Option<Record>, NodeError>
    where
        K: TryInto<Key, Error: Into<NodeError>>,
    {
        let key = key.try_into().map_err(Into::into)?;
        self.work(|reply| Work::Redate { key, reply }).await
    }

    /// The live version of a key; none if it has no value. Reads what this node holds: it asks no other node, and waits for no
    /// write.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = p2p_sync::Node::builder(directory.path()).port(0).lan(false).start().await?;
    /// assert!(node.get("hello").await?.is_none());
    /// node.put("hello", "world").await?;
    /// let record = node.get("hello").await?.expect("it has a value");
    /// assert_eq!(record.text(), Some("world"));
    /// assert_eq!(record.author, node.id());
    /// # node.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If it is no key, the store fails, or the node has stopped.
    pub async fn get<K>(&self, key: K) -> Result<Option<Record>, NodeError>
    where
        K: TryInto<Key, Error: Into<NodeError>>,
    {
        let held = self.versions(key).await?;
        Ok(held.winner().filter(|winner| winner.content.value().is_some()).cloned())
    }

    /// All versions of a key, its deletion included: none, one, or, if it is in conflict, several, at most 8.
    ///
    /// # Errors
    /// If it is no key, the store fails, or the node has stopped.
    pub async fn versions<K>(&self, key: K) -> Result<Versions, NodeError>
    where
        K: TryInto<Key, Error: Into<NodeError>>,
    {
        let key = key.try_into().map_err(Into::into)?;
        let ask = move |readers: &Readers| readers.versions(&key);
        match self.read(ask.clone()).await {
            // It is set aside. But if it was changed meanwhile, and is sound, it is as good as any.
            Err(NodeError::Store(error)) if error.damaged_row().is_some() => {
                self.set_aside(&error).await?;
                match self.read(ask).await {
                    Ok(held) if held == Versions::NONE => Err(error.into()),
                    Err(NodeError::Store(now)) if matches!(*now, StoreError::SetAside { .. }) => Err(error.into()),
                    held => held,
                }
            }
            held => held,
        }
    }

    /// Up to `limit` live records whose key starts with `prefix`, in key order, starting after `after`. All of them are in memory
    /// at once: read a large store in pages, each after the last key of the one before.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = p2p_sync::Node::builder(directory.path()).port(0).lan(false).start().await?;
    /// for number in 1..=5 {
    ///     node.put(format!("note/{number}"), "text").await?;
    /// }
    /// let mut after = None;
    /// let mut keys = Vec::new();
    /// loop {
    ///     let page = node.list("note/", after.take(), 2).await?;
    ///     let Some(last) = page.last() else { break };
    ///     after = Some(last.key.clone());
    ///     keys.extend(page.into_iter().map(|record| record.key));
    /// }
    /// assert_eq!(keys.len(), 5);
    /// # node.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the store fails or the node has stopped.
    pub async fn list(&self, prefix: &str, after: Option<Key>, limit: usize) -> Result<Vec<Record>, NodeError> {
        let prefix = prefix.to_owned();
        self.around_damage(move |readers| readers.list(&prefix, after.as_ref(), limit))
            .await
    }

    /// The same of keys that were deleted: their deletions.
    ///
    /// # Errors
    /// When the store fails or the node has stopped.
    pub async fn list_deleted(&self, prefix: &str, after: Option<Key>, limit: usize) -> Result<Vec<Record>, NodeError> {
        let prefix = prefix.to_owned();
        self.around_damage(move |readers| readers.list_deleted(&prefix, after.as_ref(), limit))
            .await
    }

    /// Reads several rows. Damaged ones are set aside, and it is read again without them.
    async fn around_damage<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Readers) -> Result<T, StoreError> + Clone + Send + 'static,
    ) -> Result<T, NodeError> {
        // A row with which there was nothing to do, as when the patrol has just taken it out: it is not met again.
        let mut left = None;
        loop {
            match self.read(ask.clone()).await {
                Err(NodeError::Store(error)) if error.damaged_row().is_some() => {
                    let row = error.damaged_row();
                    if self.set_aside(&error).await? {
                        left = None;
                    } else if left == row {
                        return Err(error.into());
                    } else {
                        left = row;
                    }
                }
                listed => return listed,
            }
        }
    }

    /// Removes damaged records, so that they come back from other nodes. Returns whether there was anything to do.
    pub(super) async fn set_aside(&self, error: &StoreError) -> Result<bool, NodeError> {
        let rows = error.damaged_row().into_iter().collect();
        self.work(|reply| Work::SetAside { rows, reply }).await
    }

    /// How many live keys begin with `prefix`.
    ///
    /// # Errors
    /// When the store fails or the node has stopped.
    pub async fn count(&self, prefix: &str) -> Result<u64, NodeError> {
        let prefix = prefix.to_owned();
        self.read(move |readers| readers.count(&prefix)).await
    }

    /// How many keys there are.
    ///
    /// # Errors
    /// When the store fails or the node has stopped.
    pub async fn counts(&self) -> Result<Counts, NodeError> {
        self.read(Readers::counts).await
    }

    /// Up to `limit` keys in conflict, in key order: those that start with `prefix` and come after `after`. There may be fewer
    /// before the end; [`Conflicts::next`] says where to go on.
    ///
    /// # Errors
    /// When the store fails or the node has stopped.
    pub async fn conflicts(&self, prefix: &str, after: Option<Key>, limit: usize) -> Result<Conflicts, NodeError> {
        let prefix = prefix.to_owned();
        self.around_damage(move |readers| readers.conflicts(&prefix, after.as_ref(), limit))
            .await
    }

    /// Chooses between the versions of a key in conflict: writes the content of the one with this timestamp again, or of the
    /// value that the key has, as a write that has seen them all. The conflict ends everywhere. None if the key is not in
    /// conflict, or has no such version; nothing is written then.
    ///
    /// ```no_run
    /// # async fn example(node: p2p_sync::Node) -> Result<(), Box<dyn std::error::Error>> {
    /// use p2p_sync::Dating;
    ///
    /// // Where a price was changed on two nodes at once, the lowest is to stay.
    /// for versions in node.conflicts("price/", None, 100).await?.keys {
    ///     let price = |record: &&p2p_sync::Record| record.text().and_then(|text| text.parse::<u64>().ok()).unwrap_or(u64::MAX);
    ///     if let Some(lowest) = versions.all().iter().min_by_key(price) {
    ///         node.resolve(&lowest.key, Some(lowest.timestamp), Dating::AfterHeld).await?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If it is no key, the store fails, or the node has stopped.
    pub async fn resolve<K>(
        &self,
        key: K,
        timestamp: Option<Timestamp>,
        dating: Dating,
    ) -> Result<Option<Record>, NodeError>
    where
        K: TryInto<Key, Error: Into<NodeError>>,
    {
        let key = key.try_into().map_err(Into::into)?;
        self.work(|reply| Work::Resolve {
            key,
            timestamp,
            dating,
            reply,
        })
        .await
    }

    async fn write(&self, key: Key, content: Content, terms: Terms) -> Result<Option<Record>, NodeError> {
        self.work(|reply| Work::Write {
            key,
            content,
            terms,
            reply,
        })
        .await
    }
}
