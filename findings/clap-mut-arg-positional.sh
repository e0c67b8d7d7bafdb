#!/usr/bin/env bash
# clap 4.6.9 with clap_builder 4.6.7 (crates): a positional argument is changed after it was declared.
#
# One would guess: `mut_arg` changes an argument where it stands. Giving the first of two positional arguments a help text, or a
#   default, leaves their order as it is.
# It does: it takes the argument out and puts it at the end. `copy FROM TO` becomes `copy TO FROM`, and what the user gives
#   as the first word arrives as the second. Options and flags are not affected. A positional with an explicit index stays.
# Why it matters: programs that patch a derived grammar, to take defaults from a configuration file for instance, swap source and
#   target without a word.
# Seen on 2026-11-28: "declared: from=a to=b; after mut_arg on the first: from=b to=a; with indexes: from=a to=b".
# Exit 0: still so. Needs cargo.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "seen"
version = "0.0.0"
edition = "2021"
[dependencies]
clap = { version = "=4.6.9", default-features = false, features = ["std", "help", "usage"] }
clap_builder = { version = "=4.6.7", default-features = false }
TOML
cat > src/main.rs <<'RS'
use clap::{Arg, Command};

fn told(command: Command) -> String {
    let matches = command.get_matches_from(["copy", "a", "b"]);
    let of = |name: &str| matches.get_one::<String>(name).unwrap().clone();
    format!("from={} to={}", of("from"), of("to"))
}

fn main() {
    let copy = || Command::new("copy").arg(Arg::new("from")).arg(Arg::new("to"));
    let indexed = Command::new("copy").arg(Arg::new("from").index(1)).arg(Arg::new("to").index(2));
    let seen = [
        told(copy()),
        told(copy().mut_arg("from", |from| from.help("what is copied"))),
        told(indexed.mut_arg("from", |from| from.help("what is copied"))),
    ];
    println!("declared: {}; after mut_arg on the first: {}; with indexes: {}", seen[0], seen[1], seen[2]);
    assert_eq!(seen, ["from=a to=b", "from=b to=a", "from=a to=b"]);
}
RS
cargo run --quiet
