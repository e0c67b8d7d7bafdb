//! What a session still has to send. It holds orders, not frames: a page of records is read only when the stream accepts it
//! and the receiver's credit allows it, so that a slow peer costs no memory.

use std::collections::{BTreeSet, VecDeque};
use std::vec;

use super::credit::Credit;
use super::outcome::Violation;
use super::page::cost;
use super::slots::Slot;
use super::store::{Page, PageLimit, SyncStore};
use super::wire::Frame;
use crate::item::{Item, KeyHash};
use crate::limits::{
    SYNC_CELLS_PAGE, SYNC_KEY_HASH_RECORDS_MAX, SYNC_LOOKUPS_MAX, SYNC_ORDERED_KEYS_MAX, SYNC_ORDERS_MAX,
    SYNC_WANTED_PAGE,
};
use crate::record::Record;
use crate::sequence::Cursor;
use crate::sketch::Cell;
use crate::time::Timestamp;

/// Something to send: one frame or many.
pub(super) enum Order {
    Frame(Frame),
    /// Our state as it is when its turn comes.
    Check,
    /// Cells of one moment, of which those that were sent have been removed.
    Cells {
        /// How many records the sketch covers.
        count: u64,
        /// The place of the first one.
        first: usize,
        cells: vec::IntoIter<Cell>,
        /// Held as long as the copy of the cells.
        _slot: Slot,
    },
    /// These keys are wanted.
    Want(Vec<KeyHash>),
    /// The records of these keys, as they are when their turn comes.
    Records(Lookup),
    /// All records after a place, in order.
    Bulk {
        after: Option<Cursor>,
        /// Up to the page with this number; none: until there are no more.
        until: Option<u64>,
    },
}

/// Records being looked up key by key.
pub(super) struct Lookup {
    keys: vec::IntoIter<KeyHash>,
    /// Only the versions of these keys with these items; none: all versions.
    only: Option<BTreeSet<Item>>,
    /// Found, but not yet sent.
    found: VecDeque<Record>,
    /// Their cost.
    found_bytes: usize,
}

impl Lookup {
    /// Versions with these items, as far as they are still held.
    fn of(items: BTreeSet<Item>) -> Self {
        let mut lookup = Self::from(keys_of(&items));
        lookup.only = Some(items);
        lookup
    }

    /// Adds versions with these items, if it is for such alone. Otherwise gives them back. What would be too much to remember is left to
    /// the next session.
    fn extend(&mut self, items: BTreeSet<Item>) -> Option<BTreeSet<Item>> {
        let Some(only) = &mut self.only else { return Some(items) };
        if only.len() + items.len() > SYNC_ORDERED_KEYS_MAX {
            return None;
        }
        let keys: BTreeSet<KeyHash> = self.keys.by_ref().chain(keys_of(&items)).collect();
        self.keys = keys.into_iter().collect::<Vec<_>>().into_iter();
        only.extend(items);
        None
    }

    fn add(&mut self, records: impl Iterator<Item = Record>) {
        let only = self.only.as_ref();
        let is_meant = |record: &Record| only.is_none_or(|only| only.contains(&Item::of(record)));
        for record in records.filter(is_meant) {
            self.found_bytes += cost(&record);
            self.found.push_back(record);
        }
    }

    fn held_bytes(&self) -> usize {
        let items = self.only.as_ref().map_or(0, |only| only.len() * size_of::<Item>());
        size_of_val(self.keys.as_slice()) + items + self.found_bytes
    }

    /// Whether no more records are needed for a page.
    fn fills(&self, limit: PageLimit) -> bool {
        self.found.len() >= limit.records || self.found_bytes > limit.bytes
    }

    fn take_page(&mut self, limit: PageLimit) -> Vec<Record> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        while let Some(record) = self.found.front() {
            bytes += cost(record);
            if page.len() >= limit.records || bytes > limit.bytes {
                break;
            }
            self.found_bytes -= cost(record);
            page.extend(self.found.pop_front());
        }
        page
    }
}

