//! How the node is doing, and what it is asked to do.

use p2p_sync_testbed::{json, wait_until};

use super::client::{Api, PATIENCE};

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
