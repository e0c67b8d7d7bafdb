//! Those that should not get in: pages in a browser, names that lead here, strangers without the token, and floods.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;

use p2p_sync_testbed::json;

use super::client::{Answer, Api, raise_descriptor_limit, read_answer};

/// A request for the status with these lines in its head, and nothing else but the first line.
fn ask(api: &Api, lines: &[String]) -> u16 {
    let request = format!("GET /v1/status HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n"));
    api.raw(request.as_bytes()).unwrap().status
}

#[test]
fn only_requests_for_this_machine_by_programs_that_know_the_token_are_answered() {
    let api = Api::start();
    let (_, port) = api.address.rsplit_once(':').unwrap();
    let host = |host: &str| format!("Host: {host}");
    let own = host(&api.address);
    let token = format!("Authorization: Bearer {}", api.token);
    for name in ["127.0.0.1", "localhost", "[::1]"] {
        assert_eq!(
            ask(&api, &[host(&format!("{name}:{port}")), token.clone()]),
            200,
            "{name}"
        );
    }
    for name in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.",
        "0.0.0.0",
        "evil@127.0.0.1",
    ] {
        assert_eq!(
            ask(&api, &[host(&format!("{name}:{port}")), token.clone()]),
            403,
            "{name}"
        );
    }
    assert_eq!(ask(&api, &[host("127.0.0.1"), token.clone()]), 403, "without the port");
    assert_eq!(ask(&api, &[own.clone(), own.clone(), token.clone()]), 400, "two hosts");
    assert_eq!(ask(&api, std::slice::from_ref(&token)), 400, "no host");
    for wrong in [
        "Origin: null",
        "Origin: http://evil.example",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ] {
        assert_eq!(
            ask(&api, &[own.clone(), token.clone(), wrong.to_owned()]),
            403,
            "{wrong}"
        );
    }
    let same = format!("Origin: http://{}", api.address);
    assert_eq!(
        ask(
            &api,
            &[
                own.clone(),
                token.clone(),
                same,
                "Sec-Fetch-Site: same-origin".to_owned()
            ]
        ),
        200
    );
    for wrong in [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Basic {}", api.token),
        format!("Bearer {}x", api.token),
        format!("Bearer {}", &api.token[1..]),
        api.token.clone(),
    ] {
        assert_eq!(
            ask(&api, &[own.clone(), format!("Authorization: {wrong}")]),
            401,
            "{wrong}"
        );
    }
    assert_eq!(
        ask(&api, &[own.clone(), token.clone(), token.clone()]),
        401,
        "two tokens"
    );
    assert_eq!(ask(&api, std::slice::from_ref(&own)), 401);
    let request = format!("GET http://evil.example/v1/status HTTP/1.1\r\n{own}\r\n{token}\r\n\r\n");
    assert_eq!(api.raw(request.as_bytes()).unwrap().status, 403, "an absolute target");
}

#[test]
fn every_route_but_one_asks_for_the_token() {
    let api = Api::start();
    for (method, target) in [
        ("GET", "/"),
        ("GET", "/v1/kv"),
        ("GET", "/v1/kv/k"),
        ("PUT", "/v1/kv/k"),
        ("DELETE", "/v1/kv/k"),
        ("GET", "/v1/value?key=k"),
        ("POST", "/v1/batch"),
        ("POST", "/v1/command"),
        ("GET", "/v1/watch"),
        ("GET", "/v1/status"),
        ("GET", "/v1/peers"),
        ("GET", "/v1/conflicts"),
        ("POST", "/v1/conflicts/resolve"),
        ("POST", "/v1/sync"),
        ("POST", "/v1/verify"),
        ("GET", "/v1/verify/1"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/v1/openapi.json"),
        ("GET", "/nowhere"),
        ("GET", "/healthz/"),
        ("GET", "/v1/../healthz"),
        ("OPTIONS", "/v1/status"),
        ("TRACE", "/v1/status"),
    ] {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n",
            api.address
        );
        let answer = api.raw(request.as_bytes()).unwrap().expect(401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{target}");
    }
    let open = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", api.address);
    api.raw(open.as_bytes()).unwrap().expect(200);
    let rebound = "GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    api.raw(rebound.as_bytes()).unwrap().expect(403);
    for target in ["/v1/status?token=", "/v1/status?access_token=", "/v1/status?%74oken="] {
        let target = format!("{target}{}", api.token);
        api.get(&target).expect(400);
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", api.address);
        api.raw(request.as_bytes()).unwrap().expect(400);
    }
}

#[test]
fn browsers_get_no_permission_and_no_websocket() {
    let api = Api::start();
    let preflight = [
        ("Origin", "http://evil.example"),
        ("Access-Control-Request-Method", "PUT"),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    api.send("OPTIONS", "/v1/kv/k", &preflight, b"").expect(403);
    let answer = api.send("OPTIONS", "/v1/kv/k", &[], b"").expect(405);
    assert!(
        !answer.head.to_lowercase().contains("access-control"),
        "{}",
        answer.head
    );
    assert!(
        answer.header("allow").is_some_and(|allow| allow.contains("PUT")),
        "{}",
        answer.head
    );
    let upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    api.send("GET", "/v1/watch", &upgrade, b"").expect(400);
    // A form of another page: no token, and of a type that is not read.
    let form = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Origin", "http://evil.example"),
    ];
    api.send("POST", "/v1/batch", &form, b"operations=1").expect(403);
    api.send("POST", "/v1/batch", &form[..1], b"operations=1").expect(415);
}

#[test]
fn requests_that_can_be_read_in_two_ways_smuggle_nothing() {
    let api = Api::start();
    api.put("/v1/kv/k", b"kept").expect(200);
    let inner = format!("{}\r\n", api.head("DELETE", "/v1/kv/k", &[]));
    let head = api.head("PUT", "/v1/kv/other", &[]);
    for lines in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", inner.len() + 5),
        "Content-Length: 3\r\nContent-Length: 0\r\n".to_owned(),
        "Content-Length: +3\r\n".to_owned(),
        "Content-Length: 0, 3\r\n".to_owned(),
        "Transfer-Encoding: chunked, identity\r\n".to_owned(),
        "Transfer-Encoding: xchunked\r\n".to_owned(),
        " Transfer-Encoding: chunked\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n".to_owned(),
        "X: a\rContent-Length: 0\r\n".to_owned(),
    ] {
        let request = format!("{head}{lines}\r\n0\r\n\r\n{inner}");
        let mut stream = api.connect();
        let _ = stream.write_all(request.as_bytes());
        let mut reader = BufReader::new(stream);
        let first = read_answer(&mut reader, false);
        // Of two lengths, the chunks count, and nothing behind them is read.
        let is_last = |answer: &Answer| answer.status >= 400 || answer.header("connection") == Some("close");
        assert!(first.as_ref().is_none_or(is_last), "{lines}: {first:?}");
        let second = read_answer(&mut reader, false);
        assert!(second.is_none(), "{lines}: {second:?}");
        assert_eq!(api.get("/v1/kv/k").body, b"kept", "{lines}");
    }
}

