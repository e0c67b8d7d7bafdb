//! The program: prepares the process, and leaves the rest to the command line.

use std::process::ExitCode;

use p2p_sync::cli::{self, Cli};
use tokio::runtime::Builder;

/// Threads for everything that waits: a node has little to compute, and its store threads of its own.
const WORKERS: usize = 2;

fn main() -> ExitCode {
    clean_environment();
    let cli = match Cli::from_command_line() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    if let Err(code) = cli::prepare() {
        return code;
    }
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

/// The QUIC library would write the secrets of every connection to the file that `SSLKEYLOGFILE` names. A variable of ours that
/// is set and empty is taken for unset.
#[expect(unsafe_code, reason = "the environment can be changed in no other way")]
fn clean_environment() {
    for name in cli::empty_variables().into_iter().chain(["SSLKEYLOGFILE".into()]) {
        // SAFETY: this is the first thing that the program does, so no other thread reads the environment meanwhile.
        unsafe { std::env::remove_var(name) };
    }
}
