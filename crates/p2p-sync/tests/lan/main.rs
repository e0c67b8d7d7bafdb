//! The program on real networks: hosts made of network namespaces, real processes, real links that break.
//!
//! Needs root, iproute2, nftables, libfaketime and python3 with the package `zeroconf` (another interpreter than
//! `python3` by the environment variable `P2P_SYNC_ZEROCONF_PYTHON`). Run all of it with
//!
//! ```text
//! cargo test -p p2p-sync --test lan -- --ignored --test-threads 3
//! ```
//!
//! Live changes are hints, and what they miss comes by sync. Tests of live changes write when both sides say that they
//! hear each other, and where a link has just come back they write once a second until something arrives; those of sync
//! write once and wait.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]
#![cfg(target_os = "linux")]

mod alone;
mod announcing;
mod bytes;
mod causality;
mod conflicts;
mod dialling;
mod dials;
mod discovery;
mod doctor;
mod foreign;
mod keys;
mod many;
mod mesh;
mod names;
mod paths;
mod programs;
mod recovery;
mod restarts;
mod support;
mod sync;
mod terminal;
mod told;
mod twins;
