//! What is done about damage, and about rows that another program added: looking for both, and making the store whole again. The everyday
//! store neither looks nor repairs; it only tells when it meets something.
//!
//! - `scan` reads everything beside the writer; `patrol` looks at some rows at a time, for ever.
//! - `rows` compares one row with what stands beside it, and completes it or sets it aside; `completing` does that with many.
//! - `rescue` puts a new file in the place of a damaged one, with what `salvage` can read of it.

mod completing;
mod patrol;
mod rescue;
mod rows;
mod salvage;
mod scan;

pub(super) use completing::Incomplete;
pub use completing::{Completed, INCOMPLETE_ROWS_MAX};
pub use patrol::{Patrolled, Round};
pub use rescue::{IfUnreadable, Rescued};
pub(super) use rescue::{at_start, finish};
pub(super) use rows::is_set_aside;
pub(super) use scan::Hold;
pub use scan::{Depth, SCAN_ROWS_MAX, Scan, ScanFound, Scanned, SummaryWas};
