//! What all commands have in common: which data directory they are about, and how much they tell.

use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;
use p2p_sync_core::NetworkName;

use super::Failure;
use super::settings::Settings;
use crate::command::Class;
use crate::config;
use crate::node::{DataPaths, StartError};

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
    /// The configuration file [default: config.toml in the user's configuration directory; see `p2p-sync paths`]
    #[arg(
        long,
        value_name = "FILE",
        env = "P2P_SYNC_CONFIG",
        global = true,
        display_order = 900
    )]
    config: Option<PathBuf>,
    /// Tell why: a node logs the reasons for what it does, without its libraries' details; another command says how it reached the
    /// data
    #[arg(long, short, env = "P2P_SYNC_VERBOSE", value_parser = switch, global = true, display_order = 901)]
    pub(super) verbose: bool,
    /// Whether the data directory comes from the command line itself.
    #[arg(skip)]
    pub(super) names_data_dir_by_flag: bool,
    /// The network that a store which is made now will belong to.
    #[arg(skip)]
    pub(super) network: NetworkName,
    /// Whether a node that is started now would look for others on the LAN.
    #[arg(skip)]
    pub(super) lan: bool,
}

/// The flag that names the configuration file, by its id.
pub(super) const CONFIG: &str = "config";

/// A switch as a variable says it, in upper or lower case.
pub(super) fn switch(text: &str) -> Result<bool, &'static str> {
    match text.to_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Ok(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Ok(false),
        _ => Err("expected true or false, yes or no, on or off, 1 or 0"),
    }
}

impl Place {
    /// The same, with what else is known of the command line.
    pub(super) fn completed(mut self, matches: &ArgMatches, settings: &Settings) -> Self {
        self.names_data_dir_by_flag = matches.value_source("data_dir") == Some(ValueSource::CommandLine);
        // In the file it is about the log of a node.
        let is_asked_for = matches.value_source("verbose") != Some(ValueSource::DefaultValue);
        self.verbose &= is_asked_for || matches.subcommand_name() == Some("start");
        let named = std::env::var("P2P_SYNC_NETWORK").ok();
        let named = named.as_deref().or_else(|| settings.value("network"));
        self.network = named.and_then(|name| name.parse().ok()).unwrap_or_default();
        let off = std::env::var("P2P_SYNC_NO_LAN").ok();
        let off = off.as_deref().or_else(|| settings.value("no_lan"));
        self.lan = off.is_none_or(|off| switch(off) != Ok(true));
        self
    }

    /// The data directory that the command line itself names.
    pub(super) fn named_data_dir(&self) -> Option<PathBuf> {
        self.data_dir.clone().filter(|_| self.names_data_dir_by_flag)
    }

    /// The configuration file that was named.
    pub(super) fn named_config_file(&self) -> Option<PathBuf> {
        self.config.clone()
    }

    /// Where the configuration file is, or would be.
    pub(super) fn config_file(&self) -> Option<PathBuf> {
        self.config.clone().or_else(config::default_config_file)
    }

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
    /// As for [`data_dir`](Self::data_dir), and when it is a file.
    pub(super) fn paths(&self) -> Result<DataPaths, Failure> {
        DataPaths::new(&self.data_dir()?).map_err(|error| StartError::from(error).into())
    }
}
