//! The local API as programs on this machine meet it, and as those meet it that should not get in. Needs neither root nor a
//! network: everything is on loopback and without discovery.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod api {
    mod browser;
    pub(crate) mod client;
    mod commands;
    mod crowd;
    mod files;
    mod foreign;
    mod guard;
    mod keys;
    mod state;
    mod watching;
}