#[test]
fn heads_and_bodies_have_limits() {
    let api = Api::start();
    for head in [
        format!(
            "GET /{} HTTP/1.1\r\nHost: {}\r\n\r\n",
            "x".repeat(10 << 20),
            api.address
        ),
        format!(
            "GET /healthz HTTP/1.1\r\nHost: {}\r\nX: {}\r\n\r\n",
            api.address,
            "x".repeat(10 << 20)
        ),
        format!(
            "GET /healthz HTTP/1.1\r\nHost: {}\r\n{}\r\n",
            api.address,
            "X: y\r\n".repeat(1 << 20)
        ),
    ] {
        let answer = api.raw(head.as_bytes());
        assert!(
            answer
                .as_ref()
                .is_none_or(|answer| matches!(answer.status, 400 | 414 | 431)),
            "{answer:?}"
        );
    }
    // It says how much it sends, and is refused before it does.
    let head = api.head("PUT", "/v1/kv/k", &[("Content-Length", "10000000")]);
    api.raw(format!("{head}\r\n").as_bytes()).unwrap().expect(413);
    // It does not say so.
    let head = api.head("PUT", "/v1/kv/k", &[("Transfer-Encoding", "chunked")]);
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    api.raw(format!("{head}\r\n{}", chunk.repeat(3)).as_bytes())
        .unwrap()
        .expect(413);
    // They send all of it without looking, and see the answer behind that: many clients end at the first failure to send.
    let permitted = api.head("PUT", "/v1/kv/k", &[]);
    let stranger = format!("PUT /v1/kv/k HTTP/1.1\r\nHost: {}\r\n", api.address);
    for (head, bytes, status) in [(permitted, 10_000_000, 413), (stranger, 1_000_000, 401)] {
        let mut stream = api.connect();
        stream
            .write_all(format!("{head}Content-Length: {bytes}\r\n\r\n").as_bytes())
            .unwrap();
        stream.write_all(&vec![b'x'; bytes]).unwrap();
        read_answer(&mut BufReader::new(stream), false).unwrap().expect(status);
    }
    let peak = api.node.process().memory_peak_bytes();
    assert!(peak < 200 << 20, "{peak}");
}

/// Both wait for the same ten seconds.
#[test]
fn whoever_sends_slowly_is_cut_off() {
    let api = Api::start();
    let mut slow_head = api.connect();
    slow_head.write_all(b"GET /healthz HTTP/1.1\r\nHost:").unwrap();
    let mut slow_body = api.connect();
    let head = api.head("PUT", "/v1/kv/k", &[("Content-Length", "5")]);
    slow_body.write_all(format!("{head}\r\nab").as_bytes()).unwrap();
    let answer = read_answer(&mut BufReader::new(slow_body), false).unwrap().expect(408);
    assert_eq!(answer.json()["code"], 5);
    let mut rest = Vec::new();
    let ended = slow_head.read_to_end(&mut rest);
    assert!(ended.is_ok() || !rest.is_empty(), "it is still open");
    assert!(
        rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"),
        "{}",
        String::from_utf8_lossy(&rest)
    );
    api.get("/v1/kv/k").expect(404);
}

#[test]
fn connections_without_a_request_keep_nobody_out() {
    let idle = raise_descriptor_limit().saturating_sub(200).min(2_000);
    assert!(idle > 500, "{idle} connections are no flood");
    let api = Api::start();
    let mut watcher = api.follow("/v1/watch?since=now", &[("Accept", "application/x-ndjson")]);
    assert!(watcher.next().unwrap().contains("ready"));
    let flood: Vec<TcpStream> = (0..idle).map(|_| api.connect()).collect();
    api.put("/v1/kv/k", b"v").expect(200);
    assert!(watcher.next().unwrap().contains("\"put\""), "who was let in stays");
    assert_eq!(api.get("/v1/status").expect(200).json()["keys"], json!(1));
    drop(flood);
}
