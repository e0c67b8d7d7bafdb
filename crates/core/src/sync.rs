//! How two nodes become equal, whatever either of them missed. Nothing here knows of streams, tasks or SQL: frames go
//! in and come out of a [`Session`], and a [`SyncStore`] holds the records.
//!
//! # The algorithm
//! One side asks, the other answers. Both may have records that the other lacks, and both get what they lack.
//!
//! 1. **Check.** The side that asks tells the digest of all its records; if the other's is the same, that was all.
//! 2. **Hello.** Both tell the first 64 cells of their sketches ([`sketch`](crate::sketch)). If these tell the whole
//!    difference, each side knows which records the other lacks, and sends them: one round trip.
//! 3. **Cells.** Otherwise the counts in those cells tell about how many records differ, and the side that asks gets as
//!    many cells as that takes. It then sends what the other lacks, and asks for what itself lacks.
//! 4. **Bulk.** If one side is empty, or half of all records differ, all records travel in the order in which their
//!    holder took them in ([`sequence`](crate::sequence)), so that nothing comes in behind the place that was reached. The
//!    receiver keeps that place, and a bulk that breaks off goes on from there. A new Hello follows.
//! 5. **Ranges.** If cells fail twice, or two rounds changed nothing, range-based reconciliation over the records
//!    themselves settles it.
//!
//! Every transfer ends with a Check. Digests that compare equal end the session as [`Outcome::Equal`]; a difference
//! that consists of records too far ahead for their receiver's clock as [`Outcome::Waiting`]; and anything else as
//! [`Outcome::Delivered`], which owes another session soon.
//!
//! # What a peer can do
//! A peer that lies about its cells, counts or records wastes its own session. Received records are merged like any
//! others, so nothing that it says can remove or hide a record; memory is bounded by the limits `SYNC_…` in
//! [`limits`](crate::limits); and *equal* is believed of a peer only as far as it harms none but that peer.
//!
//! # Reading order
//! `agenda`: when, and with whom; `progress` and `rights`: for how long, and with which of the slots. `outcome`: how
//! sessions begin and end; `wire` and `page`: what is said; `store`: what is asked of the records; `plan`: who sends
//! what; `method`: what next when the difference is not told; `session`, `shared`, `asking`, `answering`: what follows
//! what; `outbox` and `credit`: pages, and how much may be under way; `ranges`: the last fallback; `feed`: fresh writes,
//! pushed; `memory`: the reference store.

mod agenda;
mod answering;
mod asking;
mod codec;
mod conformance;
mod credit;
mod feed;
mod memory;
mod method;
mod outbox;
mod outcome;
mod page;
mod plan;
mod progress;
mod ranges;
mod rights;
mod session;
mod shared;
mod slots;
mod store;
mod wire;

pub use agenda::{Agenda, Answer, SessionEnd};
pub use conformance::conformance;
pub use feed::{FeedReceiver, FeedSender, TooSlow};
pub use memory::MemorySyncStore;
pub use outcome::{Opening, Outcome, Report, SessionError, Settled, Violation};
pub use page::cost;
pub use progress::{Moved, Progress};
pub use rights::Rights;
pub use session::{Next, Session};
pub use slots::{Asker, Looked, Slots};
pub use store::{Applied, Page, PageLimit, SyncStore};
pub use wire::{Frame, FrameBuffer, InvalidFrame, State, StoreId, VERSION};
