//! Programs of others that know nothing of p2p-sync but what it says of itself: Schemathesis makes requests of the description of the
//! API, openapi-spec-validator reads that description, and the Prometheus client reads the figures.
//!
//! `P2P_SYNC_API_PYTHON` names a Python interpreter with the packages `schemathesis`, `openapi-spec-validator` and
//! `prometheus-client`; `.ci/run` installs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::client::Api;

/// Reads a description.
const VALIDATE: &str = "
import json, sys
from openapi_spec_validator import OpenAPIV31SpecValidator
OpenAPIV31SpecValidator(json.load(open(sys.argv[1]))).validate()
";
/// Reads figures, and prints their names, types and units.
const FIGURES: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(open(sys.argv[1]).read()):
    assert family.documentation, family
    print(family.name, family.type, family.unit, len(family.samples))
";
/// Seconds that Schemathesis may take.
const SECONDS: &str = "40";

fn python() -> PathBuf {
    std::env::var_os("P2P_SYNC_API_PYTHON")
        .map(PathBuf::from)
        .unwrap_or_else(|| panic!("P2P_SYNC_API_PYTHON is not set; see the head of this file"))
}

/// Runs a program, and returns what it printed.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{complaint}");
    printed
}

/// Puts the answer to a request into a file.
fn saved(api: &Api, target: &str, file: &Path) {
    fs::write(file, api.get(target).expect(200).body).unwrap();
}

#[test]
#[ignore = "needs Python packages; .ci/run runs it"]
fn the_description_is_valid_and_every_answer_is_as_described() {
    let api = Api::start();
    let description = api.node.data_dir().join("openapi.json");
    saved(&api, "/v1/openapi.json", &description);
    run(Command::new(python()).args(["-c", VALIDATE]).arg(&description));

    let mut schemathesis = Command::new(python().with_file_name("st"));
    // It keeps what it has found beside it.
    schemathesis.current_dir(api.node.data_dir());
    schemathesis.arg("run").arg(&description);
    schemathesis.args(["--url", &format!("http://{}", api.address), "--no-color"]);
    schemathesis.args(["--header", &format!("Authorization: Bearer {}", api.token)]);
    let checks = [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ];
    schemathesis.args(["--checks", &checks.join(",")]);
    // Its answer does not end.
    schemathesis.args(["--exclude-path", "/v1/watch"]);
    schemathesis.args(["--max-examples", "50", "--max-time", SECONDS, "--request-timeout", "30"]);
    let told = run(&mut schemathesis);
    assert!(
        told.contains("25 selected / 26 total") && told.contains("Coverage"),
        "{told}"
    );
    api.get("/readyz").expect(200);
}

#[test]
#[ignore = "needs Python packages; .ci/run runs it"]
fn prometheus_reads_the_figures() {
    let api = Api::start();
    api.put("/v1/kv/k", b"v").expect(200);
    let file = api.node.data_dir().join("metrics.txt");
    saved(&api, "/metrics", &file);
    let read = run(Command::new(python()).args(["-c", FIGURES]).arg(&file));
    for line in [
        "p2p_sync_build info  1",
        "p2p_sync_keys gauge  1",
        "p2p_sync_messages_sent counter  1",
        "p2p_sync_store_bytes gauge bytes 1",
        "p2p_sync_sync_state gauge  7",
        "p2p_sync_api_requests counter  4",
    ] {
        assert!(read.lines().any(|found| found == line), "{line}:\n{read}");
    }
}