fn keys_of(items: &BTreeSet<Item>) -> Vec<KeyHash> {
    let keys: BTreeSet<KeyHash> = items.iter().map(Item::key_hash).collect();
    keys.into_iter().collect()
}

impl From<Vec<KeyHash>> for Lookup {
    fn from(keys: Vec<KeyHash>) -> Self {
        Self {
            keys: keys.into_iter(),
            only: None,
            found: VecDeque::new(),
            found_bytes: 0,
        }
    }
}

/// The result of an order.
enum Step {
    /// A frame, and there may be more.
    Part(Frame),
    /// The last frame, or nothing at all.
    Last(Option<Frame>),
    /// Our state must be sent, and the order is done.
    Check,
    /// The page is not full yet, but the store has done enough work for now.
    Unready,
    /// There is not enough credit.
    Blocked,
}

/// What comes next.
pub(super) enum Outgoing {
    Frame(Frame),
    /// A frame with our state.
    Check,
    /// The store has done enough work for now, and there is no frame yet.
    Unready,
    /// Nothing until the peer sends something.
    Nothing,
}

/// The orders of one session, processed in turn.
pub(super) struct Outbox {
    orders: VecDeque<Order>,
    pub(super) credit: Credit,
    /// Records sent so far.
    pub(super) records: u64,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            orders: VecDeque::new(),
            credit: Credit::new(),
            records: 0,
        }
    }

    /// Queues an order.
    pub(super) fn push(&mut self, order: Order) -> Result<(), Violation> {
        if self.orders.len() >= SYNC_ORDERS_MAX {
            return Err(Violation("requests more than it reads"));
        }
        self.orders.push_back(order);
        Ok(())
    }

    /// Queues versions to be sent back, together with those queued last: the peer decides how many pages it sends, and may send them
    /// faster than it reads ours.
    pub(super) fn send_back(&mut self, items: BTreeSet<Item>) -> Result<(), Violation> {
        let left = match self.orders.back_mut() {
            Some(Order::Records(lookup)) => lookup.extend(items),
            _ => Some(items),
        };
        left.map_or(Ok(()), |items| self.push(Order::Records(Lookup::of(items))))
    }

    /// Queues a single frame.
    pub(super) fn push_frame(&mut self, frame: Frame) -> Result<(), Violation> {
        self.push(Order::Frame(frame))
    }

    /// Forgets all orders.
    pub(super) fn clear(&mut self) {
        self.orders.clear();
    }

    /// Keys queued for lookup.
    pub(super) fn keys(&self) -> usize {
        let keys = self.orders.iter().map(|order| match order {
            Order::Records(lookup) => lookup.keys.len(),
            Order::Frame(_) | Order::Check | Order::Cells { .. } | Order::Want(_) | Order::Bulk { .. } => 0,
        });
        keys.sum()
    }

    /// Whether cells are still to be sent.
    pub(super) fn holds_cells(&self) -> bool {
        self.orders.iter().any(|order| matches!(order, Order::Cells { .. }))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// About how much memory the orders hold, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        let held = self.orders.iter().map(|order| match order {
            Order::Cells { cells, .. } => size_of_val(cells.as_slice()),
            Order::Want(keys) => size_of_val(keys.as_slice()),
            Order::Records(lookup) => lookup.held_bytes(),
            Order::Frame(_) | Order::Check | Order::Bulk { .. } => size_of::<Order>(),
        });
        held.sum()
    }

    /// The next thing to send. Records later than `horizon` are left out.
    pub(super) fn next<S: SyncStore>(&mut self, store: &mut S, horizon: Timestamp) -> Result<Outgoing, S::Error> {
        if let Some(order) = self.orders.front_mut() {
            let step = match order {
                Order::Frame(frame) => Step::Last(Some(frame.clone())),
                Order::Check => Step::Check,
                Order::Cells {
                    count, first, cells, ..
                } => next_cells(*count, first, cells),
                Order::Want(keys) => next_wanted(keys),
                Order::Records(lookup) => next_found(lookup, store, &self.credit, horizon)?,
                Order::Bulk { after, until } => next_bulk(after, *until, store, &self.credit, horizon)?,
            };
            if matches!(step, Step::Last(_) | Step::Check) {
                self.orders.pop_front();
            }
            match step {
                Step::Part(frame) | Step::Last(Some(frame)) => {
                    self.charge(&frame);
                    return Ok(Outgoing::Frame(frame));
                }
                Step::Last(None) => return Ok(Outgoing::Unready),
                Step::Check => return Ok(Outgoing::Check),
                Step::Unready => return Ok(Outgoing::Unready),
                Step::Blocked => {}
            }
        }
        Ok(Outgoing::Nothing)
    }

    fn charge(&mut self, frame: &Frame) {
        if let Frame::Records { records, .. } = frame {
            self.records += records.len() as u64;
            self.credit.charge(records);
        }
    }
}

