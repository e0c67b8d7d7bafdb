//! What all commands have in common: which data directory they are about, and how much they tell.

use std::path::PathBuf;

use super::Failure;
use crate::command::Class;
use crate::config;
use crate::node::DataPaths;

/// Options of all commands, in front of the command or behind it.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Place {
    /// Where the data is [default: p2p-sync in the user's application data directory]
    #[arg(
        long,
        value_name = "DIR",
        env = "P2P_SYNC_DATA_DIR",
        global = true,
        display_order = 900
    )]
    data_dir: Option<PathBuf>,
    /// Tell why: a node logs the reasons for what it does, without its libraries' details; another command says how it reached the
    /// data
    #[arg(long, short, env = "P2P_SYNC_VERBOSE", value_parser = switch, global = true, display_order = 901)]
    pub(super) verbose: bool,
}

/// A switch as a variable says it, in upper or lower case.
pub(super) fn switch(text: &str) -> Result<bool, &'static str> {
    match text.to_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Ok(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Ok(false),
        _ => Err("expected true or false, yes or no, on or off, 1 or 0"),
    }
}

impl Place {
    /// The data directory.
    ///
    /// # Errors
    /// When none was named and the user has no home.
    pub(super) fn data_dir(&self) -> Result<PathBuf, Failure> {
        self.data_dir.clone().or_else(config::default_data_dir).ok_or_else(|| {
            Failure::new(
                Class::Usage,
                "This user has no home directory: name a data directory with --data-dir",
            )
        })
    }

    /// What lies where in it.
    ///
    /// # Errors
    /// As for [`data_dir`](Self::data_dir).
    pub(super) fn paths(&self) -> Result<DataPaths, Failure> {
        DataPaths::new(&self.data_dir()?).map_err(|error| Failure::new(Class::Failed, error.to_string()))
    }
}
