//! The wire format, pinned: golden messages and digests that other programs rely on, and what is refused. Goldens are
//! added to and never edited.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod support;

use p2p_sync_core::limits::{KEY_BYTES_MAX, MESSAGE_BYTES_MAX, NODE_ID_BYTES_MAX, VALUE_BYTES_MAX};
use p2p_sync_core::message::{BATCH_BYTES, Change, InvalidMessage, decode, decode_signed, encode, encoded_bytes};
use p2p_sync_core::record::{InvalidKey, ValueTooLarge};
use p2p_sync_core::{Content, NodeId, Record, Seen, Signature};
use support::{Saw, change, instant, key, nanos, node, put, record};

const TIME: &str = "2025-01-04T08:30:15Z";

/// Every shape of message that a node sends, with the records that it says.
fn golden() -> Vec<(&'static str, Vec<Record>)> {
    let first = instant(TIME);
    let second = instant("2025-01-04T08:30:16.000000001Z");
    let hello = record("hello", put(b"world"), first, 1, Saw::Nothing);
    let bye = record("hello", Content::Deleted, second, 1, Saw::Of(vec![(2, first)]));
    vec![
        (
            r#"{"Put":{"key":"hello","value":"world","timestamp":"2025-01-04T08:30:15Z"}}"#,
            vec![Record {
                seen: Seen::everything_before(first),
                ..hello.clone()
            }],
        ),
        (
            r#"{"Put":{"key":"hello","value":"world","timestamp":"2025-01-04T08:30:15Z","seen":{}}}"#,
            vec![hello.clone()],
        ),
        (
            r#"{"Delete":{"key":"hello","timestamp":"2025-01-04T08:30:16.000000001Z"}}"#,
            vec![Record {
                seen: Seen::everything_before(second),
                ..bye.clone()
            }],
        ),
        (
            r#"{"Delete":{"key":"hello","timestamp":"2025-01-04T08:30:16.000000001Z","seen":{"JEAWxsNy6cxMuXf3zVubV16mgEAKkGtDpMTYxQHiG1erPrYs2sj":"2025-01-04T08:30:15Z"}}}"#,
            vec![bye.clone()],
        ),
        (
            r#"{"Put":{"key":"bytes","value_b64":"//4A","timestamp":"2262-04-11T23:47:16.854775807Z","seen":{"floor":"1970-01-01T00:00:00.000000001Z"}}}"#,
            vec![record(
                "bytes",
                put(b"\xff\xfe\0"),
                nanos(i64::MAX),
                1,
                Saw::UpTo(nanos(1)),
            )],
        ),
        (
            r#"{"Put":{"key":"a/\"b\" 🔑","value":"tab\tline\n\u0000\u001b[2J日本","timestamp":"2262-04-11T23:47:16.854775807Z"}}"#,
            vec![record(
                "a/\"b\" 🔑",
                put("tab\tline\n\0\u{1b}[2J日本".as_bytes()),
                nanos(i64::MAX),
                1,
                Saw::AllOlder,
            )],
        ),
        (
            r#"{"Put":{"key":"empty","value":"","timestamp":"2025-01-04T08:30:15.1Z"}}"#,
            vec![record(
                "empty",
                put(b""),
                instant("2025-01-04T08:30:15.100Z"),
                1,
                Saw::AllOlder,
            )],
        ),
        (
            r#"{"Batch":[{"Put":{"key":"hello","value":"world","timestamp":"2025-01-04T08:30:15Z","seen":{}}},{"Delete":{"key":"hello","timestamp":"2025-01-04T08:30:16.000000001Z","seen":{"JEAWxsNy6cxMuXf3zVubV16mgEAKkGtDpMTYxQHiG1erPrYs2sj":"2025-01-04T08:30:15Z"}}}]}"#,
            vec![hello, bye],
        ),
    ]
}

