//! Byte for byte: keys and values at their limits, beyond them, and full of what a terminal would obey.

use p2p_sync_testbed::{Addresses, Lab, Node, json, tempfile, wait_until};

use crate::support::{PATIENCE, RECOVERY, Stranger, base64, launch, tcp};

const VALUE_BYTES_MAX: usize = 65_536;
const KEY_BYTES_MAX: usize = 256;
/// Sets the title, clears the screen, rings, overrides the direction of text, and starts a colour with a
/// single C1 character.
const HOSTILE: &str = "a\u{1b}]0;pwned\u{7}b\u{1b}[2Jc\u{202e}d\u{9b}31me";

struct Pair {
    a: Node,
    b: Node,
    stranger: Stranger,
    _lab: Lab,
}

fn pair() -> Pair {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let (a, b) = (launch(&host_a, "a").start(), launch(&host_b, "b").start());
    a.wait_linked(&b, PATIENCE);
    let stranger = Stranger::start(&lab.host(Addresses::V4), 1, &[tcp(&host_a)]);
    stranger.wait_linked(&a);
    Pair {
        a,
        b,
        stranger,
        _lab: lab,
    }
}

/// Bytes that look random and are the same each time.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(count);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.push(state.to_be_bytes()[3]);
    }
    bytes
}

#[track_caller]
fn assert_has_bytes(node: &Node, key: &str, bytes: &[u8]) {
    let expected = base64(bytes);
    wait_until(&format!("{} has {key}", node.label()), RECOVERY, || {
        node.json(&format!("get --json {key}"))["value_b64"] == expected.as_str()
    });
    // What anybody sees who opens the file.
    let store = rusqlite::Connection::open(node.data_dir().join("store.db")).unwrap();
    let stored: Vec<u8> = store
        .query_row(
            "SELECT value FROM kv_store WHERE key = ?1 AND deleted_at IS NULL",
            [key],
            |row| row.get(0),
        )
        .unwrap();
    assert!(stored == bytes, "{}: {key} differs in the file", node.label());
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn the_largest_value_of_arbitrary_bytes_arrives_byte_for_byte() {
    let pair = pair();
    // A pipe takes every byte but the end of a line.
    let mut typed = noise(VALUE_BYTES_MAX);
    for byte in &mut typed {
        if matches!(byte, b'\n' | b'\r') {
            *byte = 0xff;
        }
    }
    typed[0] = b'#';
    let answer = pair.a.json_bytes(&[b"add --json typed ", typed.as_slice()].concat());
    assert_eq!(answer["added"], true, "{answer}");
    assert_has_bytes(&pair.a, "typed", &typed);
    assert_has_bytes(&pair.b, "typed", &typed);

    // A message takes every byte.
    let mut sent = noise(VALUE_BYTES_MAX);
    for (byte, value) in sent.iter_mut().zip(0..=255) {
        *byte = value;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("message");
    let message = json!({ "Put": {
        "key": "sent", "value_b64": base64(&sent), "timestamp": "2025-01-04T08:30:15Z"
    }});
    std::fs::write(&file, message.to_string()).unwrap();
    pair.stranger.publish(&format!("@file {}", file.display()));
    assert_has_bytes(&pair.a, "sent", &sent);
    assert_has_bytes(&pair.b, "sent", &sent);

    // Text of the largest size stays text, for strangers too.
    let text = "é".repeat(VALUE_BYTES_MAX / 2);
    pair.a.add("text", &text);
    pair.b.wait_value("text", &text, RECOVERY);
    pair.stranger.wait_message(&pair.a.peer_id(), |message| {
        message["Put"]["key"] == "text" && message["Put"]["value"] == text.as_str()
    });
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn keys_of_the_largest_size_with_spaces_slashes_and_emoji_arrive() {
    let pair = pair();
    let start = "shelf 3/box 🦀/ it's  a/naïve ключ ";
    let key = format!("{start}{}", "/".repeat(KEY_BYTES_MAX - start.len()));
    assert_eq!(key.len(), KEY_BYTES_MAX);
    for key in [key.as_str(), " outer spaces ", "-", "--json", "…"] {
        let answer = pair.a.json(&format!("add --json \"{key}\" the value of  it"));
        assert_eq!(answer["key"], key, "{answer}");
        pair.b.wait_value(key, "the value of  it", RECOVERY);
    }
    let single = pair.a.json("add --json 'with \"double\" quotes' v");
    assert_eq!(single["key"], "with \"double\" quotes", "{single}");
    wait_until("quotes arrive", RECOVERY, || {
        pair.b.json("get --json 'with \"double\" quotes'")["value"] == "v"
    });
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn what_is_over_the_limits_is_refused_and_not_stored() {
    let pair = pair();
    let long_key = "k".repeat(KEY_BYTES_MAX + 1);
    let long_value = "v".repeat(VALUE_BYTES_MAX + 1);
    for line in [
        format!("add --json {long_key} v"),
        format!("add --json k {long_value}"),
        "add --json \"\" v".to_owned(),
        "add --json \"tab\there\" v".to_owned(),
    ] {
        let answer = pair.a.json(&line);
        assert_eq!(answer["code"], 8, "{answer}");
        assert!(answer["error"].is_string(), "{answer}");
    }
    assert!(pair.a.command(&format!("add {long_key} v")).starts_with("✗ "));
    pair.stranger.publish(&format!(
        r#"{{"Put":{{"key":"{long_key}","value":"v","timestamp":"2025-01-04T08:30:15Z"}}}}"#
    ));
    pair.stranger.publish(&format!(
        r#"{{"Put":{{"key":"k","value":"{long_value}","timestamp":"2025-01-04T08:30:15Z"}}}}"#
    ));
    // What comes after it shows that it had its chance.
    pair.stranger
        .publish(r#"{"Put":{"key":"last","value":"v","timestamp":"2025-01-04T08:30:15Z"}}"#);
    for node in [&pair.a, &pair.b] {
        node.wait_value("last", "v", RECOVERY);
        assert_eq!(node.status()["keys"], 1, "{}", node.label());
    }
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_value_full_of_escape_sequences_is_kept_and_never_shown_raw() {
    let pair = pair();
    let answer = pair.a.json(&format!("add --json hostile {HOSTILE}"));
    assert_eq!(answer["value"], HOSTILE, "{answer}");
    pair.b.wait_value("hostile", HOSTILE, RECOVERY);
    let message = json!({ "Put": {
        "key": "sent", "value": HOSTILE, "timestamp": "2025-01-04T08:30:15Z"
    }});
    pair.stranger.publish(&message.to_string());
    pair.b.wait_value("sent", HOSTILE, RECOVERY);
    for node in [&pair.a, &pair.b] {
        let mut shown = vec![node.command("get hostile")];
        shown.extend(node.lines("list"));
        for line in &shown {
            assert_harmless(line);
        }
        assert!(shown[0].contains("pwned"), "{shown:?}");
        for line in node.stderr().lines_from(0) {
            assert_harmless(&String::from_utf8(line).unwrap());
        }
        assert!(node.stderr().count(0, "pwned") > 0, "{}: nothing logged", node.label());
    }
}

#[track_caller]
fn assert_harmless(line: &str) {
    let bad = line.chars().find(|c| c.is_control() || *c == '\u{202e}');
    assert!(bad.is_none(), "{bad:?} in {line:?}");
}
