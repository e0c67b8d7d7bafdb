//! Whatever arrives: nothing here may panic, and what is accepted keeps every limit and comes back unchanged.
//!
//! A short fuzz on stable Rust: golden messages and texts are mutated, each try from a seed of its own.
//! `P2P_SYNC_FUZZ_SECONDS=N` spends N seconds on all targets together in place of 2, `P2P_SYNC_FUZZ_SEED=S` runs that one
//! try only.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::print_stderr, reason = "the seed of a try that failed has to be seen")]
#![allow(
    clippy::disallowed_methods,
    reason = "how long to run comes from the environment and the clock"
)]

mod support;

use std::time::{Duration, Instant, SystemTime};

use p2p_sync_core::gate::{Arrival, Gate, GateLimits, Verdict};
use p2p_sync_core::limits::{
    FUTURE_MAX, KEY_BYTES_MAX, LIMITED_PEERS_MAX, MESSAGE_BYTES_MAX, NODE_ID_BYTES_MAX, SEEN_AUTHORS_MAX,
    VALUE_BYTES_MAX,
};
use p2p_sync_core::membership::announcement;
use p2p_sync_core::membership::door::{Door, End, Side};
use p2p_sync_core::membership::exchange::{Exchange, Frame, FrameBuffer};
use p2p_sync_core::membership::{
    Entries, Entry, EntryId, InvalidEntry, KeepList, MemberName, NextSecret, Role, Roster, SecretKey, ShortId,
    Statement,
};
use p2p_sync_core::message::{Change, decode, decode_signed, encode};
use p2p_sync_core::text::{SHORTENED_CHARACTERS_MAX, printable, shortened};
use p2p_sync_core::{Key, NetworkName, NodeId, Record, Timestamp, Uptime};
use support::{Random, instant, node};

const MESSAGES: [&str; 9] = [
    r#"{"Put":{"key":"hello","value":"world","timestamp":"2025-01-04T08:30:15Z"}}"#,
    r#"{"Put":{"key":"hello","value":"world","timestamp":"2025-01-04T08:30:15Z","seen":{}}}"#,
    r#"{"Delete":{"key":"hello","timestamp":"2025-01-04T08:30:16.000000001Z","seen":{"floor":"2025-01-04T08:30:15Z"}}}"#,
    r#"{"Put":{"key":"bytes","value_b64":"//4AAQID","timestamp":"2262-04-11T23:47:16.854775807Z","seen":{"floor":"1970-01-01T00:00:00.000000001Z","12D3KooWBmwkafWE2fqfzS96VoTZgpGp6aJsF4N7M5ttgRrLtAMj":"2025-01-04T08:30:15Z"}}}"#,
    r#"{"Put":{"key":"a/\"b\" 🔑","value":"tab\tline\n\u0000\u001b[2J日本","timestamp":"2025-01-04T08:30:15.5+09:00","ttl":[{"a":null}]}}"#,
    r#"{"Batch":[{"Put":{"key":"k","value":"v","timestamp":"2025-01-04T08:30:15Z"}},{"Delete":{"key":"k","timestamp":"2025-01-04T08:30:16Z"}}]}"#,
    r#"{"Put":{"key":"hello","value":"world","timestamp":"2025-01-04T08:30:15Z","sig":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="}}"#,
    r#"{"Batch":[{"Delete":{"key":"k","sig":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==","timestamp":"2025-01-04T08:30:15Z"}},{"Put":{"key":"k","value":"v","timestamp":"2025-01-04T08:30:16Z","sig":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="}}]}"#,
    r#"{"v":2,"Rename":{"from":"a","to":"b"}}"#,
];

const TEXTS: [&str; 9] = [
    "12D3KooWBmwkafWE2fqfzS96VoTZgpGp6aJsF4N7M5ttgRrLtAMj",
    "QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt",
    "2025-01-04T08:30:15.123456789Z",
    "2262-04-11T23:47:16.854775807Z",
    "1970-01-01T00:00:00Z",
    "2024-02-29T23:59:59+23:59",
    "a key/with \"quotes\" 🔑",
    "\u{1b}[31m\u{202e}\u{200d}👨‍👩‍👧❤️\u{fe0f}\u{9b}\u{7f}\n",
    "lab",
];

