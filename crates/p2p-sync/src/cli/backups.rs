//! Copies of the store that a running node makes by itself, of which it keeps the newest ones.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use p2p_sync_core::Timestamp;
use tokio::time::sleep;

use super::wait::duration;
use crate::node::Node;

/// How the name of such a copy begins and ends; the time at which it was made stands between.
const PREFIX: &str = "p2p-sync-";
const SUFFIX: &str = ".db";
/// The same of one that is not complete.
const PART: &str = ".db.part";
/// How often it is looked whether one is due, at least: a machine that slept has not counted the time.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// How long one that failed is left alone, unless the next is due before.
const AGAIN_AFTER: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Backups {
    /// Copy the store into a new file in this directory again and again, as `backup` does
    #[arg(long, value_name = "DIR", env = "P2P_SYNC_BACKUP_DIR")]
    backup_dir: Option<PathBuf>,
    /// How often, such as 6h or 30m
    #[arg(long, value_name = "DURATION", env = "P2P_SYNC_BACKUP_EVERY", default_value = "24h", value_parser = interval)]
    backup_every: Duration,
    /// How many of these copies to keep; older ones are removed
    #[arg(long, value_name = "COUNT", env = "P2P_SYNC_BACKUP_KEEP", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    backup_keep: u16,
}

fn interval(text: &str) -> Result<Duration, &'static str> {
    let every = duration(text)?;
    if every < Duration::from_secs(1) {
        return Err("expected a second or more");
    }
    Ok(every)
}

impl Backups {
    /// Makes them as long as the node runs, if that was asked for.
    pub(super) async fn keep(self, node: &Node) -> Infallible {
        let Some(directory) = &self.backup_dir else {
            return std::future::pending().await;
        };
        // What a process that ended meanwhile has left behind is worthless.
        for part in found(directory, PART) {
            let _ = fs::remove_file(part);
        }
        loop {
            let newest = found(directory, SUFFIX).pop();
            let age = newest.and_then(|newest| fs::metadata(newest).ok()?.modified().ok());
            // One from the future says nothing.
            let age = age.and_then(|made| SystemTime::now().duration_since(made).ok());
            let due = age.map_or(Duration::ZERO, |age| self.backup_every.saturating_sub(age));
            if !due.is_zero() {
                sleep(due.min(LOOK_EVERY)).await;
                continue;
            }
            if let Err(why) = self.make(directory, node).await {
                tracing::warn!("No backup was made in {}: {why}", directory.display());
                sleep(self.backup_every.min(AGAIN_AFTER)).await;
            }
        }
    }

    async fn make(&self, directory: &Path, node: &Node) -> Result<(), String> {
        make_private(directory).map_err(|error| error.to_string())?;
        let time = now().ok_or("the clock of this machine is wrong")?.to_string();
        let time = time
            .split('.')
            .next()
            .unwrap_or_default()
            .trim_end_matches('Z')
            .replace(':', "-");
        let file = directory.join(format!("{PREFIX}{time}{SUFFIX}"));
        let made = node.back_up(file.clone()).await.map_err(|error| error.to_string())?;
        tracing::info!("Backed up {} records in {}", made.records, file.display());
        let all = found(directory, SUFFIX);
        let excess = all.len().saturating_sub(usize::from(self.backup_keep));
        for old in all.into_iter().take(excess) {
            if let Err(error) = fs::remove_file(&old) {
                tracing::warn!("Cannot remove the old backup {}: {error}", old.display());
            }
        }
        Ok(())
    }
}

fn now() -> Option<Timestamp> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Timestamp::from_nanos(since.as_nanos().try_into().ok()?).ok()
}

/// The files that were made here, the oldest first: their names tell the time.
fn found(directory: &Path, suffix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let is_ours = |name: &str| {
        let time = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(suffix));
        time.is_some_and(|time| time.len() == "2026-01-01T00-00-00".len() && time.bytes().all(is_of_time))
    };
    let mut files: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_ours))
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
}

fn is_of_time(byte: u8) -> bool {
    byte.is_ascii_digit() || b"-T".contains(&byte)
}

/// Makes a directory into which only this user can look, if there is none.
fn make_private(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cli::execute::tests::node;

    #[tokio::test(flavor = "multi_thread")]
    async fn only_the_newest_are_kept_and_nothing_else_is_removed() {
        let (node, _data) = node().await;
        let directory = tempfile::tempdir().unwrap();
        let names = [
            "p2p-sync-2025-01-01T00-00-00.db",
            "p2p-sync-2025-01-02T00-00-00.db",
            "p2p-sync-of-mine.db",
            "other",
        ];
        for name in names {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let backups = Backups {
            backup_dir: Some(directory.path().to_owned()),
            backup_every: Duration::from_secs(3_600),
            backup_keep: 2,
        };
        backups.make(directory.path(), &node).await.unwrap();
        let mut left: Vec<String> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left.len(), 4, "{left:?}");
        assert_eq!(left.first().unwrap(), "other");
        assert!(
            !left.contains(&names.first().unwrap().to_string()),
            "the oldest is gone: {left:?}"
        );
        assert!(left.contains(&names[2].to_owned()), "it is not of ours: {left:?}");
        node.stop().await;
    }

    #[test]
    fn an_interval_has_a_unit() {
        assert_eq!(interval("6h"), Ok(Duration::from_secs(21_600)));
        assert!(interval("0").is_err() && interval("6x").is_err());
    }
}
