//! Following changes.

use p2p_sync_testbed::Value;

use super::client::{Api, Lines};

const LINES: (&str, &str) = ("Accept", "application/x-ndjson");

fn event(lines: &mut Lines) -> Value {
    lines.next().unwrap().parse().unwrap()
}

/// The next server-sent event: its id and its data.
fn sent(lines: &mut Lines) -> (Option<String>, Value) {
    let mut id = None;
    loop {
        let line = lines.next().unwrap();
        if let Some(text) = line.strip_prefix("id: ") {
            id = Some(text.to_owned());
        } else if let Some(data) = line.strip_prefix("data: ") {
            assert_eq!(lines.next().as_deref(), Some(""), "the end of the event");
            return (id, data.parse().unwrap());
        } else {
            assert!(line.is_empty() || line == ":" || line == "retry: 1000", "{line}");
        }
    }
}

#[test]
fn lines_of_json_tell_what_is_there_and_what_changes_and_go_on_where_they_ended() {
    let api = Api::start();
    api.put("/v1/kv/p1", b"v").expect(200);
    api.put("/v1/kv/other", b"v").expect(200);
    let mut lines = api.follow("/v1/watch?prefix=p", &[LINES]);
    assert!(lines.head.to_lowercase().contains("content-type: application/x-ndjson"));
    let first = event(&mut lines);
    assert_eq!(
        (&first["event"], &first["key"], &first["origin"]),
        (&"put".into(), &"p1".into(), &"local".into())
    );
    assert_eq!(event(&mut lines)["event"], "ready");
    api.put("/v1/kv/p2", b"\xff").expect(200);
    let second = event(&mut lines);
    assert_eq!((&second["key"], &second["value_b64"]), (&"p2".into(), &"/w==".into()));
    drop(lines);

    api.delete("/v1/kv/p1").expect(200);
    api.put("/v1/kv/other", b"w").expect(200);
    let since = format!("/v1/watch?prefix=p&since={}", second["cursor"].as_str().unwrap());
    let mut lines = api.follow(&since, &[LINES]);
    let third = event(&mut lines);
    assert_eq!((&third["event"], &third["key"]), (&"delete".into(), &"p1".into()));
    assert_eq!(event(&mut lines)["event"], "ready");

    let mut now = api.follow("/v1/watch?since=now", &[LINES]);
    assert_eq!(event(&mut now)["event"], "ready");
    let mut lost = api.follow("/v1/watch?since=00000000000000ff-7", &[LINES]);
    assert_eq!(event(&mut lost)["event"], "reset");
    api.get("/v1/watch?since=yesterday").expect(400);
    api.get("/v1/watch?from=now").expect(400);
}

#[test]
fn server_sent_events_go_on_behind_the_last_event() {
    let api = Api::start();
    api.put("/v1/kv/a", b"v").expect(200);
    let mut lines = api.follow("/v1/watch", &[("Accept", "text/event-stream")]);
    assert!(lines.head.to_lowercase().contains("content-type: text/event-stream"));
    assert_eq!(lines.next().as_deref(), Some("retry: 1000"));
    let (id, first) = sent(&mut lines);
    assert_eq!(
        (id, &first["key"]),
        (None, &"a".into()),
        "a snapshot has no order to go on in"
    );
    let (ready, _) = sent(&mut lines);
    api.put("/v1/kv/b", b"line\r\nline\n").expect(200);
    let (second, told) = sent(&mut lines);
    assert_eq!(told["value"], "line\r\nline\n");
    assert_eq!(told["cursor"].as_str(), second.as_deref());
    drop(lines);
    api.put("/v1/kv/c", b"v").expect(200);
    // The same target as before: what the client has got counts.
    let since = format!("/v1/watch?since={}", ready.unwrap());
    let mut lines = api.follow(&since, &[("Last-Event-ID", &second.unwrap())]);
    assert_eq!(sent(&mut lines).1["key"], "c");
    assert_eq!(sent(&mut lines).1["event"], "ready");
    // Silence is filled, so that clients do not give up.
    loop {
        match lines.next().unwrap().as_str() {
            "" => {}
            line => break assert_eq!(line, ":"),
        }
    }
}
