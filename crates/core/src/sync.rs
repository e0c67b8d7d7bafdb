//! How two nodes become equal, whatever either of them missed. Nothing here knows about streams, tasks or SQL: frames go
//! into and come out of a [`Session`], and a [`SyncStore`] holds the records.
//!
//! # The algorithm
//! One side asks, the other answers. Both may have records that the other lacks, and both get what they lack.
//!
//! 1. **Check.** The asking side sends the digest of all its records; if the other side's is equal, they are done.
//! 2. **Hello.** Both send the first 64 cells of their sketches ([`sketch`](crate::sketch)). If these are enough to decode
//!    the difference, each side knows which records the other lacks, and sends them: one round trip.
//! 3. **Cells.** Otherwise the counts in those cells, and hints for those that follow, give an estimate of how many records
//!    differ, and the answering side sends as many further cells as that needs, right behind its Hello. The asking side then sends
//!    what the other side lacks, and requests what it lacks itself: two round trips. If there is no slot for that, or the cells
//!    are too few, it asks for more.
//! 4. **Bulk.** If one side is empty, or half of all records differ, all records are sent in the order in which their
//!    holder stored them ([`sequence`](crate::sequence)), so that no change is missed. The receiver saves the place it has
//!    reached, and an interrupted bulk continues from there. A new Hello follows. Two bulks in opposite directions end with
//!    the changes at which they began, so that neither sends back what the other brings.
//! 5. **Ranges.** If cells fail twice, or two rounds change nothing, range-based reconciliation over the records themselves
//!    settles it.
//!
//! Every transfer ends with a Check. If the digests are equal, the session ends as [`Outcome::Equal`]; if only records that
//! are too far ahead for their receiver's clock differ, as [`Outcome::Waiting`]; otherwise as [`Outcome::Delivered`], after
//! which another session is due soon.
//!
//! # What a peer can do
//! A peer that lies about its cells, counts or records wastes its own session. Received records are merged like any others,
//! so nothing that it says can remove or hide a record; the limits `SYNC_…` in [`limits`](crate::limits) bound the memory;
//! and a peer that claims to be *equal* is believed only as far as this harms nobody but itself.
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
pub(crate) mod codec;
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
