//! Holds the import table: which module may know which, and which libraries stay in one module. Names the file and the line
//! that break it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

/// Who may import whom, by the first word behind `crate::`. Modules that are not named as importers may import nothing.
const MODULES: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "cli", "client", "command", "config", "dump", "http", "names", "node", "report",
        ],
    ),
    ("client", &["client", "command", "node", "report"]),
    ("http", &["command", "config", "http", "names", "node", "report"]),
    ("dump", &["dump", "report"]),
    ("command", &["command", "names", "node", "report"]),
    (
        "node",
        &[
            "config", "identity", "names", "net", "node", "report", "store", "system", "throttle",
        ],
    ),
    ("store", &["names", "store", "system", "throttle"]),
    ("net", &["names", "net", "report", "system", "throttle"]),
    ("names", &["names"]),
    ("config", &["config"]),
    ("identity", &["identity", "system"]),
    ("report", &["report"]),
    ("system", &["system"]),
    ("throttle", &["throttle"]),
];

/// Libraries and the only modules that may name them.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("rusqlite::", &["store"]),
    ("simple_dns::", &["net"]),
    ("quinn_udp::", &["net"]),
    ("libp2p::", &["net", "config", "identity", "node"]),
    ("rustyline::", &["cli"]),
    ("hyper::", &["client", "http"]),
    ("toml::", &["cli"]),
    ("clap::", &["cli", "command"]),
    ("axum::", &["http"]),
    ("csv::", &["dump"]),
    ("indicatif::", &["cli"]),
    ("hyper_util::", &["client", "http"]),
    ("utoipa::", &["http"]),
    ("prometheus_client::", &["http"]),
    ("serde_json::", &["report", "dump"]),
    ("schemars::", &["report"]),
    // What belongs to the whole process is not the library's to change.
    ("std::process::exit", &["main"]),
    ("remove_var", &["main"]),
    ("set_var", &[]),
    ("set_hook", &[]),
    ("tokio::signal", &["cli"]),
    ("tracing_subscriber::", &["cli"]),
    ("rustix::process::setrlimit", &["cli"]),
    ("libc::", &["cli"]),
];

/// What the core may depend on: nothing that reads a clock, rolls dice, or does input or output.
const CORE_DEPENDENCIES: &[&str] = &[
    "blake3",
    "bs58",
    "curve25519-dalek",
    "data-encoding",
    "ed25519-zebra",
    "negentropy",
    "rand_core",
    "serde",
    "serde_json",
    "thiserror",
    "time",
];

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The module of a source file: the first part of its path.
fn module(file: &Path) -> String {
    let inside = file.strip_prefix(src()).unwrap();
    Path::new(inside.components().next().unwrap().as_os_str())
        .file_stem()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

/// The lines of a file that are code, with their numbers.
fn code(file: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"));
    lines.map(|(number, line)| (number + 1, line.to_owned())).collect()
}

/// Every word that follows `crate::` in a line, also inside braces.
fn imported_modules(line: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(group) => group.split([',', '}']).collect(),
            None => vec![rest],
        };
        for name in names {
            let word: String = name
                .trim()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            modules.push(word);
        }
    }
    modules
}

/// What a line breaks, given the module it stands in.
fn broken_rule(module: &str, line: &str) -> Option<String> {
    if module == "main" || module == "lib" {
        return None;
    }
    let allowed = MODULES
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, allowed)| *allowed);
    let Some(allowed) = allowed else {
        return Some(format!("the module `{module}` is not in the import table"));
    };
    for imported in imported_modules(line) {
        let is_module = MODULES.iter().any(|(name, _)| *name == imported);
        // Short-cuts of lib.rs hide which module is meant.
        if !is_module && imported.starts_with(char::is_uppercase) {
            return Some(format!("`{module}` must name the module of `{imported}`"));
        }
        if is_module && !allowed.contains(&imported.as_str()) {
            return Some(format!("`{module}` must not know `{imported}`"));
        }
    }
    let (library, _) = LIBRARIES
        .iter()
        .find(|(library, modules)| names_library(line, library) && !modules.contains(&module))?;
    Some(format!("`{module}` must not use `{}`", library.trim_end_matches("::")))
}

/// Whether a line names a library's path, and not a module of ours that ends in the same word.
fn names_library(line: &str, library: &str) -> bool {
    line.match_indices(library).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

#[test]
fn imports_only_go_down() {
    let mut broken = Vec::new();
    for file in sources(&src()) {
        for (number, line) in code(&file) {
            if let Some(rule) = broken_rule(&module(&file), &line) {
                broken.push(format!("{}:{number}: {rule}: {}", file.display(), line.trim()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_table_catches_what_it_forbids() {
    for (module, line) in [
        ("store", "use crate::net::Link;"),
        ("net", "use crate::{system, store::Readers};"),
        ("node", "use crate::cli;"),
        ("command", "let x = crate::net::Transport::Tcp;"),
        ("cli", "use crate::Node;"),
        ("net", "use rusqlite::Connection;"),
        ("store", "fn f(peer: libp2p::PeerId) {}"),
        ("gui", "use std::fmt;"),
    ] {
        assert!(broken_rule(module, line).is_some(), "{module}: {line}");
    }
    for (module, line) in [
        ("node", "use crate::net::libp2p::spawn;"),
        ("net", "use libp2p::PeerId;"),
        ("cli", "use crate::node::Node;"),
    ] {
        assert_eq!(broken_rule(module, line), None);
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src");
    for file in sources(&src()).into_iter().chain(sources(&core)) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} does not open with //!", file.display());
    }
}

#[test]
fn the_core_has_nothing_impure_in_reach() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/Cargo.toml")).unwrap();
    let section = manifest
        .split("[dependencies]")
        .nth(1)
        .unwrap()
        .split("\n[")
        .next()
        .unwrap();
    for line in section.lines().filter(|line| !line.trim().is_empty()) {
        let name = line.split(['.', ' ', '=']).next().unwrap();
        assert!(
            CORE_DEPENDENCIES.contains(&name),
            "the core must not depend on `{name}`"
        );
    }
}
