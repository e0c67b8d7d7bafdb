//! Where the API is found, and who may know its token.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use p2p_sync_testbed::{Value, tempfile};

use super::client::{Api, PATIENCE, launch};

fn mode(file: &std::path::Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[test]
fn node_json_says_where_the_api_is_while_it_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("node.json");
    let api = Api::of(launch("node").data_dir(directory.path()).start());
    let running: Value = fs::read_to_string(&file).unwrap().parse().unwrap();
    assert_eq!(running["pid"], api.node.process().pid());
    assert_eq!(running["peer_id"], api.node.peer_id());
    assert_eq!(running["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((mode(&file), mode(&directory.path().join("api.token"))), (0o600, 0o600));
    api.get("/healthz").expect(200);
    api.node.kill9();
    assert!(file.exists());
    // What is left of it is replaced, and the token stays.
    let token = api.token.clone();
    api.node.restart();
    let again: Value = fs::read_to_string(&file).unwrap().parse().unwrap();
    assert_ne!(again["pid"], running["pid"]);
    let api = Api::of(api.node);
    assert_eq!(api.token, token);
    api.get("/v1/status").expect(200);
    api.node.stop();
    assert!(!file.exists(), "removed by a clean stop");
}

#[test]
fn without_an_api_there_is_no_node_json() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("node.json");
    fs::write(&file, "{}").unwrap();
    let node = launch("node")
        .data_dir(directory.path())
        .argument("--api")
        .argument("off")
        .start();
    assert!(!file.exists());
    node.stop();
}

#[test]
fn a_token_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    launch("node").data_dir(directory.path()).start().stop();
    let token = directory.path().join("api.token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let node = launch("node").data_dir(directory.path()).spawn();
    assert_eq!(node.wait_exit(PATIENCE).code(), Some(7));
    let told = node.stderr().tail(5);
    assert!(told.contains("api.token") && told.contains("chmod 600"), "{told}");
}

#[test]
fn it_listens_on_loopback_and_only_where_nobody_else_does() {
    for address in ["0.0.0.0:0", "[::]:0", "192.168.1.5:80", "127.0.0.1", "nonsense"] {
        let node = launch("node").argument("--api").argument(address).spawn();
        assert_eq!(node.wait_exit(PATIENCE).code(), Some(2), "{address}");
    }
    let first = Api::start();
    let second = launch("second").env("P2P_SYNC_API", &first.address).spawn();
    assert_eq!(second.wait_exit(PATIENCE).code(), Some(10));
    let told = second.stderr().tail(5);
    assert!(told.contains(&first.address) && told.contains("--api"), "{told}");
    first.get("/v1/status").expect(200);
}
