//! What importing and exporting a file costs, through the program and a node that runs: the import beside raw SQLite doing batched
//! inserts of the same rows into the same table, the export beside `sqlite3 FILE .dump` of the same store, in the same run.
//!
//! `cargo bench --bench dump [-- RECORDS]`

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use p2p_sync_testbed::{Launch, Node, Stdin, tempfile};

mod support;

use support::{raw, record};

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2p-sync");
/// Rows of raw SQLite that share a transaction: as many as records of a page of an import.
const BATCH: u64 = 1_000;

fn main() {
    let records = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let records: u64 = records.unwrap_or(1_000_000);
    let place = tempfile::tempdir().unwrap();
    for format in ["ndjson", "csv", "json"] {
        let file = place.path().join(format!("in.{format}"));
        write(&file, format, records);
        let node = Launch::new(PROGRAM).label("node").no_lan().stdin(Stdin::Null).start();
        ready(&node);
        let sqlite = raw(records, BATCH);
        let imported = timed(program(&node, &["import", file.to_str().unwrap()]));
        compare(&format!("import of {format}"), imported, "raw SQLite", sqlite);
        let out = place.path().join(format!("out.{format}"));
        let exported = timed(program(&node, &["export", out.to_str().unwrap()]));
        let mut dump = Command::new("sqlite3");
        dump.arg(node.data_dir().join("store.db")).arg(".dump");
        let dumped = timed(dump);
        compare(&format!("export of {format}"), exported, "sqlite3 .dump", dumped);
    }
}

fn compare(what: &str, ours: Duration, reference: &str, theirs: Duration) {
    let (ours, theirs) = (ours.as_secs_f64(), theirs.as_secs_f64());
    println!(
        "{what}: {ours:.2} s, {reference} {theirs:.2} s, ratio {:.2}",
        ours / theirs
    );
}

/// The records of the reference as a file.
fn write(file: &Path, format: &str, records: u64) {
    let mut out = BufWriter::new(File::create(file).unwrap());
    match format {
        "csv" => writeln!(out, "key,value").unwrap(),
        "json" => writeln!(out, "{{").unwrap(),
        _ => {}
    }
    for n in 0..records {
        let record = record(n);
        let (key, value) = (record.key.as_str(), record.text().unwrap());
        match format {
            "csv" => writeln!(out, "{key},{value}").unwrap(),
            "json" => {
                let comma = if n + 1 < records { "," } else { "\n}" };
                writeln!(out, "\"{key}\":\"{value}\"{comma}").unwrap();
            }
            _ => writeln!(out, "{{\"key\":\"{key}\",\"value\":\"{value}\"}}").unwrap(),
        }
    }
    out.flush().unwrap();
}

fn program(node: &Node, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).arg("--data-dir").arg(node.data_dir());
    command
}

fn ready(node: &Node) {
    assert!(program(node, &["wait"]).status().unwrap().success());
}

/// How long it takes to its end, its output included.
fn timed(mut command: Command) -> Duration {
    let begun = Instant::now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{status}");
    begun.elapsed()
}