/// What parsers stumble over.
const TOKENS: [&str; 34] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    ":",
    "\\",
    "\\u",
    "\\ud800",
    "\\udc00\\ud800",
    "\\u0000",
    "null",
    "true",
    "-0",
    "1e999",
    "18446744073709551616",
    "\"Put\":",
    "\"Delete\":",
    "\"Batch\":[",
    "\"key\":\"",
    "\"value\":",
    "\"value_b64\":\"",
    "\"seen\":{\"floor\":\"",
    "\"timestamp\":\"",
    "=",
    "Z",
    "+24:00",
    ".9999999999",
    "\u{feff}",
    "\u{2028}",
    "\u{10ffff}",
    "0",
    " ",
];

/// How many tests below share the time.
const TARGETS: u32 = 6;

/// Says which try failed, when one does.
struct Try(u64);

impl Drop for Try {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "to see it again: P2P_SYNC_FUZZ_SEED={} cargo test --test hostile",
                self.0
            );
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Tries seeds that were never tried before, until the time is up.
fn fuzz(mut attempt: impl FnMut(&mut Random)) {
    let (first, seconds) = match setting("P2P_SYNC_FUZZ_SEED") {
        Some(seed) => (seed, 0),
        None => {
            let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            (
                since_epoch.as_secs() << 24,
                setting("P2P_SYNC_FUZZ_SECONDS").unwrap_or(2),
            )
        }
    };
    let (started, duration) = (Instant::now(), Duration::from_secs(seconds) / TARGETS);
    for seed in first.. {
        let _named = Try(seed);
        attempt(&mut Random::new(seed));
        if started.elapsed() >= duration {
            break;
        }
    }
}

fn mutated(random: &mut Random, corpus: &[impl AsRef<[u8]>]) -> Vec<u8> {
    if random.percent(5) {
        let count = random.below(200);
        return random.bytes(count);
    }
    let mut data = random.pick(corpus).as_ref().to_vec();
    for _ in 0..random.below(6) {
        let at = random.below(data.len() + 1);
        let end = (at + random.below(12)).min(data.len());
        match random.below(7) {
            0 if at < data.len() => data[at] ^= 1 << random.below(8),
            1 => drop(data.drain(at..end)),
            2 => drop(data.splice(at..at, random.pick(&TOKENS).bytes())),
            3 => drop(data.splice(at..end, random.pick(&TOKENS).bytes())),
            4 => {
                let part = data[at..end].repeat(1 + random.below(40));
                drop(data.splice(at..at, part));
            }
            5 => {
                let other = random.pick(corpus).as_ref();
                data.truncate(at);
                data.extend(&other[random.below(other.len())..]);
            }
            _ => {
                let count = random.below(4);
                drop(data.splice(at..end, random.bytes(count)));
            }
        }
    }
    data
}

fn assert_within_limits(record: &Record) {
    let key = record.key.as_str();
    assert!(
        (1..=KEY_BYTES_MAX).contains(&key.len()) && !key.chars().any(char::is_control),
        "{key:?}"
    );
    assert!(
        record
            .content
            .value()
            .is_none_or(|value| value.as_bytes().len() <= VALUE_BYTES_MAX)
    );
    assert!(record.timestamp.as_nanos() >= 1);
    assert!(record.seen.is_before(record.timestamp) && !record.seen.names(&record.author));
    assert!(record.seen.others().len() <= SEEN_AUTHORS_MAX);
}

fn assert_harmless(shown: &str) {
    let bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{2028}')
    };
    assert!(!shown.contains(bad), "{shown:?}");
}

