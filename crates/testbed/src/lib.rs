//! Real processes on real (if virtual) networks, for tests: hosts made of network namespaces, cables that
//! can be pulled, filters that drop what they are told to, and `p2p-sync` processes that are driven through
//! their standard streams.
//!
//! Reading order: [`Lab`] and [`Host`] build the network, [`Launch`] describes a process and [`Node`] drives
//! it, [`Process`] is the same for any other program, [`Sniffer`] watches packets, [`FakeClock`] is a wall
//! clock that is wrong, [`Volume`] a disk that is small.
//!
//! What a test may rely on:
//! - labs are independent: several live side by side in one process and in several, with the same addresses;
//! - whatever was made is removed when its value is dropped, on a panic too, and by the janitor process if
//!   the test runner itself is killed; only things made here are touched, each by its exact name or number;
//! - nothing sleeps for a guessed time: every wait has a condition and a deadline;
//! - when a test fails, the last lines of every process that it still holds are printed with the failure;
//! - every line of JSON that a node prints matches the schema that the program itself has for it.
//!
//! This crate knows the command line of the program and nothing of its inside. Failures panic: a test bed has
//! no caller who could do better.

mod capture;
mod clock;
mod example;
mod filter;
mod host;
mod janitor;
mod lab;
mod launch;
mod node;
mod output;
mod process;
mod schema;
mod talk;
mod tools;
mod volume;
mod wait;

pub use capture::{Seen, Sniffer};
pub use clock::FakeClock;
pub use example::example;
pub use host::Host;
pub use lab::{Addresses, Lab, require_root};
pub use launch::{Launch, Stdin, on_terminal};
pub use node::Node;
pub use output::Output;
pub use process::Process;
pub use serde_json::{Value, json};
pub use tempfile;
pub use tools::has_programs;
pub use volume::Volume;
pub use wait::{poll, wait_until};
