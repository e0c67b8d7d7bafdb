//! Measures, by hand and on a quiet machine, what a session costs as stores and differences grow: bytes both ways,
//! round trips, and the time of both sides together on one core, without any disk. Values have 100 bytes.
//!
//! `cargo run --release -p p2p-sync-core --example sync_growth 10000 100000 1000000 > growth.csv` gives a line for each
//! number of keys and differences, which `plots/sync_growth.py growth.csv` draws. `1000000:10000` measures only ten thousand
//! differences among a million keys. Record bytes are those of the frames with records, a part of the bytes.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement needs a clock and a screen"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use p2p_sync_core::item::{Item, KeyHash};
use p2p_sync_core::record::Record;
use p2p_sync_core::sequence::Cursor;
use p2p_sync_core::summary::Summary;
use p2p_sync_core::sync::{
    Applied, Frame, MemorySyncStore, Next, Opening, Outcome, Page, PageLimit, Report, Session, Slots, StoreId,
    SyncStore,
};
use p2p_sync_core::{Content, Key, NodeId, Seen, Timestamp, Value};

/// What a peer's store must answer for a measurement: its summary covers a million records, of which only those that
/// differ are ever asked for.
#[derive(Clone)]
struct Measured {
    id: u64,
    summary: Summary,
    differing: BTreeMap<KeyHash, Record>,
}

impl SyncStore for Measured {
    type Error = Infallible;
    fn id(&self) -> StoreId {
        StoreId(self.id)
    }
    fn summary(&self) -> &Summary {
        &self.summary
    }
    fn items(&mut self) -> Result<Vec<Item>, Infallible> {
        Ok(Vec::new())
    }
    fn by_key_hash(&mut self, key_hash: KeyHash, _: usize) -> Result<Vec<Record>, Infallible> {
        Ok(self.differing.get(&key_hash).cloned().into_iter().collect())
    }
    fn page(&mut self, _: Option<Cursor>, _: PageLimit) -> Result<Page, Infallible> {
        Ok(Page::default())
    }
    fn position(&mut self, _: StoreId) -> Result<Option<Cursor>, Infallible> {
        Ok(None)
    }
    fn apply(&mut self, records: &[Record], _: Option<(StoreId, Cursor)>) -> Result<Applied, Infallible> {
        let mut applied = Applied::default();
        for record in records {
            let (key, item) = (KeyHash::of(&record.key), Item::of(record));
            match self.differing.get(&key) {
                Some(held) if held.precedence(record).is_ge() => continue,
                Some(held) => self.summary.replaced(&Item::of(held), &item),
                None => self.summary.inserted(&item),
            }
            self.differing.insert(key, record.clone());
            applied.changed += 1;
        }
        Ok(applied)
    }
}

/// A store that can be made to differ.
trait Writable: SyncStore<Error = Infallible> {
    /// The record is among those of the summary, and will be asked for.
    fn remember(&mut self, record: &Record);
    fn write(&mut self, record: Record);
}

/// Holds everything: for stores of which so much differs that all of it travels.
impl Writable for MemorySyncStore {
    fn remember(&mut self, _: &Record) {}
    fn write(&mut self, record: Record) {
        self.merge(&record);
    }
}

impl Writable for Measured {
    fn remember(&mut self, record: &Record) {
        self.differing
            .entry(KeyHash::of(&record.key))
            .or_insert_with(|| record.clone());
    }

    fn write(&mut self, record: Record) {
        let (key, item) = (KeyHash::of(&record.key), Item::of(&record));
        match self.differing.get(&key) {
            Some(held) => self.summary.replaced(&Item::of(held), &item),
            None => self.summary.inserted(&item),
        }
        self.differing.insert(key, record);
    }
}

type Anything = Box<dyn std::error::Error>;

/// A number that follows from another one as if by chance.
fn scatter(number: u64) -> u64 {
    KeyHash::of(&Key::new(format!("scatter {number}")).unwrap_or_else(|_| unreachable!("a good key"))).bits()
}

/// A record with a value of 100 bytes, written within the last year.
fn record(number: u64, version: u64) -> Result<Record, Anything> {
    let value: Vec<u8> = (0..13)
        .flat_map(|part| scatter(number ^ version << 40 ^ part << 56).to_le_bytes())
        .take(100)
        .collect();
    let nanos = 1_750_000_000_000_000_000 + scatter(number ^ version << 50) % 30_000_000_000_000_000;
    Ok(Record {
        key: Key::new(format!("record/{number:09}"))?,
        content: Content::Put(Value::new(value)?),
        timestamp: Timestamp::from_nanos(nanos.cast_signed())?,
        author: NodeId::from_bytes(&[u8::try_from(1 + number % 5)?; 38])?,
        seen: Seen::NOTHING,
        signature: None,
    })
}