#[test]
fn decoding_never_panics_and_keeps_the_limits() {
    let (mut accepted, mut refused) = (0, 0);
    fuzz(|random| {
        let data = mutated(random, &MESSAGES);
        match (decode_signed(&data), decode(&data)) {
            (Ok(signed), Ok(open)) => {
                assert!(signed.iter().all(|change| change.signature.is_some()));
                let bare = signed.into_iter().map(|change| Change {
                    signature: None,
                    ..change
                });
                assert_eq!(bare.collect::<Vec<_>>(), open, "signed or not, it says the same");
            }
            (Ok(_), Err(error)) => panic!("{error}"),
            (Err(error), _) => assert_harmless(&error.to_string()),
        }
        match decode(&data) {
            Ok(changes) => {
                accepted += 1;
                let records: Vec<Record> = changes.into_iter().map(|change| change.by(node(1))).collect();
                assert!(!records.is_empty());
                records.iter().for_each(assert_within_limits);
                let again = encode(&records);
                let changes = decode(&again).unwrap();
                assert_eq!(
                    changes.into_iter().map(|change| change.by(node(1))).collect::<Vec<_>>(),
                    records
                );
            }
            Err(error) => {
                refused += 1;
                let why = error.to_string();
                assert_harmless(&why);
                assert!(why.len() < 500, "{why}");
            }
        }
    });
    assert!(
        setting("P2P_SYNC_FUZZ_SEED").is_some() || accepted > 0 && refused > 0,
        "{accepted} and {refused}"
    );
}

#[test]
fn the_gate_never_panics_and_keeps_its_budgets() {
    let now = instant("2025-01-04T08:30:15Z");
    let limits = GateLimits {
        author_messages_max: 3,
        neighbour_stale_messages_max: 5,
        ..GateLimits::default()
    };
    // Whoever is charged: so many authors and neighbours have this much in any window, and no more.
    let (authors, neighbours) = (4, 2);
    let accepted_max = authors * limits.author_messages_max + neighbours * limits.neighbour_stale_messages_max;
    fuzz(|random| {
        let mut gate = Gate::new(limits.clone());
        let (mut uptime, mut accepted) = (Uptime::default(), Vec::new());
        for _ in 0..100 {
            uptime = uptime.after(Duration::from_millis(random.bits() % 2_000));
            let author = node(u8::try_from(random.below(authors)).unwrap());
            let neighbour = node(u8::try_from(random.below(neighbours)).unwrap());
            let sequence = random.bits() >> random.pick(&[0, 58]);
            let sequence = (!random.percent(10)).then_some(sequence);
            let data = if random.percent(20) {
                mutated(random, &MESSAGES)
            } else {
                MESSAGES[0].into()
            };
            match gate.judge(
                Arrival {
                    author,
                    neighbour,
                    sequence,
                    data: &data,
                },
                now,
                uptime,
            ) {
                Verdict::Accept(records) => {
                    assert!(!records.is_empty() && records.iter().all(|record| record.author == author));
                    assert!(
                        records
                            .iter()
                            .all(|record| record.timestamp.saturating_since(now) <= FUTURE_MAX)
                    );
                    records.iter().for_each(assert_within_limits);
                    accepted.push(uptime);
                    if random.percent(50) {
                        gate.changed_nothing(author, neighbour, uptime);
                    }
                }
                Verdict::Ignore(refusal) | Verdict::Reject(refusal) => assert_harmless(&refusal.to_string()),
            }
            accepted.retain(|at| uptime.saturating_since(*at) <= limits.author_window);
            assert!(accepted.len() <= accepted_max, "{} in a window", accepted.len());
        }
    });
}

#[test]
fn a_crowd_of_strangers_takes_bounded_time_and_room() {
    let mut gate = Gate::new(GateLimits::default());
    let now = instant("2025-01-04T08:30:15Z");
    let mut accepted = 0;
    for number in 0..20_000_u64 {
        let author = NodeId::from_bytes(&number.to_be_bytes()).unwrap();
        let arrival = Arrival {
            author,
            neighbour: node(1),
            sequence: Some(number),
            data: MESSAGES[0].as_bytes(),
        };
        accepted += usize::from(matches!(
            gate.judge(arrival, now, Uptime(Duration::from_millis(number))),
            Verdict::Accept(_)
        ));
    }
    assert_eq!(accepted, LIMITED_PEERS_MAX + GateLimits::default().author_messages_max);
}

