//! Keys and values, byte for byte.

use p2p_sync_testbed::json;

use super::client::Api;

fn encoded(key: &str) -> String {
    key.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn every_value_comes_back_byte_for_byte() {
    let api = Api::start();
    let all: Vec<u8> = (0..=255).collect();
    let large = all.repeat(256);
    for value in [&b""[..], b"world", b"\r\n\0", &all, &large] {
        let written = api.put("/v1/kv/hello", value).expect(200);
        let told = written.json();
        assert_eq!((&told["key"], &told["written"]), (&json!("hello"), &json!(true)));
        let answer = api.get("/v1/kv/hello").expect(200);
        assert_eq!(answer.body, value);
        assert_eq!(answer.header("content-length"), Some(value.len().to_string().as_str()));
        for (name, expected) in [
            ("content-type", "application/octet-stream"),
            ("x-content-type-options", "nosniff"),
            ("content-disposition", "attachment"),
            ("content-security-policy", "sandbox"),
        ] {
            assert_eq!(answer.header(name), Some(expected));
        }
        let author = api.node.peer_id();
        assert_eq!(answer.header("p2p-sync-author"), Some(author.as_str()));
        let timestamp = told["timestamp"].as_str().unwrap();
        assert_eq!(answer.header("p2p-sync-timestamp"), Some(timestamp));
        let tag = format!("\"{timestamp}-{}\"", &author[author.len() - 8..]);
        assert_eq!(answer.header("etag"), Some(tag.as_str()));
        assert_eq!(written.header("etag"), Some(tag.as_str()));
        let head = api.send("HEAD", "/v1/kv/hello", &[], b"").expect(200);
        assert_eq!(head.header("content-length"), Some(value.len().to_string().as_str()));
        assert_eq!(head.header("etag"), Some(tag.as_str()));
        let same = api
            .send("GET", "/v1/kv/hello", &[("If-None-Match", &tag)], b"")
            .expect(304);
        assert_eq!(same.header("etag"), Some(tag.as_str()));
        assert_eq!(same.body, b"");
        let weak = format!("W/{tag}");
        let two = format!("\"x\", {tag}");
        for (headers, status) in [
            (&[("If-None-Match", "*")][..], 304),
            (&[("If-None-Match", weak.as_str())], 304),
            (&[("If-None-Match", "\"x\"")], 200),
            (&[("If-Match", "*")], 200),
            (&[("If-Match", two.as_str())], 200),
            (&[("If-Match", "\"x\"")], 412),
            (&[("If-Match", weak.as_str())], 412),
            (&[("If-Match", tag.as_str()), ("If-None-Match", tag.as_str())], 304),
            (&[("If-Match", "\"x\""), ("If-None-Match", tag.as_str())], 412),
        ] {
            for method in ["GET", "HEAD"] {
                for target in ["/v1/kv/hello", "/v1/value?key=hello"] {
                    let answer = api.send(method, target, headers, b"");
                    assert_eq!(answer.status, status, "{method} {target} {headers:?}");
                }
            }
        }
        // What there is not is not found, whatever it is compared with; and what has no tag has no certain one.
        for headers in [[("If-Match", "*")], [("If-None-Match", "*")]] {
            api.send("GET", "/v1/kv/none", &headers, b"").expect(404);
        }
        for (header, status) in [
            (("If-Match", tag.as_str()), 412),
            (("If-None-Match", tag.as_str()), 200),
        ] {
            api.send("GET", "/v1/status", &[header], b"").expect(status);
        }
    }
    let answer = api.put("/v1/kv/hello", &[b'x'; 65_537]).expect(413);
    assert!(answer.json()["detail"].as_str().unwrap().contains("65536"));
    assert_eq!(api.get("/v1/kv/hello").body, large);
    assert_eq!(api.node.command("get k"), "✗ Not found: k");
}

#[test]
fn what_is_compressed_or_a_part_is_not_stored() {
    let api = Api::start();
    let value = "/v1/kv/hello";
    for (headers, status) in [
        (&[("Content-Encoding", "identity")][..], 200),
        (&[("Content-Encoding", "gzip")], 415),
        (&[("Content-Encoding", "identity"), ("Content-Encoding", "gzip")], 415),
        (&[("Content-Range", "bytes 2-4/5")], 400),
    ] {
        api.send("PUT", value, headers, b"world").expect(status);
    }
    let chunked = |coding| {
        let head = api.head("PUT", value, &[("Transfer-Encoding", coding)]);
        api.raw(format!("{head}\r\n5\r\nthere\r\n0\r\n\r\n").as_bytes())
            .unwrap()
    };
    chunked("gzip, chunked").expect(501);
    assert_eq!(api.get(value).body, b"world");
    chunked("chunked").expect(200);
    assert_eq!(api.get(value).body, b"there");
}

#[test]
fn every_key_can_be_named() {
    let api = Api::start();
    let keys = [
        "a/b",
        "/",
        "//",
        "%",
        "%2F",
        "%252f",
        "a b",
        "a+b",
        "+",
        "?",
        "#",
        "&=",
        "🌍",
        "ü",
        ".",
        "..",
        "...",
        ".hidden",
        "-dash",
        "--",
        "../status",
        "..\\x",
        "a;b",
        "~",
        "'\"",
        "\u{202e}x",
        "k?key=other",
        &"x".repeat(256),
    ];
    for (number, key) in keys.iter().enumerate() {
        let value = number.to_string();
        let by_path = format!("/v1/kv/{}", encoded(key));
        let by_parameter = format!("/v1/value?key={}", encoded(key));
        if matches!(*key, "." | "..") {
            let refused = api.put(&by_path, b"no").expect(400);
            assert!(refused.json()["detail"].as_str().unwrap().contains("/v1/value?key="));
            api.put(&by_parameter, value.as_bytes()).expect(200);
        } else {
            api.put(&by_path, value.as_bytes()).expect(200);
            assert_eq!(api.get(&by_path).expect(200).body, value.as_bytes(), "{key}");
        }
        assert_eq!(api.get(&by_parameter).expect(200).body, value.as_bytes(), "{key}");
    }
    let listed = api.get("/v1/kv?limit=1000").expect(200).json();
    let mut expected = keys.map(str::to_owned);
    expected.sort();
    let listed: Vec<_> = listed["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["key"].clone())
        .collect();
    assert_eq!(listed, expected);
    for key in keys {
        api.delete(&format!("/v1/value?key={}", encoded(key))).expect(200);
        api.delete(&format!("/v1/value?key={}", encoded(key))).expect(404);
    }
}

#[test]
fn what_is_no_key_is_refused() {
    let api = Api::start();
    for (target, status) in [
        ("/v1/kv/%00", 400),
        ("/v1/kv/%0a", 400),
        ("/v1/kv/%ff", 400),
        ("/v1/kv/%zz", 400),
        ("/v1/kv/%", 400),
        (&*format!("/v1/kv/{}", "x".repeat(257)), 400),
        ("/v1/kv/", 404),
        ("/v1/kv//a", 404),
        ("//v1/kv/a", 404),
        ("/v1//kv/a", 404),
        ("/v1/kv/a/", 404),
        ("/v1/kv/a/b", 404),
        ("/v1/kv/..", 400),
        ("/v1/kv/%2e%2E", 400),
        ("/v1/kv/./a", 400),
        ("/v1/kv/a?x=1", 400),
        ("/v1/value", 400),
        ("/v1/value?key=", 400),
        ("/v1/value?key=a&key=b", 400),
    ] {
        api.put(target, b"v").expect(status);
        api.delete(target).expect(status);
    }
    for target in ["/v1/kv", "/v1/", "/v1", "/"] {
        let answer = api.delete(target);
        assert!(matches!(answer.status, 404 | 405), "{target}: {answer:?}");
    }
    assert_eq!(api.get("/v1/kv").expect(200).json()["records"], json!([]));
}

#[test]
fn writes_have_preconditions() {
    let api = Api::start();
    let put = |headers: &[(&str, &str)], value: &str| api.send("PUT", "/v1/kv/k", headers, value.as_bytes());
    put(&[("If-Match", "*")], "no").expect(412);
    let first = put(&[("If-None-Match", "*")], "1").expect(200);
    let tag = first.header("etag").unwrap();
    let refused = put(&[("If-None-Match", "*")], "no").expect(412);
    assert_eq!(refused.json()["code"], 6);
    let second = put(&[("If-Match", tag)], "2").expect(200);
    put(&[("If-Match", tag)], "no").expect(412);
    let newest = second.header("etag").unwrap();
    put(&[("If-Match", &format!("W/{newest}"))], "no").expect(412);
    put(&[("If-Match", newest), ("If-None-Match", "*")], "no").expect(400);
    put(&[("If-None-Match", newest)], "no").expect(400);
    assert_eq!(api.get("/v1/kv/k").body, b"2");
    api.send("DELETE", "/v1/kv/k", &[("If-Match", tag)], b"").expect(412);
    api.send(
        "DELETE",
        "/v1/kv/k",
        &[("If-Match", &format!("\"other\", {newest}"))],
        b"",
    )
    .expect(200);
    api.get("/v1/kv/k").expect(404);
}

#[test]
fn a_list_comes_in_pages_with_and_without_values() {
    let api = Api::start();
    for number in 0..7 {
        api.put(&format!("/v1/kv/p%2F{number}"), b"\xff").expect(200);
    }
    api.put("/v1/kv/other", b"text").expect(200);
    let (mut keys, mut after) = (Vec::new(), String::new());
    loop {
        let page = api
            .get(&format!("/v1/kv?prefix=p/&limit=3&values=false{after}"))
            .expect(200)
            .json();
        for record in page["records"].as_array().unwrap() {
            assert!(record.get("value").is_none() && record.get("value_b64").is_none());
            keys.push(record["key"].as_str().unwrap().to_owned());
        }
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={}", encoded(next));
    }
    assert_eq!(keys, (0..7).map(|number| format!("p/{number}")).collect::<Vec<_>>());
    let page = api.get("/v1/kv").expect(200).json();
    assert_eq!(page["records"][0]["value"], "text");
    assert_eq!(page["records"][1]["value_b64"], "/w==");
    assert_eq!(page["next"], json!(null));
    for query in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "values=1",
        "after=%00",
        "unknown=1",
        "prefix=a&prefix=b",
    ] {
        api.get(&format!("/v1/kv?{query}")).expect(400);
    }
    // Large values end a page early, and nothing is left out.
    for number in 0..60 {
        api.put(&format!("/v1/kv/large{number:02}"), &[b'x'; 65_536])
            .expect(200);
    }
    let page = api.get("/v1/kv?prefix=large&limit=1000").expect(200).json();
    let got = page["records"].as_array().unwrap().len();
    assert!((16..60).contains(&got), "{got}");
    let rest = api.get(&format!(
        "/v1/kv?prefix=large&limit=1000&after={}",
        page["next"].as_str().unwrap()
    ));
    assert_eq!(rest.expect(200).json()["records"].as_array().unwrap().len(), 60 - got);
}

#[test]
fn a_batch_is_written_completely_or_not_at_all() {
    let api = Api::start();
    api.put("/v1/kv/old", b"1").expect(200);
    let batch = |operations: p2p_sync_testbed::Value| api.post("/v1/batch", &json!({ "operations": operations }));
    let done = batch(json!([
        {"put": {"key": "a", "value": "1"}},
        {"put": {"key": "b", "value_b64": "/w=="}},
        {"delete": {"key": "old"}},
        {"delete": {"key": "never"}},
        {"put": {"key": "a", "value": "2"}},
    ]))
    .expect(200)
    .json();
    let written: Vec<_> = done["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["written"].clone())
        .collect();
    assert_eq!(written, [true, true, true, false, true]);
    assert_eq!(api.get("/v1/kv/a").body, b"2");
    assert_eq!(api.get("/v1/kv/b").body, b"\xff");
    api.get("/v1/kv/old").expect(404);

    let before = api.get("/v1/kv").json();
    let good = json!({"put": {"key": "good", "value": "v"}});
    for (bad, status) in [
        (json!({"put": {"key": "a", "value": "no", "if_absent": true}}), 412),
        (
            json!({"delete": {"key": "a", "if_timestamp": "2025-01-04T08:30:15Z"}}),
            412,
        ),
        (json!({"put": {"key": "", "value": "no"}}), 400),
        (json!({"put": {"key": "k", "value": "x".repeat(65_537)}}), 400),
        (json!({"put": {"key": "k"}}), 400),
        (json!({"put": {"key": "k", "value": "v", "value_b64": "dg=="}}), 400),
        (json!({"put": {"key": "k", "value_b64": "?"}}), 400),
        (json!({"delete": {"key": "a", "if_timestamp": "yesterday"}}), 400),
    ] {
        let refused = batch(json!([good.clone(), bad.clone(), good.clone()])).expect(status);
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with("Operation 1,"), "{bad}: {detail}");
        assert!(detail.ends_with(". None of the batch was written."), "{bad}: {detail}");
        assert_eq!(api.get("/v1/kv").json(), before, "{bad}");
    }
    for bad in [
        json!({"dance": {}}),
        json!({"put": {"key": "k", "value": "v", "colour": "red"}}),
        json!(1),
    ] {
        batch(json!([good.clone(), bad])).expect(400);
    }
    batch(json!([])).expect(400);
    batch(json!(vec![good.clone(); 1_001])).expect(400);
    assert_eq!(api.get("/v1/kv").json(), before);
    let many: Vec<_> = (0..1_000)
        .map(|number| json!({"put": {"key": format!("m{number}"), "value": "v"}}))
        .collect();
    batch(json!(many)).expect(200);
    assert_eq!(api.node.status()["keys"], 1_002);
}
