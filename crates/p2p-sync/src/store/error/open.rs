//! Why a data directory or a store was not opened.

use std::path::PathBuf;

use super::StoreErrorKind;

/// SQLite takes paths of 512 bytes, with the names of the files beside the store. Elsewhere the limit is higher.
pub(super) const SQLITE_PATH_BYTES_MAX: usize = 480;

/// Why a data directory or a store was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process holds the lock of the data directory.
    #[error("the data directory {} is in use by another p2p-sync{}: stop that one, or choose another data directory", path.display(), process(.holder))]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// The process that holds it, if known.
        holder: Option<u32>,
    },
    /// The file was written by a newer release. It was not changed.
    #[error("{} was written by a newer p2p-sync (store version {found}, this one knows {supported}) and was left \
         untouched: update p2p-sync, or choose another data directory", file.display())]
    Newer {
        /// The store file.
        file: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that this program knows.
        supported: i64,
    },
    /// The store holds the data of another network. It was not changed.
    #[error("{} belongs to {}, not to {}, and was left untouched: start in that network, or choose another data \
         directory", file.display(), network(.found), network(.asked))]
    OtherNetwork {
        /// The store file.
        file: PathBuf,
        /// The name of its network, empty for the default one.
        found: String,
        /// The name that was asked for.
        asked: String,
    },
    /// The store is that of a private network, whose nodes this release cannot run. It was not changed.
    #[error("{} is the store of a private network, which this p2p-sync cannot join, and was left untouched: update p2p-sync, or \
         choose another data directory", file.display())]
    Private {
        /// The store file.
        file: PathBuf,
    },
    /// The SQLite library has a bug that can damage a store. No file was touched.
    #[error(
        "SQLite {found} can corrupt a store that is read while it is written (fixed in 3.51.3). No file was touched: \
         build p2p-sync with a newer SQLite"
    )]
    SqliteTooOld {
        /// The version of the library, such as `3.51.2`.
        found: String,
    },
    /// The file system cannot do what the store relies on.
    #[error("{} cannot be stored safely here: SQLite answered {answer:?} to {asked}, as it does on some network file \
         systems. Choose a data directory on a local disk", file.display())]
    Unsupported {
        /// The store file.
        file: PathBuf,
        /// The requested setting.
        asked: &'static str,
        /// The actual value.
        answer: String,
    },
    /// The file is an SQLite database of another program. It was not changed.
    #[error("{} is another program's SQLite database and was left untouched: move it away, or choose another data \
         directory", file.display())]
    Foreign {
        /// The store file.
        file: PathBuf,
    },
    /// A directory, or something else that is not a file, has the name of one of the store's files. It was not changed.
    #[error("{} is not a file, although the store needs one of this name; it was left untouched: move it away, or choose \
         another data directory", file.display())]
    NotAFile {
        /// What should be a file.
        file: PathBuf,
    },
    /// A link has the name of the log, its index or the journal. It was not changed.
    #[error("{} is a link, which SQLite does not follow for this file; it was left untouched: put the file itself in \
         its place. To keep the store on another disk, make store.db a link", file.display())]
    LinkedPart {
        /// The link.
        file: PathBuf,
    },
    /// The store was moved and replaced by a link, but its log was not moved with it. Nothing was changed.
    #[error("{} lies beside a link to the store, where its writes would be overlooked; everything was left untouched: \
         move it to {}, or remove it if that store has been in use since", log.display(), place.display())]
    LogBesideLink {
        /// The log.
        log: PathBuf,
        /// Where the log of that store belongs.
        place: PathBuf,
    },
    /// The log beside the store is that of a store of another time. Nothing was changed.
    #[error("{} and {} do not belong together, as when an older copy of the store was restored beside the log of a newer \
         one; both were left untouched. Put back the store that the log belongs to. Or move the log away, together with \
         the file whose name ends in -shm, and start again: what was only in the log then comes back from other nodes", log.display(), file.display())]
    LogOfAnother {
        /// The store file.
        file: PathBuf,
        /// The log.
        log: PathBuf,
    },
    /// The store is a link to a missing file, as when a disk is not mounted. Nothing was changed.
    #[error("{} is a link to a missing file, and was left untouched: mount the disk that holds the file, or remove \
         the link to start with an empty store", file.display())]
    LinkToNothing {
        /// The link.
        file: PathBuf,
    },
    /// The path is longer than SQLite can open. Nothing was changed.
    #[error("the path of the store is too long for SQLite, which opens paths of about 500 bytes; nothing was stored: \
         choose a data directory with a shorter path than {}", file.display())]
    PathTooLong {
        /// The store file.
        file: PathBuf,
    },
    /// The data directory, or one of its parents, is a file. It was not changed.
    #[error("{} cannot be the data directory, because it, or one of its parents, is a file: choose another data \
         directory", path.display())]
    NotADirectory {
        /// What should be the data directory.
        path: PathBuf,
    },
}

impl OpenError {
    /// The kind of failure.
    pub fn kind(&self) -> StoreErrorKind {
        match self {
            Self::InUse { .. } => StoreErrorKind::InUse,
            Self::Newer { .. } => StoreErrorKind::Newer,
            Self::OtherNetwork { .. } | Self::Private { .. } => StoreErrorKind::OtherNetwork,
            Self::LogOfAnother { .. } => StoreErrorKind::Damaged,
            Self::SqliteTooOld { .. }
            | Self::Unsupported { .. }
            | Self::Foreign { .. }
            | Self::NotAFile { .. }
            | Self::LinkToNothing { .. }
            | Self::LogBesideLink { .. }
            | Self::LinkedPart { .. }
            | Self::PathTooLong { .. }
            | Self::NotADirectory { .. } => StoreErrorKind::Unsupported,
        }
    }
}

fn process(holder: &Option<u32>) -> String {
    holder.map_or_else(String::new, |id| format!(" (process {id})"))
}

fn network(name: &str) -> String {
    if name.is_empty() {
        "the default network".to_owned()
    } else {
        format!("the network {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_network_has_words_of_its_own() {
        let error = OpenError::OtherNetwork {
            file: "store.db".into(),
            found: String::new(),
            asked: "lab".to_owned(),
        };
        assert_eq!(
            error.to_string(),
            "store.db belongs to the default network, not to the network lab, and was left untouched: start in that \
             network, or choose another data directory"
        );
    }
}