#[test]
fn nothing_that_is_parsed_panics_and_what_is_accepted_comes_back() {
    fuzz(|random| {
        let data = mutated(random, &TEXTS);
        let text = String::from_utf8_lossy(&data);
        if let Ok(key) = Key::new(&*text) {
            assert!((1..=KEY_BYTES_MAX).contains(&text.len()) && key.as_str() == text);
        }
        if let Ok(id) = text.parse::<NodeId>() {
            assert!((1..=NODE_ID_BYTES_MAX).contains(&id.as_bytes().len()));
            assert_eq!(id.to_string(), text);
        }
        if let Ok(timestamp) = text.parse::<Timestamp>() {
            assert_eq!(timestamp.to_string().parse(), Ok(timestamp), "{text}");
        }
        if let Ok(name) = text.parse::<NetworkName>() {
            assert_eq!(name.as_str(), text);
        }
        let _ = NodeId::from_bytes(&data);
    });
}

#[test]
fn what_is_shown_is_harmless() {
    fuzz(|random| {
        let data = mutated(random, &TEXTS);
        let shown = printable(&data);
        assert_harmless(&shown);
        assert_eq!(printable(shown.as_bytes()), shown);
        let short = shortened(&data);
        assert_harmless(&short);
        assert!(
            short == shown || short.chars().count() <= SHORTENED_CHARACTERS_MAX + "… (1048576 bytes)".chars().count()
        );
    });
}

/// A Genesis, and one entry of each other kind about the device of the key 2.
fn entries() -> Vec<Entry> {
    let keys = [1, 2, 3].map(|seed| SecretKey::from_seed([seed; 32]));
    let device = keys[1].public();
    let genesis = Statement::Genesis {
        recovery: keys[2].public(),
        secret: [4; 32],
        nonce: [5; 16],
        name: "home".parse().unwrap(),
    };
    let sign = |network, statement| Entry::sign(network, &keys[0], instant("2025-01-04T08:30:15Z"), statement).unwrap();
    let genesis = sign(EntryId([0; 32]), genesis);
    let network = genesis.id();
    let others = [
        Statement::Grant {
            device,
            role: Role::Admin,
            name: MemberName::new("laptop").unwrap(),
        },
        Statement::Lower {
            device,
            to: Role::Out,
            secret: Some(NextSecret {
                epoch: 1,
                hash: [6; 32],
            }),
            accepted: vec![ShortId([7; 16]), ShortId([8; 16])],
        },
        Statement::Keep {
            device,
            salt: [9; 16],
            count: 2,
            list: *blake3::hash(&[[1; 16], [2; 16]].concat()).as_bytes(),
        },
    ];
    let others = others.map(|statement| sign(network, statement));
    [genesis].into_iter().chain(others).collect()
}

#[test]
fn entries_of_a_membership_never_panic_and_keep_their_one_form() {
    let entries = entries();
    let corpus: Vec<Vec<u8>> = entries.iter().map(Entry::to_bytes).collect();
    let list = [[[1; 16], [2; 16]].concat()];
    let by = entries[0].id().short();
    let secret = Frame::Secret { by, secret: [4; 32] };
    let ids = Frame::Ids {
        ids: vec![ShortId([1; 16]), ShortId([2; 16])],
        last: true,
    };
    let (mut accepted, mut refused) = (0, 0);
    fuzz(|random| {
        let data = mutated(random, &corpus);
        if corpus.contains(&data) {
            return;
        }
        let forged = Entry::from_bytes(&data).unwrap_err();
        // As if whoever sent it could sign anything.
        match Entry::verified_with(&data, |_, _, _| true) {
            Ok(entry) => {
                accepted += 1;
                assert_eq!(forged, InvalidEntry::Signature);
                assert_eq!(entry.to_bytes(), data);
                let mut set = Entries::new(entries[0].clone()).unwrap();
                for entry in entries[1..].iter().cloned().chain([entry]) {
                    let _ = set.insert(entry);
                }
                assert!(set.members().members().count() <= 3);
            }
            Err(error) => {
                refused += 1;
                assert_harmless(&error.to_string());
            }
        }
        let framed = [&corpus[1][..], &corpus[2]].map(<[u8]>::to_vec).to_vec();
        let data = mutated(
            random,
            &[Frame::Entries(framed).to_bytes(), secret.to_bytes(), ids.to_bytes()],
        );
        let mut buffer = FrameBuffer::default();
        buffer.push(&data);
        let mut roster = Roster::new(entries[0].clone()).unwrap();
        let mut exchange = Exchange::new();
        while let Ok(Some(frame)) = buffer.next_frame() {
            if exchange.receive(frame, &mut roster).is_err() {
                break;
            }
        }
        while exchange.next_frame(&roster).is_some() {}
        assert!(roster.entries().len() <= 3 && roster.secret().is_none());
        let data = mutated(random, &list);
        let read = KeepList::from_bytes(entries[3].statement(), &data);
        assert_eq!(read.is_ok(), data == list[0]);
    });
    assert!(
        setting("P2P_SYNC_FUZZ_SEED").is_some() || accepted > 0 && refused > 0,
        "{accepted} and {refused}"
    );
}

