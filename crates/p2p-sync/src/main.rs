//! The program: prepares the process, and leaves the rest to the command line.

use std::process::ExitCode;

use p2p_sync::cli::{self, Cli};
use tokio::runtime::Builder;

/// Threads for everything that waits: a node has little to compute, and its store threads of its own.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    forget_key_log();
    let cli = match Cli::from_command_line() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build() {
        Ok(runtime) => {
            let code = cli.run(&runtime);
            // Nobody waits for a thread that reads from a terminal.
            runtime.shutdown_background();
            code
        }
        Err(error) => cli::cannot_begin(&error),
    }
}

/// The QUIC library would write the secrets of every connection to the file that this variable names.
#[expect(unsafe_code, reason = "the environment can be changed in no other way")]
fn forget_key_log() {
    // SAFETY: this is the first thing that the program does, so no other thread reads the environment meanwhile.
    unsafe { std::env::remove_var("SSLKEYLOGFILE") };
}