fn decoded(text: &str) -> Vec<Record> {
    let changes = decode(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
    changes.into_iter().map(|change| change.by(node(1))).collect()
}

#[test]
fn golden_messages_are_written_and_read() {
    for (text, records) in golden() {
        assert_eq!(String::from_utf8(encode(&records)).unwrap(), text);
        assert_eq!(decoded(text), records);
        if let [record] = &records[..] {
            assert_eq!(encoded_bytes(record), text.len());
        }
    }
    assert_eq!(BATCH_BYTES, 12);
}

/// What nodes do not send, but understand: each says the put of `world` under `hello`, which overwrites all that is older.
#[test]
fn other_ways_to_say_the_same_are_understood() {
    let plain = change("hello", put(b"world"), instant(TIME), Saw::AllOlder);
    for text in [
        r#"{"Put":{"key":"hello","value":"world","timestamp":"2025-01-04T08:30:15Z"}}"#,
        " {\n\"Put\" : {\t\"timestamp\":\"2025-01-04T08:30:15Z\", \"value\":\"world\",\r\n\"key\":\"hello\" } } \n",
        r#"{"Put":{"key":"hello","value":"world","timestamp":"2025-01-04T17:30:15.000+09:00"}}"#,
        r#"{"Put":{"key":"hello","value":"world","timestamp":"2025-01-04t08:30:15z"}}"#,
        r#"{"Put":{"key":"hello","value":"world","timestamp":"2025-01-04T08:30:15+0000"}}"#,
        r#"{"Put":{"key":"hello","value":"world","timestamp":"2025-01-04T17:30:15,0+09"}}"#,
        r#"{"Put":{"key":"hello","value":"world","timestamp":"2025-01-04T08:30:15Z","seen":null,"value_b64":null}}"#,
        r#"{"Put":{"key":"hello","value_b64":"d29ybGQ=","timestamp":"2025-01-04T08:30:15Z"}}"#,
        r#"{"\u0050ut":{"k\u0065y":"h\u0065llo","value":"\u0077orld","timestamp":"2025-01-04T08:30:15\u005a"}}"#,
        r#"{"Batch":[{"Put":{"key":"hello","value":"world","timestamp":"2025-01-04T08:30:15Z"}}]}"#,
        r#"{"Put":{"key":"hello","value":"world","timestamp":"2025-01-04T08:30:15Z","ttl":60,"ttl":{"a":[1e999,-0,"\ud800"]}}}"#,
        r#"{"v":2,"Put":{"key":"hello","value":"world","timestamp":"2025-01-04T08:30:15Z"},"trace":[[],{}]}"#,
    ] {
        assert_eq!(decode(text.as_bytes()), Ok(vec![plain.clone()]), "{text}");
    }
    let deep = format!(
        r#"{{"x":{}1{},"Put":{{"key":"hello","value":"world","timestamp":"{TIME}"}}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(
        decode(deep.as_bytes()),
        Ok(vec![plain]),
        "what is skipped is skipped at any depth"
    );
    let delete = r#"{"Delete":{"key":"hello","value":5,"timestamp":"2025-01-04T08:30:15Z"}}"#;
    let expected = change("hello", Content::Deleted, instant(TIME), Saw::AllOlder);
    assert_eq!(
        decode(delete.as_bytes()),
        Ok(vec![expected]),
        "a delete has no value, so that is an unknown field"
    );
}

#[test]
fn malformed_messages_are_refused() {
    let put = |fields: &str| format!(r#"{{"Put":{{{fields}}}}}"#);
    let hello = format!(r#"{{"Put":{{"key":"hello","value":"world","timestamp":"{TIME}"}}}}"#);
    let deep = |open: &str, close: &str| format!("{}{hello}{}", open.repeat(10_000), close.repeat(10_000));
    let stamped = |timestamp: &str| put(&format!(r#""key":"k","value":"v","timestamp":{timestamp}"#));
    let saw = |seen: &str| put(&format!(r#""key":"k","value":"v","timestamp":"{TIME}","seen":{seen}"#));
    let id = node(2);
    let authors: String = (10..27)
        .map(|number| format!(r#","{}":"2025-01-04T08:30:14Z""#, node(number)))
        .collect();
    let valued = |value: &str| put(&format!(r#""key":"k",{value}"timestamp":"{TIME}""#));
    let table = [
        // Not the JSON of one object.
        String::new(),
        " ".to_owned(),
        "null".to_owned(),
        "5".to_owned(),
        "\"Put\"".to_owned(),
        "[]".to_owned(),
        "{".to_owned(),
        format!("[{hello}]"),
        format!("{hello}{hello}"),
        format!("{hello} x"),
        format!("{hello},"),
        format!("\u{feff}{hello}"),
        hello[..hello.len() - 1].to_owned(),
        hello.replace('"', "'"),
        hello.replace("}}", ",}}"),
        "[".repeat(1_000_000),
        // Not exactly one change or batch.
        "{}".to_owned(),
        r#"{"Put":null}"#.to_owned(),
        r#"{"Put":{}}"#.to_owned(),
        r#"{"Put":[]}"#.to_owned(),
        format!(r#"{{"Put":["k","v",null,"{TIME}",null]}}"#),
        format!(r#"{{"Delete":["k","{TIME}",null]}}"#),
        format!("{},{}", &hello[..hello.len() - 1], &hello[1..]),
        format!("{},{}", &hello[..hello.len() - 1], r#""Batch":[]}"#),
        format!("{},{}", &hello[..hello.len() - 1], r#""Delete":null}"#),
        r#"{"Batch":[]}"#.to_owned(),
        r#"{"Batch":{}}"#.to_owned(),
        r#"{"Batch":null}"#.to_owned(),
        r#"{"Batch":[null]}"#.to_owned(),
        r#"{"Batch":[{}]}"#.to_owned(),
        format!(r#"{{"Batch":{hello}}}"#),
        format!(r#"{{"Batch":[{{"Batch":[{hello}]}}]}}"#),
        format!(r#"{{"Batch":[{hello},{{"Batch":[]}}]}}"#),
        format!(r#"{{"Batch":[{hello},{{"Put":{{"key":"k","value":"v"}}}}]}}"#),
        format!(r#"{{"Batch":[{hello},]}}"#),
        deep(r#"{"Batch":["#, "]}"),
        deep("[", "]"),
        // Fields missing, twice, or of another type.
        put(&format!(r#""value":"v","timestamp":"{TIME}""#)),
        put(&format!(r#""key":null,"value":"v","timestamp":"{TIME}""#)),
        put(&format!(r#""key":5,"value":"v","timestamp":"{TIME}""#)),
        put(&format!(r#""key":"k","key":"k","value":"v","timestamp":"{TIME}""#)),
        put(&format!(r#""key":"\ud800","value":"v","timestamp":"{TIME}""#)),
        put(&format!(r#""Key":"k","value":"v","timestamp":"{TIME}""#)),
        put(r#""key":"k","value":"v""#),
        valued(""),
        valued(r#""value":null,"#),
        valued(r#""value":5,"#),
        valued(r#""value":1e999,"#),
        valued(r#""value":["v"],"#),
        valued(r#""value":"v","value":"v","#),
        valued(r#""value":"v","value_b64":"dg==","#),
        valued(r#""value_b64":"dg==","value_b64":"dg==","#),
        // Strings that are not text, or not base64 in its one canonical form.
        valued(r#""value":"\ud800","#),
        valued(r#""value":"\udc00\ud800","#),
        valued(r#""value":"\x41","#),
        valued("\"value\":\"line\nfeed\","),
        valued(r#""value_b64":"dg","#),
        valued(r#""value_b64":"dh==","#),
        valued(r#""value_b64":"dg==dg==","#),
        valued(r#""value_b64":"-_8A","#),
        valued(r#""value_b64":" dg==","#),
        // Timestamps that are not one, or cannot be kept.
        stamped("1735979415000000000"),
        stamped("18446744073709551616"),
        stamped("1e999"),
        stamped("null"),
        stamped("\"\""),
        stamped("\"now\""),
        stamped("\"1970-01-01T00:00:00Z\""),
        stamped("\"1969-12-31T23:59:59.999999999Z\""),
        stamped("\"-2025-01-04T08:30:15Z\""),
        stamped("\"2262-04-11T23:47:16.854775808Z\""),
        stamped("\"99999-01-04T08:30:15Z\""),
        stamped("\"2025-01-04T08:30:15.1234567890Z\""),
        stamped("\"2026-12-31T23:59:60Z\""),
        stamped("\"2025-01-04T08:30:15\""),
        stamped("\"2025-01-04T08:30:15Z\",\"timestamp\":\"2025-01-04T08:30:15Z\""),
        saw("0"),
        saw("[]"),
        saw("\"\""),
        saw("\"2025-01-04T08:30:14Z\""),
        saw("{},\"seen\":{}"),
        // What was seen: a floor or an entry that is no timestamp, not earlier, superfluous, twice, of nobody, or one too many.
        saw(r#"{"floor":null}"#),
        saw(r#"{"floor":5}"#),
        saw(r#"{"floor":"now"}"#),
        saw(r#"{"floor":"1970-01-01T00:00:00Z"}"#),
        saw(&format!(r#"{{"floor":"{TIME}"}}"#)),
        saw(r#"{"floor":"2262-04-11T23:47:16.854775807Z"}"#),
        saw(r#"{"floor":"2025-01-04T08:30:14Z","floor":"2025-01-04T08:30:14Z"}"#),
        saw(&format!(r#"{{"{id}":"{TIME}"}}"#)),
        saw(&format!(r#"{{"{id}":"2262-04-11T23:47:16.854775807Z"}}"#)),
        saw(&format!(
            r#"{{"floor":"2025-01-04T08:30:14Z","{id}":"2025-01-04T08:30:14Z"}}"#
        )),
        saw(&format!(
            r#"{{"{id}":"2025-01-04T08:30:13Z","{id}":"2025-01-04T08:30:14Z"}}"#
        )),
        saw(&format!(r#"{{"{id}":{{}}}}"#)),
        saw(r#"{"0OIl":"2025-01-04T08:30:14Z"}"#),
        saw(r#"{"":"2025-01-04T08:30:14Z"}"#),
        saw(&format!("{{{}}}", &authors[1..])),
    ];
    for text in table {
        let shown: String = text.chars().take(120).collect();
        match decode(text.as_bytes()) {
            Err(InvalidMessage::Malformed(why)) => assert!(!why.is_empty() && why.len() < 400, "{shown}: {why}"),
            other => panic!("{shown}: {other:?}"),
        }
    }
}

#[test]
fn bytes_that_are_not_text_are_malformed_wherever_they_stand() {
    let hello = format!(r#"{{"Put":{{"key":"hello","value":"world","timestamp":"{TIME}","x":"skipped"}}}}"#);
    for place in ["hello", "world", "skipped", "{"] {
        let mut data = hello.clone().into_bytes();
        let at = hello.find(place).unwrap();
        data[at] = 0xff;
        assert!(matches!(decode(&data), Err(InvalidMessage::Malformed(_))), "{place}");
    }
}

fn put_of(key: &str, value: &str) -> String {
    format!(r#"{{"Put":{{"key":"{key}","value":"{value}","timestamp":"{TIME}"}}}}"#)
}

#[test]
fn keys_and_values_that_break_a_rule_are_refused_by_name() {
    let refused = |text: &str| decode(text.as_bytes()).unwrap_err();
    assert_eq!(refused(&put_of("", "v")), InvalidMessage::Key(InvalidKey::Empty));
    assert_eq!(
        refused(&put_of(&"k".repeat(KEY_BYTES_MAX + 1), "v")),
        InvalidMessage::Key(InvalidKey::TooLong {
            bytes: KEY_BYTES_MAX + 1
        })
    );
    assert_eq!(
        refused(&put_of("a\\u0007", "v")),
        InvalidMessage::Key(InvalidKey::ControlCharacter { at: 1 })
    );
    assert_eq!(
        refused(&put_of("é\\u0085", "v")),
        InvalidMessage::Key(InvalidKey::ControlCharacter { at: 2 })
    );
    let bytes = VALUE_BYTES_MAX + 1;
    let too_large = InvalidMessage::Value(ValueTooLarge { bytes });
    assert_eq!(refused(&put_of("k", &"v".repeat(bytes))), too_large);
    let encoded = data_encoding::BASE64.encode(&vec![0xff; bytes]);
    let text = format!(r#"{{"Put":{{"key":"k","value_b64":"{encoded}","timestamp":"{TIME}"}}}}"#);
    assert_eq!(refused(&text), too_large);
    let batch = format!(r#"{{"Batch":[{},{}]}}"#, put_of("k", "v"), put_of("", "v"));
    assert_eq!(
        refused(&batch),
        InvalidMessage::Key(InvalidKey::Empty),
        "one bad change makes all of it bad"
    );
}

#[test]
fn the_largest_key_and_value_pass() {
    let long_key = "🔑".repeat(KEY_BYTES_MAX / 4);
    for byte in [b'v', 0, 0xff, b'"'] {
        let record = record(&long_key, put(&[byte; VALUE_BYTES_MAX]), instant(TIME), 1, Saw::Nothing);
        let data = encode(std::slice::from_ref(&record));
        assert!(data.len() <= MESSAGE_BYTES_MAX);
        assert_eq!(data.len(), encoded_bytes(&record));
        assert_eq!(decode(&data).unwrap().remove(0).by(node(1)), record);
    }
}

#[test]
fn the_size_limit_is_exact_and_comes_first() {
    let mut data = put_of("k", "v").into_bytes();
    data.resize(MESSAGE_BYTES_MAX, b' ');
    assert!(decode(&data).is_ok());
    data.push(b' ');
    let bytes = MESSAGE_BYTES_MAX + 1;
    assert_eq!(decode(&data), Err(InvalidMessage::TooLarge { bytes }));
    assert_eq!(decode(&vec![0xff; bytes]), Err(InvalidMessage::TooLarge { bytes }));
}

#[test]
fn a_full_message_of_the_smallest_changes_is_read() {
    let small = format!(r#"{{"Delete":{{"key":"k","timestamp":"{TIME}"}}}}"#);
    let count = (MESSAGE_BYTES_MAX - BATCH_BYTES + 1) / (small.len() + 1);
    let text = format!(r#"{{"Batch":[{}]}}"#, vec![small; count].join(","));
    assert!(text.len() <= MESSAGE_BYTES_MAX);
    let expected: Change = change("k", Content::Deleted, instant(TIME), Saw::AllOlder);
    let changes = decode(text.as_bytes()).unwrap();
    assert!(changes.len() == count && changes.iter().all(|change| *change == expected));
}

/// The bytes that a digest is made of, put together by hand: each field behind its length.
fn canonical(record: &Record) -> Vec<u8> {
    let (kind, value) = match &record.content {
        Content::Put(value) => (1, Some(value.as_bytes())),
        Content::Deleted => (0, None),
    };
    let nanos = record.timestamp.as_nanos().to_le_bytes();
    let floor = record.seen.floor().map(|floor| floor.as_nanos().to_le_bytes());
    let others: Vec<_> = record
        .seen
        .others()
        .iter()
        .map(|(author, seen)| (*author, seen.as_nanos().to_le_bytes()))
        .collect();
    let mut fields: Vec<&[u8]> = vec![record.key.as_str().as_bytes()];
    let kind = [kind];
    fields.push(&kind);
    fields.extend(value);
    fields.push(&nanos);
    fields.push(record.author.as_bytes());
    fields.push(floor.as_ref().map_or(&[], |nanos| nanos));
    fields.extend(others.iter().flat_map(|(author, seen)| [author.as_bytes(), &seen[..]]));
    fields
        .iter()
        .flat_map(|field| [&u64::try_from(field.len()).unwrap().to_le_bytes(), *field].concat())
        .collect()
}

#[test]
fn digests_are_pinned() {
    let hello = record("hello", put(b"world"), instant(TIME), 1, Saw::Nothing);
    let mut changed = vec![hello.clone(); 9];
    changed[1].seen = Saw::AllOlder.before(instant(TIME));
    changed[2].seen = Saw::Of(vec![(2, nanos(1)), (3, nanos(2))]).before(instant(TIME));
    changed[3].content = Content::Deleted;
    changed[4].content = put(b"");
    changed[5].content = put(b"\xff\xfe\0");
    changed[6].author = NodeId::from_bytes(&[2; NODE_ID_BYTES_MAX]).unwrap();
    changed[7].timestamp = nanos(i64::MAX);
    changed[8].key = key("日本 🔑");
    let golden = [
        "32bbe8f3661aa07ba7a9e057388850963dc42357adbcb57da5048f02a25b5b86",
        "ef7fda7eee84fc5b519b4a285b548d32ee02ea44b9507ad6f11c1f4a516c63e8",
        "c6d46fb52c265d619c8bc45809322cc5308242e60a35d923e8cb50d78ce27c17",
        "8fae6e706d0f6920f6af51b45a64a8402f25efa8dd20672df4f8ecd4f37c18d1",
        "7932038b471640148b5c76660fe00562d7a9cc300f72a655a56aa903e695df60",
        "7f1bf1cbdc600155311724f25ea3f49a54f5b9346d8e0434ef80820768bea45c",
        "8070da86d4a4361a31eb3e624d1f01334edca9eb8d8244505b4f5bf1c8958da0",
        "1ab101dc96a9d29fd017a7f1ae7874d72de2bacab5bd22938450b105e6687807",
        "e16623663d3391dcc02208fcdc4a44e8c435deaf1aeba97b9c1ea18cf5e959fd",
    ];
    let digests: Vec<_> = changed
        .iter()
        .map(|record| data_encoding::HEXLOWER.encode(&record.digest()))
        .collect();
    assert_eq!(digests, golden);
    for record in changed {
        assert_eq!(
            record.digest(),
            *blake3::hash(&canonical(&record)).as_bytes(),
            "{record:?}"
        );
    }
}

/// In a private network, `sig` stands behind everything else.
#[test]
fn signed_changes_have_their_bytes() {
    let first = instant(TIME);
    let mut hello = record("hello", put(b"world"), first, 1, Saw::Nothing);
    let mut bye = record("bye", Content::Deleted, first, 1, Saw::AllOlder);
    hello.signature = Some(Signature::claimed([0xfb; 64]));
    bye.signature = Some(Signature::claimed([0; 64]));
    let fb = format!("{}+w==", "+/v7".repeat(21));
    let zeros = format!("{}==", "A".repeat(86));
    let put = format!(r#"{{"Put":{{"key":"hello","value":"world","timestamp":"{TIME}","seen":{{}},"sig":"{fb}"}}}}"#);
    let delete = format!(r#"{{"Delete":{{"key":"bye","timestamp":"{TIME}","sig":"{zeros}"}}}}"#);
    let both = format!(r#"{{"Batch":[{put},{delete}]}}"#);
    for (text, records) in [
        (&put, vec![hello.clone()]),
        (&delete, vec![bye.clone()]),
        (&both, vec![hello, bye]),
    ] {
        assert_eq!(std::str::from_utf8(&encode(&records)).unwrap(), text);
        if let [only] = records.as_slice() {
            assert_eq!(encoded_bytes(only), text.len());
        }
        let changes = decode_signed(text.as_bytes()).unwrap();
        for (change, record) in changes.into_iter().zip(&records) {
            let read = change.by(record.author);
            assert_eq!(&read, record);
            assert_eq!(
                read.signature.unwrap().as_bytes(),
                record.signature.as_ref().unwrap().as_bytes()
            );
        }
        // It says nothing to an open network.
        assert!(
            decode(text.as_bytes())
                .unwrap()
                .iter()
                .all(|change| change.signature.is_none())
        );
    }
    let deletion = |what: &str| format!(r#"{{"Delete":{{"key":"bye","timestamp":"{TIME}"{what}}}}}"#);
    let sig = |text: &str| format!(r#","sig":"{text}""#);
    for (what, why) in [
        (String::new(), "none"),
        (r#","sig":null"#.to_owned(), "none"),
        (r#","sig":5"#.to_owned(), "a number"),
        (sig(""), "empty"),
        (sig(&zeros[4..]), "61 bytes"),
        (sig(&zeros[..86]), "not padded"),
        (sig(&format!("AAAA{zeros}")), "67 bytes"),
        (sig(&"AA==".repeat(22)), "many texts in one"),
        (sig(&format!("{}B==", &zeros[..85])), "bits behind the end"),
        (sig(&fb.replace('+', "-").replace('/', "_")), "another alphabet"),
        (sig(&zeros) + &sig(&zeros), "twice"),
    ] {
        let text = deletion(&what);
        assert!(
            matches!(decode_signed(text.as_bytes()), Err(InvalidMessage::Malformed(_))),
            "{why}"
        );
        // An open network does not even look.
        assert!(decode(text.as_bytes()).is_ok(), "{why}");
    }
    let half = format!(r#"{{"Batch":[{delete},{}]}}"#, deletion(""));
    assert!(decode_signed(half.as_bytes()).is_err(), "one of two is not signed");
}