#[test]
fn a_door_never_panics_and_lets_nobody_in_who_does_not_say_the_right_thing() {
    let mut roster = Roster::new(entries()[0].clone()).unwrap();
    roster.add(vec![entries()[1].clone()]);
    let genesis = entries()[0].clone();
    // One whose secret fits.
    let statement = match genesis.statement().clone() {
        Statement::Genesis {
            recovery, nonce, name, ..
        } => Statement::Genesis {
            recovery,
            secret: *blake3::hash(&[4; 32]).as_bytes(),
            nonce,
            name,
        },
        _ => unreachable!(),
    };
    let keys = [1, 2].map(|seed| SecretKey::from_seed([seed; 32]));
    let genesis = Entry::sign(EntryId([0; 32]), &keys[0], genesis.time(), statement).unwrap();
    let by = genesis.id();
    let mut roster = Roster::new(genesis).unwrap();
    assert!(roster.add_secret(by, [4; 32]));
    let side = |index: usize| Side {
        roster: &roster,
        device: &keys[index],
        ours: [u8::try_from(index).unwrap(); 32],
        theirs: [u8::try_from(1 - index).unwrap(); 32],
    };
    // What both say to each other, until the one without a Grant is refused; and what the founder would say to itself.
    let (mut dialler, knock) = Door::dial(side(0), [1; 16]);
    let mut listener = Door::listen(side(1), [2; 16]);
    let hear = listener.receive(&knock.send).send;
    let who = dialler.receive(&hear).send;
    let answer = listener.receive(&who).send;
    let corpus = [knock.send, hear, who, answer, vec![1, 5]];
    assert!(corpus.iter().all(|said| !said.is_empty()));
    let text = announcement::seal(&keys[0].public(), &[4; 32], 4002, [3; 8]);
    fuzz(|random| {
        let right = random.below(corpus.len());
        let (mut door, theirs) = if random.percent(50) {
            (Door::dial(side(0), [1; 16]).0, [1, 3])
        } else {
            (Door::listen(side(1), [2; 16]), [0, 2])
        };
        // As far as everything is right, and then nothing is.
        let (mut is_right, mut end) = (true, None);
        for number in theirs.into_iter().take(right) {
            end = end.or(door.receive(&corpus[number]).end);
        }
        for _ in 0..3 {
            let data = mutated(random, &corpus);
            is_right &= corpus.contains(&data);
            for part in data.chunks(1 + random.below(600)) {
                end = end.or(door.receive(part).end);
            }
        }
        if let Some(End::Refused(cause)) = &end {
            assert_harmless(&cause.to_string());
        }
        assert!(is_right || !matches!(end, Some(End::Removed(_))));
        let data = mutated(random, &[text.as_bytes()]);
        let said = String::from_utf8_lossy(&data);
        let read = announcement::open(&said, 4002, &[[5; 32], [4; 32]]);
        assert_eq!(read.is_some(), said == text);
    });
}

#[test]
fn the_largest_nonsense_is_refused_quickly() {
    let full = |part: &str| part.repeat(MESSAGE_BYTES_MAX / part.len());
    for part in [
        "[",
        "{\"Batch\":[",
        "{\"x\":",
        "\"",
        "\\u0000",
        "{},",
        "1",
        "\u{202e}",
        "{\"Put\":{\"key\":\"",
    ] {
        let started = Instant::now();
        assert!(decode(full(part).as_bytes()).is_err(), "{part}");
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{part}: {:?}",
            started.elapsed()
        );
    }
}