fn next_cells(count: u64, first: &mut usize, cells: &mut vec::IntoIter<Cell>) -> Step {
    let page: Vec<Cell> = cells.take(SYNC_CELLS_PAGE).collect();
    let sent = page.len();
    let frame = Frame::Cells {
        // There are 65,536 cells at most.
        first: u32::try_from(*first).unwrap_or(u32::MAX),
        count,
        cells: page,
    };
    *first += sent;
    if cells.len() == 0 {
        Step::Last(Some(frame))
    } else {
        Step::Part(frame)
    }
}

fn next_wanted(keys: &mut Vec<KeyHash>) -> Step {
    let rest = keys.split_off(keys.len().min(SYNC_WANTED_PAGE));
    let last = rest.is_empty();
    let frame = Frame::RecordsWanted {
        keys: std::mem::replace(keys, rest),
        last,
    };
    if last {
        Step::Last(Some(frame))
    } else {
        Step::Part(frame)
    }
}

fn next_found<S: SyncStore>(
    lookup: &mut Lookup,
    store: &mut S,
    credit: &Credit,
    horizon: Timestamp,
) -> Result<Step, S::Error> {
    let Some(limit) = credit.page_limit() else {
        return Ok(Step::Blocked);
    };
    for _ in 0..SYNC_LOOKUPS_MAX {
        if lookup.fills(limit) {
            break;
        }
        let Some(key) = lookup.keys.next() else { break };
        let found = store.by_key_hash(key, SYNC_KEY_HASH_RECORDS_MAX)?;
        lookup.add(found.into_iter().filter(|record| record.timestamp <= horizon));
    }
    let no_more_keys = lookup.keys.as_slice().is_empty();
    if !no_more_keys && !lookup.fills(limit) {
        return Ok(Step::Unready);
    }
    let page = lookup.take_page(limit);
    let last = lookup.found.is_empty() && no_more_keys;
    let frame = (!page.is_empty()).then_some(Frame::Records {
        bulk: None,
        records: page,
    });
    Ok(match frame {
        Some(frame) if !last => Step::Part(frame),
        frame => Step::Last(frame),
    })
}

fn next_bulk<S: SyncStore>(
    after: &mut Option<Cursor>,
    until: Option<u64>,
    store: &mut S,
    credit: &Credit,
    horizon: Timestamp,
) -> Result<Step, S::Error> {
    let Some(limit) = credit.page_limit() else {
        return Ok(Step::Blocked);
    };
    let Page { mut records, reached } = store.page(*after, limit)?;
    if reached.is_none() {
        return Ok(Step::Last(None));
    }
    *after = reached;
    let last = until <= reached.map(|reached| reached.number) && until.is_some();
    // Those that are too far ahead wait; the sketches show them once they are due.
    records.retain(|record| record.timestamp <= horizon);
    let frame = (!records.is_empty()).then_some(Frame::Records { bulk: reached, records });
    Ok(match frame {
        frame if last => Step::Last(frame),
        Some(frame) => Step::Part(frame),
        None => Step::Unready,
    })
}
