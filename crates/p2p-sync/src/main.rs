//! The program: prepares the process, and leaves the rest to the command line.

use std::process::ExitCode;

use p2p_sync::cli::{self, Cli};

fn main() -> ExitCode {
    clean_environment();
    match Cli::from_command_line() {
        Ok(cli) => cli.run(),
        Err(code) => code,
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
