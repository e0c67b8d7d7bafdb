//! Who is in a private network, and with which role.
//!
//! A network's membership is a set of signed [entries](Entry) that only grows. [`Entries`] holds it within bounds; [`Members`] is
//! what the set means: a function of the set alone, so that nodes with the same entries agree, in whatever order they heard
//! them, and no clock has a say.
//!
//! A [`Roster`] is both with what belongs to them, and [`exchange`] is how two members become equal in it. [`door`] is how two
//! devices find out that both are members before either says who it is, and an [`announcement`] tells members alone who a device is.
//!
//! # Rules
//! - The recovery key has [rank](Rank) −1, the founder 0. An admin has one more than whoever made it admin; rank 1 makes none.
//! - A device's role is the best that was granted to it, and no more than what it was lowered to. What was taken from a key
//!   never returns to it by another Grant: the device joins again with a new key.
//! - A lower rank cannot touch a higher one; equals can remove each other. Of what a lowered admin said, only what the Lowers
//!   accept goes on to count.
//! - A record of a device that may not write any longer counts if the list made at its removal names it
//!   ([`Members::record_counts`]).
//!
//! The running program does not use this yet.

pub mod announcement;
mod chain;
pub mod door;
mod entry;
pub mod exchange;
mod fold;
mod key;
mod list;
mod roster;
mod set;
mod signing;

pub use chain::{CHAIN_MAX, Visitor};
pub use entry::{Entry, EntryId, InvalidEntry, InvalidMemberName, MemberName, NextSecret, Role, ShortId, Statement};
pub use fold::{Lists, Members, Rank};
pub use key::{InvalidKey, PublicKey, SecretKey};
pub use list::{KeepList, LIST_ITEM_BYTES, OtherList};
pub use roster::{Roster, Standing, Uncounted, Verify};
pub use set::{Entries, Inserted, NoGenesis, Refused};
pub use signing::{SignedRecords, Signer, WrongSignatures};

pub use crate::signature::SIGNATURE_BYTES;
