//! How the node is doing, and what it is asked to do.

use std::collections::BTreeMap;

use p2p_sync_testbed::{json, tempfile, wait_until};

use super::client::{Api, PATIENCE, launch};

#[test]
fn the_state_of_the_node_is_told() {
    let api = Api::start();
    api.put("/v1/kv/k", b"v").expect(200);
    let status = api.get("/v1/status").expect(200).json();
    assert_eq!(
        (&status["peer_id"], &status["keys"]),
        (&json!(api.node.peer_id()), &json!(1))
    );
    assert_eq!(api.get("/v1/peers").expect(200).json(), json!({"peers": []}));
    assert_eq!(
        api.get("/v1/conflicts").expect(200).json(),
        json!({"conflicts": [], "next": null})
    );
    let choice = json!({"key": "k"});
    api.post("/v1/conflicts/resolve", &choice).expect(404);
    api.post("/v1/conflicts/resolve", &json!({"key": "k", "timestamp": "x"}))
        .expect(400);
    let synced = api.send("POST", "/v1/sync", &[], b"").expect(200).json();
    assert_eq!(synced, json!({"peers": []}));
    assert_eq!(api.get("/readyz").expect(200).json(), json!({"ok": true}));
    assert_eq!(api.get("/healthz").expect(200).json(), json!({"ok": true}));
}

#[test]
fn a_check_is_begun_and_looked_at() {
    let api = Api::start();
    api.put("/v1/kv/k", b"v").expect(200);
    api.get("/v1/verify/1").expect(404);
    let begun = api.send("POST", "/v1/verify", &[], b"").expect(202);
    let place = begun.header("location").unwrap().to_owned();
    assert_eq!(place, "/v1/verify/1");
    wait_until("the end of the check", PATIENCE, || {
        api.get(&place).expect(200).json()["state"] == "done"
    });
    let found = api.get(&place).expect(200).json();
    assert_eq!((&found["checked"], &found["records"]), (&json!(1), &json!(1)));
    assert_eq!(
        found["found"],
        json!({"records": 1, "damaged": 0, "summary_was_right": true})
    );
    api.get("/v1/verify/x").expect(404);
}

#[test]
fn a_node_that_is_stopped_ends_its_streams_in_time() {
    let api = Api::start();
    let mut lines = api.follow("/v1/watch", &[("Accept", "application/x-ndjson")]);
    assert!(lines.next().unwrap().contains("ready"));
    api.node.stop();
    assert_eq!(lines.next(), None);
}

#[test]
fn the_figures_are_named_as_is_usual_and_name_no_key() {
    let api = Api::start();
    api.put("/v1/kv/secret-key", b"v").expect(200);
    api.get("/v1/kv/missing").expect(404);
    let answer = api.get("/metrics").expect(200);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(kind));
    let text = answer.text();
    let mut kinds = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["#", "TYPE", name, kind] => {
                assert!(text.contains(&format!("# HELP {name} ")), "{name}");
                assert!(kinds.insert(name, kind).is_none(), "{name} twice");
            }
            ["#", ..] => {}
            [sample, value] => {
                assert!(value.parse::<f64>().is_ok(), "{line}");
                let name = sample.split('{').next().unwrap();
                let is_of = |(family, kind): (&&str, &&str)| match *kind {
                    "counter" => name == format!("{family}_total"),
                    "info" => name == format!("{family}_info"),
                    _ => name == *family,
                };
                assert!(name.starts_with("p2p_sync_") && kinds.iter().any(is_of), "{line}");
            }
            _ => panic!("{line}"),
        }
    }
    assert!(kinds.len() >= 20 && text.ends_with("# EOF\n"), "{text}");
    for line in [
        "p2p_sync_keys 1",
        "p2p_sync_changes_unheard_total 1",
        "p2p_sync_api_requests_total{status=\"2xx\"} 1",
        "p2p_sync_api_requests_total{status=\"4xx\"} 1",
        "p2p_sync_sync_state{state=\"no_peers\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
    }
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn the_description_names_only_what_is_there() {
    let api = Api::start();
    let description = api.get("/v1/openapi.json").expect(200).json();
    assert_eq!(description["openapi"], "3.1.0");
    let text = description.to_string();
    for (at, _) in text.match_indices("\"#/") {
        let reference = text[at + 2..].split('"').next().unwrap();
        assert!(description.pointer(reference).is_some(), "{reference}");
    }
    for (path, item) in description["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().map(|method| method.to_uppercase()) {
            let target = path.replace("{key}", "k").replace("{id}", "1");
            if method == "GET" && path == "/v1/watch" {
                continue;
            }
            let answer = api.send(&method, &target, &[], b"");
            let detail = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(
                answer.status != 405 && !detail.contains("nothing at"),
                "{method} {target}: {detail}"
            );
        }
    }
}

#[test]
fn a_conflict_is_told_everywhere_and_ended() {
    let first = Api::start();
    first.put("/v1/kv/k", b"first").expect(200);
    let directory = tempfile::tempdir().unwrap();
    let alone = Api::of(launch("second").data_dir(directory.path()).start());
    alone.put("/v1/kv/k", b"second").expect(200);
    alone.node.stop();
    let peer = format!("/ip4/127.0.0.1/tcp/{}", first.node.port());
    let second = Api::of(launch("second").data_dir(directory.path()).peer(&peer).start());
    for api in [&first, &second] {
        wait_until("the conflict", PATIENCE, || {
            api.get("/v1/conflicts").expect(200).json()["conflicts"] != json!([])
        });
        assert_eq!(
            api.get("/v1/peers").expect(200).json()["peers"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        let page = api.get("/v1/conflicts?prefix=k&limit=1").expect(200).json();
        let values: Vec<_> = page["conflicts"][0]["versions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["value"])
            .collect();
        assert_eq!(values, ["second", "first"]);
        assert_eq!(
            api.get("/v1/conflicts?prefix=x").expect(200).json()["conflicts"],
            json!([])
        );
        let answer = api.get("/v1/kv/k").expect(200);
        assert_eq!(
            (answer.header("p2p-sync-conflicts"), &*answer.body),
            (Some("1"), &b"second"[..])
        );
    }
    let lost = &first.get("/v1/conflicts").json()["conflicts"][0]["versions"][1]["timestamp"];
    let choice = json!({"key": "k", "timestamp": lost});
    let chosen = first.post("/v1/conflicts/resolve", &choice).expect(200).json();
    assert_eq!((&chosen["resolved"], &chosen["value"]), (&json!(true), &json!("first")));
    wait_until("the end of the conflict", PATIENCE, || {
        let answer = second.get("/v1/kv/k").expect(200);
        answer.body == b"first" && answer.header("p2p-sync-conflicts").is_none()
    });
    let synced = first.send("POST", "/v1/sync", &[], b"").expect(200).json();
    assert_eq!(synced["peers"][0]["peer_id"], second.node.peer_id());
    assert_eq!(synced["peers"][0]["state"], "in_sync");
}
