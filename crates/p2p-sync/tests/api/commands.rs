//! Commands as the shell sends them.

use p2p_sync_testbed::{Value, json};

use super::client::{Answer, Api};

fn lines(answer: &Answer) -> Vec<Value> {
    answer.text().lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn a_command_is_answered_with_lines_of_results() {
    let api = Api::start();
    let run = |command: Value| {
        let answer = api.post("/v1/command", &command).expect(200);
        assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
        lines(&answer)
    };
    let added = run(json!({"add": {"key": "hello", "value": "world"}}));
    assert_eq!(added[0]["Ok"]["added"]["value"], "world");
    let found = run(json!({"get": {"key": "hello"}}));
    assert_eq!(found[0]["Ok"]["found"]["value"], "world");
    let missing = run(json!({"get": {"key": "other"}}));
    assert_eq!(missing, [json!({"Err": {"error": "Not found: other", "code": 3}})]);
    let status = run(json!({"status": {}}));
    assert_eq!(status[0]["Ok"]["status"]["keys"], 1);
    let refused = run(json!({"exit": {}}));
    assert_eq!(refused[0]["Err"]["code"], 2);
    assert!(api.node.process().is_running());
}

#[test]
fn a_long_list_comes_in_pages() {
    let api = Api::start();
    for batch in 0..3 {
        let operations: Vec<_> = (0..500)
            .map(|number| json!({"put": {"key": format!("k{:04}", batch * 500 + number), "value": "v"}}))
            .collect();
        api.post("/v1/batch", &json!({ "operations": operations })).expect(200);
    }
    let pages = lines(&api.post("/v1/command", &json!({"list": {"prefix": "k"}})).expect(200));
    assert!(pages.len() >= 3, "{}", pages.len());
    assert_eq!(pages[0]["Ok"]["listed"]["total"], 1_500);
    let keys: Vec<_> = pages
        .iter()
        .flat_map(|page| page["Ok"]["listed"]["records"].as_array().unwrap())
        .map(|record| record["key"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        keys,
        (0..1_500).map(|number| format!("k{number:04}")).collect::<Vec<_>>()
    );
}

#[test]
fn what_is_no_command_is_refused() {
    let api = Api::start();
    for command in [
        json!({"dance": {}}),
        json!({"get": {}}),
        json!({"get": {"key": "k", "x": 1}}),
        json!([]),
    ] {
        api.post("/v1/command", &command).expect(400);
    }
    let get = br#"{"get":{"key":"k"}}"#;
    api.send("POST", "/v1/command", &[], get).expect(415);
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ] {
        api.send("POST", "/v1/command", &[("Content-Type", kind)], get)
            .expect(415);
    }
    let kind = ("Content-Type", "application/json; charset=utf-8");
    api.send("POST", "/v1/command", &[kind], get).expect(200);
    api.send("POST", "/v1/command", &[kind, ("Content-Encoding", "gzip")], get)
        .expect(415);
    api.send("POST", "/v1/command", &[kind], b"\xff").expect(400);
    api.send("POST", "/v1/command", &[kind], &vec![b' '; (1 << 20) + 1])
        .expect(413);
    api.get("/v1/command").expect(405);
}
