//! Measures, by hand and on a quiet machine, what the signatures of a private network cost: to make one, to verify one, and to
//! verify pages of a thousand as batches, of one author and of many. Medians, in microseconds a record; values have 100 bytes.
//!
//! `cargo run --release -p p2p-sync-core --example signatures`

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement needs a clock and a screen"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use p2p_sync_core::membership::{EntryId, SecretKey, SignedRecords, Signer};
use p2p_sync_core::{Content, Key, Record, Seen, Signature, Timestamp, Value};

const NETWORK: EntryId = EntryId([7; 32]);
/// How often each is measured.
const TIMES: usize = 51;

fn page(records: usize, authors: usize) -> Vec<Record> {
    let signers: Vec<Signer> = (0..authors)
        .map(|seed| Signer::new(NETWORK, SecretKey::from_seed([u8::try_from(seed).unwrap(); 32])))
        .collect();
    (0..records)
        .zip(signers.iter().cycle())
        .map(|(number, signer)| {
            let mut record = Record {
                key: Key::new(format!("key {number}")).unwrap(),
                content: Content::Put(Value::new(vec![1; 100]).unwrap()),
                timestamp: Timestamp::from_nanos(1 + i64::try_from(number).unwrap()).unwrap(),
                author: signer.author(),
                seen: Seen::NOTHING,
                signature: None,
            };
            record.signature = Some(Signature::claimed(*signer.sign(&record).as_bytes()));
            record
        })
        .collect()
}

fn median(mut measure: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<Duration> = (0..TIMES).map(|_| measure()).collect();
    times.sort_unstable();
    times.get(TIMES / 2).copied().unwrap_or_default()
}

fn show(what: &str, records: usize, time: Duration) {
    println!("{what:<44} {:>8.1}", time.as_secs_f64() * 1e6 / records as f64);
}

fn main() {
    let rule = SignedRecords::of(NETWORK);
    let records = page(1_000, 1);
    let signer = Signer::new(NETWORK, SecretKey::from_seed([0; 32]));
    let digests = median(|| {
        let start = Instant::now();
        for record in &records {
            black_box(record.digest());
        }
        start.elapsed()
    });
    show("digest", records.len(), digests);
    let signing = median(|| {
        let start = Instant::now();
        records.iter().for_each(|record| drop(black_box(signer.sign(record))));
        start.elapsed()
    });
    show("sign", records.len(), signing);
    for (batch, authors) in [
        (1, 1),
        (8, 1),
        (64, 1),
        (64, 64),
        (256, 1),
        (1_000, 1),
        (1_000, 10),
        (1_000, 200),
    ] {
        let records = page(1_000, authors);
        let time = median(|| {
            let mut records = records.clone();
            let start = Instant::now();
            records
                .chunks_mut(batch)
                .for_each(|batch| rule.verify_all(batch).unwrap());
            start.elapsed()
        });
        show(
            &format!("verify {batch} at once, of {authors} authors"),
            records.len(),
            time,
        );
    }
    let mut records = page(1_000, 10);
    records.last_mut().unwrap().content = Content::Deleted;
    let time = median(|| {
        let mut records = records.clone();
        let start = Instant::now();
        assert!(rule.verify_all(&mut records).is_err());
        start.elapsed()
    });
    show("verify 1000 of 10 authors, the last one wrong", records.len(), time);
}