/// Makes the two stores differ in this many keys: new ones, overwritten ones, and ones overwritten on both sides.
fn differ<S: Writable>(stores: &mut [S; 2], keys: u64, differences: u64, run: u64) -> Result<(), Anything> {
    for number in 0..differences {
        let chance = scatter(run << 20 | number);
        let [a, b] = stores;
        let (one, other) = if chance & 1 == 0 { (a, b) } else { (b, a) };
        if chance.is_multiple_of(3) {
            // New keys in every run: a few items that happen to share their places would spoil all of them.
            one.write(record(keys + (run << 20 | number), 1)?);
            continue;
        }
        let old = record(chance % keys, 0)?;
        let newer = |version| -> Result<Record, Anything> {
            let written = record(chance % keys, version)?;
            Ok(Record {
                timestamp: old
                    .timestamp
                    .saturating_add(Duration::from_nanos(scatter(chance ^ version) >> 20)),
                seen: Seen::NOTHING,
                ..written
            })
        };
        one.remember(&old);
        other.remember(&old);
        one.write(newer(1)?);
        if chance % 3 == 1 {
            other.write(newer(2)?);
        }
    }
    Ok(())
}

fn next<S: Writable>(session: &mut Session, store: &mut S, now: Timestamp) -> Result<Option<Frame>, Anything> {
    loop {
        match session.next_frame(store, now)? {
            Next::Frame(frame) => return Ok(Some(frame)),
            Next::Again => {}
            Next::Nothing => return Ok(None),
        }
    }
}

/// The bytes of some frames, both ways together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Bytes {
    all: usize,
    /// In frames with records.
    records: usize,
}

/// Runs a session to its end: its outcome, what the side that asked reports, its bytes, time.
fn session<S: Writable>([a, b]: &mut [S; 2]) -> Result<(Option<Outcome>, Report, Bytes, Duration), Anything> {
    let now = Timestamp::from_nanos(1_800_000_000_000_000_000)?;
    let start = Instant::now();
    let mut asking = Session::ask(Opening::Hello, Slots::default(), a, now);
    let mut answering = Session::answer(Slots::default());
    let mut bytes = Bytes::default();
    let mut carry = |frame: Frame| {
        let length = frame.encode().len();
        bytes.all += length;
        if matches!(frame, Frame::Records { .. }) {
            bytes.records += length;
        }
        frame
    };
    while asking.outcome().is_none() || answering.outcome().is_none() {
        while let Some(frame) = next(&mut asking, a, now)? {
            answering.receive(carry(frame), b, now)?;
        }
        while let Some(frame) = next(&mut answering, b, now)? {
            asking.receive(carry(frame), a, now)?;
        }
    }
    Ok((asking.outcome(), asking.report().clone(), bytes, start.elapsed()))
}

/// What some runs came to.
#[derive(Default)]
struct Runs {
    equal: u64,
    one_trip: u64,
    two_trips: u64,
    trips: Vec<u64>,
    bytes: Vec<Bytes>,
    micros: Vec<u128>,
}

impl Runs {
    fn measure<S: Writable>(
        &mut self,
        mut stores: [S; 2],
        keys: u64,
        differences: u64,
        run: u64,
    ) -> Result<(), Anything> {
        differ(&mut stores, keys, differences, run)?;
        let (outcome, report, bytes, time) = session(&mut stores)?;
        self.equal += u64::from(outcome == Some(Outcome::Equal));
        self.one_trip += u64::from(report.round_trips == 1);
        self.two_trips += u64::from(report.round_trips <= 2);
        self.trips.push(report.round_trips);
        self.bytes.push(bytes);
        self.micros.push(time.as_micros());
        Ok(())
    }
}

/// The value that so many of a hundred are below.
fn percentile<T: Ord + Copy + Default>(values: &mut [T], percent: usize) -> T {
    values.sort_unstable();
    values.get(values.len() * percent / 100).copied().unwrap_or_default()
}

fn measure(keys: u64, only: Option<u64>) -> Result<(), Anything> {
    let mut common = Summary::new();
    for number in 0..keys {
        common.inserted(&Item::of(&record(number, 0)?));
    }
    let wanted = |differences: &u64| only.is_none_or(|only| only == *differences);
    for differences in [1, 10, 100, 1_000, 10_000].into_iter().filter(wanted) {
        let mut runs = Runs::default();
        let count = (100_000 / differences).clamp(20, 1_000);
        for run in 0..count {
            if differences * 3 > keys {
                let mut full = [1, 2].map(|id| MemorySyncStore::new(StoreId(id)));
                for number in 0..keys {
                    let record = record(number, 0)?;
                    full.iter_mut().for_each(|store| store.write(record.clone()));
                }
                runs.measure(full, keys, differences, run)?;
            } else {
                let store = |id| Measured {
                    id,
                    summary: common.clone(),
                    differing: BTreeMap::new(),
                };
                runs.measure([store(1), store(2)], keys, differences, run)?;
            }
        }
        println!(
            "{keys},{differences},{count},{},{},{},{},{},{},{},{}",
            runs.equal,
            runs.one_trip,
            runs.two_trips,
            percentile(&mut runs.trips, 50),
            percentile(&mut runs.bytes, 50).all,
            percentile(&mut runs.bytes, 99).all,
            percentile(&mut runs.bytes, 50).records,
            percentile(&mut runs.micros, 50)
        );
    }
    Ok(())
}

fn main() -> Result<(), Anything> {
    println!(
        "keys,differences,runs,equal,one round trip,at most two,round trips,bytes,bytes 99th,record bytes,microseconds"
    );
    for argument in std::env::args().skip(1) {
        match argument.split_once(':') {
            Some((keys, only)) => measure(keys.parse()?, Some(only.parse()?))?,
            None => measure(argument.parse()?, None)?,
        }
    }
    Ok(())
}
